// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"context"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/tester"
)

// testLimit bounds one of Rego's own tests.
const testLimit = 5 * time.Second

// Tested is what came of one rule whose name begins with test_.
type Tested struct {
	File string
	Line int
	Name string // with its package
	Why  string // "" if it passed
}

// RunTests runs Rego's own tests, as "opa test" does, beside the files of cfg and with its parameters as data.params.
// Built-ins are those that policies may use. An error means that the tests could not be run at all.
func RunTests(ctx context.Context, cfg Config, tests []File) ([]Tested, error) {
	modules := map[string]*ast.Module{}
	for _, f := range append(append([]File{}, cfg.Files...), tests...) {
		m, err := ast.ParseModuleWithOpts(f.Name, string(f.Data), ast.ParserOptions{Capabilities: capabilities(), ProcessAnnotation: true})
		if err != nil {
			return nil, fmt.Errorf("rego: %w", err)
		}
		if m == nil {
			return nil, fmt.Errorf("rego: %s: empty file", f.Name)
		}
		modules[f.Name] = m
	}
	var e Evaluator
	if err := e.load(cfg.Params); err != nil {
		return nil, err
	}
	runner := tester.NewRunner().SetCompiler(ast.NewCompiler().WithCapabilities(capabilities()).WithStrict(true)).
		SetStore(e.store).SetTimeout(testLimit).SetModules(modules)
	results, err := runner.RunTests(ctx, e.txn)
	if err != nil {
		return nil, fmt.Errorf("rego: %w", err)
	}
	var out []Tested
	for r := range results {
		t := Tested{Name: r.Package + "." + r.Name}
		if r.Location != nil {
			t.File, t.Line = r.Location.File, r.Location.Row
		}
		switch {
		case r.Error != nil:
			t.Why = r.Error.Error()
		case r.Skip:
			t.Why = "it is put off (todo_), and proves nothing"
		case r.Fail:
			t.Why = "it is not true"
		}
		out = append(out, t)
	}
	return out, ctx.Err()
}
