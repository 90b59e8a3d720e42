// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/index"
)

var hold = flag.Duration("hold", 0, "how long BenchmarkMillion's server stays up for a browser, whose address and token it prints")

// BenchmarkMillion asks the operator API for pages of 200 of the console's lists, over a million records in ten
// thousand sessions, as a browser does: over HTTP, with a token. It reports the median and the 95th percentile.
func BenchmarkMillion(b *testing.B) {
	const records, sessions = 1_000_000, 10_000
	s := overMillion(b, records, sessions)
	read := func(b *testing.B, path string) (next string) {
		status, text, _ := s.call("auditor", "GET", path, "")
		var page struct {
			Items []json.RawMessage `json:"items"`
			Next  string            `json:"next"`
		}
		if err := json.Unmarshal([]byte(text), &page); status != 200 || err != nil || len(page.Items) == 0 {
			b.Fatalf("%s answers %d, %v: %.200s", path, status, err, text)
		}
		return page.Next
	}
	middle := func(path string) string {
		at := path
		for range 20 {
			at = path + "&cursor=" + read(b, at)
		}
		return at
	}
	for _, c := range []struct{ name, path string }{
		{"sessions", "/v1/sessions?limit=200"},
		{"sessions=middle", middle("/v1/sessions?limit=200")},
		{"sessions=of-an-agent", "/v1/sessions?limit=200&agent=agent-7"},
		{"steps", "/v1/sessions/ses-77/steps?limit=200"},
		{"records", "/v1/records?limit=200"},
		{"records=middle", middle("/v1/records?limit=200")},
		{"records=denied", "/v1/records?limit=200&verdict=deny"},
		{"records=found", "/v1/records?limit=200&q=tool-7"},
		{"alerts", "/v1/alerts?limit=200"},
		{"agents", "/v1/activity?limit=200"},
		{"destinations", "/v1/destinations?since=0"},
	} {
		b.Run(c.name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				read(b, c.path)
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
		})
	}
	if *hold > 0 {
		fmt.Printf("%s %s\n", s.URL, s.secret["operator"])
		time.Sleep(*hold)
	}
}

// overMillion serves the operator API over a view of so many records.
func overMillion(b *testing.B, records, sessions int) *bench {
	book := &book{changed: make(chan struct{})}
	for i := range records {
		r := action.Record{Kind: action.KindIntent, Action: fmt.Sprint("act-", i), TimeMs: int64(i) * 2000, Session: fmt.Sprint("ses-", i%sessions),
			Agent: fmt.Sprint("agent-", i%300), User: "ann", Server: "srv", Tool: fmt.Sprint("tool-", i%40), Phase: action.Before, Effect: action.EffectRead,
			Verdict: action.Allow, Enforced: true, Rules: []string{"p.allow"}}
		switch {
		case i%10 == 3:
			r.Kind, r.Verdict, r.Rules = action.KindDecision, action.Deny, []string{fmt.Sprint("p.r", i%20)}
		case i%50 == 7:
			r.Kind, r.Verdict, r.Rules, r.Phase, r.Codes = action.KindAlert, "", nil, "", []string{"monitor.unusual"}
		}
		book.records = append(book.records, &r)
	}
	x, err := index.Open(b.Context(), index.Config{Path: filepath.Join(b.TempDir(), "index.db"), Follow: book.Follow,
		Head: func(context.Context) (uint64, error) { return uint64(records), nil }})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			b.Error(err)
		}
		_ = x.Close()
	})
	if err := x.Wait(b.Context(), uint64(records-1)); err != nil {
		b.Fatal(err)
	}
	return start(b, func(c *Config) { c.Index, c.Workbench, c.Follow = x, counted{x: x}, book.Follow })
}

// counted answers from the view what the owner does.
type counted struct {
	plank
	x *index.Index
}

func (c counted) Activity(ctx context.Context, limit int, cursor string) (index.Page[Activity], error) {
	p, err := c.x.Agents(ctx, limit, cursor)
	out := index.Page[Activity]{Next: p.Next}
	for _, a := range p.Items {
		out.Items = append(out.Items, Activity{Agent: a, Mode: "enforce"})
	}
	return out, err
}

func (c counted) Destinations(ctx context.Context, since int64) ([]index.Destination, error) {
	return c.x.Destinations(ctx, since)
}
