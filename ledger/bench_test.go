// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			cfg := testConfig(b)
			cfg.SegmentBytes = 64 << 20
			l := mustOpen(b, cfg)
			ctx, cancel := context.WithCancel(context.Background())
			var running sync.WaitGroup
			running.Go(func() { _ = l.Run(ctx) })
			took := make([]time.Duration, b.N)
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for w := range writers {
				wg.Go(func() {
					session := fmt.Sprintf("session-%d", w)
					for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
						from := time.Now()
						if _, err := l.Append(ctx, testRecord(session, int(i))); err != nil {
							b.Error(err)
							return
						}
						took[i] = time.Since(from)
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
			s := l.Stats()
			b.ReportMetric(float64(s.Bytes)/float64(s.Appended), "disk-B/record")
			b.ReportMetric(float64(s.Appended)/float64(s.Batches), "records/batch")
			cancel()
			running.Wait()
			mustClose(b, l)
		})
	}
}

func BenchmarkLeaf(b *testing.B) {
	l := mustOpen(b, testConfig(b))
	defer mustClose(b, l)
	mustAppend(b, l, testRecord("s", 0))
	e, err := l.Read(0)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := e.Leaf.Encode(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(e.Raw)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := DecodeLeaf(e.Raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func TestBenchMeasuresARealLog(t *testing.T) {
	r, err := Bench(context.Background(), t.TempDir(), BenchOptions{Rate: 200, For: 200 * time.Millisecond, Writers: []int{1, 4}, Closed: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if r.Open.P50 <= 0 || len(r.Closed) != 2 || r.VerifyPerSecond <= 0 || r.DiskPerRecord < 1000 || r.Records == 0 {
		t.Fatalf("%+v", r)
	}
}

// BenchmarkOpenLoop reports the latency at 1,000 records a second.
func BenchmarkOpenLoop(b *testing.B) {
	for b.Loop() {
		r, err := Bench(context.Background(), filepath.Join(b.TempDir(), "log"), BenchOptions{})
		if err != nil {
			b.Fatal(err)
		}
		b.Logf("%+v", r)
		b.ReportMetric(float64(r.Open.P50), "p50-us")
		b.ReportMetric(float64(r.Open.P99), "p99-us")
		b.ReportMetric(r.VerifyPerSecond, "verified/s")
	}
}

// BenchmarkVerify reports how fast a directory is verified, with and without opening the payloads.
func BenchmarkVerify(b *testing.B) {
	dir := b.TempDir()
	cfg := Config{Wal: filepath.Join(dir, "wal"), Keys: filepath.Join(dir, "keys"), Tiles: filepath.Join(dir, "tiles")}
	l := mustOpen(b, cfg)
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for i := range 400 {
				if _, err := l.Append(context.Background(), testRecord(fmt.Sprintf("s%d", w), i)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := l.Publish(context.Background()); err != nil {
		b.Fatal(err)
	}
	mustClose(b, l)
	for _, sealed := range []bool{false, true} {
		b.Run(fmt.Sprintf("sealed=%v", sealed), func(b *testing.B) {
			n := 0.0
			for b.Loop() {
				r, err := Verify(context.Background(), Source{Dir: dir}, Options{Sealed: sealed})
				if err != nil {
					b.Fatal(err)
				}
				n += float64(r.Size)
			}
			b.ReportMetric(n/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// BenchmarkOpen reports what the first start and a start with 20,000 records cost.
func BenchmarkOpen(b *testing.B) {
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			dir := b.TempDir()
			mustClose(b, mustOpen(b, Config{Wal: filepath.Join(dir, "wal"), Keys: filepath.Join(dir, "keys")}))
		}
	})
	b.Run("records=20000", func(b *testing.B) {
		dir := b.TempDir()
		cfg := Config{Wal: filepath.Join(dir, "wal"), Keys: filepath.Join(dir, "keys")}
		l := mustOpen(b, cfg)
		var wg sync.WaitGroup
		for w := range 100 {
			wg.Go(func() {
				for i := range 200 {
					if _, err := l.Append(context.Background(), testRecord(fmt.Sprintf("s%d", w), i)); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
		mustClose(b, l)
		for b.Loop() {
			mustClose(b, mustOpen(b, cfg))
		}
	})
}
