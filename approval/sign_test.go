// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

var pia = Actor{ID: "pia", Channel: action.RankPasskey}

func passkey() func(*enforce.Request) { return demand(action.Approver{Channel: action.RankPasskey}) }

func TestPasskeyCountsOnlyForTheAnswerThatItSigned(t *testing.T) {
	for _, c := range []struct {
		name string
		who  func(b *bench, ticket, other string) Actor
		want error
	}{
		{"signed as given", func(b *bench, ticket, _ string) Actor { return b.sign(ticket, pia, "approve", "fine", nil) }, nil},
		{"not signed at all", func(*bench, string, string) Actor { return pia }, ErrMore},
		{"signed for another request", func(b *bench, _, other string) Actor { return b.sign(other, pia, "approve", "fine", nil) }, ErrEvidence},
		{"signed to deny", func(b *bench, ticket, _ string) Actor { return b.sign(ticket, pia, "deny", "fine", nil) }, ErrEvidence},
		{"signed with another comment", func(b *bench, ticket, _ string) Actor { return b.sign(ticket, pia, "approve", "never", nil) }, ErrEvidence},
		{"signed for other arguments", func(b *bench, ticket, _ string) Actor {
			return b.sign(ticket, pia, "approve", "fine", []byte(`{"to":"eve"}`))
		}, ErrEvidence},
		{"signed by somebody else", func(b *bench, ticket, _ string) Actor {
			who := b.sign(ticket, Actor{ID: "paul", Channel: action.RankPasskey}, "approve", "fine", nil)
			who.ID = "pia"
			return who
		}, ErrEvidence},
		{"forged", func(*bench, string, string) Actor {
			return Actor{ID: "pia", Channel: action.RankOperator, Evidence: "signed"}
		}, ErrEvidence},
		{"too large", func(*bench, string, string) Actor {
			return Actor{ID: "pia", Channel: action.RankOperator, Evidence: strings.Repeat("x", maxEvidenceBytes+1)}
		}, ErrEvidence},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			ticket := b.ask(request("1", passkey()), action.ApprovalPending).Ticket
			other := b.ask(request("2", passkey(), args(`{"to":"eve@out.example"}`)), action.ApprovalPending).Ticket
			_, err := b.Approve(t.Context(), ticket, c.who(b, ticket, other), "fine")
			if !errors.Is(err, c.want) {
				t.Fatalf("Approve says %v, want %v", err, c.want)
			}
			if c.want == nil {
				b.ask(request("1", passkey()), action.ApprovalGranted)
				return
			}
			b.ask(request("1", passkey()), action.ApprovalPending)
		})
	}
}

// TestRecordsProveWhatWasShownAndSigned reads an approval back from its records alone.
func TestRecordsProveWhatWasShownAndSigned(t *testing.T) {
	b := newBench(t)
	ticket := b.ask(request("1", passkey()), action.ApprovalPending).Ticket
	who := b.sign(ticket, pia, "approve", "looks\u200bright", nil)
	if _, err := b.Approve(t.Context(), ticket, who, "looks\u200bright"); err != nil {
		t.Fatal(err)
	}
	opening, answer := b.book.records[0], b.book.records[1]
	sum, err := Terms(opening.Part(action.PartDetail), opening.Part(action.PartShown))
	if err != nil || sum != opening.Binding || sum != answer.Binding {
		t.Fatalf("the opening binds %q, its parts %q, %v", opening.Binding, sum, err)
	}
	shown := strings.Replace(string(opening.Part(action.PartShown)), "hello", "hullo", 1)
	if other, err := Terms(opening.Part(action.PartDetail), []byte(shown)); err != nil || other == sum {
		t.Fatalf("another text has the digest %q, %v", other, err)
	}
	g, challenge, err := Signed(answer.Grant, answer.Codes[0], answer.Binding, answer.Part(action.PartDetail))
	if err != nil {
		t.Fatal(err)
	}
	if rank, err := prove(t.Context(), g.Approver, challenge, g.Evidence); err != nil || rank != action.RankPasskey {
		t.Fatalf("the recorded signature proves %q, %v", rank, err)
	}
	if _, other, _ := Signed(answer.Grant, codeDenied, answer.Binding, answer.Part(action.PartDetail)); string(other) == string(challenge) {
		t.Fatal("a denial has the same challenge")
	}
}

func TestNobodyApprovesForHisOwnAgentWherePolicySaysSo(t *testing.T) {
	apart := demand(action.Approver{Apart: true, Quorum: 2})
	for _, c := range []struct {
		name string
		user string
		who  []Actor
		want error
	}{
		{"two others", "ann", []Actor{olga, {ID: "paul", Channel: action.RankOperator}}, nil},
		{"the user himself and another", "ann", []Actor{olga, {ID: "ann", Channel: action.RankOperator}}, ErrMore},
		{"the user under another spelling", "ann", []Actor{olga, {ID: " ANN ", Channel: action.RankOperator}}, ErrMore},
		{"one person under two spellings", "ann", []Actor{olga, {ID: "OLGA", Channel: action.RankOperator}}, ErrOwn},
		{"nobody knows for whom the agent acts", "", []Actor{olga, {ID: "paul", Channel: action.RankOperator}}, ErrMore},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			ticket := b.ask(request("1", apart, func(r *enforce.Request) { r.Query.Subject.User.ID = c.user }), action.ApprovalPending).Ticket
			var err error
			for _, who := range c.who {
				_, err = b.Approve(t.Context(), ticket, who, "")
			}
			if !errors.Is(err, c.want) {
				t.Fatalf("the last answer says %v, want %v", err, c.want)
			}
		})
	}
}

func TestStandInCountsForTheGroupsThatWereLentToHim(t *testing.T) {
	finance := demand(action.Approver{Group: "finance", Apart: true})
	fred := Actor{ID: "fred", Channel: action.RankOperator, Groups: []string{"finance"}}
	ann := Actor{ID: "ann", Channel: action.RankOperator, Groups: []string{"finance"}}
	b := newBench(t)
	until := b.clock.Add(time.Hour).UnixMilli()
	lend := func(from Actor, to string) Absence {
		t.Helper()
		a, err := b.Away(t.Context(), from, Absence{To: to, Groups: []string{"finance"}, UntilMs: until})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for name, bad := range map[string]struct {
		who Actor
		a   Absence
	}{
		"a group that one is not in": {fred, Absence{To: "olga", Groups: []string{"admins"}, UntilMs: until}},
		"to oneself":                 {fred, Absence{To: "Fred", Groups: []string{"finance"}, UntilMs: until}},
		"by an agent":                {Actor{ID: "x", Agent: "a9", Channel: action.RankOperator, Groups: []string{"finance"}}, Absence{To: "olga", Groups: []string{"finance"}, UntilMs: until}},
		"by a bearer":                {Actor{ID: "fred", Channel: action.RankBearer, Groups: []string{"finance"}}, Absence{To: "olga", Groups: []string{"finance"}, UntilMs: until}},
		"for longer than a month":    {fred, Absence{To: "olga", Groups: []string{"finance"}, UntilMs: b.clock.AddDate(0, 2, 0).UnixMilli()}},
		"for no time":                {fred, Absence{To: "olga", Groups: []string{"finance"}}},
	} {
		if _, err := b.Away(t.Context(), bad.who, bad.a); !errors.Is(err, ErrAbsence) {
			t.Errorf("lending %s says %v", name, err)
		}
	}
	lend(ann, "olga") // for whom the agent acts: what she may not do she cannot lend
	ticket := b.ask(request("1", finance), action.ApprovalPending).Ticket
	if _, err := b.Approve(t.Context(), ticket, olga, ""); !errors.Is(err, ErrMore) {
		t.Fatalf("before anybody else lent, the answer says %v", err)
	}
	b.reopen()
	loan := lend(fred, "olga")
	b.reopen()
	b.approve(b.ask(request("2", finance, args(`{"to":"x"}`)), action.ApprovalPending).Ticket, olga)
	if err := b.Back(t.Context(), olga, loan.ID); err != nil {
		t.Fatal(err)
	}
	b.reopen()
	ticket = b.ask(request("3", finance, args(`{"to":"y"}`)), action.ApprovalPending).Ticket
	if _, err := b.Approve(t.Context(), ticket, olga, ""); !errors.Is(err, ErrMore) {
		t.Fatalf("after the loan the answer says %v", err)
	}
}

func TestAnotherGroupTakesOverAfterATime(t *testing.T) {
	boss := Actor{ID: "bo", Channel: action.RankOperator, Groups: []string{"bosses"}}
	b := newBench(t)
	r := request("1", demand(action.Approver{Group: "finance", EscalateAfter: 60, EscalateTo: "bosses"}))
	ticket := b.ask(r, action.ApprovalPending).Ticket
	if _, err := b.Approve(t.Context(), ticket, boss, ""); !errors.Is(err, ErrMore) {
		t.Fatalf("too early, the answer says %v", err)
	}
	b.clock = b.clock.Add(61 * time.Second)
	b.Sweep(t.Context())
	b.Sweep(t.Context())
	if got := b.book.codes(ticket); !slices.Equal(got, []string{"opened", "approved.weak", "escalated"}) {
		t.Fatalf("recorded were %q", got)
	}
	if _, ok := enough([]Need{{Group: "finance", Channel: action.RankOperator, AfterS: 60, To: "bosses"}}, []Given{{Approve: true,
		Approver: "bo", Channel: action.RankOperator, Groups: []string{"bosses"}, TimeMs: 1}}, 0); ok {
		t.Fatal("an early answer counts once its time has come")
	}
	other := boss
	other.ID = "bert"
	b.approve(ticket, other)
}

func TestEditedArgumentsAreApprovedTogetherOrNotAtAll(t *testing.T) {
	b := newBench(t)
	r := request("1", demand(action.Approver{Quorum: 2}))
	ticket := b.ask(r, action.ApprovalPending).Ticket
	paul, pete := Actor{ID: "paul", Channel: action.RankOperator}, Actor{ID: "pete", Channel: action.RankOperator}
	edit := []byte(`{ "to": "bob@in.example" }`)
	for _, bad := range []string{"", "[]", "1", `{"a":1,"a":2}`, `{"a":`, `{"a":"` + strings.Repeat("x", maxEditBytes) + `"}`} {
		if _, err := b.Edit(t.Context(), ticket, olga, "", []byte(bad)); !errors.Is(err, ErrEdit) {
			t.Errorf("Edit of %.20q says %v", bad, err)
		}
	}
	if _, err := b.Edit(t.Context(), ticket, olga, "", edit); !errors.Is(err, ErrMore) {
		t.Fatalf("the first says %v", err)
	}
	if _, err := b.Approve(t.Context(), ticket, paul, ""); !errors.Is(err, ErrMore) {
		t.Fatalf("one of each says %v", err)
	}
	if _, err := b.Edit(t.Context(), ticket, paul, "", []byte(`{"to":"eve@out.example"}`)); !errors.Is(err, ErrEdit) {
		t.Fatalf("a third version says %v", err)
	}
	b.reopen()
	if v, _ := b.Show(t.Context(), ticket); v.Edit != `{"to":"bob@in.example"}` {
		t.Fatalf("people see %q", v.Edit)
	}
	if _, err := b.Edit(t.Context(), ticket, pete, "", edit); err != nil {
		t.Fatal(err)
	}
	b.reopen()
	ans := b.ask(r, action.ApprovalGranted)
	if string(ans.Bytes) != `{"to":"bob@in.example"}` || ans.Facts.Edited != action.Yes || fmt.Sprint(ans.Facts.Approvers) != "[olga pete]" {
		t.Fatalf("the grant is %+v", ans)
	}
	if got := string(b.book.records[1].Part(action.PartArguments)); got != string(ans.Bytes) {
		t.Fatalf("recorded is %q", got)
	}
	b.asks[ticket].Edit = `{"to":"eve@out.example"}` // a row that was changed after the answer
	b.ask(r, action.ApprovalRefused)
}

// TestConcurrentApprovalsAndUses lets a thousand people answer and a thousand calls use what comes of it.
func TestConcurrentApprovalsAndUses(t *testing.T) {
	b := newBench(t, func(c *Config) { c.MaxPending, c.MaxAgent, c.Rate = 100, 100, 100 })
	const asks = 50
	var tickets []string
	for i := range asks {
		tickets = append(tickets, b.ask(request(fmt.Sprint(i), demand(action.Approver{Quorum: 2}), args(fmt.Sprintf(`{"n":%d}`, i))), action.ApprovalPending).Ticket)
	}
	var wg sync.WaitGroup
	var used [asks]atomic.Int64
	for i := range 1000 {
		wg.Go(func() {
			who := Actor{ID: fmt.Sprintf("p%d", i), Channel: action.RankOperator}
			if _, err := b.Approve(context.Background(), tickets[i%asks], who, ""); err != nil && !errors.Is(err, ErrMore) && !errors.Is(err, ErrState) {
				t.Error(err)
			}
		})
		wg.Go(func() {
			for range 4 {
				if b.Consume(context.Background(), tickets[i%asks], fmt.Sprint(i)) == nil {
					used[i%asks].Add(1)
				}
			}
		})
	}
	wg.Wait()
	for i, ticket := range tickets {
		if b.Consume(t.Context(), ticket, "last") == nil {
			used[i].Add(1)
		}
		if n := used[i].Load(); n != 1 {
			t.Errorf("grant %d was used %d times", i, n)
		}
		v, err := b.Show(t.Context(), ticket)
		if err != nil || v.State != Used || len(v.Answers) != 2 {
			t.Errorf("request %d is %s after %d answers, %v", i, v.State, len(v.Answers), err)
		}
	}
}
