// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"bytes"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

func TestApproveGrantsOnlyWhatTheRulesDemand(t *testing.T) {
	client := Actor{ID: "ann", Channel: action.RankClient, Agent: "a1", Session: "s1"}
	bearer := Actor{ID: "token-7", Channel: action.RankBearer}
	paul := Actor{ID: "paul", Channel: action.RankOperator, Groups: []string{"finance"}}
	pia := Actor{ID: "pia", Channel: action.RankPasskey}
	judge := Actor{ID: "judge", Channel: action.RankJudge}
	robot := Actor{ID: "robot", Channel: action.RankPasskey, Agent: "a2"}
	for _, c := range []struct {
		name   string
		demand []action.Approver
		who    []Actor
		want   error // of the last answer
		rank   action.Rank
		by     string
	}{
		{"an operator where nothing is said", []action.Approver{{}}, []Actor{olga}, nil, action.RankOperator, "olga"},
		{"a passkey is more than an operator", []action.Approver{{}}, []Actor{pia}, nil, action.RankPasskey, "pia"},
		{"a bearer token is less", []action.Approver{{}}, []Actor{bearer}, ErrMore, "", ""},
		{"the client is less than a bearer token", []action.Approver{{Channel: action.RankBearer}}, []Actor{client}, ErrMore, "", ""},
		{"the client where the rule names it", []action.Approver{{Channel: action.RankClient}}, []Actor{client}, nil, action.RankClient, "ann"},
		{"a judge is no client", []action.Approver{{Channel: action.RankClient}}, []Actor{judge}, ErrMore, "", ""},
		{"a judge where the rule names it", []action.Approver{{Channel: action.RankJudge}}, []Actor{judge}, nil, action.RankJudge, "judge"},
		{"a person in the place of a judge", []action.Approver{{Channel: action.RankJudge}}, []Actor{olga}, nil, action.RankOperator, "olga"},
		{"another agent with a person's channel is a judge", []action.Approver{{}}, []Actor{robot}, ErrMore, "", ""},
		{"two people are needed, one came", []action.Approver{{Quorum: 2}}, []Actor{olga}, ErrMore, "", ""},
		{"two people are needed, one came twice", []action.Approver{{Quorum: 2}}, []Actor{olga, olga}, ErrOwn, "", ""},
		{"two people", []action.Approver{{Quorum: 2}}, []Actor{olga, pia}, nil, action.RankOperator, "olga pia"},
		{"the second is too weak", []action.Approver{{Quorum: 2}}, []Actor{olga, bearer}, ErrMore, "", ""},
		{"nobody of the group", []action.Approver{{Group: "finance"}}, []Actor{pia}, ErrMore, "", ""},
		{"one of the group", []action.Approver{{Group: "finance"}}, []Actor{pia, paul}, nil, action.RankOperator, "paul"},
		{"two rules, one weak", []action.Approver{{Channel: action.RankClient}, {}}, []Actor{client, olga}, nil, action.RankOperator, "olga"},
		{"a channel nobody knows", []action.Approver{{Channel: "telepathy"}}, []Actor{pia}, ErrMore, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			r := request("1", demand(c.demand...), traced)
			ticket := b.ask(r, action.ApprovalPending).Ticket
			var err error
			for _, who := range c.who {
				_, err = b.Approve(t.Context(), ticket, b.sign(ticket, who, "approve", "", nil), "")
			}
			if !errors.Is(err, c.want) {
				t.Fatalf("the last answer says %v, want %v", err, c.want)
			}
			if c.want != nil {
				if ans := b.ask(r, action.ApprovalPending); errors.Is(c.want, ErrMore) && ans.Comment == "" {
					t.Error("no reason is given")
				}
				if err := b.Consume(t.Context(), ticket, "1"); !errors.Is(err, enforce.ErrConsumed) {
					t.Errorf("Consume says %v", err)
				}
				return
			}
			f := b.ask(r, action.ApprovalGranted).Facts
			if f.Channel != c.rank || strings.Join(f.Approvers, " ") != c.by {
				t.Errorf("the grant is by %q through %q", f.Approvers, f.Channel)
			}
			if err := action.ValidatePart(f); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNobodyAnswersItsOwnAsk(t *testing.T) {
	for _, c := range []struct {
		name string
		who  Actor
		code string // recorded besides the opening
	}{
		{"the asking agent with an approver's token", Actor{ID: "x", Channel: action.RankOperator, Agent: "a1"}, CodeOwn},
		{"the asking agent with a passkey", Actor{ID: "x", Channel: action.RankPasskey, Agent: "a1"}, CodeOwn},
		{"a person with the agent's name", Actor{ID: "a1", Channel: action.RankOperator}, ""},
		{"the client of another session", Actor{ID: "ann", Channel: action.RankClient, Agent: "a1", Session: "s2"}, CodeOwn},
		{"the client of another agent", Actor{ID: "ann", Channel: action.RankClient, Agent: "a2", Session: "s1"}, ""},
		{"a client of nobody", Actor{ID: "ann", Channel: action.RankClient, Session: "s1"}, ""},
		{"nobody", Actor{Channel: action.RankOperator}, ""},
		{"no channel", Actor{ID: "olga"}, ""},
		{"an unknown channel", Actor{ID: "olga", Channel: action.RankUnknown}, ""},
		{"a channel that does not exist", Actor{ID: "olga", Channel: "root"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			r := request("1", demand(action.Approver{Channel: action.RankClient}))
			ticket := b.ask(r, action.ApprovalPending).Ticket
			for range 3 {
				if _, err := b.Approve(t.Context(), ticket, c.who, ""); !errors.Is(err, ErrOwn) {
					t.Fatalf("Approve says %v", err)
				}
				if _, err := b.Deny(t.Context(), ticket, c.who, ""); !errors.Is(err, ErrOwn) {
					t.Fatalf("Deny says %v", err)
				}
			}
			b.ask(r, action.ApprovalPending)
			want := []string{CodeOpened}
			if c.code != "" {
				want = append(want, c.code)
			}
			if got := b.book.codes(ticket); !slices.Equal(got, want) {
				t.Errorf("recorded were %q, want %q", got, want)
			}
			b.reopen()
			b.ask(r, action.ApprovalPending)
		})
	}
}

func TestSeparationIsRecorded(t *testing.T) {
	for _, c := range []struct {
		name string
		who  Actor
		door action.Separation // what the door says
		same action.Tri
		want action.Separation
	}{
		{"another uid", Actor{ID: "o", Channel: action.RankOperator, UID: 2000, HasUID: true}, "", action.No, action.SeparationUID},
		{"the agent's uid", Actor{ID: "o", Channel: action.RankOperator, UID: 1000, HasUID: true}, "", action.Yes, action.SeparationNone},
		{"no uid", Actor{ID: "o", Channel: action.RankOperator}, "", action.TriUnknown, action.SeparationUnknown},
		{"a passkey", Actor{ID: "o", Channel: action.RankPasskey, UID: 1000, HasUID: true}, "", action.Yes, action.SeparationPasskey},
		{"a confined agent", Actor{ID: "o", Channel: action.RankOperator, UID: 1000, HasUID: true}, action.SeparationConfined,
			action.Yes, action.SeparationConfined},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			r := request("1", func(r *enforce.Request) { r.Query.Context.Enforcement.Separation = c.door })
			ticket := b.ask(r, action.ApprovalPending).Ticket
			b.approve(ticket, c.who)
			if got := b.ask(r, action.ApprovalGranted).Facts.SameUID; got != c.same {
				t.Errorf("same_uid is %q", got)
			}
			last := b.book.records[len(b.book.records)-1]
			if last.Separation != c.want || last.Channel != c.who.Channel || last.Actor != "o" || last.Grant != ticket {
				t.Errorf("recorded are separation %q, channel %q, actor %q", last.Separation, last.Channel, last.Actor)
			}
		})
	}
}

func TestDenyReachesTheAgent(t *testing.T) {
	b := newBench(t)
	ticket := b.ask(request("1"), action.ApprovalPending).Ticket
	if _, err := b.Deny(t.Context(), ticket, olga, "not to \u202ebob"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"1", "2"} {
		if got := b.ask(request(id), action.ApprovalRefused); got.Comment != "not to ⟨U+202E⟩bob" || got.Ticket != ticket {
			t.Errorf("action %s hears %q of %q", id, got.Comment, got.Ticket)
		}
	}
	if _, err := b.Approve(t.Context(), ticket, olga, ""); !errors.Is(err, ErrState) {
		t.Errorf("a denied request can be approved: %v", err)
	}
}

func TestAnswersNeedTheRevisionThatWasSeen(t *testing.T) {
	b := newBench(t)
	ticket := b.ask(request("1", demand(action.Approver{Quorum: 2})), action.ApprovalPending).Ticket
	v, err := b.Show(t.Context(), ticket)
	if err != nil {
		t.Fatal(err)
	}
	one, two := olga, Actor{ID: "otto", Channel: action.RankOperator, Seen: v.Revision}
	one.Seen = v.Revision
	if _, err := b.Approve(t.Context(), ticket, one, ""); !errors.Is(err, ErrMore) {
		t.Fatal(err)
	}
	now, err := b.Approve(t.Context(), ticket, two, "")
	if !errors.Is(err, ErrChanged) {
		t.Fatalf("an old revision is taken: %v", err)
	}
	two.Seen = now.Revision
	b.approve(ticket, two)
}

func TestRevokeEndsAGrantBeforeUse(t *testing.T) {
	b := newBench(t)
	ticket := b.ask(request("1"), action.ApprovalPending).Ticket
	b.approve(ticket, olga)
	if _, err := b.Revoke(t.Context(), ticket, olga, "changed my mind"); err != nil {
		t.Fatal(err)
	}
	if err := b.Consume(t.Context(), ticket, "1"); !errors.Is(err, enforce.ErrConsumed) {
		t.Fatalf("a revoked grant is used: %v", err)
	}
	if got := b.ask(request("1"), action.ApprovalRefused).Comment; got != "changed my mind" {
		t.Errorf("the agent hears %q", got)
	}
	if _, err := b.Revoke(t.Context(), ticket, olga, ""); !errors.Is(err, ErrState) {
		t.Errorf("the second revocation says %v", err)
	}
}

func TestRevokeAllEndsWhatMatches(t *testing.T) {
	b := newBench(t)
	mine := b.ask(request("1"), action.ApprovalPending).Ticket
	b.approve(b.ask(request("2", args(`{"to":"x"}`)), action.ApprovalPending).Ticket, olga)
	other := b.ask(request("3", agent("a9")), action.ApprovalPending).Ticket
	n, err := b.RevokeAll(t.Context(), Filter{Agent: "a1"}, olga, "stopped")
	if n != 2 || err != nil {
		t.Fatalf("%d were revoked, %v", n, err)
	}
	for id, want := range map[string]State{mine: Revoked, other: Pending} {
		if v, _ := b.Show(t.Context(), id); v.State != want {
			t.Errorf("%s is %s", id, v.State)
		}
	}
}

func TestListShowsWhatWaits(t *testing.T) {
	b := newBench(t)
	one := b.ask(request("1"), action.ApprovalPending).Ticket
	two := b.ask(request("2", session("s2")), action.ApprovalPending).Ticket
	b.approve(one, olga)
	for _, c := range []struct {
		name   string
		filter Filter
		want   int
	}{
		{"all", Filter{}, 2}, {"open", Filter{State: Pending}, 1}, {"granted", Filter{State: Granted}, 1},
		{"of a session", Filter{Session: "s2"}, 1}, {"of nobody", Filter{Agent: "a2"}, 0}, {"one", Filter{Limit: 1}, 1},
		{"behind the last", Filter{After: max(one, two)}, 0}, {"behind the first", Filter{After: min(one, two)}, 1},
	} {
		got, err := b.List(t.Context(), c.filter)
		if err != nil || len(got) != c.want {
			t.Errorf("%s: %d, %v", c.name, len(got), err)
		}
	}
	if _, err := b.Show(t.Context(), "ap_none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Show says %v", err)
	}
}

func TestEraseLeavesNothingThatWasShown(t *testing.T) {
	b := newBench(t)
	waiting := b.ask(request("1", args(`{"to":"planted-one"}`)), action.ApprovalPending).Ticket
	granted := b.ask(request("2", args(`{"to":"planted-two"}`)), action.ApprovalPending).Ticket
	b.approve(granted, olga)
	ended := b.ask(request("3", args(`{"to":"planted-three"}`)), action.ApprovalPending).Ticket
	if _, err := b.Deny(t.Context(), ended, olga, "not to planted-three"); err != nil {
		t.Fatal(err)
	}
	other := b.ask(request("4", func(r *enforce.Request) { r.Query.Subject.User.ID = "bob" }), action.ApprovalPending).Ticket
	n, err := b.Erase(t.Context(), "ann", olga)
	if err != nil || n != 3 {
		t.Fatalf("%d asks, %v", n, err)
	}
	for _, id := range []string{waiting, granted, ended} {
		v, err := b.Show(t.Context(), id)
		if err != nil || v.State.Live() || v.Shown != nil {
			t.Errorf("%s: %+v, %v", id, v, err)
		}
	}
	rows, err := b.cfg.Store.List(t.Context(), "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		bare := regexp.MustCompile(`"binding":"(\\.|[^"\\])*"`).ReplaceAll(r.Value, nil) // plain here, a fingerprint over a log
		if !bytes.Contains(r.Value, []byte(other)) && bytes.Contains(bare, []byte("planted")) {
			t.Errorf("%s holds %s", r.Key, r.Value)
		}
	}
	if v, err := b.Show(t.Context(), other); err != nil || v.Shown == nil || v.State != Pending {
		t.Errorf("somebody else's ask: %+v, %v", v, err)
	}
	if n, err := b.Erase(t.Context(), "nobody", olga); n != 0 || err != nil {
		t.Errorf("nobody: %d, %v", n, err)
	}
}
