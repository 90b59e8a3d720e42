// SPDX-License-Identifier: Apache-2.0

package enforce_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/enforce/enforcetest"
	"github.com/sallyport/sallyport/store/memory"
)

// rig is a path over in-memory parts.
type rig struct {
	*enforce.Enforcer
	t    *testing.T
	cfg  enforce.Config
	log  *enforcetest.Log
	desk *enforcetest.Desk
	free *enforcetest.Free
	sub  action.Subject
	sess string
}

// byTool decides on the tool's name, and on what gate two sees.
func byTool(q *action.Query) (action.Decision, error) {
	if q.Phase == action.After {
		if strings.Contains(string(q.Context.Result.Content), "secret") {
			return enforcetest.Rule(action.Deny, "test.leak"), nil
		}
		if strings.Contains(string(q.Context.Result.Content), "review") {
			return enforcetest.Rule(action.Ask, "test.review"), nil
		}
		return enforcetest.Rule(action.Allow, "test.result"), nil
	}
	switch q.Resource.Name {
	case "read", "write":
		return enforcetest.Rule(action.Allow, "test.allow"), nil
	case "pay":
		return enforcetest.Rule(action.Ask, "test.pay"), nil
	case "quarantine":
		return enforcetest.Rule(action.Quarantine, "test.quarantine"), nil
	}
	return enforcetest.Rule(action.Deny, "test.default"), nil
}

func newRig(t *testing.T, p enforcetest.Policy, change func(*enforce.Config)) *rig {
	t.Helper()
	r := &rig{t: t, log: &enforcetest.Log{}, desk: &enforcetest.Desk{}, free: &enforcetest.Free{}, sub: enforcetest.Subject(action.DoorAPI)}
	st := memory.Open(memory.Config{})
	t.Cleanup(func() { _ = st.Close() })
	r.cfg = enforcetest.Config(p, r.log, r.desk, st)
	r.cfg.Standing = r.free
	if change != nil {
		change(&r.cfg)
	}
	r.open()
	var err error
	if r.sess, err = r.Session(t.Context(), &r.sub, "host", enforce.SessionOptions{}); err != nil {
		t.Fatal(err)
	}
	return r
}

// open starts the path anew over the same log, desk and store: a restart.
func (r *rig) open() {
	r.t.Helper()
	e, err := enforce.New(r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := e.Restore(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.Enforcer = e
}

func (r *rig) attempt(tool, call, args string) enforce.Attempt {
	return enforce.Attempt{Subject: r.sub, Session: r.sess, CallID: call, Name: "tools/call", Type: "tool", Server: "srv",
		Tool: tool, Arguments: []byte(args), Grade: action.GradeProxy, Separation: action.SeparationUID}
}

// done executes and counts.
func done(n *atomic.Int64, content string) func(context.Context, enforce.Admission) (enforce.Outcome, error) {
	return func(context.Context, enforce.Admission) (enforce.Outcome, error) {
		n.Add(1)
		return enforce.Outcome{Status: action.ResultDone, Content: []byte(content)}, nil
	}
}

func TestDoRunsBothGatesInOrder(t *testing.T) {
	r := newRig(t, byTool, nil)
	var ran atomic.Int64
	adm, rel, err := r.Do(t.Context(), r.attempt("read", "c1", `{"a": 1}`), done(&ran, `{"ok": true}`))
	if err != nil || adm.Verdict != action.Allow || rel.Status != action.StatusReleased {
		t.Fatalf("admission %+v, release %+v, %v", adm, rel, err)
	}
	if string(rel.Content) != `{"ok": true}` || rel.Rewritten {
		t.Errorf("released %q, want the original bytes", rel.Content)
	}
	var kinds []string
	for _, rec := range r.log.Records() {
		kinds = append(kinds, string(rec.Kind))
	}
	if got := strings.Join(kinds, " "); got != "session intent outcome" {
		t.Errorf("recorded %q", got)
	}
	in := r.log.Of(action.KindIntent)[0]
	if string(in.Part(action.PartArguments)) != `{"a": 1}` {
		t.Error("the intent does not hold the bytes that were executed")
	}
	if _, err := action.ReadQuery(in.Part(action.PartInputBefore)); err != nil {
		t.Errorf("the recorded input cannot be read: %v", err)
	}
	adm, rel, err = r.Do(t.Context(), r.attempt("read", "c1", `{"a": 1}`), done(&ran, `"again"`))
	if err != nil || adm.Release == nil || ran.Load() != 1 || string(rel.Content) != `{"ok": true}` {
		t.Errorf("a repeated call ran %d times: %+v %+v %v", ran.Load(), adm, rel, err)
	}
	if _, _, err = r.Do(t.Context(), r.attempt("read", "c1", `{"a": 2}`), done(&ran, `"again"`)); !errors.Is(err, enforce.ErrConflict) {
		t.Errorf("the call id was used for other arguments: %v", err)
	}
}

// TestDoNeverActsUnrecorded breaks every part of the path, one at a time, and shows that nothing runs.
func TestDoNeverActsUnrecorded(t *testing.T) {
	late := enforcetest.Facts{Func: func(ctx context.Context, _ *action.Query) (action.Part, error) {
		<-ctx.Done()
		time.Sleep(50 * time.Millisecond)
		return action.UnknownDetect(), nil
	}}
	source := func(in enforce.Informer) func(*enforce.Config) {
		return func(c *enforce.Config) {
			c.InformDeadline = 20 * time.Millisecond
			c.Stages = [][]enforce.Source{{{Name: "fine", Informer: enforcetest.Facts{Part: action.UnknownFlow()}}, {Name: "bad", Informer: in}}}
		}
	}
	failing := func(kind action.Kind, persist bool) func(*enforce.Config) {
		return func(c *enforce.Config) {
			c.Recorder.(*enforcetest.Log).Fail = func(rec *action.Record) (bool, error) {
				if rec.Kind == kind {
					return persist, errors.New("disk full")
				}
				return false, nil
			}
		}
	}
	allow := func(change func(d *action.Decision)) enforcetest.Policy {
		return func(q *action.Query) (action.Decision, error) {
			d := enforcetest.Rule(action.Allow, "test.allow")
			change(&d)
			return d, nil
		}
	}
	for _, c := range []struct {
		name   string
		policy enforcetest.Policy
		change func(*enforce.Config)
		code   string // rule in the record, "" where it cannot be recorded
	}{
		{"a fact source errs", nil, source(enforcetest.Facts{Func: func(context.Context, *action.Query) (action.Part, error) { return nil, errors.New("down") }}), "kernel.source"},
		{"a fact source states nothing", nil, source(enforcetest.Facts{}), "kernel.source"},
		{"a fact source is late", nil, source(late), "kernel.source"},
		{"a fact source panics", nil, source(enforcetest.Facts{Func: func(context.Context, *action.Query) (action.Part, error) { panic("boom") }}), "kernel.source"},
		{"the decider errs", func(*action.Query) (action.Decision, error) {
			return action.Decision{Verdict: action.Allow}, errors.New("down")
		}, nil, "kernel.decider"},
		{"the decider panics", func(*action.Query) (action.Decision, error) { panic("boom") }, nil, "kernel.decider"},
		{"the decider returns the zero decision", func(*action.Query) (action.Decision, error) { return action.Decision{}, nil }, nil, "kernel.verdict"},
		{"the decider returns an unlisted verdict", allow(func(d *action.Decision) { d.Verdict = "sure" }), nil, "kernel.verdict"},
		{"the bundle has expired", allow(func(d *action.Decision) { d.Bundle.Expires = 1 }), nil, "kernel.bundle"},
		{"an obligation is unknown", allow(func(d *action.Decision) { d.Obligations = []action.Obligation{{Type: "dance"}} }), nil, "kernel.obligation"},
		{"a durability is unknown", allow(func(d *action.Decision) {
			d.Obligations = []action.Obligation{{Type: action.ObligeDurability, Params: map[string]string{"level": "eternal"}}}
		}), nil, "kernel.durability"},
		{"a durability cannot be attained", allow(func(d *action.Decision) {
			d.Obligations = []action.Obligation{{Type: action.ObligeDurability, Params: map[string]string{"level": "witnessed"}}}
		}), nil, ""},
		{"a rewriting cannot be carried out", allow(func(d *action.Decision) {
			d.Obligations = []action.Obligation{{Type: action.ObligeCap, Params: map[string]string{"pointer": "/a", "max": "none"}}}
		}), nil, "kernel.rewrite"},
		{"found secrets cannot be replaced", nil, func(c *enforce.Config) {
			c.Scrub = func(*action.Query) (*action.Query, error) { return nil, errors.New("no") }
		}, "kernel.scrub"},
		{"the recorder is full before the intent", nil, failing(action.KindIntent, false), ""},
		{"the intent persists but the answer is lost", nil, failing(action.KindIntent, true), ""},
		{"the agent is killed", nil, func(c *enforce.Config) { c.Standing.(*enforcetest.Free).Kill() }, "kernel.killed"},
		{"the cell belongs to another process", nil, func(c *enforce.Config) { c.Standing.(*enforcetest.Free).Disown() }, "kernel.owner"},
		{"the agent is killed after the intent", nil, func(c *enforce.Config) { c.Standing.(*enforcetest.Free).KillAfter = 1 }, "kernel.killed"},
		{"the agent is killed directly before execution", nil, func(c *enforce.Config) { c.Standing.(*enforcetest.Free).KillAfter = 2 }, "kernel.killed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := c.policy
			if p == nil {
				p = byTool
			}
			r := newRig(t, p, c.change)
			var ran atomic.Int64
			adm, rel, err := r.Do(t.Context(), r.attempt("write", "c1", `{"a":"x"}`), done(&ran, `"ok"`))
			if ran.Load() != 0 {
				t.Fatal("it ran")
			}
			if err == nil && adm.Verdict == action.Allow || rel.Content != nil {
				t.Errorf("admission %+v, release %+v", adm, rel)
			}
			if c.code == "" {
				if !errors.Is(err, enforce.ErrUnrecorded) {
					t.Errorf("error %v, want ErrUnrecorded", err)
				}
				return
			}
			found := false
			for _, rec := range r.log.Records() {
				for _, id := range append(rec.Rules, rec.Codes...) {
					found = found || id == c.code
				}
			}
			if !found {
				t.Errorf("no record names %s", c.code)
			}
		})
	}
}

func TestAfterReleasesNothingUnrecorded(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*rig)
		content string
		status  action.Status
		err     error
	}{
		{"clean", nil, `"fine"`, action.StatusReleased, nil},
		{"policy withholds", nil, `"a secret"`, action.StatusWithheld, nil},
		{"policy asks", nil, `"for review"`, action.StatusHeld, nil},
		{"not JSON", nil, `{"a":1,"a":2}`, action.StatusWithheld, nil},
		{"too large", nil, `"` + strings.Repeat("x", 2000) + `"`, action.StatusWithheld, nil},
		{"the outcome cannot be recorded", func(r *rig) {
			r.log.Fail = func(rec *action.Record) (bool, error) { return true, errors.New("disk full") }
		}, `"fine"`, "", enforce.ErrUnrecorded},
		{"killed meanwhile", func(r *rig) { r.free.Kill() }, `"fine"`, action.StatusWithheld, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, byTool, func(c *enforce.Config) { c.HoldBytes = 1000 })
			adm, err := r.Before(t.Context(), r.attempt("read", "c", `{}`))
			if err != nil || adm.Verdict != action.Allow {
				t.Fatal(adm, err)
			}
			if c.change != nil {
				c.change(r)
			}
			out := enforce.Outcome{Status: action.ResultDone, Content: []byte(c.content)}
			rel, err := r.After(t.Context(), &r.sub, adm.ID, out)
			if !errors.Is(err, c.err) || rel.Status != c.status {
				t.Fatalf("release %+v, %v", rel, err)
			}
			if (rel.Content != nil) != (c.status == action.StatusReleased) {
				t.Errorf("released %q", rel.Content)
			}
			if c.err != nil {
				return
			}
			again, err := r.After(t.Context(), &r.sub, adm.ID, out)
			if err != nil || again.Status != rel.Status || string(again.Content) != string(rel.Content) {
				t.Errorf("a repeat answers %+v, %v", again, err)
			}
			out.Content = []byte(`"other"`)
			if _, err := r.After(t.Context(), &r.sub, adm.ID, out); !errors.Is(err, enforce.ErrConflict) {
				t.Errorf("a second outcome: %v", err)
			}
		})
	}
}

func TestHeldResultIsReleasedOnce(t *testing.T) {
	r := newRig(t, byTool, nil)
	var ran atomic.Int64
	adm, rel, err := r.Do(t.Context(), r.attempt("read", "c", `{}`), done(&ran, `"for review"`))
	if err != nil || rel.Status != action.StatusHeld || rel.Ticket == "" {
		t.Fatal(rel, err)
	}
	if rel, err = r.Held(t.Context(), &r.sub, adm.ID); err != nil || rel.Status != action.StatusHeld || rel.Content != nil {
		t.Fatal(rel, err)
	}
	if !r.desk.Decide(rel.Ticket, true, action.RankOperator, "") {
		t.Fatal("nobody was asked")
	}
	r.open() // what is held outlives the process
	if rel, err = r.Held(t.Context(), &r.sub, adm.ID); err != nil || string(rel.Content) != `"for review"` {
		t.Fatal(rel, err)
	}
	if len(r.log.Of(action.KindRelease)) != 1 {
		t.Error("the release is not on record")
	}
}

func TestRestartNeverRepeats(t *testing.T) {
	r := newRig(t, byTool, nil)
	intended, _ := r.Before(t.Context(), r.attempt("write", "c1", `{}`))
	asked, _ := r.Before(t.Context(), r.attempt("pay", "c2", `{"to":"bob"}`))
	var ran atomic.Int64
	if _, _, err := r.Do(t.Context(), r.attempt("read", "c3", `{}`), done(&ran, `"result"`)); err != nil {
		t.Fatal(err)
	}
	r.open()
	if u := r.log.Of(action.KindUnknown); len(u) != 1 || u[0].Action != intended.ID {
		t.Fatalf("unknown records: %v", u)
	}
	adm, _, err := r.Do(t.Context(), r.attempt("write", "c1", `{}`), done(&ran, `"ok"`))
	if err != nil || adm.Verdict == action.Allow || ran.Load() != 1 {
		t.Errorf("an unknown action is executed again: %+v, %v", adm, err)
	}
	adm, rel, err := r.Do(t.Context(), r.attempt("read", "c3", `{}`), done(&ran, `"ok"`))
	if err != nil || adm.Release == nil || ran.Load() != 1 {
		t.Errorf("a done action is executed again: %+v, %+v, %v", adm, rel, err)
	}
	r.desk.Decide(asked.Ticket, true, action.RankOperator, "")
	if adm, err = r.Wait(t.Context(), &r.sub, asked.ID); err != nil || adm.Verdict != action.Allow || string(adm.Arguments) != `{"to":"bob"}` {
		t.Errorf("an approval does not outlive the process: %+v, %v", adm, err)
	}
	rel, err = r.After(t.Context(), &r.sub, intended.ID, enforce.Outcome{Status: action.ResultDone, Content: []byte(`"late"`)})
	if err != nil || rel.Status != action.StatusReleased || len(r.log.Of(action.KindLate)) != 1 {
		t.Errorf("a late outcome is lost: %+v, %v", rel, err)
	}
}

func TestOutcomeDeadlineMakesUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, byTool, nil)
		adm, err := r.Before(t.Context(), r.attempt("write", "c", `{}`))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Minute)
		if err := r.Heartbeat(&r.sub, adm.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Minute)
		if err := r.Sweep(t.Context()); err != nil || len(r.log.Of(action.KindUnknown)) != 0 {
			t.Fatal("a heartbeat did not put off the deadline", err)
		}
		time.Sleep(2 * time.Minute)
		if err := r.Sweep(t.Context()); err != nil || len(r.log.Of(action.KindUnknown)) != 1 {
			t.Fatal("the deadline passed unnoticed", err)
		}
	})
}

func TestObserveExecutesAndRecords(t *testing.T) {
	for _, c := range []struct {
		name string
		d    action.Decision
		ran  int64
	}{
		{"a deny passes", enforcetest.Rule(action.Deny, "test.x"), 1},
		{"an ask passes", enforcetest.Rule(action.Ask, "test.x"), 1},
		{"a quarantine binds", enforcetest.Rule(action.Quarantine, "test.x"), 0},
		{"a rule that always binds does", func() action.Decision {
			d := enforcetest.Rule(action.Deny, "test.x")
			d.Matches[0].Always = true
			return d
		}(), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, func(q *action.Query) (action.Decision, error) {
				if q.Phase == action.After {
					return byTool(q)
				}
				d := c.d
				d.Mode = action.Observe
				return d, nil
			}, nil)
			var ran atomic.Int64
			if _, _, err := r.Do(t.Context(), r.attempt("read", "c", `{}`), done(&ran, `"ok"`)); err != nil {
				t.Fatal(err)
			}
			if ran.Load() != c.ran {
				t.Fatalf("ran %d times", ran.Load())
			}
			if c.ran == 1 {
				if in := r.log.Of(action.KindIntent)[0]; in.Enforced || in.Verdict != c.d.Verdict {
					t.Errorf("recorded verdict %s, enforced %v", in.Verdict, in.Enforced)
				}
			}
		})
	}
}

func TestCallIsHandedToOneExecution(t *testing.T) {
	for name, c := range map[string]struct {
		tool          string
		first, second string
		want          action.Verdict
	}{
		"the same execution asks again":          {"read", "a", "a", action.Allow},
		"another execution comes second":         {"read", "a", "b", action.Deny},
		"one that names nobody claims nothing":   {"read", "", "b", action.Allow},
		"one that names nobody reads the answer": {"read", "a", "", action.Allow},
		"a refusal stays what it is":             {"other", "a", "b", action.Deny},
		"a question stays open for both":         {"pay", "a", "b", action.Ask},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, byTool, nil)
			a := r.attempt(c.tool, "c1", `{}`)
			a.Executor = c.first
			if _, err := r.Before(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			a.Executor = c.second
			adm, err := r.Before(t.Context(), a)
			if err != nil || adm.Verdict != c.want || (len(adm.Arguments) > 0) != (c.want == action.Allow) {
				t.Errorf("%s with %q, %v", adm.Verdict, adm.Arguments, err)
			}
		})
	}
}
