// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkFill indexes a log of about 22,000 records from empty to caught up.
func BenchmarkFill(b *testing.B) {
	for _, sealed := range []bool{false, true} {
		b.Run(fmt.Sprintf("sealed=%v", sealed), func(b *testing.B) {
			l := newLog()
			l.sealed = sealed
			story(b, l, 0, 10_000)
			dir := b.TempDir()
			n, bytes := 0, int64(0)
			for b.Loop() {
				path := filepath.Join(dir, fmt.Sprintf("%d.db", n))
				n++
				x, stop := running(b, l, path)
				caughtUp(b, x, l)
				stop()
				st, err := os.Stat(path)
				if err != nil {
					b.Fatal(err)
				}
				bytes = st.Size()
			}
			records := len(l.records)
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n*records), "us/record")
			b.ReportMetric(float64(bytes)/float64(records), "bytes/record")
		})
	}
}

// BenchmarkQuery asks a view of about 22,000 records.
func BenchmarkQuery(b *testing.B) {
	l := newLog()
	story(b, l, 0, 10_000)
	x, _ := running(b, l, filepath.Join(b.TempDir(), "index.db"))
	caughtUp(b, x, l)
	ctx := context.Background()
	for _, c := range []struct {
		name string
		run  func() error
	}{
		{"sessions", func() error { _, err := x.Sessions(ctx, Filter{}, 50, ""); return err }},
		{"steps", func() error { _, err := x.Steps(ctx, "ses-1", 50, ""); return err }},
		{"action", func() error { _, err := x.Actions(ctx, "act-777"); return err }},
		{"search=common", func() error { _, err := x.Search(ctx, "write_file deny", Filter{}, 50, ""); return err }},
		{"search=rare", func() error { _, err := x.Search(ctx, "zebra", Filter{}, 50, ""); return err }},
		{"counters", func() error { _, err := x.Counters(ctx, 0, 0); return err }},
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

// BenchmarkReplay decides a session of about 2,700 recorded decisions again, opening and reading included.
func BenchmarkReplay(b *testing.B) {
	l := newLog()
	story(b, l, 0, 10_000)
	x, _ := running(b, l, filepath.Join(b.TempDir(), "index.db"))
	caughtUp(b, x, l)
	n := 0
	for b.Loop() {
		steps, err := x.Replay(context.Background(), "ses-1", decision)
		if err != nil {
			b.Fatal(err)
		}
		n += Count(steps)[Same]
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n), "us/decision")
}
