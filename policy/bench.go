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
)

// BenchOptions says what Bench measures.
type BenchOptions struct {
	Rules     []int            // sizes of the generated policies; nil means 40 and 100
	Decisions int              // per row; 0 means 20000
	Now       func() time.Time // nil means time.Now
}

// BenchResult is one row for each engine and size, and one for the embedded baseline.
type BenchResult struct {
	Rows []BenchRow `json:"rows"`
}

// BenchRow is the time from a typed query to a decision, the building of the engine's input included, in
// nanoseconds of wall time on one goroutine.
type BenchRow struct {
	Engine    string `json:"engine"`
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

// Bench measures decisions of both engines over generated policies, and of the embedded baseline.
func Bench(ctx context.Context, o BenchOptions) (BenchResult, error) {
	if o.Rules == nil {
		o.Rules = []int{40, 100}
	}
	if o.Decisions == 0 {
		o.Decisions = 20000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	var out BenchResult
	for _, n := range o.Rules {
		for _, engine := range []string{"rego", "cedar"} {
			row, err := o.measure(ctx, engine, n, func() (*Compiled, error) { return generate(engine, n) })
			if err != nil {
				return out, err
			}
			out.Rows = append(out.Rows, row)
		}
	}
	row, err := o.measure(ctx, "baseline", 0, func() (*Compiled, error) { return Load(Config{}) })
	if err != nil {
		return out, err
	}
	out.Rows = append(out.Rows, row)
	return out, nil
}

func (o *BenchOptions) measure(ctx context.Context, engine string, rules int, load func() (*Compiled, error)) (BenchRow, error) {
	start := o.Now()
	c, err := load()
	if err != nil {
		return BenchRow{}, err
	}
	if rules == 0 {
		rules = len(c.Rules())
	}
	row := BenchRow{Engine: engine, Rules: rules, Decisions: o.Decisions, LoadNs: o.Now().Sub(start).Nanoseconds()}
	took := make([]int64, 0, o.Decisions)
	queries := benchQueries()
	for _, q := range queries {
		if d, err := c.Decide(ctx, q); err != nil || len(d.Errors) > 0 {
			return row, errors.Join(err, fmt.Errorf("policy: bench: %v", d.Errors))
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range o.Decisions {
		q := queries[i%len(queries)]
		start := o.Now()
		if _, err := c.Decide(ctx, q); err != nil {
			return row, err
		}
		took = append(took, o.Now().Sub(start).Nanoseconds())
	}
	runtime.ReadMemStats(&after)
	n := int64(o.Decisions)
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

// generate returns a policy of n rules on typed facts: one permit, denies and asks that look at the
// tool, a host list, a path, scores and labels, as real packs do.
func generate(engine string, n int) (*Compiled, error) {
	var b strings.Builder
	name := "bench.rego"
	if engine == "rego" {
		b.WriteString("package sallyport.bench\n\nimport rego.v2\n\nallow contains {\"id\": \"all\"} if input.phase == \"before\"\n")
		for i := range n - 1 {
			fmt.Fprintf(&b, "\n%s contains {\"id\": \"r%d\", \"code\": \"c\", \"reason\": \"r\"} if {\n%s}\n", []string{"deny", "ask"}[i%2], i, regoBody(i))
		}
	} else {
		name = "bench.cedar"
		b.WriteString("@id(\"all\") permit (principal, action, resource) when { context.phase == \"before\" };\n")
		for i := range n - 1 {
			ask := ""
			if i%2 == 1 {
				ask = "@ask(\"operator\") "
			}
			fmt.Fprintf(&b, "@id(\"r%d\") @code(\"c\") @reason(\"r\") %sforbid (principal, action, resource) when { %s };\n", i, ask, cedarBody(i))
		}
	}
	return LoadFS(fstest.MapFS{
		"sallyport-bundle.yaml": {Data: []byte("version: 1\nname: bench\nsequence: 1\n")},
		name:                    {Data: []byte(b.String())},
	})
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
		return fmt.Sprintf("resource == Tool::\"files/tool%d\" && context.action.paths.inside != [\"yes\"]", i)
	case 1:
		return fmt.Sprintf("resource in Server::\"server%d\" && context.detect.injection_milli >= 500", i)
	case 2:
		return fmt.Sprintf("action == Action::\"send\" && !([\"a%d\", \"b%d\", \"c%d\"].contains(context.resource.name)) && context.detect.secrets.count > 0", i, i, i)
	}
	return fmt.Sprintf("context.flow.session.secrecy == \"secret\" && context.resource.zone != \"inside\" && context.monitor.risk_milli > %d", i)
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
