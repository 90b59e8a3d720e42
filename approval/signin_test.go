// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
)

// TestASignInIsWhatTheRuleDemands holds what acr, amr and auth_time of an approver count for.
func TestASignInIsWhatTheRuleDemands(t *testing.T) {
	ago := func(b *bench, d time.Duration) time.Time { return b.clock.Add(-d) }
	for _, c := range []struct {
		name string
		need action.Approver
		in   func(b *bench) SignIn
		lack string // "" grants
	}{
		{"the level that is asked for", action.Approver{ACR: "phr"}, func(*bench) SignIn { return SignIn{ACR: "phr"} }, ""},
		{"one of two levels", action.Approver{ACR: "phr phrh"}, func(*bench) SignIn { return SignIn{ACR: "phrh"} }, ""},
		{"another level", action.Approver{ACR: "phr"}, func(*bench) SignIn { return SignIn{ACR: "pwd"} }, "of level phr"},
		{"a level that begins alike", action.Approver{ACR: "phrh"}, func(*bench) SignIn { return SignIn{ACR: "phr"} }, "of level phrh"},
		{"a level in another spelling", action.Approver{ACR: "phr"}, func(*bench) SignIn { return SignIn{ACR: "PHR"} }, "of level phr"},
		{"two levels at once", action.Approver{ACR: "phr phrh"}, func(*bench) SignIn { return SignIn{ACR: "phr phrh"} }, "of level phr or phrh"},
		{"no provider", action.Approver{ACR: "phr"}, func(*bench) SignIn { return SignIn{} }, "of level phr"},
		{"every method", action.Approver{AMR: "hwk pin"}, func(*bench) SignIn { return SignIn{AMR: []string{"user", "pin", "hwk"}} }, ""},
		{"one method of two", action.Approver{AMR: "hwk pin"}, func(*bench) SignIn { return SignIn{AMR: []string{"pin"}} }, "with hwk and pin"},
		{"a demand of nothing but spaces", action.Approver{AMR: " "}, func(*bench) SignIn { return SignIn{AMR: []string{"hwk"}} }, "sign in again"},
		{"a sign-in of a moment ago", action.Approver{MaxAge: 60}, func(b *bench) SignIn { return SignIn{At: ago(b, time.Minute)} }, ""},
		{"an old sign-in", action.Approver{MaxAge: 60}, func(b *bench) SignIn { return SignIn{At: ago(b, 61*time.Second)} }, "at most 60 s old"},
		{"a sign-in of unknown time", action.Approver{MaxAge: 60}, func(*bench) SignIn { return SignIn{} }, "at most 60 s old"},
		{"a sign-in that is still to come", action.Approver{MaxAge: 60}, func(b *bench) SignIn { return SignIn{At: ago(b, -2*time.Minute)} }, "at most 60 s old"},
		{"a level that is far too long", action.Approver{ACR: strings.Repeat("x", 300)}, func(*bench) SignIn { return SignIn{ACR: strings.Repeat("x", 300)} }, "of level x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			ticket := b.ask(request("1", demand(c.need)), action.ApprovalPending).Ticket
			who := Actor{ID: "olga", Channel: action.RankOperator, SignIn: c.in(b)}
			v, err := b.Approve(t.Context(), ticket, who, "")
			if c.lack == "" {
				if err != nil || v.State != Granted || v.Answers[0].Channel != action.RankOperator {
					t.Fatal(v.State, err)
				}
				return
			}
			if !errors.Is(err, ErrMore) || !strings.Contains(err.Error(), c.lack) || v.State != Pending {
				t.Fatal(v.State, err)
			}
		})
	}
}

// TestWhoSignsInAnewMayAnswerAgain lets the same person replace a yes that did not count, and not be two people.
func TestWhoSignsInAnewMayAnswerAgain(t *testing.T) {
	b := newBench(t)
	ticket := b.ask(request("1", demand(action.Approver{ACR: "phr", Quorum: 2})), action.ApprovalPending).Ticket
	weak := Actor{ID: "olga", Channel: action.RankOperator, SignIn: SignIn{ACR: "pwd"}}
	strong := Actor{ID: "Olga ", Channel: action.RankOperator, SignIn: SignIn{ACR: "phr"}}
	if _, err := b.Approve(t.Context(), ticket, weak, ""); !errors.Is(err, ErrMore) {
		t.Fatal(err)
	}
	if _, err := b.Approve(t.Context(), ticket, weak, ""); !errors.Is(err, ErrOwn) {
		t.Fatalf("the same once more says %v", err)
	}
	v, err := b.Approve(t.Context(), ticket, strong, "")
	if !errors.Is(err, ErrMore) || v.State != Pending {
		t.Fatalf("one person answers for two: %v, %v", v.State, err)
	}
	if _, err := b.Approve(t.Context(), ticket, strong, ""); !errors.Is(err, ErrOwn) {
		t.Fatalf("the stronger once more says %v", err)
	}
	b.reopen() // what the sign-in was is on record, and is read back
	paul := Actor{ID: "paul", Channel: action.RankOperator, SignIn: SignIn{ACR: "phr"}}
	if v, err = b.Approve(t.Context(), ticket, paul, ""); err != nil || v.State != Granted {
		t.Fatal(v.State, err)
	}
	if got := b.book.codes(ticket); !slices.Equal(got, []string{"opened", "approved.weak", "approved.more", "approved"}) {
		t.Fatalf("recorded were %q", got)
	}
}

// TestAPasskeyNeedsNoRecentSignIn takes a signature of now as a proof of now, and as no level of any provider.
func TestAPasskeyNeedsNoRecentSignIn(t *testing.T) {
	for _, c := range []struct {
		name string
		need Need
		ok   bool
	}{
		{"an age", Need{Channel: action.RankOperator, Quorum: 1, MaxAgeS: 1}, true},
		{"a level", Need{Channel: action.RankOperator, Quorum: 1, ACR: "phr"}, false},
		{"a method", Need{Channel: action.RankOperator, Quorum: 1, AMR: "hwk"}, false},
	} {
		_, ok := enough([]Need{c.need}, []Given{{Approver: "olga", Channel: action.RankPasskey, Approve: true, TimeMs: 1 << 40}}, 0)
		if ok != c.ok {
			t.Errorf("%s: %v", c.name, ok)
		}
	}
}
