// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

func TestReplayTellsWhatWouldBeDecided(t *testing.T) {
	stricter := func(ctx context.Context, q *action.Query, under action.Bundle) (action.Decision, error) {
		d, err := decision(ctx, q, under)
		if q.Action.Effect == action.EffectSend {
			d.Verdict, d.Matches[0].Verdict = action.Deny, action.Deny
		}
		d.Bundle.Digest = "sha256:other"
		return d, err
	}
	for _, c := range []struct {
		name   string
		change func(l *fakeLog)
		decide Redecide
		want   map[Answer]int
	}{
		{"the same policy decides the same", nil, decision, map[Answer]int{Same: 16}},
		{"another policy differs where it differs", nil, stricter, map[Answer]int{Same: 14, Different: 2}},
		{"the same policy in another engine", nil, func(ctx context.Context, q *action.Query, under action.Bundle) (action.Decision, error) {
			d, err := stricter(ctx, q, under)
			d.Bundle.Digest, d.Engines = "", []action.Engine{{Name: "fake", Version: "2"}}
			return d, err
		}, map[Answer]int{Same: 14, Drift: 2}},
		{"the same policy and engine, but another answer", nil, func(ctx context.Context, q *action.Query, under action.Bundle) (action.Decision, error) {
			d, err := stricter(ctx, q, under)
			d.Bundle.Digest = ""
			return d, err
		}, map[Answer]int{Same: 14, Different: 2}},
		{"an evaluator that is gone", nil, func(context.Context, *action.Query, action.Bundle) (action.Decision, error) {
			return action.Decision{}, errors.New("no such engine")
		}, map[Answer]int{NoEngine: 16}},
		{"an evaluator that panics", nil, func(context.Context, *action.Query, action.Bundle) (action.Decision, error) { panic("boom") }, map[Answer]int{NoEngine: 16}},
		{"a user who was forgotten", func(l *fakeLog) { l.erased["user-of-agent-1"] = true }, decision, map[Answer]int{Erased: 16}},
		{"an input of a version nobody reads", func(l *fakeLog) {
			edit(l, action.PartInputBefore, func(b []byte) []byte {
				return []byte(strings.Replace(string(b), "agent.v1", "agent.v9", 1))
			})
		}, decision, map[Answer]int{Same: 6, NoEngine: 10}},
		{"decisions without their inputs", func(l *fakeLog) { edit(l, action.PartInputBefore, func([]byte) []byte { return nil }) }, decision,
			map[Answer]int{Same: 6, Unrecorded: 10}},
		{"a leaf that says otherwise than its explanation", func(l *fakeLog) {
			for i := range l.records {
				if l.records[i].Verdict == action.Deny {
					l.records[i].Verdict = action.Allow
				}
			}
		}, decision, map[Answer]int{Same: 14, Different: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLog()
			story(t, l, 0, 60)
			if c.change != nil {
				c.change(l)
			}
			x, _ := running(t, l, filepath.Join(t.TempDir(), "index.db"))
			caughtUp(t, x, l)
			steps, err := x.Replay(t.Context(), "ses-1", c.decide)
			if err != nil {
				t.Fatal(err)
			}
			if n := Faults(steps); n > 0 != (strings.Contains(c.name, "but another") || strings.Contains(c.name, "otherwise than")) {
				t.Errorf("%d faults", n)
			}
			got := Count(steps)
			for a := range map[Answer]bool{Same: true, Different: true, Drift: true, Erased: true, NoEngine: true, Unrecorded: true} {
				if got[a] != c.want[a] {
					t.Errorf("%s: %d, want %d", a, got[a], c.want[a])
				}
			}
		})
	}
}

func edit(l *fakeLog, part action.PartName, change func(b []byte) []byte) {
	for i := range l.records {
		l.records[i].Parts = slices.Clone(l.records[i].Parts)
		for j := range l.records[i].Parts {
			if p := &l.records[i].Parts[j]; p.Name == part {
				p.Data = change(p.Data)
			}
		}
	}
}

func TestReplayEndsWhenReadingFails(t *testing.T) {
	l := newLog()
	story(t, l, 0, 10)
	c := l.config(filepath.Join(t.TempDir(), "index.db"))
	broken := errors.New("disk is gone")
	c.Payload = func(context.Context, uint64, action.PartName) ([]byte, error) { return nil, broken }
	x, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	x.c.Follow = func(ctx context.Context, from uint64, fn func(Entry) error) error {
		for i := from; i < uint64(len(l.records)); i++ {
			if err := fn(l.entry(ctx, i)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := x.Run(t.Context()); err != nil {
		t.Fatalf("a run over a log at rest: %v", err)
	}
	if _, err := x.Replay(t.Context(), "ses-1", decision); !errors.Is(err, broken) {
		t.Errorf("replay: %v, want the cause", err)
	}
	if _, err := x.Replay(t.Context(), "nobody", decision); !errors.Is(err, ErrNotFound) {
		t.Errorf("replay of an unknown session: %v", err)
	}
}

func TestDifferencesAreInWords(t *testing.T) {
	a := action.Decision{Verdict: action.Deny, Mode: action.Enforce, Matches: []action.Match{{ID: "p.a", Code: "1"}, {ID: "p.b"}},
		Obligations: []action.Obligation{{Type: action.ObligeMask, Rule: "p.a"}}}
	b := action.Decision{Verdict: action.Allow, Mode: action.Observe, Matches: []action.Match{{ID: "p.a", Code: "2"}, {ID: "p.c"}}, Errors: []string{"e"}}
	want := []string{"verdict: deny -> allow", "mode: enforce -> observe", "rules: changed p.a, without p.b, with p.c",
		"obligations: without mask of p.a", "errors: with e"}
	if got := enforce.Differences(a, b); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if got := enforce.Differences(a, a); len(got) != 0 {
		t.Errorf("a decision differs from itself: %q", got)
	}
	step := Step{Index: 7, TimeMs: 1_750_000_000_000, Kind: action.KindDecision, Verdict: action.Deny, Enforced: true, Server: "fs", Tool: "rm",
		Effect: action.EffectDestroy, Status: action.StatusRefused, Rules: []string{"p.a"}, Codes: []string{"1"}, Reason: "outside of every root",
		Hint: "Stay inside.", Replay: &Replayed{Answer: Different, Differences: want[:1]}}
	const text = `     7  2025-06-15 15:06:40.000  decision    deny  fs/rm (destroy)  -> refused  [p.a 1]
        reason: outside of every root
        told the agent: Stay inside.
        replayed: different
          verdict: deny -> allow`
	if got := step.Format(); got != text {
		t.Errorf("got\n%s\nwant\n%s", got, text)
	}
}

func TestNothingIsOpenedOffTheRecord(t *testing.T) {
	l := newLog()
	story(t, l, 0, 40)
	c := l.config(filepath.Join(t.TempDir(), "index.db"))
	read := map[PartAt]bool{}
	c.Payload = func(ctx context.Context, i uint64, part action.PartName) ([]byte, error) {
		read[PartAt{i, part}] = true
		return l.payload(ctx, i, part)
	}
	x, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	defer func() { cancel(); <-done }()
	caughtUp(t, x, l)
	for name, open := range map[string]func() error{
		"replay": func() error { _, err := x.Replay(t.Context(), "ses-1", decision); return err },
		"all": func() error {
			_, err := x.Recorded(t.Context(), 0, func(*Step, *action.Query, action.Decision) error { return nil })
			return err
		},
	} {
		clear(read)
		l.shown, l.closed = nil, errors.New("the disk is full")
		if err := open(); !errors.Is(err, l.closed) || len(read) > 0 {
			t.Errorf("%s: %d parts opened, %v", name, len(read), err)
		}
		l.closed = nil
		if err := open(); err != nil || len(read) == 0 {
			t.Errorf("%s: %d parts opened, %v", name, len(read), err)
		}
		for p := range read {
			if !slices.Contains(l.shown, p) {
				t.Errorf("%s: %v is not on record", name, p)
			}
		}
	}
	if _, err := Open(t.Context(), Config{Path: "x", Follow: c.Follow, Head: c.Head, Payload: c.Payload}); err == nil {
		t.Error("an index opens payloads without a record")
	}
}
