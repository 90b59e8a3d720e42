// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"fmt"
	"testing"
	"time"
)

func BenchmarkDecide(b *testing.B) {
	run := func(name string, load func() (*Compiled, error)) {
		b.Run(name, func(b *testing.B) {
			c, err := load()
			if err != nil {
				b.Fatal(err)
			}
			queries := benchQueries()
			took := make([]int64, 0, b.N)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				start := time.Now()
				if _, err := c.Decide(context.Background(), queries[i%len(queries)]); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start).Nanoseconds())
			}
			p50, p99, _, _ := spread(took)
			b.ReportMetric(float64(p50), "p50-ns")
			b.ReportMetric(float64(p99), "p99-ns")
		})
	}
	for _, n := range []int{40, 100} {
		for _, engine := range []string{"rego", "cedar"} {
			run(fmt.Sprintf("rules=%d/engine=%s", n, engine), func() (*Compiled, error) { return generate(engine, n) })
		}
	}
	run("baseline", func() (*Compiled, error) { return Load(Config{}) })
}

func TestBenchMeasuresEveryRow(t *testing.T) {
	r, err := Bench(context.Background(), BenchOptions{Decisions: 8})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != 5 {
		t.Fatalf("%d rows", len(r.Rows))
	}
	for _, row := range r.Rows {
		if row.P50 <= 0 || row.P99 < row.P50 || row.Rules == 0 || row.LoadNs <= 0 {
			t.Errorf("row %+v", row)
		}
	}
}
