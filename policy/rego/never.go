// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"context"
	"maps"
	"reflect"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/usage"
)

// Never reports whether no query of which known is true is answered by allow or ask: every rule that would is out of the
// question by what is known, or one that refuses holds by that alone. False says nothing. known has the same paths at each call
// for one evaluator; it takes microseconds. It is safe for concurrent use.
//
// A body is out of the question if its conditions that rest on nothing but known facts, parameters and constants do not hold
// together, or if a helper that it needs is. What it rests on besides, it may or may not be true. Of the helpers only those
// without arguments are looked into that are true or nothing; anything else counts as open.
func (e *Evaluator) Never(known usage.Known) (never bool) {
	defer func() {
		if recover() != nil {
			never = false
		}
	}()
	if e.fast == nil || e.trust.Load() != trusted {
		return false
	}
	o := e.outlook.Load()
	if o == nil {
		o = e.foresee(known)
		e.outlook.Store(o)
	}
	if !known.About(o.paths) {
		return false
	}
	w := o.pool.Get().(*watch)
	defer o.pool.Put(w)
	for i, at := range o.at {
		w.root.FieldByIndex(at).SetString(known[o.paths[i]])
	}
	m := &w.machine
	m.begin(w.q)
	for _, b := range o.refuses {
		if b(m) == surely {
			return !m.left
		}
	}
	for _, b := range o.permits {
		if b(m) != no_ {
			return false
		}
	}
	return !m.left
}

// chance is what is known of a condition beforehand. Its zero value says nothing.
type chance int8

const (
	perhaps chance = iota
	no_
	surely
)

// outlook is the rules of all packs as far as they rest on facts that are known beforehand.
type outlook struct {
	paths            []string // that are known
	at               [][]int  // their fields
	refuses, permits []func(m *machine) chance
	pool             sync.Pool
}

// watch is a machine with a query of its own.
type watch struct {
	machine
	root reflect.Value // of q
	q    *action.Query
}

// foresight compiles bodies for an outlook.
type foresight struct {
	*compilation
	known   map[string]bool // references: "input.resource.name"
	rested  map[*ast.Rule]bool
	helpers map[string]func(m *machine) chance
}

// foresee makes the outlook for a set of paths. What cannot be compiled is open.
func (e *Evaluator) foresee(known usage.Known) *outlook {
	out := &outlook{paths: known.Paths()}
	for _, path := range out.paths {
		out.at = append(out.at, fieldAt(path))
	}
	f := &foresight{known: map[string]bool{}, rested: map[*ast.Rule]bool{}, helpers: map[string]func(m *machine) chance{}}
	for path := range known {
		f.known["input."+path] = true
	}
	params, err := e.store.Read(context.Background(), e.txn, storage.Path{"params"})
	data, ok := params.(ast.Value)
	if err != nil || !ok {
		out.permits = append(out.permits, func(*machine) chance { return perhaps })
		return out
	}
	f.compilation = newCompilation(e.compiler, data)
	for _, file := range sortedKeys(e.compiler.Modules) {
		for _, r := range e.compiler.Modules[file].Rules {
			switch string(r.Head.Name) {
			case "quarantine", "deny":
				out.refuses = append(out.refuses, f.body(r))
			case "ask", "allow":
				out.permits = append(out.permits, f.body(r))
			}
		}
	}
	c := f.compilation
	out.pool.New = func() any {
		q := action.NewQuery(action.Before)
		return &watch{machine: c.machine(0), q: q, root: reflect.ValueOf(q).Elem()}
	}
	return out
}

// body returns what is known of the body of r beforehand.
func (f *foresight) body(r *ast.Rule) func(m *machine) chance {
	fn := &function{}
	s := &scope{c: f.compilation, fn: fn, vars: map[ast.Var]*operand{}}
	certain := r.Else == nil
	var needs []func(m *machine) chance
	open := ast.VarSet{} // variables of what is unknown
	for _, e := range r.Body {
		if need := f.need(e); need != nil {
			needs = append(needs, need)
			continue
		}
		vars := locals(e)
		steps, loose, bound := s.steps, s.loose, maps.Clone(s.vars)
		if f.rests(e) && len(vars.Intersect(open)) == 0 && attempt(func() { s.expr(e) }) == "" {
			continue
		}
		s.steps, s.loose, s.vars, certain = steps, loose, bound, false
		for v := range vars {
			if s.vars[v] == nil {
				open.Add(v)
			}
		}
	}
	holds := s.exists()
	f.size = max(f.size, fn.size+fn.need)
	return func(m *machine) chance {
		if !holds(m) {
			return no_
		}
		all := surely
		for _, need := range needs {
			switch need(m) {
			case no_:
				return no_
			case perhaps:
				all = perhaps
			}
		}
		if !certain {
			return perhaps
		}
		return all
	}
}

// need returns what is known of a condition that is a helper without arguments, or its opposite; nil of any other.
func (f *foresight) need(e *ast.Expr) func(m *machine) chance {
	if len(e.With) > 0 {
		return nil
	}
	negated := e.Negated
	if n, ok := e.Terms.(*ast.Not); ok && len(n.Body) == 1 && !negated {
		negated, e = true, n.Body[0]
		if e.Negated || len(e.With) > 0 {
			return nil
		}
	}
	t, ok := e.Terms.(*ast.Term)
	if !ok {
		return nil
	}
	ref, ok := t.Value.(ast.Ref)
	if !ok || len(ref) != 4 || !ref[0].Equal(ast.DefaultRootDocument) || !ref.IsGround() || ref[1].Value.Compare(ast.String("params")) == 0 {
		return nil
	}
	helper := f.truth(ref)
	if helper == nil || !negated {
		return helper
	}
	return func(m *machine) chance {
		switch helper(m) {
		case no_:
			return surely
		case surely:
			return no_
		}
		return perhaps
	}
}

// truth returns what is known of a rule that is true or nothing, or true or false; nil for any other rule.
func (f *foresight) truth(ref ast.Ref) func(m *machine) chance {
	key := ref.String()
	if found, ok := f.helpers[key]; ok {
		return found
	}
	f.helpers[key] = nil
	var bodies []func(m *machine) chance
	for _, r := range f.compiler.GetRulesExact(ref) {
		h := r.Head
		switch {
		case h.RuleKind() == ast.MultiValue || h.Key != nil || len(h.Args) > 0 || r.Else != nil || len(h.Ref()) != 1:
			return nil
		case !h.Value.Equal(ast.InternedTerm(!r.Default)): // a default is to be false, all others true
			return nil
		case !r.Default:
			bodies = append(bodies, f.body(r))
		}
	}
	i := f.memos
	f.memos++
	f.helpers[key] = func(m *machine) chance {
		if e := &m.memo[i]; e.gen != m.gen {
			e.gen, e.v.n = m.gen, int64(any_(m, bodies))
		}
		return chance(m.memo[i].v.n)
	}
	return f.helpers[key]
}

// any_ is what is known of several bodies of which one is enough.
func any_(m *machine, bodies []func(m *machine) chance) chance {
	best := no_
	for _, b := range bodies {
		switch b(m) {
		case surely:
			return surely
		case perhaps:
			best = perhaps
		}
	}
	return best
}

// rests reports whether x is about nothing but known facts, parameters and constants.
func (f *foresight) rests(x any) bool {
	ok := true
	var visit func(t *ast.Term) bool
	visit = func(t *ast.Term) bool {
		switch v := t.Value.(type) {
		case ast.Var:
			ok = ok && !v.Equal(ast.InputRootDocument.Value) && !v.Equal(ast.DefaultRootDocument.Value)
		case ast.Ref:
			switch {
			case v[0].Equal(ast.InputRootDocument):
				ok = ok && f.known[v.String()]
			case v[0].Equal(ast.DefaultRootDocument):
				ok = ok && f.data(v)
			}
			for _, part := range v[1:] {
				ast.WalkTerms(part, visit)
			}
			return true
		}
		return !ok
	}
	ast.WalkTerms(x, visit)
	return ok
}

// data reports whether what a reference to data says rests on what is known.
func (f *foresight) data(ref ast.Ref) bool {
	if len(ref) >= 2 && ref[1].Value.Compare(ast.String("params")) == 0 {
		return true
	}
	if len(ref) < 4 || !ref[:4].IsGround() {
		return false
	}
	rules := f.compiler.GetRulesExact(ref[:4])
	for _, r := range rules {
		rests, met := f.rested[r]
		if !met {
			rests = f.rests(r)
			f.rested[r] = rests
		}
		if !rests {
			return false
		}
	}
	return len(rules) > 0
}

// locals are the variables of e, those within comprehensions included.
func locals(e *ast.Expr) ast.VarSet {
	v := ast.NewVarVisitor().WithParams(ast.VarVisitorParams{SkipRefCallHead: true})
	v.Walk(e)
	return v.Vars().Diff(ast.ReservedVars)
}

// fieldAt is the field at a path of names. One that the query does not have panics, which foresees nothing.
func fieldAt(path string) (at []int) {
	t := queryType
	for name := range strings.SplitSeq(path, ".") {
		f, _ := t.FieldByNameFunc(func(n string) bool {
			f, _ := t.FieldByName(n)
			return f.Tag.Get("json") == name
		})
		at, t = append(at, f.Index...), f.Type
	}
	return at
}
