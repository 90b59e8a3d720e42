// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkCall measures one tools/call of 0.2 KB and its answer: direct, through the plumbing alone, and
// through a gate whose enforcement point allows at once. What the gate of this package costs is the
// difference of the last two; facts, decision and ledger are not inside.
func BenchmarkCall(b *testing.B) {
	echo := script(func(l string) []string { return []string{answerLine(l, `{"content":[{"type":"text","text":"ok"}]}`)} })
	line := func(i int) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"read_file","arguments":{"path":"/home/u/project/main.go","text":%q}}}`, i, strings.Repeat("a", 100))
	}
	b.Run("stdio/direct", func(b *testing.B) {
		clientIn, in := io.Pipe()
		out, clientOut := io.Pipe()
		go echo(clientIn, clientOut)
		defer in.Close()
		roundTrips(b, in, out, line)
	})
	b.Run("stdio/passthrough", func(b *testing.B) {
		s := guard(b, Passthrough(), echo)
		roundTrips(b, s.in, s.out, line)
	})
	b.Run("stdio/gate", func(b *testing.B) {
		s := guard(b, newGate(b, newPath(), nil), echo)
		roundTrips(b, s.in, s.out, line)
	})
	upstream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answerLine(string(body), `{"content":[{"type":"text","text":"ok"}]}`))
	})
	for _, gate := range []string{"passthrough", "gate"} {
		b.Run("http/"+gate, func(b *testing.B) {
			g := newGate(b, newPath(), nil)
			if gate == "passthrough" {
				g = Passthrough()
			}
			url := door(b, g, upstream)
			times := make([]time.Duration, 0, b.N)
			for i := 0; b.Loop(); i++ {
				start := time.Now()
				if status, out := send(b, url, "alice", line(i)); status != 200 || !json.Valid([]byte(out)) {
					b.Fatalf("%d %s", status, out)
				}
				times = append(times, time.Since(start))
			}
			report(b, times)
		})
	}
}

func roundTrips(b *testing.B, in io.Writer, out io.Reader, line func(int) string) {
	r := bufio.NewReaderSize(out, 1<<20)
	times := make([]time.Duration, 0, b.N)
	for i := 0; b.Loop(); i++ {
		l := line(i) + "\n"
		start := time.Now()
		if _, err := io.WriteString(in, l); err != nil {
			b.Fatal(err)
		}
		if _, err := r.ReadString('\n'); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(start))
	}
	report(b, times)
}

func report(b *testing.B, times []time.Duration) {
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(times[len(times)*99/100].Nanoseconds()), "p99-ns")
}

// BenchmarkGate measures both gates of one call in process, without any transport.
func BenchmarkGate(b *testing.B) {
	for _, size := range []int{200, 10_000, 1_000_000} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			p := newPath()
			c := newGate(b, p, nil).Conn(testPeer, testUpstream)
			ask := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"text":"` + strings.Repeat("a", size) + `"}}}`)
			answer := []byte(`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"` + strings.Repeat("b", size) + `"}]}}`)
			b.SetBytes(int64(len(ask) + len(answer)))
			b.ReportAllocs()
			ctx := context.Background()
			for b.Loop() {
				if c.FromClient(ctx, ask).Forward == nil || c.FromServer(ctx, "", answer).Forward == nil {
					b.Fatal("stopped")
				}
				p.set(func() { p.attempts = p.attempts[:0]; clear(p.outcomes) })
			}
		})
	}
}
