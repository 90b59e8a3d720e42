// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
)

func (d *desk) switchConfig() SwitchConfig {
	c := d.config()
	return SwitchConfig{Store: c.Store, Key: c.Key, Record: c.Record, Tokens: d.Tokens, Now: c.Now}
}

func (d *desk) openSwitch(t testing.TB, c SwitchConfig) *Switch {
	t.Helper()
	s, err := OpenSwitch(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (d *desk) subject(t testing.TB) *action.Subject {
	secret, _ := d.issue(t, agentSpec())
	p, err := d.Authenticate(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	return &p.Subject
}

var (
	ada = Actor{ID: "ada", Credential: "t1"}
	bob = Actor{ID: "bob", Credential: "t2"}
)

func TestKillStopsItsScopeAndNothingElse(t *testing.T) {
	for _, c := range []struct {
		name   string
		target Target
		scope  string // as stated for clerk in session s1; "none" when it is not touched
	}{
		{"its session", Target{Scope: KillSession, ID: "s1"}, "session"},
		{"its session in other letters", Target{Scope: KillSession, ID: "S1"}, "session"},
		{"another session", Target{Scope: KillSession, ID: "s2"}, "none"},
		{"its agent", Target{Scope: KillAgent, ID: "clerk"}, "agent"},
		{"another agent", Target{Scope: KillAgent, ID: "local"}, "none"},
		{"an agent it acts for", Target{Scope: KillAgent, ID: "boss"}, "agent"},
		{"a session with the agent's name", Target{Scope: KillSession, ID: "clerk"}, "none"},
		{"its tenant", Target{Scope: KillTenant}, "tenant"},
		{"everything", Target{Scope: KillAll}, "all"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t)
			s := d.openSwitch(t, d.switchConfig())
			sub := d.subject(t)
			sub.Delegation = []action.Delegate{{ID: "boss"}}
			if k := s.Standing(t.Context(), sub, "s1"); k.State != action.StateKnown || k.Killed != action.No || k.Revoked != action.No || k.Owned != action.Yes {
				t.Fatalf("before: %+v", k)
			}
			if _, err := s.Kill(t.Context(), ada, c.target, "test"); err != nil {
				t.Fatal(err)
			}
			check := func(when string, s *Switch) {
				k := s.Standing(t.Context(), sub, "s1")
				if k.Scope != c.scope || k.Killed != action.TriOf(c.scope != "none") || k.Epoch != 1 {
					t.Errorf("%s: %+v", when, k)
				}
				if err := action.ValidatePart(k); err != nil {
					t.Error(err)
				}
			}
			check("after", s)
			check("after reopening", d.openSwitch(t, d.switchConfig()))
		})
	}
}

func TestStandingIsUnknownForNobody(t *testing.T) {
	d := newDesk(t)
	s := d.openSwitch(t, d.switchConfig())
	for name, sub := range map[string]*action.Subject{"nil": nil, "no agent": {Tenant: "default"}, "no tenant": {ID: "clerk"}} {
		if k := s.Standing(t.Context(), sub, ""); k.State != action.StateUnknown || k.Killed != action.TriUnknown {
			t.Errorf("%s: %+v", name, k)
		}
	}
	if k := s.Standing(t.Context(), &action.Subject{Tenant: "default", ID: "clerk"}, ""); k.Revoked != action.TriUnknown {
		t.Errorf("an unknown credential counts as not withdrawn: %+v", k)
	}
}

func TestStandingShowsWithdrawnAndExpiredTokens(t *testing.T) {
	d := newDesk(t)
	s := d.openSwitch(t, d.switchConfig())
	a, b := d.subject(t), d.subject(t)
	if _, err := d.Revoke(t.Context(), a.Channel.CredID, "root"); err != nil {
		t.Fatal(err)
	}
	if k := s.Standing(t.Context(), a, ""); k.Revoked != action.Yes {
		t.Errorf("withdrawn: %+v", k)
	}
	d.now = d.now.Add(DefaultTTL)
	if k := s.Standing(t.Context(), b, ""); k.Revoked != action.Yes {
		t.Errorf("expired: %+v", k)
	}
	p, err := d.Peer(1000, 1)
	if err != nil {
		t.Fatal(err)
	}
	if k := s.Standing(t.Context(), &p.Subject, ""); k.Revoked != action.No {
		t.Errorf("peer: %+v", k)
	}
}

func TestKillHoldsWithoutLedgerAndReleaseDoesNot(t *testing.T) {
	d := newDesk(t)
	s := d.openSwitch(t, d.switchConfig())
	sub := d.subject(t)
	d.book.broken = true
	agent := Target{Scope: KillAgent, ID: "clerk"}
	if _, err := s.Kill(t.Context(), ada, agent, ""); !errors.Is(err, errBroken) {
		t.Errorf("kill: %v, want the ledger's error", err)
	}
	if s.Standing(t.Context(), sub, "").Killed != action.Yes {
		t.Error("a kill that could not be recorded is not in force")
	}
	if err := s.Release(t.Context(), ada, agent, ""); !errors.Is(err, errBroken) {
		t.Errorf("release: %v, want the ledger's error", err)
	}
	if s.Standing(t.Context(), sub, "").Killed != action.Yes {
		t.Error("a release that could not be recorded took effect")
	}
	d.book.broken = false
	c := d.switchConfig()
	c.Past = d.book.past
	if again := d.openSwitch(t, c); again.Standing(t.Context(), sub, "").Killed != action.Yes {
		t.Error("an unrecorded kill was lost with the process")
	}
	if err := s.Release(t.Context(), ada, agent, ""); err != nil {
		t.Fatal(err)
	}
	if k := s.Standing(t.Context(), sub, ""); k.Killed != action.No || k.Epoch < 2 {
		t.Errorf("released: %+v", k)
	}
	if err := s.Release(t.Context(), ada, agent, ""); !errors.Is(err, ErrNotKilled) {
		t.Errorf("released twice: %v", err)
	}
}

func TestReleaseOfEverythingNeedsTwo(t *testing.T) {
	all := Target{Scope: KillAll}
	for _, c := range []struct {
		name          string
		first, second Actor
		later         time.Duration
		want          error
	}{
		{"two people with two credentials", ada, bob, time.Minute, nil},
		{"one person twice", ada, ada, time.Minute, ErrSecond},
		{"one person with two credentials", ada, Actor{ID: "ADA", Credential: "t9"}, time.Minute, ErrSecond},
		{"two names on one credential", ada, Actor{ID: "bob", Credential: "t1"}, time.Minute, ErrSecond},
		{"a nameless second", ada, Actor{Credential: "t2"}, time.Minute, ErrSecond},
		{"a second who comes too late", ada, bob, proposalLife, ErrSecond},
		{"a clock set back", ada, bob, -time.Minute, ErrSecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t)
			s := d.openSwitch(t, d.switchConfig())
			if _, err := s.Kill(t.Context(), ada, all, ""); err != nil {
				t.Fatal(err)
			}
			if err := s.Release(t.Context(), c.first, all, ""); !errors.Is(err, ErrSecond) {
				t.Fatalf("first: %v, want ErrSecond", err)
			}
			d.now = d.now.Add(c.later)
			if err := s.Release(t.Context(), c.second, all, ""); !errors.Is(err, c.want) {
				t.Errorf("second: %v, want %v", err, c.want)
			}
			if killed := s.Standing(t.Context(), d.subject(t), "").Killed; killed != action.TriOf(c.want != nil) {
				t.Errorf("killed: %s", killed)
			}
		})
	}
	t.Run("a kill between the two voids the first", func(t *testing.T) {
		d := newDesk(t)
		s := d.openSwitch(t, d.switchConfig())
		s.Kill(t.Context(), ada, all, "")
		s.Release(t.Context(), ada, all, "")
		s.Kill(t.Context(), bob, Target{Scope: KillAgent, ID: "clerk"}, "")
		if err := s.Release(t.Context(), bob, all, ""); !errors.Is(err, ErrSecond) {
			t.Errorf("second: %v, want ErrSecond", err)
		}
	})
	t.Run("a single operator is on record as such", func(t *testing.T) {
		d := newDesk(t)
		c := d.switchConfig()
		c.SingleOperator, c.ReleaseDelay = true, time.Nanosecond
		now := time.UnixMilli(1_790_000_000_000)
		c.Now = func() time.Time { now = now.Add(time.Second); return now }
		s := d.openSwitch(t, c)
		s.Kill(t.Context(), ada, all, "")
		if err := s.Release(t.Context(), ada, all, ""); !errors.Is(err, ErrWait) {
			t.Fatal(err)
		}
		if err := s.Release(t.Context(), ada, all, ""); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(d.book.codes(), "kill.all release.proposed release.all release.by-single") {
			t.Errorf("records: %s", d.book.codes())
		}
	})
}

func TestLedgerOutlivesTheSwitchesRows(t *testing.T) {
	agent := Target{Scope: KillAgent, ID: "clerk"}
	t.Run("a kill whose row was deleted stays in force until it is released", func(t *testing.T) {
		d := newDesk(t)
		s := d.openSwitch(t, d.switchConfig())
		sub := d.subject(t)
		s.Kill(t.Context(), ada, agent, "")
		e, err := d.store.Get(t.Context(), agentKill)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.store.Delete(t.Context(), agentKill, e.Revision); err != nil {
			t.Fatal(err)
		}
		c := d.switchConfig()
		c.Past = d.book.past
		s = d.openSwitch(t, c)
		if k := s.Standing(t.Context(), sub, ""); k.Killed != action.Yes || k.Scope != KillAgent {
			t.Fatalf("after the row was deleted: %+v", k)
		}
		if err := s.Release(t.Context(), ada, agent, ""); err != nil {
			t.Fatal(err)
		}
		if k := s.Standing(t.Context(), sub, ""); k.Killed != action.No {
			t.Errorf("released: %+v", k)
		}
	})
	t.Run("a release whose row was not deleted holds", func(t *testing.T) {
		d := newDesk(t)
		s := d.openSwitch(t, d.switchConfig())
		sub := d.subject(t)
		s.Kill(t.Context(), ada, agent, "")
		e, _ := d.store.Get(t.Context(), agentKill)
		s.Release(t.Context(), ada, agent, "")
		if _, err := d.store.Put(t.Context(), agentKill, e.Value, 0); err != nil {
			t.Fatal(err)
		}
		c := d.switchConfig()
		c.Past = d.book.past
		s = d.openSwitch(t, c)
		if k := s.Standing(t.Context(), sub, ""); k.Killed != action.No || k.Epoch != 2 {
			t.Errorf("after the row came back: %+v", k)
		}
		if _, err := s.Kill(t.Context(), ada, agent, ""); err != nil {
			t.Errorf("killed again: %v", err)
		}
	})
}

const agentKill = "default/identity/kill/agent/clerk"

func TestKillDoesNotWaitForAHangingLedger(t *testing.T) {
	d := newDesk(t)
	c := d.switchConfig()
	hang := make(chan struct{})
	c.Record = func(ctx context.Context, r *action.Record) (action.Receipt, error) {
		<-hang
		return d.book.record(ctx, r)
	}
	s := d.openSwitch(t, c)
	sub := d.subject(t)
	var wg sync.WaitGroup
	for _, id := range []string{"s1", "s2"} {
		wg.Go(func() { s.Kill(context.Background(), ada, Target{Scope: KillSession, ID: id}, "") })
	}
	for _, id := range []string{"s1", "s2"} {
		for s.Standing(t.Context(), sub, id).Killed != action.Yes {
			runtime.Gosched()
		}
	}
	close(hang)
	wg.Wait()
}

func TestKillDuringItsReleaseWins(t *testing.T) {
	d := newDesk(t)
	c := d.switchConfig()
	agent := Target{Scope: KillAgent, ID: "clerk"}
	var s *Switch
	var wg sync.WaitGroup
	c.Record = func(ctx context.Context, r *action.Record) (action.Receipt, error) {
		if r.Codes[0] == "release.agent" {
			wg.Go(func() {
				if _, err := s.Kill(context.Background(), bob, agent, "again"); err != nil {
					t.Error(err)
				}
			})
		}
		return d.book.record(ctx, r)
	}
	s = d.openSwitch(t, c)
	sub := d.subject(t)
	s.Kill(t.Context(), ada, agent, "")
	if err := s.Release(t.Context(), ada, agent, ""); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if s.Standing(t.Context(), sub, "").Killed != action.Yes {
		t.Error("the second kill was lost in the first one's release")
	}
	if !strings.HasSuffix(d.book.codes(), "kill.agent release.agent kill.agent") {
		t.Errorf("records: %s", d.book.codes())
	}
}

func TestKillThatWaitedOutlivesAReleaseBeforeIt(t *testing.T) {
	d := newDesk(t)
	s := d.openSwitch(t, d.switchConfig())
	sub := d.subject(t)
	agent := Target{Scope: KillAgent, ID: "clerk", Tenant: "default"}
	s.write.Lock() // as a release holds it that is still being recorded
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := s.Kill(context.Background(), ada, agent, ""); err != nil {
			t.Error(err)
		}
	}()
	for s.Standing(t.Context(), sub, "").Killed != action.Yes {
		runtime.Gosched()
	}
	s.mu.Lock()
	s.drop(agent.key())
	s.mu.Unlock()
	s.write.Unlock()
	<-done
	if k := s.Standing(t.Context(), sub, ""); k.Killed != action.Yes {
		t.Errorf("the kill is not in force: %+v", k)
	}
	if o := s.Orders(); len(o) != 1 || o[0].Epoch != 2 {
		t.Errorf("orders %+v, want the second epoch: the release was between", o)
	}
	if again := d.openSwitch(t, d.switchConfig()); again.Standing(t.Context(), sub, "").Killed != action.Yes {
		t.Error("the kill was not stored")
	}
}

func TestKillOfTooManySessionsWidens(t *testing.T) {
	d := newDesk(t)
	s := d.openSwitch(t, d.switchConfig())
	s.sessions = MaxKilledSessions
	o, err := s.Kill(t.Context(), ada, Target{Scope: KillSession, ID: "s1", Agent: "clerk"}, "")
	if err != nil || o.Scope != KillAgent || o.ID != "clerk" {
		t.Errorf("with a known agent: %+v, %v", o, err)
	}
	if o, err = s.Kill(t.Context(), ada, Target{Scope: KillSession, ID: "s2"}, ""); err != nil || o.Scope != KillTenant {
		t.Errorf("with an unknown agent: %+v, %v", o, err)
	}
}

func TestKillTargetsAreChecked(t *testing.T) {
	d := newDesk(t)
	s := d.openSwitch(t, d.switchConfig())
	for name, target := range map[string]Target{
		"no scope": {}, "a wrong scope": {Scope: "world"}, "no agent": {Scope: KillAgent}, "a session with a line break": {Scope: KillSession, ID: "a\nb"},
		"a path": {Scope: KillAgent, ID: "../all"}, "another tenant": {Scope: KillTenant, Tenant: "other"},
	} {
		if _, err := s.Kill(t.Context(), ada, target, ""); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
	if len(d.book.records) != 2 {
		t.Errorf("refused kills are on record: %s", d.book.codes())
	}
}

func TestKillReasonStaysOutOfTheLeaf(t *testing.T) {
	d := newDesk(t)
	s := d.openSwitch(t, d.switchConfig())
	s.Kill(t.Context(), ada, Target{Scope: KillAgent, ID: "clerk"}, "stole \x1b[2J the\nmoney")
	r := d.book.records[len(d.book.records)-1]
	if got := string(r.Part(action.PartDetail)); !strings.Contains(got, "stole  [2J the money") {
		t.Errorf("detail: %s", got)
	}
	r.Parts = nil
	if strings.Contains(fmt.Sprintf("%+v", r), "money") {
		t.Errorf("leaf: %+v", r)
	}
}

func TestSwitchTellsOfChangesAndHoldsUnderLoad(t *testing.T) {
	d := newDesk(t)
	s := d.openSwitch(t, d.switchConfig())
	sub := d.subject(t)
	changed := s.Changed()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			target := Target{Scope: KillSession, ID: fmt.Sprintf("s%d", i)}
			if _, err := s.Kill(context.Background(), ada, target, ""); err != nil {
				t.Error(err)
			}
			if s.Standing(context.Background(), sub, target.ID).Killed != action.Yes {
				t.Errorf("session %d runs after its kill", i)
			}
		})
	}
	wg.Wait()
	<-changed
	if orders := s.Orders(); len(orders) != 20 || orders[19].Epoch != 20 {
		t.Errorf("%d orders", len(orders))
	}
}

func BenchmarkStanding(b *testing.B) {
	d := newDesk(b)
	s := d.openSwitch(b, d.switchConfig())
	sub := d.subject(b)
	s.Kill(b.Context(), ada, Target{Scope: KillSession, ID: "other"}, "")
	b.ReportAllocs()
	for b.Loop() {
		s.Standing(b.Context(), sub, "0123456789abcdef")
	}
}
