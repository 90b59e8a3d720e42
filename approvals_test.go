// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/auditor"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/identity/factor"
	"github.com/sallyport/sallyport/identity/factor/factortest"
	"github.com/sallyport/sallyport/ledger"
)

// payments asks for a passkey of somebody else than the user, denies what is above a thousand.
const payments = `
amount := input.action.amounts[0].minor

ask contains {"id": "pay", "code": "pay", "reason": "Payments are approved by passkey.", "approver": {"channel": "passkey", "apart": true}} if {
	input.phase == "before"
	input.resource.name == "send_payment"
}

deny contains {"id": "big", "code": "big", "reason": "Too much."} if {
	input.phase == "before"
	amount > 1000
}
`

const pageOrigin = "http://localhost:7118"

// passkeyOf registers a passkey of a person who is logged in.
func (h *house) passkeyOf(person string) *factortest.Authenticator {
	h.t.Helper()
	a := factortest.New("localhost", pageOrigin)
	ch, err := h.Signers.Begin(person, "test")
	if err != nil {
		h.t.Fatal(err)
	}
	made := a.Create(ch.Bytes())
	k, err := made.Register(ch.Bytes(), "localhost", []string{pageOrigin})
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.Signers.Register(context.Background(), &ch, identity.Registration{Person: person, Name: "key", Channel: action.RankOperator, Key: *k}); err != nil {
		h.t.Fatal(err)
	}
	return a
}

// signs lets a person answer with a passkey.
func (h *house) signs(person string, a *factortest.Authenticator, ticket, verb, comment, edit string) approval.Actor {
	h.t.Helper()
	var edited []byte
	if edit != "" {
		edited = []byte(edit)
	}
	challenge, _, err := h.Approval.Challenge(context.Background(), ticket, verb, comment, edited)
	if err != nil {
		h.t.Fatal(err)
	}
	var key factor.Key
	got := a.Get(challenge)
	for _, s := range h.Signers.Of(person) {
		if s.Key.Credential == got.ID {
			key = s.Key
		}
	}
	e, err := got.Evidence(&key, challenge)
	if err != nil {
		h.t.Fatal(err)
	}
	b, err := action.Canonical(&e)
	if err != nil {
		h.t.Fatal(err)
	}
	return approval.Actor{ID: person, Channel: action.RankOperator, Evidence: string(b)}
}

func payHouse(t *testing.T) (*house, action.Subject, string) {
	dir := bundle(t, payments)
	h := open(t, func(c *sallyport.Config) { c.Policy.Dir = dir; c.Approval.Keys.Origins = []string{pageOrigin} })
	h.server("bank", payTool)
	sub, sess := h.agent("clerk")
	return h, sub, sess
}

func (h *house) pay(sub action.Subject, sess, args string) enforce.Admission {
	h.t.Helper()
	adm, err := h.Enforcer.Before(context.Background(), attempt(sub, sess, "bank", "send_payment", args))
	if err != nil {
		h.t.Fatal(err)
	}
	return adm
}

// TestPasskeyApprovalIsProvedOffline approves a payment, then lets a stranger check what was signed.
func TestPasskeyApprovalIsProvedOffline(t *testing.T) {
	h, sub, sess := payHouse(t)
	key, other := h.passkeyOf("olga"), h.passkeyOf("ann")
	const args = `{"amount":50,"currency":"EUR","payee":"DE02120300000000202051"}`
	ticket := h.pay(sub, sess, args).Ticket
	// The user for whom the agent acts may not, and a login is not enough.
	if _, err := h.Approval.Approve(t.Context(), ticket, h.signs("ann", other, ticket, "approve", "", ""), ""); !errors.Is(err, approval.ErrMore) {
		t.Fatalf("the user's own passkey says %v", err)
	}
	if _, err := h.Approval.Approve(t.Context(), ticket, approval.Actor{ID: "paul", Channel: action.RankOperator}, ""); !errors.Is(err, approval.ErrMore) {
		t.Fatalf("a login says %v", err)
	}
	forged := h.signs("olga", key, ticket, "deny", "", "")
	if _, err := h.Approval.Approve(t.Context(), ticket, forged, ""); !errors.Is(err, approval.ErrEvidence) {
		t.Fatalf("a signature to deny says %v", err)
	}
	if _, err := h.Approval.Approve(t.Context(), ticket, h.signs("olga", key, ticket, "approve", "the rent", ""), "the rent"); err != nil {
		t.Fatal(err)
	}
	if adm := h.pay(sub, sess, args); adm.Verdict != action.Allow {
		t.Fatalf("the approved payment gets %+v", adm)
	}
	if adm := h.pay(sub, sess, args); adm.Verdict != action.Ask {
		t.Fatalf("a second one gets %+v", adm)
	}
	var seen auditor.ApprovalProofs
	h.verify(t, seen.Inspect)
	if seen.Requests != 2 || seen.Answers != 3 || seen.Signed != 2 || seen.Closed != 0 {
		t.Fatalf("a stranger sees %+v", seen)
	}
	h.forgeries(t)
	h.inBrowser(t, &seen)
}

func (h *house) verify(t *testing.T, inspect func(uint64, *ledger.Leaf, action.PartName, []byte) string) *ledger.Report {
	t.Helper()
	rep, err := ledger.Verify(t.Context(), ledger.Source{Dir: h.cfg.Data}, ledger.Options{Inspect: inspect})
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// bends are forgeries of what a record about an approval holds.
var bends = map[string]func(l *ledger.Leaf, part action.PartName, data string) string{
	"another text was shown": func(_ *ledger.Leaf, part action.PartName, data string) string {
		if part == action.PartShown {
			return strings.Replace(data, "DE02120300000000202051", "DE02120300000000202052", 1)
		}
		return data
	},
	"another comment was given": func(_ *ledger.Leaf, _ action.PartName, data string) string {
		return strings.Replace(data, "the rent", "the tent", 1)
	},
	"somebody else signed": func(l *ledger.Leaf, _ action.PartName, data string) string {
		if l.Kind == action.KindKey {
			return strings.Replace(data, `"person":"olga"`, `"person":"otto"`, 1)
		}
		return data
	},
	"the key is another one": func(l *ledger.Leaf, _ action.PartName, data string) string {
		if l.Kind == action.KindKey {
			return strings.Replace(data, `"public":"pQEC`, `"public":"pQED`, 1)
		}
		return data
	},
	"an answer was left out": func(l *ledger.Leaf, part action.PartName, data string) string {
		if l.Kind == action.KindApproval && part == action.PartDetail && strings.Contains(data, `"approver":"paul"`) {
			return strings.Replace(data, `"approver":"paul"`, `"approver":"pete"`, 1)
		}
		return data
	},
}

// forgeries changes what the stranger is shown, and expects that he notices.
func (h *house) forgeries(t *testing.T) {
	for name, bend := range bends {

		var e auditor.ApprovalProofs
		found := ""
		h.verify(t, func(i uint64, l *ledger.Leaf, part action.PartName, data []byte) string {
			if what := e.Inspect(i, l, part, []byte(bend(l, part, string(data)))); what != "" && found == "" {
				found = what
			}
			return ""
		})
		if found == "" {
			t.Errorf("%s: nobody notices", name)
		}
	}
}

func TestEditedArgumentsAreDecidedOnLikeAny(t *testing.T) {
	h, sub, sess := payHouse(t)
	key := h.passkeyOf("olga")
	const asked = `{"amount":900,"currency":"EUR","payee":"DE02120300000000202051"}`
	for _, c := range []struct {
		name, edit string
		want       action.Verdict
	}{
		{"less passes", `{"amount":90,"currency":"EUR","payee":"DE02120300000000202051"}`, action.Allow},
		{"what policy denies is denied, whoever approves it", `{"amount":9000,"currency":"EUR","payee":"DE02120300000000202051"}`, action.Deny},
	} {
		t.Run(c.name, func(t *testing.T) {
			ticket := h.pay(sub, sess, asked).Ticket
			if _, err := h.Approval.Edit(t.Context(), ticket, h.signs("olga", key, ticket, "approve", "", c.edit), "", []byte(c.edit)); err != nil {
				t.Fatal(err)
			}
			adm := h.pay(sub, sess, asked)
			if adm.Verdict != c.want {
				t.Fatalf("it gets %+v", adm)
			}
			if c.want == action.Allow && (string(adm.Arguments) != c.edit || !adm.Rewritten) {
				t.Fatalf("executed is %s", adm.Arguments)
			}
		})
	}
	var seen auditor.ApprovalProofs
	h.verify(t, seen.Inspect)
	if seen.Signed != 2 {
		t.Fatalf("a stranger sees %+v", seen)
	}
}

func TestPasskeysAreBoundToSitesOfOurs(t *testing.T) {
	for _, c := range []struct {
		name string
		keys sallyport.KeysConfig
		ok   bool
	}{
		{"nothing is said", sallyport.KeysConfig{}, true},
		{"a name of one's own", sallyport.KeysConfig{RPID: "gate.example", Origins: []string{"https://gate.example"}}, true},
		{"a host below it", sallyport.KeysConfig{RPID: "gate.example", Origins: []string{"https://console.gate.example:8443"}}, true},
		{"an address in place of a name", sallyport.KeysConfig{RPID: "127.0.0.1"}, false},
		{"no encryption", sallyport.KeysConfig{RPID: "gate.example", Origins: []string{"http://gate.example"}}, false},
		{"another site", sallyport.KeysConfig{RPID: "gate.example", Origins: []string{"https://evil.example"}}, false},
		{"a site that ends alike", sallyport.KeysConfig{RPID: "gate.example", Origins: []string{"https://evilgate.example"}}, false},
	} {
		cfg := sallyport.PatientConfig()
		cfg.Data, cfg.Gateway.Listen, cfg.Admin.Listen = t.TempDir()+"/data", "none", "none"
		cfg.Approval.Keys = c.keys
		s, err := sallyport.Open(t.Context(), cfg)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
		if s != nil {
			_ = s.Close()
		}
	}
}
