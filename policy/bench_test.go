// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	opa "github.com/open-policy-agent/opa/v1/rego"

	"github.com/sallyport/sallyport/action"
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
	for _, n := range []int{40, 100, 1000, 10000} {
		for _, shape := range []string{shapeMixed, shapeScoped} {
			for _, engine := range []string{"rego", "cedar", "topdown"} {
				run(fmt.Sprintf("rules=%d/%s/engine=%s", n, shape, engine), func() (*Compiled, error) { return generate(engine, shape, n) })
			}
			b.Run(fmt.Sprintf("rules=%d/%s/engine=opa-raw-map", n, shape), func(b *testing.B) { rawMap(b, shape, n) })
		}
	}
	run("baseline/engine=rego", func() (*Compiled, error) { return Load(Config{}) })
	run("baseline/engine=topdown", func() (*Compiled, error) { return Load(Config{unproved: true}) })
}

// rawMap measures OPA as it is commonly embedded: a prepared query, the default options, a map for input. The
// map stands ready, so that its making does not count.
func rawMap(b *testing.B, shape string, n int) {
	_, source := generated("rego", shape, n)
	query, err := opa.New(opa.Query("data.sallyport.bench"), opa.Module("bench.rego", source)).PrepareForEval(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	var inputs []map[string]any
	for _, q := range benchQueries() {
		data, err := action.Canonical(q)
		if err != nil {
			b.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(data, &m); err != nil {
			b.Fatal(err)
		}
		inputs = append(inputs, m)
	}
	took := make([]int64, 0, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		start := time.Now()
		if out, err := query.Eval(b.Context(), opa.EvalInput(inputs[i%len(inputs)])); err != nil || len(out) != 1 {
			b.Fatal(out, err)
		}
		took = append(took, time.Since(start).Nanoseconds())
	}
	p50, p99, _, _ := spread(took)
	b.ReportMetric(float64(p50), "p50-ns")
	b.ReportMetric(float64(p99), "p99-ns")
}

func TestBenchMeasuresEveryRow(t *testing.T) {
	r, err := Bench(context.Background(), BenchOptions{Decisions: 8, Rules: []int{40, 100}})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != 14 {
		t.Fatalf("%d rows", len(r.Rows))
	}
	for _, row := range r.Rows {
		if row.P50 <= 0 || row.P99 < row.P50 || row.Rules == 0 || row.LoadNs <= 0 {
			t.Errorf("row %+v", row)
		}
	}
}

// BenchmarkRedecide decides recorded inputs, already decoded, again, as policy diff does: the cases of the baseline.
func BenchmarkRedecide(b *testing.B) {
	c, err := Load(Config{})
	if err != nil {
		b.Fatal(err)
	}
	seeds := c.seeds()
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if _, err := c.Redecide(b.Context(), seeds[i%len(seeds)]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
}
