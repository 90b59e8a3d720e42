// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

// TestInsiderAuthorNeedsAnApprover is an author who wants a wider rule. Alone he is refused, and that is on record. With an
// approver who goes along he is not prevented: what the bundle changes about recorded decisions stands in the answer and, in
// the log, who signed; somebody has to look.
func TestInsiderAuthorNeedsAnApprover(t *testing.T) {
	h := guarded(t, "")
	running(t, h)
	if got, err := h.ActivatePolicy(t.Context(), signed(t, swapFiles(3), both...), "test", "ann", false); err != nil || !got.Active {
		t.Fatal(got, err)
	}
	h.server("bank", payTool)
	s, sess := h.agent("payer")
	pay := func(args string) action.Verdict {
		t.Helper()
		adm, err := h.Enforcer.Before(t.Context(), attempt(s, sess, "bank", "send_payment", args))
		if err != nil {
			t.Fatal(err)
		}
		return adm.Verdict
	}
	if got := pay(`{"amount":1}`); got != action.Deny {
		t.Fatalf("before: %s", got)
	}
	wider := swapFiles(4)
	if _, err := h.ActivatePolicy(t.Context(), signed(t, wider, "anna/author"), "test", "anna", false); err == nil || !strings.Contains(err.Error(), "one is enough only") {
		t.Fatalf("alone: %v", err)
	}
	if _, err := h.ActivatePolicy(t.Context(), signed(t, wider, "anna/author", "eve/approver"), "test", "anna", false); err == nil {
		t.Fatal("an author approves with a key that he made himself")
	}
	if got := h.policyRecords(); !strings.HasPrefix(got[len(got)-1], "policy.refused") || pay(`{"amount":2}`) != action.Deny {
		t.Errorf("refused: %q", got)
	}

	// Together: the difference tells which recorded decisions it turns around.
	dry, err := h.ActivatePolicy(t.Context(), signed(t, wider, both...), "test", "ben", true)
	if err != nil || dry.Difference.Changed == 0 || len(dry.Difference.Groups) == 0 {
		t.Fatalf("%+v %v", dry.Difference, err)
	}
	if g := dry.Difference.Groups[0]; g.From != "deny" || g.To != "allow" || g.Tool != "send_payment" {
		t.Errorf("the difference says %+v", g)
	}
	if got, err := h.ActivatePolicy(t.Context(), signed(t, wider, both...), "test", "ben", false); err != nil || !got.Active || pay(`{"amount":3}`) != action.Allow {
		t.Errorf("together they are not prevented: %v", err)
	}
	if got := h.policyRecords(); strings.HasPrefix(got[len(got)-1], "policy.refused") {
		t.Errorf("and it is on record: %q", got)
	}
}
