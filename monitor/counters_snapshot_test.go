// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/sallyport/sallyport/action"
)

func snapshotCounters(t testing.TB, more ...Counter) *Counters {
	t.Helper()
	m, err := NewCounters(Config{Counters: append(Defaults(), more...), Key: []byte("0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func callOf(i int) *action.Query {
	q := action.NewQuery(action.Before)
	q.ID, q.Subject.ID, q.Subject.Tenant = fmt.Sprintf("a-%d", i), "bot", "default"
	q.Action.Effect, q.Context.Time.UnixMilli = action.EffectRead, 1_700_000_000_000+int64(i)
	return q
}

// TestCountersSnapshotCountsEachActionOnce takes a snapshot while actions begin and end, and replays from
// the moment that it is of.
func TestCountersSnapshotCountsEachActionOnce(t *testing.T) {
	ctx := context.Background()
	live := snapshotCounters(t)
	live.Ready()
	do := func(m *Counters, i int) {
		switch q := callOf(i); i % 3 {
		case 0: // done
			_ = m.Restore(ctx, q)
			m.Settle(ctx, q, action.StatusDone)
		case 1: // never ran
			_ = m.Restore(ctx, q)
			m.Settle(ctx, q, action.StatusRefused)
		case 2:
			m.Denied(q)
		}
	}
	for i := range 30 {
		do(live, i)
	}
	still := callOf(1000)
	if err := live.Restore(ctx, still); err != nil {
		t.Fatal(err)
	}
	live.Begin()
	for i := 30; i < 60; i++ { // above the size of the snapshot, and in it
		do(live, i)
	}
	b, err := live.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for i := 60; i < 90; i++ {
		do(live, i)
	}
	next := snapshotCounters(t)
	if err := next.Load(b); err != nil {
		t.Fatal(err)
	}
	if open := next.Open(); len(open) != 1 || open[0] != still.ID {
		t.Errorf("open: %v", open)
	}
	for i := 30; i < 90; i++ {
		do(next, i)
	}
	next.Ready()
	for _, m := range []*Counters{live, next} {
		m.Settle(ctx, still, action.StatusUnknown)
	}
	q := callOf(2000)
	want, _ := live.Inform(ctx, q)
	got, _ := next.Inform(ctx, q)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("after the snapshot %v\nwithout a restart %v", got, want)
	}
	if h := got.(action.History); h.Counters[0].Value != 31 || h.Counters[2].Value != 30 {
		t.Errorf("%+v", h.Counters)
	}
}

func TestCountersSnapshotOfOthersIsRefused(t *testing.T) {
	m := snapshotCounters(t)
	m.Ready()
	if _, err := m.Snapshot(); !errors.Is(err, ErrSnapshot) {
		t.Errorf("a snapshot that nobody began: %v", err)
	}
	m.Begin()
	b, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		into *Counters
		data []byte
	}{
		"other declarations": {snapshotCounters(t, Counter{Name: "more", Key: PerUser, Window: Hour, What: "calls"}), b},
		"cut short":          {snapshotCounters(t), b[:len(b)-1]},
		"too long":           {snapshotCounters(t), append(b[:len(b):len(b)], 0)},
		"empty":              {snapshotCounters(t), nil},
	} {
		if err := c.into.Load(c.data); !errors.Is(err, ErrSnapshot) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzCountersLoad(f *testing.F) {
	m := snapshotCounters(f)
	m.Ready()
	m.Begin()
	_ = m.Restore(context.Background(), callOf(1))
	m.Denied(callOf(2))
	b, err := m.Snapshot()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = snapshotCounters(t).Load(b)
	})
}
