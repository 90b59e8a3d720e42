// SPDX-License-Identifier: Apache-2.0

package cedar

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/cedar-policy/cedar-go"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/bundle"
)

// plainly decides by the policies as they were written, over a context that was built whole.
func plainly(e *Evaluator, q *action.Query) action.Decision {
	d := action.Decision{Verdict: action.Deny, Engines: []action.Engine{e.Engine()}}
	env := e.plan.environment(q)
	defer e.plan.done(env)
	env.request.Context = e.plan.record(q)
	both := [2]cedar.Diagnostic{}
	for i, l := range []list{e.permits, e.forbids} {
		set := cedar.NewPolicySet()
		for _, r := range l.rules {
			set.Add(r.id, r.policy)
		}
		_, both[i] = cedar.Authorize(set, env, env.request)
	}
	e.fold(&d, both[0], both[1])
	return d
}

// scatter puts anything to every fact of v.
func scatter(r *rand.Rand, v reflect.Value) {
	switch words, ok := v.Interface().(enumerated); {
	case ok && v.Kind() == reflect.String:
		all := append([]string{"", "off its list"}, words.Values()...)
		v.SetString(all[r.IntN(len(all))])
		return
	case v.Type() == rawType:
		v.SetBytes([]byte([]string{``, `{}`, `{"a":{"b":[1,{"c":"x"}]},"amount":7,"to":"eve"}`}[r.IntN(3)]))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			scatter(r, v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(4), 4))
		for i := range v.Len() {
			scatter(r, v.Index(i))
		}
	case reflect.String:
		v.SetString([]string{"", "a", "crm", "crm/list", "docs.example", "x_drop", "economy"}[r.IntN(7)])
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int, reflect.Int64:
		v.SetInt([]int64{-1, 0, 1, 3, 400, 999, 1001, action.MaxNumber}[r.IntN(8)])
	}
}

func TestFactsDecideLikeTheContext(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and nothing in it is concurrent")
	}
	evaluators := map[string]*Evaluator{}
	for _, pack := range []string{"cedar-example", "airline-cedar"} {
		b, err := bundle.Open(filepath.Join("..", "..", "policies", pack), nil)
		if err != nil {
			t.Fatal(err)
		}
		cfg := Config{Params: b.Params}
		for _, f := range b.Policies(".cedar") {
			cfg.Files = append(cfg.Files, File(f))
		}
		if evaluators[pack], err = New(cfg); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("testdata/facts.cedar")
	if err != nil {
		t.Fatal(err)
	}
	own, err := New(Config{Files: []File{{Name: "facts.cedar", Data: text}}, Params: bundle.Params{Hosts: []string{"crm", "docs.example"}}})
	if err != nil {
		t.Fatal(err)
	}
	evaluators["testdata/facts.cedar"] = own
	for name, e := range evaluators {
		r := rand.New(rand.NewPCG(3, 4))
		fired, erred := map[string]bool{}, 0
		for i := range 600 {
			q := action.NewQuery(action.Before)
			scatter(r, reflect.ValueOf(q).Elem())
			got, err := e.Decide(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			want := plainly(e, q)
			erred += len(want.Errors)
			if len(got.Errors) != len(want.Errors) {
				t.Fatalf("%s: document %d: errors %q, want %q", name, i, got.Errors, want.Errors)
			}
			got.Errors, want.Errors = nil, nil // an error calls the same thing by another name
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%s: document %d: %+v, want %+v", name, i, got, want)
			}
			for _, m := range got.Matches {
				fired[m.ID] = true
			}
		}
		if e == own && (len(fired) < len(e.Rules()) || erred == 0) {
			t.Errorf("only %v of %v fired, %d errors", fired, e.Rules(), erred)
		}
	}
}
