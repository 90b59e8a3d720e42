// SPDX-License-Identifier: Apache-2.0

// Package opa runs policies that were written for OPA, unchanged, under the profile opa.
//
// # The profile opa
//
// One or two documents of the policy decide. The entrypoint permits if it is true; false, undefined and anything
// else deny. The refusals, a set, list or object, deny unless they are there and empty. With both, both must permit.
// What the policy reads as its input is made from agent.v1 by a mapping for the tool at hand; where there is none,
// the answer is deny. Both gates ask the same policy: what was mapped from the action stands in the input of gate
// two as it did before, so that a result goes back where the action would be permitted still.
//
// # What is different from OPA
//
// A built-in that errs denies, unless Config.Lenient keeps OPA's habit of leaving the value undefined. The clock
// (time.now_ns) is the time in the query, so that a recorded decision replays. Built-ins that answer differently
// tomorrow, reach the network or make gigabytes of a few bytes are not there, and a policy that names one does not
// load; Withheld says why.
//
// # What fails closed
//
// Policies of this kind were written over untyped input, where most conditions are silently false if a value is
// missing. New refuses each place where that would permit something, until the bundle accepts it by name.
package opa

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"
	"go.yaml.in/yaml/v3"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/rego"
)

// Config is what an Evaluator is made of.
type Config struct {
	Files      []rego.File   // *.rego
	Data       []rego.File   // data.json, data.yaml: each lies at the path of its folder
	Entrypoint string        // "a/b/allow" or "data.a.b.allow"; "" if Refusals decide alone
	Refusals   string        // likewise; "" if Entrypoint decides alone
	V0         bool          // the language as it was before OPA 1.0
	Lenient    bool          // a built-in's error is undefined instead of a denial
	Mappings   []Mapping     // the first whose tool fits is taken; none at all hands over agent.v1 itself
	Limit      time.Duration // 0 means rego.DefaultLimit

	// Accepted reports whether the bundle accepts this finding, and why; nil accepts nothing.
	Accepted func(f rego.Finding) (why string, ok bool)
}

// Evaluator decides. It is immutable and safe for concurrent use.
type Evaluator struct {
	compiler *ast.Compiler
	store    storage.Store
	txn      storage.Transaction
	body     ast.Body
	entry    ast.Ref // nil if there is none
	refusals ast.Ref
	maps     []*mapping
	input    *rego.Input
	limit    time.Duration
	lenient  bool
	clock    bool // the policy reads the time
	words    map[string]bool
	findings []rego.Finding
}

// answer is the one query's variable: [[value of the entrypoint], [value of the refusals]], inner lists empty where
// it is undefined.
const answer = ast.Var("answer")

// New compiles the files. It errs with file and line for what OPA refuses, for built-ins that are withheld, and for
// findings that would let something pass silently and are not accepted (ErrRisk).
func New(cfg Config) (*Evaluator, error) {
	e := &Evaluator{limit: cfg.Limit, lenient: cfg.Lenient, words: map[string]bool{}}
	if e.limit == 0 {
		e.limit = rego.DefaultLimit
	}
	var err error
	if e.entry, err = entrypoint(cfg.Entrypoint); err != nil {
		return nil, fmt.Errorf("opa: entrypoint: %w", err)
	}
	if e.refusals, err = entrypoint(cfg.Refusals); err != nil {
		return nil, fmt.Errorf("opa: refusals: %w", err)
	}
	if e.entry == nil && e.refusals == nil {
		return nil, errors.New("opa: an entrypoint or refusals must be named")
	}
	modules, err := Parse(cfg.Files, cfg.V0)
	if err != nil {
		return nil, err
	}
	if e.compiler, err = compile(modules); err != nil {
		return nil, err
	}
	for _, ref := range []ast.Ref{e.entry, e.refusals} {
		if ref != nil && len(e.compiler.GetRules(ref)) == 0 {
			return nil, fmt.Errorf("opa: no rule makes %s", ref)
		}
	}
	if err := e.load(cfg.Data); err != nil {
		return nil, err
	}
	if e.maps, e.input, err = mappings(cfg.Mappings); err != nil {
		return nil, err
	}
	if e.body, err = e.query(); err != nil {
		return nil, err
	}
	e.look()
	return e, e.accept(cfg.Accepted)
}

// Parse reads the files, in Rego v1 or as it was before OPA 1.0.
func Parse(files []rego.File, v0 bool) (map[string]*ast.Module, error) {
	o := ast.ParserOptions{RegoVersion: ast.RegoV1, Capabilities: capabilities(), ProcessAnnotation: true}
	if v0 {
		o.RegoVersion = ast.RegoV0
	}
	out := map[string]*ast.Module{}
	for _, f := range files {
		m, err := ast.ParseModuleWithOpts(f.Name, string(f.Data), o)
		if err != nil {
			return nil, fmt.Errorf("opa: %w", err)
		}
		if m == nil {
			return nil, fmt.Errorf("opa: %s: empty file", f.Name)
		}
		out[f.Name] = m
	}
	if len(out) == 0 {
		return nil, errors.New("opa: there is no policy")
	}
	return out, nil
}

func compile(modules map[string]*ast.Module) (*ast.Compiler, error) {
	c := ast.NewCompiler().WithCapabilities(capabilities())
	if c.Compile(modules); !c.Failed() {
		return c, nil
	}
	for _, err := range c.Errors {
		if name, ok := strings.CutPrefix(err.Message, "undefined function "); ok && err.Location != nil {
			if why := Withheld(name); why != "" {
				return nil, fmt.Errorf("opa: %s:%d: %s is withheld: %s", err.Location.File, err.Location.Row, name, why)
			}
		}
	}
	return nil, fmt.Errorf("opa: %w", c.Errors)
}

// entrypoint reads "a/b/c" and "data.a.b.c".
func entrypoint(s string) (ast.Ref, error) {
	if s == "" {
		return nil, nil
	}
	if !strings.HasPrefix(s, "data.") && !strings.HasPrefix(s, "data[") {
		ref := ast.Ref{ast.DefaultRootDocument}
		for part := range strings.SplitSeq(s, "/") {
			if part == "" {
				return nil, fmt.Errorf("%q has an empty part", action.Clip(s, 200))
			}
			ref = append(ref, ast.StringTerm(part))
		}
		return ref, nil
	}
	ref, err := ast.ParseRef(s)
	if err != nil || !ref.IsGround() {
		return nil, fmt.Errorf("%q is no reference to a document", action.Clip(s, 200))
	}
	return ref, nil
}

func (e *Evaluator) query() (ast.Body, error) {
	one := func(ref ast.Ref) string {
		if ref == nil {
			return "[]"
		}
		return fmt.Sprintf("[x | x = %s]", ref)
	}
	parsed, err := ast.ParseBodyWithOpts(fmt.Sprintf("answer = [%s, %s]", one(e.entry), one(e.refusals)), ast.ParserOptions{Capabilities: capabilities()})
	if err != nil {
		return nil, fmt.Errorf("opa: query: %w", err)
	}
	body, err := e.compiler.QueryCompiler().Compile(parsed)
	if err != nil {
		return nil, fmt.Errorf("opa: query: %w", err)
	}
	return body, nil
}

// load puts each file of data at the path of its folder; two files must not say the same.
func (e *Evaluator) load(files []rego.File) error {
	top := map[string]any{}
	for _, f := range files {
		base := path.Base(f.Name)
		if base != "data.json" && base != "data.yaml" {
			return fmt.Errorf("opa: %s: data lies in files named data.json or data.yaml", f.Name)
		}
		var v any
		if err := yaml.Unmarshal(f.Data, &v); err != nil {
			return fmt.Errorf("opa: %s: %w", f.Name, err)
		}
		m, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("opa: %s: an object is wanted", f.Name)
		}
		if dir := path.Dir(f.Name); dir != "." {
			parts := strings.Split(dir, "/")
			for _, p := range slices.Backward(parts) {
				m = map[string]any{p: m}
			}
		}
		if err := merge(top, m, ""); err != nil {
			return fmt.Errorf("opa: %s: %w", f.Name, err)
		}
	}
	data, err := json.Marshal(top, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("opa: data: %w", err)
	}
	if e.store, e.txn, err = rego.NewStore(data); err != nil {
		return fmt.Errorf("opa: data: %w", err)
	}
	return nil
}

func merge(to, from map[string]any, at string) error {
	for k, v := range from {
		old, met := to[k]
		a, ok1 := old.(map[string]any)
		b, ok2 := v.(map[string]any)
		switch {
		case !met:
			to[k] = v
		case ok1 && ok2:
			if err := merge(a, b, at+"/"+k); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%q stands in another file, too", action.Clip(at+"/"+k, 200))
		}
	}
	return nil
}

// Engine names the engine as it stands in each decision.
func (e *Evaluator) Engine() action.Engine {
	return action.Engine{Name: "opa", Version: rego.Version}
}

// Findings lists what was accepted, in the order of files and lines.
func (e *Evaluator) Findings() []rego.Finding { return e.findings }

// Rules returns the names under which the profile decides, sorted.
func (e *Evaluator) Rules() []string { return []string{"opa.allow", "opa.deny"} }

var noMetrics = metrics.NoOp()

// each runs body over input and calls fn with every answer. The clock is at now.
func (e *Evaluator) each(ctx context.Context, body ast.Body, input *ast.Term, now time.Time, fn func(topdown.QueryResult) error) error {
	cancel := topdown.NewCancel()
	timer := time.AfterFunc(e.limit, cancel.Cancel)
	defer timer.Stop()
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, cancel.Cancel)()
	}
	q := topdown.NewQuery(body).WithCompiler(e.compiler).WithStore(e.store).WithTransaction(e.txn).WithCancel(cancel).
		WithMetrics(noMetrics).WithStrictBuiltinErrors(!e.lenient).WithSeed(bytes.NewReader(make([]byte, 64))).WithTime(now)
	if input != nil {
		q = q.WithInput(input)
	}
	return q.Iter(ctx, fn)
}
