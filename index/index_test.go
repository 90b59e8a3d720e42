// SPDX-License-Identifier: Apache-2.0

package index

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

func TestRestartAndRebuildGiveTheSameView(t *testing.T) {
	l := newLog()
	dir := t.TempDir()
	path := filepath.Join(dir, "index.db")
	for part := range 5 {
		story(t, l, part*40, 40)
		x, stop := running(t, l, path)
		caughtUp(t, x, l)
		stop()
	}
	parts := dump(t, path)
	if n := strings.Count(parts, "\n"); n < 500 {
		t.Fatalf("only %d rows", n)
	}

	whole := filepath.Join(dir, "whole.db")
	x, stop := running(t, l, whole)
	caughtUp(t, x, l)
	if err := x.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	caughtUp(t, x, l)
	if s, err := x.Status(t.Context()); err != nil || s.Fills != 2 || s.Indexed != s.Log {
		t.Errorf("status %+v, %v", s, err)
	}
	stop()
	if dump(t, whole) != parts {
		t.Error("the rebuilt view differs from the one made in five runs")
	}

	if err := os.WriteFile(path, []byte(strings.Repeat("rot", 5000)), 0o600); err != nil {
		t.Fatal(err)
	}
	x, stop = running(t, l, path)
	caughtUp(t, x, l)
	stop()
	if dump(t, path) != parts {
		t.Error("the view made again after damage differs")
	}

	for _, suffix := range []string{"", "-wal", "-shm"} {
		os.Remove(path + suffix)
	}
	x, stop = running(t, l, path)
	caughtUp(t, x, l)
	stop()
	if dump(t, path) != parts {
		t.Error("the view made again after deletion differs")
	}
}

func TestViewOfAnotherLogIsEmptied(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(l *fakeLog)
	}{
		{"a restored older log", func(l *fakeLog) { l.records = l.records[:50] }},
		{"a log of other leaves", func(l *fakeLog) { l.salt = "fork" }},
		{"a log whose last record is another", func(l *fakeLog) { l.records[len(l.records)-1].TimeMs++ }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLog()
			story(t, l, 0, 60)
			path := filepath.Join(t.TempDir(), "index.db")
			x, stop := running(t, l, path)
			caughtUp(t, x, l)
			stop()

			c.change(l)
			x, stop = running(t, l, path)
			caughtUp(t, x, l)
			for s, _ := x.Status(t.Context()); s.Fills == 0 || s.Indexed != s.Log; s, _ = x.Status(t.Context()) {
				if t.Context().Err() != nil {
					t.Fatal("never emptied")
				}
				runtime.Gosched()
			}
			stop()

			fresh := filepath.Join(t.TempDir(), "fresh.db")
			x, stop = running(t, l, fresh)
			caughtUp(t, x, l)
			stop()
			if dump(t, path) != dump(t, fresh) {
				t.Error("the view holds what the log does not")
			}
		})
	}
}

// TestDamageOfAnyPageIsFoundBehindTheStart overwrites each page in turn: a start reads none of them but the first few.
func TestDamageOfAnyPageIsFoundBehindTheStart(t *testing.T) {
	l := newLog()
	story(t, l, 0, 60)
	dir := t.TempDir()
	path := filepath.Join(dir, "index.db")
	x, stop := running(t, l, path)
	caughtUp(t, x, l)
	stop()
	want := dump(t, path)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for at := 4096; at < len(whole); at += 4096 {
		bad := bytes.Clone(whole)
		copy(bad[at:at+4096], bytes.Repeat([]byte{0xff}, 4096))
		path := filepath.Join(dir, fmt.Sprintf("bad-%d.db", at/4096))
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		x, stop := running(t, l, path)
		for s, _ := x.Status(t.Context()); !s.Checked || s.Indexed != s.Log; s, _ = x.Status(t.Context()) {
			if t.Context().Err() != nil {
				t.Fatal("never checked")
			}
			runtime.Gosched()
		}
		if s, _ := x.Status(t.Context()); s.Fills > 0 {
			found++
		}
		stop()
		if dump(t, path) != want {
			t.Errorf("page %d: the view is not the one before", at/4096)
		}
	}
	if pages := len(whole)/4096 - 1; found < pages/2 {
		t.Errorf("%d of %d damaged pages were found", found, pages)
	}
}

func TestRunMakesADamagedFileAnew(t *testing.T) {
	l := newLog()
	story(t, l, 0, 20)
	path := filepath.Join(t.TempDir(), "index.db")
	x, stop := running(t, l, path)
	caughtUp(t, x, l)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`DROP TABLE sessions`); err != nil {
		t.Fatal(err)
	}
	db.Close()
	story(t, l, 20, 20)
	caughtUp(t, x, l)
	p, err := x.Sessions(t.Context(), Filter{}, 0, "")
	if err != nil || len(p.Items) != 6 {
		t.Errorf("%d sessions, %v", len(p.Items), err)
	}
	if s, err := x.Status(t.Context()); err != nil || s.Problem != "" {
		t.Errorf("status %+v, %v", s, err)
	}
	stop()
	fresh := filepath.Join(t.TempDir(), "fresh.db")
	x, stop = running(t, l, fresh)
	caughtUp(t, x, l)
	stop()
	if dump(t, path) != dump(t, fresh) {
		t.Error("the renewed view differs")
	}
}

func TestRunEndsWithTheLog(t *testing.T) {
	l := newLog()
	story(t, l, 0, 3)
	broken := errors.New("the log stopped")
	for name, follow := range map[string]func(ctx context.Context, from uint64, fn func(Entry) error) error{
		"it errs":            func(context.Context, uint64, func(Entry) error) error { return broken },
		"it skips":           func(ctx context.Context, _ uint64, fn func(Entry) error) error { return fn(l.entry(ctx, 2)) },
		"it gives no record": func(_ context.Context, from uint64, fn func(Entry) error) error { return fn(Entry{Index: from}) },
	} {
		c := l.config(filepath.Join(t.TempDir(), "index.db"))
		c.Follow = follow
		x, err := Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Run(t.Context()); err == nil {
			t.Errorf("%s: the run ended without an error", name)
		}
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestFileOfAnotherFormatIsMadeAnew(t *testing.T) {
	l := newLog()
	story(t, l, 0, 5)
	path := filepath.Join(t.TempDir(), "index.db")
	x, stop := running(t, l, path)
	caughtUp(t, x, l)
	stop()
	want := dump(t, path)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`DROP TABLE tally; PRAGMA user_version = 1`); err != nil {
		t.Fatal(err)
	}
	db.Close()
	x, stop = running(t, l, path)
	caughtUp(t, x, l)
	stop()
	if dump(t, path) != want {
		t.Error("the view differs")
	}
}

func TestForeignFileIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "other.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`CREATE TABLE precious (x); PRAGMA application_id = 99`); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := Open(t.Context(), newLog().config(path)); err == nil {
		t.Error("a database of another kind was taken over")
	}
}

func TestErasureReachesTheView(t *testing.T) {
	l := newLog()
	l.sealed = true
	story(t, l, 0, 30)
	path := filepath.Join(t.TempDir(), "index.db")
	x, stop := running(t, l, path)
	caughtUp(t, x, l)
	if p, err := x.Search(t.Context(), "every root", Filter{Agent: "agent-1"}, 0, ""); err != nil || len(p.Items) == 0 {
		t.Fatalf("before: %d hits, %v", len(p.Items), err)
	}
	l.mu.Lock()
	l.erased["user-of-agent-1"] = true
	l.mu.Unlock()
	l.append(action.Record{Kind: action.KindErasure, Subject: "key-7"})
	story(t, l, 30, 3)
	for {
		caughtUp(t, x, l)
		if s, err := x.Status(t.Context()); err != nil || s.Fills > 1 {
			break // the view was made once when it was opened, and once for the erasure
		}
	}
	caughtUp(t, x, l)
	unreadable := func(when string) {
		for _, suffix := range []string{"", "-wal"} {
			if b, _ := os.ReadFile(path + suffix); strings.Contains(string(b), "user-of-agent-1") {
				t.Errorf("%s: the erased name is still readable in the file%s", when, suffix)
			}
		}
	}
	unreadable("while it runs")
	stop()
	unreadable("after it was closed")
	if text := dump(t, path); strings.Contains(text, "agent-1") || !strings.Contains(text, "agent-2") {
		t.Error("the view does not follow the erasure")
	}
	x, _ = running(t, l, path)
	caughtUp(t, x, l)
	if s, err := x.Status(t.Context()); err != nil || s.Fills != 0 {
		t.Errorf("an erasure already obeyed emptied the view again: %+v, %v", s, err)
	}
}

func TestPseudonymsAreReadWhereTheyCanBe(t *testing.T) {
	l := newLog()
	l.sealed = true
	// Its names are learnt only from what comes after it, its actor from its own detail, one from nowhere.
	l.append(action.Record{Kind: action.KindSession, Session: "ses-1", Agent: "agent-1", User: "user-of-agent-1"},
		action.Record{Kind: action.KindKill, Agent: "agent-1", Actor: "bob", Parts: []action.PayloadPart{{Name: action.PartDetail, Owner: "bob",
			Data: []byte(`{"bob":"x","by":["eve",{"who":"bob"}],"n":1}`)}}},
		action.Record{Kind: action.KindKill, Actor: "carol", Parts: []action.PayloadPart{{Name: action.PartDetail, Owner: "bob", Data: []byte(`{"carol":1}`)}}})
	story(t, l, 0, 12)
	for _, checked := range []bool{true, false} {
		c := l.config(filepath.Join(t.TempDir(), "index.db"))
		if !checked {
			c.Pseudonym = nil
		}
		x, _ := runningWith(t, c)
		caughtUp(t, x, l)
		p, err := x.Records(t.Context(), Filter{}, 200, "")
		if err != nil || len(p.Items) != len(l.records) {
			t.Fatal(len(p.Items), err)
		}
		for _, s := range p.Items {
			r := l.records[s.Index]
			if s.Agent != r.Agent || s.User != r.User || s.Server != r.Server || s.Tool != r.Tool {
				t.Errorf("checked=%v: entry %d reads %q %q %q/%q, want %q %q %q/%q", checked, s.Index, s.Agent, s.User, s.Server, s.Tool, r.Agent, r.User, r.Server, r.Tool)
			}
			if want := map[bool]string{true: r.Actor, false: pseudonym("actor", r.Actor)}[checked && r.Actor != "carol"]; s.Actor != want {
				t.Errorf("checked=%v: entry %d has actor %q, want %q", checked, s.Index, s.Actor, want)
			}
		}
		s, err := x.Session(t.Context(), "ses-1")
		if err != nil || s.Agent != "agent-1" || s.User != "user-of-agent-1" {
			t.Errorf("session %+v, %v", s, err)
		}
		agents, err := x.Agents(t.Context(), 0, "")
		if err != nil || len(agents.Items) != 3 || !strings.HasPrefix(agents.Items[0].ID, "agent-") {
			t.Errorf("agents %+v, %v", agents, err)
		}
		for _, f := range []Filter{{Agent: "agent-1"}, {Agent: pseudonym("agent", "agent-1")}} {
			if p, err := x.Sessions(t.Context(), f, 0, ""); err != nil || len(p.Items) != 2 {
				t.Errorf("sessions of %+v: %d, %v", f, len(p.Items), err)
			}
		}
		if p, err := x.Search(t.Context(), "fs/write_file", Filter{Tool: "write_file", Kind: action.KindRelease}, 0, ""); err != nil || len(p.Items) != 2 {
			t.Errorf("a release found by its tool: %d, %v", len(p.Items), err)
		}
	}
}

func TestNamesThatDoNotFitAreNotBelieved(t *testing.T) {
	l := newLog()
	l.sealed = true
	rs := act(t, 1, "ses-1", "agent-1", "read_file", action.EffectRead, `{}`)
	rs[0].Agent = "agent-2" // the leaf says another agent than the input beside it
	l.append(rs...)
	x, _ := running(t, l, filepath.Join(t.TempDir(), "index.db"))
	caughtUp(t, x, l)
	p, err := x.Records(t.Context(), Filter{Kind: action.KindIntent}, 0, "")
	if err != nil || len(p.Items) != 1 || p.Items[0].Agent != pseudonym("agent", "agent-2") {
		t.Errorf("%+v, %v", p.Items, err)
	}
}

func TestListsNameTheLedgerAndPageWithoutGaps(t *testing.T) {
	x, l := told(t)
	ctx := t.Context()

	var got []string
	for cursor := ""; ; {
		p, err := x.Sessions(ctx, Filter{}, 4, cursor)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range p.Items {
			got = append(got, s.ID)
			if s.Actions != 20 || s.Allowed+s.Asked+s.Denied != 20 || l.records[s.Last].Session != s.ID || l.records[s.First].Session != s.ID {
				t.Errorf("session %+v", s)
			}
		}
		if cursor = p.Next; cursor == "" {
			break
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"ses-0", "ses-1", "ses-2", "ses-3", "ses-4", "ses-5"}) {
		t.Errorf("sessions %v", got)
	}
}

// told is a view of 120 actions.
func told(t *testing.T) (*Index, *fakeLog) {
	l := newLog()
	story(t, l, 0, 120)
	x, _ := running(t, l, filepath.Join(t.TempDir(), "index.db"))
	caughtUp(t, x, l)
	return x, l
}

func TestStepsAreThoseOfTheLog(t *testing.T) {
	x, l := told(t)
	ctx := t.Context()
	var steps []Step
	for cursor := ""; ; {
		p, err := x.Steps(ctx, "ses-1", 7, cursor)
		if err != nil {
			t.Fatal(err)
		}
		steps = append(steps, p.Items...)
		if cursor = p.Next; cursor == "" {
			break
		}
	}
	want := 0
	for i, r := range l.records {
		if r.Session == "ses-1" {
			if steps[want].Index != uint64(i) || steps[want].Kind != r.Kind || steps[want].Leaf != fmt.Sprintf("sha256:%d", i) {
				t.Fatalf("step %d is %+v, wanted entry %d", want, steps[want], i)
			}
			want++
		}
	}
	if len(steps) != want {
		t.Errorf("%d steps, want %d", len(steps), want)
	}
}

func TestListsAndCountersAgreeWithTheLog(t *testing.T) {
	x, _ := told(t)
	ctx := t.Context()
	one, err := x.Actions(ctx, "act-2")
	if err != nil || len(one) != 3 || one[0].Kind != action.KindIntent || one[2].Status != action.StatusReleased {
		t.Errorf("action: %+v, %v", one, err)
	}
	denied, err := x.Records(ctx, Filter{Verdict: action.Deny, Agent: "agent-1"}, 0, "")
	if err != nil || len(denied.Items) != 8 || denied.Items[0].Reason != "outside of every root" || denied.Items[0].Hint != "Write inside the project." {
		t.Errorf("denied: %d %+v, %v", len(denied.Items), denied.Items[:1], err)
	}
	alerts, err := x.Alerts(ctx, Filter{}, 2, "")
	if err != nil || len(alerts.Items) != 2 || alerts.Next == "" || alerts.Items[0].Kind != action.KindAlert {
		t.Errorf("alerts: %+v, %v", alerts, err)
	}
	agents, err := x.Agents(ctx, 0, "")
	if err != nil || len(agents.Items) != 3 || agents.Items[0].Actions != 40 || agents.Items[0].Sessions != 2 || agents.Items[0].Alerts != 2 {
		t.Errorf("agents: %+v, %v", agents, err)
	}
	counted := map[action.Verdict]int64{}
	tallies, err := x.Counters(ctx, 0, 0)
	for _, n := range tallies {
		if n.Phase == action.Before {
			counted[n.Verdict] += n.N
		}
	}
	if err != nil || counted[action.Allow] != 72 || counted[action.Ask] != 24 || counted[action.Deny] != 24 {
		t.Errorf("counters: %v, %v", counted, err)
	}
}

func TestMalformedQueriesAreRefused(t *testing.T) {
	x, _ := told(t)
	ctx := t.Context()
	for name, f := range map[string]func() error{
		"a limit beyond the bound": func() error { _, err := x.Agents(ctx, 201, ""); return err },
		"a negative limit":         func() error { _, err := x.Steps(ctx, "ses-1", -1, ""); return err },
		"a cursor of words":        func() error { _, err := x.Steps(ctx, "ses-1", 1, "1 OR 1=1"); return err },
		"a verdict that is none":   func() error { _, err := x.Sessions(ctx, Filter{Verdict: "x) --"}, 1, ""); return err },
		"sessions by tool":         func() error { _, err := x.Sessions(ctx, Filter{Tool: "t"}, 1, ""); return err },
	} {
		if err := f(); !errors.Is(err, ErrQuery) {
			t.Errorf("%s: %v, want ErrQuery", name, err)
		}
	}
	if _, err := x.Session(ctx, "ses-9"); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown session: %v", err)
	}
	if _, err := x.Actions(ctx, "act-999"); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown action: %v", err)
	}
}
