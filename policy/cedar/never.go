// SPDX-License-Identifier: Apache-2.0

package cedar

import (
	"bytes"
	"iter"
	"maps"
	"reflect"
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/usage"
)

// Never reports whether no query of which known is true is answered by allow or ask: by what is known, no permit can match, or
// a forbid that asks nobody does. False says nothing. It is cedar-go's partial evaluation of each policy, and safe for concurrent use.
func (e *Evaluator) Never(known usage.Known) (never bool) {
	defer func() {
		if recover() != nil {
			never = false // a part of Cedar that partial evaluation does not know
		}
	}()
	env := e.beforehand(known)
	for r := range e.forbids.index.near(env.Resource.(cedar.EntityUID), env.Entities) {
		if left, kept := partial(env, r); r.match.Verdict != action.Ask && kept && len(left.Conditions) == 0 && unscoped(left) {
			return true
		}
	}
	for r := range e.permits.index.near(env.Resource.(cedar.EntityUID), env.Entities) {
		if _, kept := partial(env, r); kept {
			return false
		}
	}
	return true
}

// near yields every policy that a request for a resource can match, whatever its action and its principal; all of them if the
// resource is not known. It may yield one more than once.
func (x *index) near(resource cedar.EntityUID, in types.EntityGetter) iter.Seq[*rule] {
	return func(yield func(*rule) bool) {
		lists := [][]*rule{x.any}
		if _, known := in.Get(resource); known {
			for _, uid := range append(search{entities: in}.ancestors(resource), resource) {
				lists = append(lists, x.byResource[uid])
			}
		} else {
			lists = slices.AppendSeq(lists, maps.Values(x.byResource))
		}
		lists = slices.AppendSeq(slices.AppendSeq(lists, maps.Values(x.byAction)), maps.Values(x.byPrincipal))
		for _, list := range lists {
			for _, r := range list {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// partial evaluates one policy. An agent's roles are not known beforehand, so that one that names any sees no principal.
func partial(env eval.Env, r *rule) (left *ast.Policy, kept bool) {
	if r.roles {
		env.Principal = eval.Variable("principal")
	}
	return eval.PartialPolicy(env, (*ast.Policy)(r.policy.AST()))
}

func unscoped(p *ast.Policy) bool {
	all := ast.ScopeTypeAll{}
	return p.Principal == ast.IsPrincipalScopeNode(all) && p.Action == ast.IsActionScopeNode(all) && p.Resource == ast.IsResourceScopeNode(all)
}

// namesRoles reports whether a policy may speak of roles.
func namesRoles(p *cedar.Policy) (bool, error) {
	data, err := p.MarshalJSON()
	return bytes.Contains(data, []byte("Role")), err
}

// beforehand is a request of which only what is known is there.
func (e *Evaluator) beforehand(known usage.Known) eval.Env {
	who, what := eval.Variable("principal").(cedar.EntityUID), eval.Variable("resource").(cedar.EntityUID)
	q := action.NewQuery(action.Before)
	var tenant, server bool
	q.Subject.Tenant, tenant = known["subject.tenant"]
	q.Resource.Server, server = known["resource.server"]
	if id, ok := known["subject.id"]; ok && tenant {
		who = cedar.NewEntityUID("Agent", cedar.String(id))
	}
	if id, ok := known["resource.id"]; ok && server {
		what = cedar.NewEntityUID("Tool", cedar.String(id))
	}
	return eval.Env{Principal: who, Action: eval.Variable("action"), Resource: what, Context: e.plan.known(known),
		Entities: &environment{q: q, entities: &e.plan.entities, request: cedar.Request{Principal: who, Resource: what}}}
}

// known is the context as far as it is known. A record that policies see whole is unknown altogether.
func (p *plan) known(known usage.Known) cedar.Value {
	if p.seen.Whole() {
		return eval.Variable("context")
	}
	top := cedar.RecordMap{}
	for _, part := range p.top {
		name := string(part.name)
		if text, ok := known[name]; ok {
			top[part.name] = cedar.String(text)
			continue
		}
		top[part.name] = eval.Variable(part.name)
		if name == "params" {
			top[part.name] = p.params
		}
		f, ok := reflect.TypeFor[action.Query]().FieldByNameFunc(func(n string) bool {
			f, _ := reflect.TypeFor[action.Query]().FieldByName(n)
			return f.Tag.Get("json") == name
		})
		below, _ := p.seen.Field(name)
		if !ok || below == nil || f.Type.Kind() != reflect.Struct {
			continue
		}
		fields := cedar.RecordMap{}
		for i := range f.Type.NumField() {
			member := f.Type.Field(i).Tag.Get("json")
			if text, ok := known[name+"."+member]; ok {
				fields[cedar.String(member)] = cedar.String(text)
			} else if _, seen := below.Field(member); seen {
				fields[cedar.String(member)] = eval.Variable(cedar.String(name + "." + member))
			}
		}
		top[part.name] = cedar.NewRecord(fields)
	}
	return cedar.NewRecord(top)
}
