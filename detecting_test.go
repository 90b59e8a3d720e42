// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"context"
	"strings"
	"testing"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// TestPersonalDataIsMaskedWhereAPolicySaysSo: in what an agent sends and in what it is shown, once and without a
// second demand for the same.
func TestPersonalDataIsMaskedWhereAPolicySaysSo(t *testing.T) {
	h := open(t, func(c *sallyport.Config) {
		c.Policy.Dir = bundle(t, `oblige contains {"id": "mask", "type": "mask", "params": {"kind": "email,card,name", "keep": "4"}} if {
	some f in input.context.detect.findings
	f.kind == "pii"
}
`)
	})
	h.server("crm", readTool)
	sub, sess := h.agent("bot")
	var sent string
	_, rel, err := h.Enforcer.Do(t.Context(), attempt(sub, sess, "crm", "read_note", `{"name":"of ann@example.org"}`),
		func(_ context.Context, a enforce.Admission) (enforce.Outcome, error) {
			sent = string(a.Arguments)
			return enforce.Outcome{Status: action.ResultDone, Content: []byte(`{"first_name":"Annabel","card":"4111 1111 1111 1111","phone":"+49 89 1234567","n":1}`)}, nil
		})
	if err != nil || sent != `{"name":"of ***********.org"}` {
		t.Errorf("sent %q, %v", sent, err)
	}
	if got, want := string(rel.Content), `{"card":"***************1111","first_name":"****bel","n":1,"phone":"+49 89 1234567"}`; got != want {
		t.Errorf("%+v %s, want %s", rel, got, want)
	}
	if strings.Contains(sent, "ann@") {
		t.Error("the address was sent")
	}
}
