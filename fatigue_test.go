// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/policy"
)

const mails = `
ask contains {"id": "mail", "code": "mail", "reason": "Mail is approved.", "hint": "A person has to agree.", "approver": {"channel": "operator"}} if {
	input.phase == "before"
	input.resource.name == "send_mail"
}

deny contains {"id": "fax", "code": "fax", "reason": "Nobody pays.", "hint": "Do not pay."} if {
	input.phase == "before"
	input.resource.name == "send_payment"
}
`

var paula = &gateway.Caller{Name: "paula"}

// mailHouse is an owner where mail asks and payments are denied, with a user who named the address.
func mailHouse(t *testing.T) (*house, action.Subject, string) {
	dir := bundle(t, mails)
	h := open(t, func(c *sallyport.Config) { c.Policy.Dir = dir })
	h.server("desk", sendTool, payTool)
	h.runs()
	sub, sess := h.agent("clerk")
	if err := h.Enforcer.Say(t.Context(), &sub, sess, enforce.Said{Kind: action.PartUserRequest, By: action.AssertedSDK, Text: []byte("Mail the report to bob@example.com.")}); err != nil {
		t.Fatal(err)
	}
	return h, sub, sess
}

// mail sends one mail; olga approves it if it has to be asked.
func (h *house) mail(sub action.Subject, sess, to string, approve bool) enforce.Admission {
	h.t.Helper()
	do := func() enforce.Admission {
		adm, _, err := h.Enforcer.Do(context.Background(), attempt(sub, sess, "desk", "send_mail", `{"to":"`+to+`","body":"the report"}`),
			func(context.Context, enforce.Admission) (enforce.Outcome, error) {
				return enforce.Outcome{Status: action.ResultDone, Content: []byte(`"sent"`)}, nil
			})
		if err != nil {
			h.t.Fatal(err)
		}
		return adm
	}
	adm := do()
	if adm.Verdict != action.Ask || !approve {
		return adm
	}
	if _, err := h.Approval.Approve(context.Background(), adm.Ticket, approval.Actor{ID: "olga", Channel: action.RankOperator}, ""); err != nil {
		h.t.Fatal(err)
	}
	return do()
}

// latest finds the latest record of kind in which a rule decided.
func (h *house) latest(kind action.Kind, rule string) uint64 {
	h.t.Helper()
	at := uint64(0)
	if err := h.Ledger.Records(context.Background(), func(e ledger.Entry) error {
		if e.Leaf.Kind == kind && slices.Contains(e.Leaf.Rules, rule) {
			at = e.Index
		}
		return nil
	}); err != nil {
		h.t.Fatal(err)
	}
	return at
}

func TestWrongIsCountedAndChangesNothing(t *testing.T) {
	h, sub, sess := mailHouse(t)
	denied := func() enforce.Admission {
		adm, err := h.Enforcer.Before(t.Context(), attempt(sub, sess, "desk", "send_payment", `{"amount":5,"currency":"EUR","payee":"DE02120300000000202051"}`))
		if err != nil {
			t.Fatal(err)
		}
		return adm
	}
	if adm := denied(); adm.Verdict != action.Deny {
		t.Fatalf("%+v", adm)
	}
	at := h.latest(action.KindDecision, "house.fax")
	got, err := h.Reviews().Wrong(t.Context(), paula, at, admin.Wrong{Reason: "it was the rent", Expect: action.Allow})
	if err != nil || !slices.Equal(got.Rules, []string{"house.fax"}) || !strings.Contains(got.Case, "expect: allow") {
		t.Fatalf("%+v, %v", got, err)
	}
	if adm := denied(); adm.Verdict != action.Deny {
		t.Fatalf("what was called wrong is enforced otherwise: %+v", adm)
	}
	// Said twice of one record, it counts once.
	if _, err := h.Reviews().Wrong(t.Context(), paula, at, admin.Wrong{Reason: "again", Expect: action.Allow}); err != nil {
		t.Fatal(err)
	}
	if err := h.Index.Wait(t.Context(), h.Ledger.Checkpoint().Size-1); err != nil {
		t.Fatal(err)
	}
	rates, err := h.Reviews().Accuracy(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(rates) != 1 || rates[0].Rule != "house.fax" || rates[0].Denied != 2 || rates[0].Wrong != 1 || rates[0].WrongMilli != 500 {
		t.Errorf("the rules count as %+v", rates)
	}
	list, err := h.Reviews().List(t.Context(), 0, 10)
	if err != nil || len(list) != 1 || list[0].By != "paula" || list[0].Reason != "it was the rent" || list[0].Record != at || list[0].Case != got.Case {
		t.Fatalf("%+v, %v", list, err)
	}
	// The case is one that a bundle's tests take: it fails until a rule says otherwise.
	dir := filepath.Join(t.TempDir(), "b")
	if err := os.CopyFS(dir, os.DirFS(h.cfg.Policy.Dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "tests"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tests", "recorded.yaml"), []byte("cases:\n"+got.Case), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := policy.TestDir(t.Context(), dir); err != nil && !strings.Contains(err.Error(), "cases of both kinds") || len(r.Failures) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, odd := range []uint64{0, got.Index, 1 << 40} {
		if _, err := h.Reviews().Wrong(t.Context(), paula, odd, admin.Wrong{Reason: "x", Expect: action.Allow}); !errors.Is(err, admin.ErrNotDecided) && !errors.Is(err, admin.ErrNoEntry) {
			t.Errorf("record %d: %v", odd, err)
		}
	}
}

func TestReviewersAreMeasured(t *testing.T) {
	h, sub, sess := mailHouse(t)
	if adm := h.mail(sub, sess, "bob@example.com", true); adm.Verdict != action.Allow {
		t.Fatalf("%+v", adm)
	}
	var seeded []string
	for range 2 {
		v, err := h.Reviews().Seed(t.Context(), &gateway.Caller{Name: "root"}, admin.Trial{Server: "desk", Tool: "send_mail",
			Arguments: []byte(`{"to":"eve@evil.example","body":"all customers"}`), Facts: []byte(`{"subject":{"id":"clerk","user":{"id":"ann"}},"context":{"session":{"id":"s-1"}}}`)})
		if err != nil {
			t.Fatal(err)
		}
		if len(v.Action) != 26 || v.Test != "" || v.State != approval.Pending {
			t.Fatalf("%+v", v)
		}
		seeded = append(seeded, v.ID)
	}
	olga := approval.Actor{ID: "olga", Channel: action.RankOperator}
	h.Approval.Seen(seeded[0], "olga")
	if _, err := h.Approval.Deny(t.Context(), seeded[0], olga, "odd"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Approval.Approve(t.Context(), seeded[1], olga, ""); err != nil {
		t.Fatal(err)
	}
	got, err := h.Reviews().Reviewers(t.Context(), 0)
	if err != nil || len(got) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	if r := got[0]; r.Person != "olga" || r.Answers != 1 || r.ApproveMilli != 1000 || r.Seeded != 2 || r.Caught != 1 || r.Timed != 1 || r.Quick != 1 {
		t.Errorf("%+v", r)
	}
	if _, err := h.Reviews().Seed(t.Context(), paula, admin.Trial{Server: "desk", Tool: "send_payment", Arguments: []byte(`{"amount":5}`)}); !errors.Is(err, admin.ErrTrial) {
		t.Errorf("what the policy denies is seeded: %v", err)
	}
}

func TestStandingRuleComesWithWhatItWouldHaveAdmitted(t *testing.T) {
	h, sub, sess := mailHouse(t)
	if adm := h.mail(sub, sess, "bob@example.com", true); adm.Verdict != action.Allow {
		t.Fatalf("%+v", adm)
	}
	if adm := h.mail(sub, sess, "eve@evil.example", true); adm.Verdict == action.Deny {
		t.Fatalf("%+v", adm)
	}
	h.mail(sub, sess, "bob@example.com", false) // asked, and never answered
	runs, err := h.Reviews().Runs(t.Context(), paula, 0)
	if err != nil || len(runs) != 1 || runs[0].Agent != "clerk" || runs[0].Tool != "desk/send_mail" {
		t.Fatalf("%+v, %v", runs, err)
	}
	ask := admin.Proposal{Agent: "clerk", Tool: "desk/send_mail"}
	if _, err := h.Reviews().Propose(t.Context(), paula, ask); !errors.Is(err, policy.ErrStanding) {
		t.Fatalf("too few approvals: %v", err)
	}
	ask.Least = 1
	got, err := h.Reviews().Propose(t.Context(), paula, ask)
	if err != nil {
		t.Fatal(err)
	}
	if got.Approvals != 2 || got.Approved != 4 || got.Admitted != 5 || len(got.Else) != 1 || got.Else[0].Was != action.Ask || got.Base != h.Policy.Active().Bundle() || got.Bundle.Digest == got.Base.Digest {
		t.Errorf("%+v", got)
	}
	// It is a change of a bundle, and nothing else: the owner still asks.
	if adm := h.mail(sub, sess, "bob@example.com", false); adm.Verdict != action.Ask {
		t.Errorf("a proposal decides: %+v", adm)
	}
}
