// SPDX-License-Identifier: Apache-2.0

package opa

import (
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"

	"github.com/sallyport/sallyport/policy/rego"
)

// Migration is a set of policies rewritten as far as that provably changes nothing.
type Migration struct {
	Files []rego.File    // as they are to be used
	V0    bool           // the files stay in the language as it was before OPA 1.0
	Notes []rego.Finding // what a person has to look at: "withheld" and "not-rewritten"
}

// Migrate takes policies of either language. Those of the older one are rewritten to the newer, with its import; all
// stay as they are unless OPA's compiler makes the same rules of both. It errs on what OPA cannot read.
func Migrate(files []rego.File) (*Migration, error) {
	m := &Migration{Files: slices.Clone(files)}
	old, older, err := readEither(files)
	if err != nil {
		return nil, err
	}
	m.withheld(old)
	if len(older) == 0 {
		return m, nil
	}
	rewritten := slices.Clone(files)
	for i, f := range rewritten {
		text, err := format.AstWithOpts(old[f.Name], format.Opts{RegoVersion: ast.RegoV0CompatV1})
		if err != nil {
			return m.stay(f.Name, 1, err.Error()), nil
		}
		rewritten[i].Data = text
	}
	now, older, err := readEither(rewritten)
	switch {
	case err != nil:
		return m.stay(files[0].Name, 1, err.Error()), nil
	case len(older) > 0:
		return m.stay(older[0], 1, "the rewritten text is still in the older language"), nil
	}
	if file, line, ok := same(old, now); !ok {
		return m.stay(file, line, "OPA's compiler makes another rule of the rewritten text"), nil
	}
	m.Files = rewritten
	return m, nil
}

// stay keeps all files in the older language.
func (m *Migration) stay(file string, line int, why string) *Migration {
	m.V0 = true
	m.Notes = append(m.Notes, rego.Finding{Lint: "not-rewritten", File: file, Line: line, Text: why})
	return m
}

// readEither parses each file as Rego v1 or else as v0, with all of OPA's built-ins, and lists those that are v0.
func readEither(files []rego.File) (out map[string]*ast.Module, older []string, err error) {
	out = map[string]*ast.Module{}
	for _, f := range files {
		m, err := ast.ParseModuleWithOpts(f.Name, string(f.Data), ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			var err0 error
			if m, err0 = ast.ParseModuleWithOpts(f.Name, string(f.Data), ast.ParserOptions{RegoVersion: ast.RegoV0}); err0 != nil {
				return nil, nil, fmt.Errorf("opa: %w", err)
			}
			older = append(older, f.Name)
		}
		if m == nil {
			return nil, nil, fmt.Errorf("opa: %s: empty file", f.Name)
		}
		out[f.Name] = m
	}
	return out, older, nil
}

// same reports whether the compiler makes the same rules of both, and where not.
func same(a, b map[string]*ast.Module) (file string, line int, ok bool) {
	before, err1 := compiled(a)
	after, err2 := compiled(b)
	if err1 != nil || err2 != nil {
		return "", 0, false
	}
	for name, m := range before {
		n := after[name]
		if n == nil || len(m.Rules) != len(n.Rules) {
			return name, 1, false
		}
		for i, r := range m.Rules {
			// "=" and ":=" in a head differ only in what the compiler refuses, and it refused neither.
			r.Head.Assign, n.Rules[i].Head.Assign = false, false
			if !r.Equal(n.Rules[i]) {
				return name, r.Location.Row, false
			}
		}
	}
	return "", 0, true
}

func compiled(modules map[string]*ast.Module) (map[string]*ast.Module, error) {
	copies := map[string]*ast.Module{}
	for name, m := range modules {
		copies[name] = m.Copy()
	}
	c := ast.NewCompiler()
	if c.Compile(copies); c.Failed() {
		return nil, c.Errors
	}
	return c.Modules, nil
}

// withheld notes each call of a built-in that is not there.
func (m *Migration) withheld(modules map[string]*ast.Module) {
	for name, module := range modules {
		ast.WalkExprs(module, func(e *ast.Expr) bool {
			if e.IsCall() {
				m.call(name, e.Operator().String(), e.Location)
			}
			return false
		})
		ast.WalkTerms(module, func(t *ast.Term) bool {
			if call, ok := t.Value.(ast.Call); ok && len(call) > 0 {
				m.call(name, call[0].String(), t.Location)
			}
			return false
		})
	}
	slices.SortFunc(m.Notes, func(a, b rego.Finding) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		return a.Line - b.Line
	})
}

func (m *Migration) call(file, name string, at *ast.Location) {
	if why := Withheld(name); why != "" && at != nil {
		m.Notes = append(m.Notes, rego.Finding{Lint: "withheld", Error: true, File: file, Line: at.Row, Text: name + " is withheld: " + why})
	}
}
