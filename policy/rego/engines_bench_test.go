// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	oparego "github.com/open-policy-agent/opa/v1/rego"

	"github.com/sallyport/sallyport/action"
)

// generatedRules are n rules that name their tool, as the packs of a large organisation would.
func generatedRules(n int) string {
	var b strings.Builder
	b.WriteString("package sallyport.bench\nimport rego.v2\nallow contains {\"id\": \"all\"} if input.phase == \"before\"\n")
	for i := range n - 1 {
		fmt.Fprintf(&b, "deny contains {\"id\": \"r%d\", \"code\": \"c\", \"reason\": \"R.\"} if {\n\tinput.resource.id == \"files/tool%d\"\n\tsome p in input.action.paths\n\tp.inside != \"yes\"\n}\n", i, i)
	}
	return b.String()
}

// BenchmarkEngines decides the same query by the compiled rules, by OPA's evaluator as we use it, and by OPA as its manual embeds
// it: a prepared query over a map that was decoded from JSON.
func BenchmarkEngines(b *testing.B) {
	q := action.NewQuery(action.Before)
	q.Resource = action.Resource{Type: "tool", ID: "files/tool7", Server: "files", Name: "tool7"}
	q.Action.Name, q.Action.Effect = "tools/call", action.EffectRead
	q.Action.Paths = []action.Path{{Pointer: "/path", Raw: "/w/a", Resolved: "/w/a", Root: "/w", Inside: action.Yes, Access: action.EffectRead}}
	text, err := action.Canonical(q)
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{40, 1000, 10_000} {
		source := generatedRules(n)
		start := time.Now()
		e, err := New(Config{Files: []File{{Name: "bench.rego", Data: []byte(source)}}, Params: map[string]any{}})
		if err != nil {
			b.Fatal(err)
		}
		if err := e.Prove(b.Context(), []*action.Query{q}, 50, 10*time.Second); err != nil || !e.Coverage().Trusted {
			b.Fatalf("%v %+v", err, e.Coverage().Why)
		}
		loaded := time.Since(start)
		run := func(name string, decide func() error) {
			b.Run(fmt.Sprintf("rules=%d/engine=%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				b.ReportMetric(float64(loaded.Milliseconds()), "load-ms")
				for range b.N {
					if err := decide(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		run("compiled", func() error { _, err := e.Decide(b.Context(), q); return err })
		run("topdown", func() error { _, err := e.topdown(b.Context(), q); return err })
		prepared, err := oparego.New(oparego.Query("data.sallyport.bench"), oparego.Module("bench.rego", source)).PrepareForEval(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		run("opa-map", func() error {
			var input map[string]any
			if err := json.Unmarshal(text, &input); err != nil {
				return err
			}
			_, err := prepared.Eval(b.Context(), oparego.EvalInput(input))
			return err
		})
	}
}
