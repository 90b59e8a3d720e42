// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing/fstest"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/bundle"
)

// BenchOptions says what Bench measures.
type BenchOptions struct {
	Rules     []int            // sizes of the generated policies; nil means 40, 100, 1000 and 10000
	Decisions int              // per row; 0 means 20000
	For       time.Duration    // the most that the decisions of a row take; 0 means 2 s
	Now       func() time.Time // nil means time.Now
}

// The shapes of generated policies: rules of all kinds, of which half cannot be told by the tool, and rules
// that each name the tool they are for.
const (
	shapeMixed  = "mixed"
	shapeScoped = "scoped"
)

// BenchResult is one row for each engine, shape and size, and two for the embedded baseline. The engine topdown is
// OPA's evaluator, tuned as this package tunes it; rego and baseline are compiled.
type BenchResult struct {
	Rows []BenchRow `json:"rows"`
}

// BenchRow is the time from a typed query to a decision, the building of the engine's input included, in
// nanoseconds of wall time on one goroutine.
type BenchRow struct {
	Engine    string `json:"engine"` // and the shape, where that is not mixed: "rego/scoped", "baseline"
	Rules     int    `json:"rules"`
	Decisions int    `json:"decisions"`
	LoadNs    int64  `json:"load_ns"`
	P50       int64  `json:"p50_ns"`
	P99       int64  `json:"p99_ns"`
	P999      int64  `json:"p999_ns"`
	Mean      int64  `json:"mean_ns"`
	Allocs    int64  `json:"allocs_per_op"`
	Bytes     int64  `json:"bytes_per_op"`
}

// Bench measures decisions of each engine over generated policies, and of the embedded baseline.
func Bench(ctx context.Context, o BenchOptions) (BenchResult, error) {
	if o.Rules == nil {
		o.Rules = []int{40, 100, 1000, 10000}
	}
	if o.Decisions == 0 {
		o.Decisions = 20000
	}
	if o.For == 0 {
		o.For = 2 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	var out BenchResult
	add := func(row BenchRow, load func() (*Compiled, error)) error {
		row, err := o.measure(ctx, row, load)
		out.Rows = append(out.Rows, row)
		return err
	}
	for _, n := range o.Rules {
		for _, shape := range []string{shapeMixed, shapeScoped} {
			for _, engine := range []string{"rego", "topdown", "cedar"} {
				row := BenchRow{Engine: engine, Rules: n}
				if shape != shapeMixed {
					row.Engine += "/" + shape
				}
				if err := add(row, func() (*Compiled, error) { return generate(engine, shape, n) }); err != nil {
					return out, err
				}
			}
		}
	}
	for _, row := range []BenchRow{{Engine: "baseline"}, {Engine: "baseline/topdown"}} {
		if err := add(row, func() (*Compiled, error) { return Load(Config{unproved: row.Engine != "baseline"}) }); err != nil {
			return out, err
		}
	}
	return out, nil
}

func (o *BenchOptions) measure(ctx context.Context, row BenchRow, load func() (*Compiled, error)) (BenchRow, error) {
	start := o.Now()
	c, err := load()
	if err != nil {
		return row, err
	}
	row.Rules, row.LoadNs = len(c.Rules()), o.Now().Sub(start).Nanoseconds()
	if cover := c.Coverage(); cover.Total > 0 && !c.with.unproved && (!cover.Trusted || cover.Fast < cover.Total) {
		return row, fmt.Errorf("policy: bench: not compiled: %s", cover.Why)
	}
	took := make([]int64, 0, o.Decisions)
	queries := benchQueries()
	for _, q := range queries {
		if d, err := c.Decide(ctx, q); err != nil || len(d.Errors) > 0 {
			return row, errors.Join(err, fmt.Errorf("policy: bench: %v", d.Errors))
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	until := o.Now().Add(o.For)
	for i := range o.Decisions {
		q := queries[i%len(queries)]
		start := o.Now()
		if _, err := c.Decide(ctx, q); err != nil {
			return row, err
		}
		end := o.Now()
		took = append(took, end.Sub(start).Nanoseconds())
		if end.After(until) {
			break
		}
	}
	runtime.ReadMemStats(&after)
	n := int64(len(took))
	row.Decisions = len(took)
	row.Allocs, row.Bytes = int64(after.Mallocs-before.Mallocs)/n, int64(after.TotalAlloc-before.TotalAlloc)/n
	row.P50, row.P99, row.P999, row.Mean = spread(took)
	return row, nil
}

// spread returns percentiles and mean; it sorts ns.
func spread(ns []int64) (p50, p99, p999, mean int64) {
	if len(ns) == 0 {
		return 0, 0, 0, 0
	}
	var sum int64
	for _, v := range ns {
		sum += v
	}
	slices.Sort(ns)
	at := func(milli int) int64 { return ns[min(len(ns)-1, len(ns)*milli/1000)] }
	return at(500), at(990), at(999), sum / int64(len(ns))
}

// BenchSource is the Rego of a generated policy of n rules, and the queries that Bench decides, so that other engines can
// be measured beside these. With scoped every rule names its tool.
func BenchSource(n int, scoped bool) (source string, queries []*action.Query) {
	_, source = generated("rego", shapeOf(scoped), n)
	return source, benchQueries()
}

// BenchLoad loads what BenchSource returns for "rego" (compiled) and "topdown" (OPA's evaluator, given typed terms), and the same
// rules in Cedar for "cedar".
func BenchLoad(engine string, n int, scoped bool) (*Compiled, error) {
	return generate(engine, shapeOf(scoped), n)
}

func shapeOf(scoped bool) string {
	if scoped {
		return shapeScoped
	}
	return shapeMixed
}

// generate returns a policy of n rules on typed facts: one permit, denies and asks that look at the
// tool, a host list, a path, scores and labels, as real packs do.
func generate(engine, shape string, n int) (*Compiled, error) {
	name, source := generated(engine, shape, n)
	return loadOne(name, source, Config{unproved: engine == "topdown"})
}

// loadOne compiles a bundle of one file.
func loadOne(name, source string, with Config) (*Compiled, error) {
	b, err := bundle.Read(fstest.MapFS{
		"sallyport-bundle.yaml": {Data: []byte("version: 1\nname: bench\nsequence: 1\n")},
		name:                    {Data: []byte(source)},
	}, nil)
	if err != nil {
		return nil, err
	}
	return compile(b, with)
}

// generated is the text of the policy.
func generated(engine, shape string, n int) (name, source string) {
	var b strings.Builder
	// Of four kinds, the first names its tool.
	kind := func(i int) int {
		if shape == shapeScoped {
			return i * 4
		}
		return i
	}
	name = "bench.rego"
	if engine != "cedar" {
		b.WriteString("package sallyport.bench\n\nimport rego.v2\n\nallow contains {\"id\": \"all\"} if input.phase == \"before\"\n")
		for i := range n - 1 {
			fmt.Fprintf(&b, "\n%s contains {\"id\": \"r%d\", \"code\": \"c\", \"reason\": \"r\"} if {\n%s}\n", []string{"deny", "ask"}[i%2], i, regoBody(kind(i)))
		}
	} else {
		name = "bench.cedar"
		b.WriteString("@id(\"all\") permit (principal, action, resource) when { context.phase == \"before\" };\n")
		for i := range n - 1 {
			ask := ""
			if i%2 == 1 {
				ask = "@ask(\"operator\") "
			}
			fmt.Fprintf(&b, "@id(\"r%d\") @code(\"c\") @reason(\"r\") %sforbid %s;\n", i, ask, cedarBody(kind(i)))
		}
	}
	return name, b.String()
}

func regoBody(i int) string {
	switch i % 4 {
	case 0:
		return fmt.Sprintf("\tinput.resource.id == \"files/tool%d\"\n\tsome p in input.action.paths\n\tp.inside != \"yes\"\n", i)
	case 1:
		return fmt.Sprintf("\tinput.resource.server == \"server%d\"\n\tinput.context.detect.injection_milli >= 500\n", i)
	case 2:
		return fmt.Sprintf("\tinput.action.effect == \"send\"\n\tnot input.resource.name in {\"a%d\", \"b%d\", \"c%d\"}\n\tcount(input.context.detect.secrets) > 0\n", i, i, i)
	}
	return fmt.Sprintf("\tinput.context.flow.session.secrecy == \"secret\"\n\tinput.resource.zone != \"inside\"\n\tinput.context.monitor.risk_milli > %d\n", i)
}

func cedarBody(i int) string {
	switch i % 4 {
	case 0:
		return fmt.Sprintf("(principal, action, resource == Tool::\"files/tool%d\") when { context.action.paths.inside != [\"yes\"] }", i)
	case 1:
		return fmt.Sprintf("(principal, action, resource in Server::\"server%d\") when { context.detect.injection_milli >= 500 }", i)
	case 2:
		return fmt.Sprintf("(principal, action == Action::\"send\", resource) when { !([\"a%d\", \"b%d\", \"c%d\"].contains(context.resource.name)) && context.detect.secrets.count > 0 }", i, i, i)
	}
	return fmt.Sprintf("(principal, action, resource) when { context.flow.session.secrecy == \"secret\" && context.resource.zone != \"inside\" && context.monitor.risk_milli > %d }", i)
}

// benchQueries are a read, a write, a command and a mail, with everything stated.
func benchQueries() []*action.Query {
	base := func(effect action.Effect, server, name string) *action.Query {
		q := action.NewQuery(action.Before)
		q.ID, q.Subject.ID, q.Action.Name, q.Action.Effect, q.Action.Typed = "a", "coder", "tools/call", effect, action.StateKnown
		q.Action.Source, q.Action.Reversible = action.EffectDeclared, action.Yes
		q.Action.Arguments = jsontext.Value(`{"path":"/w/app/main.go"}`)
		q.Resource = action.Resource{Type: "tool", ID: action.ToolKey(server, name), Server: server, Name: name, Zone: action.ZoneInside,
			Definition: action.Definition{State: action.DefinitionApproved, Poisoned: action.No}}
		c := &q.Context
		c.Session.Roots, c.Session.State = []string{"/w/app"}, action.SessionLive
		c.Time.UnixMilli = 1790000000000
		c.Detect = action.Detect{State: action.StateKnown, Canary: action.No, Opaque: action.No, Truncated: action.No}
		c.Monitor = action.Monitor{State: action.StateKnown, Risk: 40, P: 900, Learning: action.No, FirstTool: action.No, FirstDest: action.No}
		c.Flow.State, c.Flow.Tainted = action.StateKnown, action.No
		c.Flow.Session = action.Labels{Untrusted: action.No, Secrecy: action.SecrecyInternal, Opaque: action.No}
		c.Flow.Arguments = []action.Value{{Pointer: "/path", Kind: "path", Origin: action.OriginUser, Origins: []action.Origin{action.OriginUser},
			Selection: action.OriginUser, Sink: action.SinkSelector, Secrecy: action.SecrecyInternal, Owned: action.Yes, Known: action.Yes}}
		return q
	}
	path := action.Path{Pointer: "/path", Raw: "/w/app/main.go", Resolved: "/w/app/main.go", Root: "/w/app", Inside: action.Yes,
		Traverse: action.No, Private: action.No, Exists: action.Yes, Access: action.EffectRead}
	read, write := base(action.EffectRead, "files", "read"), base(action.EffectWrite, "files", "write")
	read.Action.Paths = []action.Path{path}
	path.Access = action.EffectWrite
	write.Action.Paths = []action.Path{path}
	run, send := base(action.EffectExecute, "shell", "run"), base(action.EffectSend, "mail", "send")
	run.Action.Commands = []action.Command{{Pointer: "/command", Name: "go", Args: []string{"test", "./..."}, Verb: "test", Dynamic: action.No,
		Reviewed: action.Yes, Self: action.No}}
	send.Action.Recipients = []action.Recipient{{Pointer: "/to", Kind: "email", Value: "bob@example.com", Domain: "example.com", Outside: action.No}}
	return []*action.Query{read, write, run, send}
}
