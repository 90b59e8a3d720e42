// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/action"
)

// BenchmarkMillion reads pages of a view of a million records in ten thousand sessions, as the console does: the
// first page, one in the middle of the list, and the sums.
func BenchmarkMillion(b *testing.B) {
	const records, sessions = 1_000_000, 10_000
	l := newLog()
	for i := range records {
		r := action.Record{Kind: action.KindIntent, Action: fmt.Sprint("act-", i), TimeMs: int64(i) * 2000, Session: fmt.Sprint("ses-", i%sessions),
			Agent: fmt.Sprint("agent-", i%300), User: "ann", Server: "srv", Tool: fmt.Sprint("tool-", i%40), Phase: action.Before, Effect: action.EffectRead,
			Verdict: action.Allow, Rules: []string{"p.allow"}}
		switch {
		case i%10 == 3:
			r.Kind, r.Verdict, r.Rules = action.KindDecision, action.Deny, []string{fmt.Sprint("p.r", i%20)}
		case i%50 == 7:
			r.Kind, r.Verdict, r.Rules, r.Phase, r.Codes = action.KindAlert, "", nil, "", []string{"monitor.unusual"}
		}
		l.append(r)
	}
	x, _ := running(b, l, filepath.Join(b.TempDir(), "index.db"))
	caughtUp(b, x, l)
	ctx := context.Background()
	middle := func(of func(cursor string) (string, error)) string {
		cursor := ""
		for range 20 {
			next, err := of(cursor)
			if err != nil || next == "" {
				b.Fatalf("a list ends: %v", err)
			}
			cursor = next
		}
		return cursor
	}
	deepSessions := middle(func(c string) (string, error) { p, err := x.Sessions(ctx, Filter{}, 200, c); return p.Next, err })
	deepRecords := middle(func(c string) (string, error) { p, err := x.Records(ctx, Filter{}, 200, c); return p.Next, err })
	for _, c := range []struct {
		name string
		run  func() error
	}{
		{"sessions", func() error { _, err := x.Sessions(ctx, Filter{}, 200, ""); return err }},
		{"sessions=middle", func() error { _, err := x.Sessions(ctx, Filter{}, 200, deepSessions); return err }},
		{"sessions=of-an-agent", func() error { _, err := x.Sessions(ctx, Filter{Agent: "agent-7"}, 200, ""); return err }},
		{"steps", func() error { _, err := x.Steps(ctx, "ses-77", 200, ""); return err }},
		{"records", func() error { _, err := x.Records(ctx, Filter{}, 200, ""); return err }},
		{"records=middle", func() error { _, err := x.Records(ctx, Filter{}, 200, deepRecords); return err }},
		{"records=denied", func() error { _, err := x.Records(ctx, Filter{Verdict: action.Deny}, 200, ""); return err }},
		{"alerts", func() error { _, err := x.Alerts(ctx, Filter{}, 200, ""); return err }},
		{"agents", func() error { _, err := x.Agents(ctx, 200, ""); return err }},
		{"destinations", func() error { _, err := x.Destinations(ctx, 0); return err }},
		{"rules", func() error { _, err := x.RuleCounts(ctx, 0); return err }},
		{"search=rare", func() error { _, err := x.Search(ctx, "zebra", Filter{}, 50, ""); return err }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if err := c.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
