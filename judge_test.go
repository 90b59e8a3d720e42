// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/auditor"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/ledger"
)

// judged asks a judge for mails to colleagues and a person for payments.
const judged = `
ask contains {"id": "mail", "code": "mail", "reason": "Mails are judged.", "approver": {"channel": "judge"}} if {
	input.phase == "before"
	input.resource.name == "send_mail"
}

ask contains {"id": "pay", "code": "pay", "reason": "Payments are approved."} if {
	input.phase == "before"
	input.resource.name == "send_payment"
}
`

const houseRules = "version: 1\nname: house\nrules:\n  - {id: 1, text: Mail goes only to those whom the user named.}\n"

// second is an owner with a model beside it, which says what verdict holds.
func second(t *testing.T, verdict *atomic.Value, asked *atomic.Int64) *house {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		b, _ := io.ReadAll(r.Body)
		if r.URL.Path != "/v1/chat/completions" || r.Header.Get("Authorization") != "Bearer key-1" || !strings.Contains(string(b), "rent") {
			http.Error(w, string(b), 400)
			return
		}
		text, _ := json.Marshal(fmt.Sprintf(`{"rules":[{"id":1,"verdict":%q}]}`, verdict.Load()))
		_, _ = fmt.Fprintf(w, `{"model":"m-1","choices":[{"index":0,"message":{"role":"assistant","content":%s},"finish_reason":"stop"}]}`, text)
	}))
	t.Cleanup(s.Close)
	dir := bundle(t, judged)
	place := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(place, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	h := open(t, func(c *sallyport.Config) {
		c.Policy.Dir = dir
		c.Approval.Judges = []sallyport.JudgeConfig{{Name: "model", Kind: "openai", URL: s.URL + "/v1", Model: "m",
			Constitution: write("house.yaml", houseRules), SecretFile: write("key", "key-1\n")}}
	})
	h.server("desk", sendTool, payTool)
	h.runs()
	return h
}

// settled waits until the request of adm has been answered or left to people, and returns it.
func (h *house) settled(ticket string) approval.View {
	h.t.Helper()
	for {
		v, err := h.Approval.Show(h.t.Context(), ticket)
		if err != nil {
			h.t.Fatal(err)
		}
		if v.State != approval.Pending || v.Reason != "" {
			return v
		}
		select {
		case <-h.t.Context().Done():
			h.t.Fatal("nobody answered")
		default:
		}
	}
}

func TestJudgeAnswersWhatPolicyGivesIt(t *testing.T) {
	var verdict atomic.Value
	var asked atomic.Int64
	verdict.Store("follows")
	h := second(t, &verdict, &asked)
	sub, sess := h.agent("clerk")
	h.Enforcer.Say(t.Context(), &sub, sess, enforce.Said{Kind: action.PartUserRequest, By: action.AssertedSDK, Text: []byte("Mail the rent to bob@home.example, then to eve@home.example and to dan@home.example")})
	try := func(tool, args string) enforce.Admission {
		t.Helper()
		adm, err := h.Enforcer.Before(t.Context(), attempt(sub, sess, "desk", tool, args))
		if err != nil {
			t.Fatal(err)
		}
		return adm
	}
	const one, two, three = `{"to":"bob@home.example","body":"a"}`, `{"to":"eve@home.example","body":"a"}`, `{"to":"dan@home.example","body":"a"}`
	first := try("send_mail", one)
	if first.Verdict != action.Ask {
		t.Fatalf("a mail gets %+v", first)
	}
	if v := h.settled(first.Ticket); v.State != approval.Granted || v.Answers[0].Channel != action.RankJudge {
		t.Fatalf("the judged request is %+v", v)
	}
	if adm := try("send_mail", one); adm.Verdict != action.Allow {
		t.Fatalf("the confirmed mail gets %+v", adm)
	}
	verdict.Store("unsure")
	if v := h.settled(try("send_mail", two).Ticket); v.State != approval.Pending {
		t.Fatalf("an unsure judge leaves it %+v", v)
	}
	verdict.Store("violates")
	if v := h.settled(try("send_mail", three).Ticket); v.State != approval.Refused {
		t.Fatalf("a refusing judge leaves it %+v", v)
	}
	if adm := try("send_mail", three); adm.Verdict != action.Deny || adm.Hint != "A second system refused this call." {
		t.Fatalf("the refused mail gets %+v", adm)
	}
	n := asked.Load()
	verdict.Store("follows")
	pay := try("send_payment", `{"amount":1,"currency":"EUR","payee":"x"}`)
	if v, err := h.Approval.Show(t.Context(), pay.Ticket); err != nil || v.State != approval.Pending || asked.Load() != n {
		t.Fatalf("a payment is asked of the judge: %+v, %v", v, err)
	}
	h.opinionsOnRecord(t)
}

func (h *house) opinionsOnRecord(t *testing.T) {
	t.Helper()
	var codes []string
	err := h.Ledger.Records(t.Context(), func(e ledger.Entry) error {
		if e.Leaf.Kind != action.KindApproval || !strings.HasPrefix(e.Leaf.Codes[0], "judge.") {
			return nil
		}
		codes = append(codes, e.Leaf.Codes[0])
		b, err := e.Open(action.PartExplanation)
		if err != nil || !strings.Contains(string(b), `"model":"m-1"`) || !strings.Contains(string(b), "sha256:") || !strings.Contains(string(b), "rent") || strings.Contains(string(b), "key-1") {
			t.Errorf("the record holds %s, %v", b, err)
		}
		return nil
	})
	if err != nil || !slices.Equal(codes, []string{"judge.confirmed", "judge.unsure", "judge.refused"}) {
		t.Errorf("on record are %q, %v", codes, err)
	}
	var seen auditor.ApprovalProofs
	h.verify(t, seen.Inspect)
}
