// SPDX-License-Identifier: Apache-2.0

// Command opa measures the compiled Rego and the Cedar of this project beside OPA, in one run and over the same rules and
// queries: OPA embedded as its manual shows it and tuned, and OPA's server over HTTP in a process of its own. It is a module of its own, so
// that the binary carries no server of OPA's.
//
//	go run -C bench/opa . [-rules 40,1000,10000] [-for 2s] [-mixed] [-json]
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	oparego "github.com/open-policy-agent/opa/v1/rego"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy"
)

// row is the time from a typed query to an answer, on one goroutine.
type row struct {
	Engine    string  `json:"engine"`
	Rules     int     `json:"rules"`
	Decisions int     `json:"decisions"`
	LoadMs    int64   `json:"load_ms"`
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
	CPU       float64 `json:"cpu_us"`        // a decision, of all processes that take part
	Allocs    uint64  `json:"allocs_per_op"` // of this process
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "opa:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 2 && args[0] == serveCommand {
		return serve(ctx, args[1], out)
	}
	f := flag.NewFlagSet("opa", flag.ContinueOnError)
	sizes := f.String("rules", "40,1000,10000", "sizes of the generated policies")
	length := f.Duration("for", 2*time.Second, "how long a row is measured")
	mixed := f.Bool("mixed", false, "half of the rules name no tool")
	asJSON := f.Bool("json", false, "print JSON")
	if err := f.Parse(args); err != nil {
		return err
	}
	var rows []row
	for s := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return fmt.Errorf("-rules: %q is no number from 1 on", s)
		}
		got, err := measure(ctx, n, !*mixed, *length)
		if err != nil {
			return err
		}
		rows = append(rows, got...)
	}
	if *asJSON {
		return json.NewEncoder(out).Encode(rows)
	}
	return text(out, rows)
}

// engine answers a query; spent is what processes beside ours have used.
type engine struct {
	name   string
	decide func(q *action.Query) error
	spent  func() time.Duration
	load   time.Duration
	close  func() error
}

func measure(ctx context.Context, rules int, scoped bool, length time.Duration) ([]row, error) {
	source, queries := policy.BenchSource(rules, scoped)
	ours := func(name, kind string) func() (engine, error) {
		return func() (engine, error) {
			return own(ctx, name, func() (*policy.Compiled, error) { return policy.BenchLoad(kind, rules, scoped) })
		}
	}
	var rows []row
	for _, open := range []func() (engine, error){
		ours("sallyport, Rego", "rego"), ours("sallyport, Cedar", "cedar"), ours("OPA, embedded, tuned", "topdown"),
		func() (engine, error) { return embedded(ctx, source) }, func() (engine, error) { return server(ctx, source) },
	} {
		e, err := open()
		if err != nil {
			return nil, err
		}
		r, err := e.measure(ctx, queries, length)
		r.Rules = rules
		rows = append(rows, r)
		if err := errors.Join(err, e.close()); err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return rows, nil
}

func (e *engine) measure(ctx context.Context, queries []*action.Query, length time.Duration) (row, error) {
	r := row{Engine: e.name, LoadMs: e.load.Milliseconds()}
	for _, q := range queries {
		if err := e.decide(q); err != nil {
			return r, err
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu := ownCPU() + e.spent()
	var took []time.Duration
	for until := time.Now().Add(length); ctx.Err() == nil; {
		from := time.Now()
		if err := e.decide(queries[len(took)%len(queries)]); err != nil {
			return r, err
		}
		end := time.Now()
		took = append(took, end.Sub(from))
		if end.After(until) {
			break
		}
	}
	runtime.ReadMemStats(&after)
	n := len(took)
	r.Decisions, r.CPU = n, float64((ownCPU()+e.spent()-cpu).Nanoseconds())/1000/float64(n)
	r.Allocs = (after.Mallocs - before.Mallocs) / uint64(n)
	slices.Sort(took)
	at := func(percent int) float64 { return float64(took[min(n*percent/100, n-1)].Nanoseconds()) / 1000 }
	r.P50, r.P99 = at(50), at(99)
	return r, ctx.Err()
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func none() time.Duration { return 0 }

// own is an engine of an owner: compiled Rego, Cedar, or OPA's evaluator with terms in place of maps and JSON.
func own(ctx context.Context, name string, load func() (*policy.Compiled, error)) (engine, error) {
	from := time.Now()
	c, err := load()
	if err != nil {
		return engine{}, err
	}
	return engine{name: name, load: time.Since(from), spent: none, close: func() error { return nil },
		decide: func(q *action.Query) error {
			d, err := c.Decide(ctx, q)
			if err == nil && len(d.Errors) > 0 {
				err = errors.New(d.Errors[0])
			}
			return err
		}}, nil
}

// embedded is OPA as its manual embeds it: a prepared query over a map that was decoded from JSON.
func embedded(ctx context.Context, source string) (engine, error) {
	from := time.Now()
	prepared, err := oparego.New(oparego.Query("data.sallyport.bench"), oparego.Module("bench.rego", source)).PrepareForEval(ctx)
	if err != nil {
		return engine{}, err
	}
	return engine{name: "OPA, embedded", load: time.Since(from), spent: none, close: func() error { return nil },
		decide: func(q *action.Query) error {
			raw, err := action.Canonical(q)
			if err != nil {
				return err
			}
			var input map[string]any
			if err := json.Unmarshal(raw, &input); err != nil {
				return err
			}
			res, err := prepared.Eval(ctx, oparego.EvalInput(input))
			if err == nil && len(res) != 1 {
				err = errors.New("no answer")
			}
			return err
		}}, nil
}

// server is OPA's server in a process of its own, asked over a connection that is kept.
func server(ctx context.Context, source string) (engine, error) {
	from := time.Now()
	p, err := start(ctx, source)
	if err != nil {
		return engine{}, err
	}
	return engine{name: "OPA, server over HTTP", load: time.Since(from), spent: p.spent, close: p.close,
		decide: func(q *action.Query) error {
			raw, err := action.Canonical(q)
			if err != nil {
				return err
			}
			resp, err := http.Post(p.url+"/v1/data/sallyport/bench", "application/json", bytes.NewReader(slices.Concat([]byte(`{"input":`), raw, []byte(`}`))))
			if err != nil {
				return err
			}
			defer func() { _ = resp.Body.Close() }()
			var answer struct {
				Result map[string]any `json:"result"`
			}
			if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, resp.Body)
			if err == nil && (resp.StatusCode != http.StatusOK || answer.Result == nil) {
				err = fmt.Errorf("status %d without a result", resp.StatusCode)
			}
			return err
		}}, nil
}

func text(w io.Writer, rows []row) error {
	fmt.Fprintf(w, "%-24s %8s %10s %10s %10s %10s %8s %10s\n", "engine", "rules", "load ms", "p50 µs", "p99 µs", "CPU µs", "allocs", "p50 ratio")
	own := 0.0
	for _, r := range rows {
		if r.Engine == "sallyport, Rego" {
			own = r.P50
		}
		fmt.Fprintf(w, "%-24s %8d %10d %10.1f %10.1f %10.1f %8d %10.1f\n", r.Engine, r.Rules, r.LoadMs, r.P50, r.P99, r.CPU, r.Allocs, r.P50/own)
	}
	_, err := fmt.Fprintln(w, "\nFrom a typed query to the answer, one goroutine; loading compiled Rego includes the proof that it agrees with OPA.")
	return err
}
