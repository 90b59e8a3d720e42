// SPDX-License-Identifier: Apache-2.0

package opa

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/test/cases"
	"github.com/open-policy-agent/opa/v1/test/cases/testdata"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/rego"
)

// conformance reads the cases that OPA is tested with, which lie in its module.
func conformance(t *testing.T) (out []cases.TestCase) {
	err := fs.WalkDir(testdata.V1, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(testdata.V1, path)
		if err != nil {
			return err
		}
		var set cases.Set
		if err := util.Unmarshal(data, &set); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		out = append(out, set.Cases...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var update = flag.Bool("update", false, "write testdata/not-run.txt anew")

// needs returns the withheld built-in that a case calls, "" if it calls none.
func needs(k *cases.TestCase) string {
	all := ast.ParserOptions{RegoVersion: ast.RegoV1}
	found := ""
	look := func(x any) {
		ast.WalkRefs(x, func(r ast.Ref) bool {
			if why := Withheld(r.String()); why != "" && found == "" {
				found = r.String()
			}
			return false
		})
	}
	for i, text := range k.Modules {
		if m, err := ast.ParseModuleWithOpts(fmt.Sprint(i), text, all); err == nil {
			look(m)
		}
	}
	if b, err := ast.ParseBody(k.Query); err == nil {
		look(b)
	}
	return found
}

func caseFiles(k *cases.TestCase) (out []rego.File) {
	for i, text := range k.Modules {
		out = append(out, rego.File{Name: fmt.Sprintf("test-%d.rego", i), Data: []byte(text)})
	}
	return out
}

func caseInput(t *testing.T, k *cases.TestCase) *ast.Term {
	switch {
	case k.InputTerm != nil:
		return ast.MustParseTerm(*k.InputTerm)
	case k.Input != nil:
		return ast.NewTerm(ast.MustInterfaceToValue(*k.Input))
	}
	return nil
}

// evaluator is what New makes, without a document that decides.
func evaluator(t *testing.T, k *cases.TestCase) *Evaluator {
	e := &Evaluator{limit: time.Minute, lenient: !k.StrictError}
	modules := map[string]*ast.Module{}
	var err error
	if len(k.Modules) > 0 {
		if modules, err = Parse(caseFiles(k), false); err != nil {
			t.Fatal(err)
		}
	}
	if e.compiler, err = compile(modules); err != nil {
		t.Fatal(err)
	}
	data := []byte("{}")
	if k.Data != nil {
		if data, err = json.Marshal(*k.Data); err != nil {
			t.Fatal(err)
		}
	}
	if e.store, e.txn, err = rego.NewStore(data); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestConformanceCasesGetTheAnswersOfOPA runs the cases that OPA is tested with through the evaluator of this
// profile, and lists those that need a withheld built-in.
func TestConformanceCasesGetTheAnswersOfOPA(t *testing.T) {
	var not []string
	ran := 0
	for _, k := range conformance(t) {
		if name := needs(&k); name != "" {
			not = append(not, name+"\t"+k.Note)
			continue
		}
		if why := outside[k.Note]; why != "" {
			not = append(not, "-\t"+k.Note+"\t"+why)
			continue
		}
		ran++
		t.Run(k.Note, func(t *testing.T) { conforms(t, &k) })
	}
	slices.Sort(not)
	text := strings.Join(not, "\n") + "\n"
	if *update {
		if err := os.WriteFile("testdata/not-run.txt", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/not-run.txt")
	if err != nil || string(want) != text {
		t.Errorf("testdata/not-run.txt does not list what was left out (%v); -update writes it", err)
	}
	if ran < 1990 {
		t.Errorf("only %d cases ran", ran)
	}
	t.Logf("%d cases ran, %d need a withheld built-in", ran, len(not))
}

// outside are cases that test something else than the language.
var outside = map[string]string{"time/time caching": "it needs a built-in of OPA's own tests (test.sleep)"}

func conforms(t *testing.T, k *cases.TestCase) {
	for name, value := range k.Env {
		t.Setenv(name, value)
	}
	e := evaluator(t, k)
	body, err := e.compiler.QueryCompiler().Compile(ast.MustParseBody(k.Query))
	if err != nil {
		t.Fatal(err)
	}
	got := ast.NewSet()
	err = e.each(t.Context(), body, caseInput(t, k), time.Now(), func(r topdown.QueryResult) error {
		obj := ast.NewObject()
		for name, term := range r {
			v, err := ast.JSON(term.Value)
			if err != nil {
				return err
			}
			if list, ok := v.([]any); ok && k.SortBindings {
				slices.SortFunc(list, util.Compare)
			}
			if !k.IgnoreGeneratedVars || !strings.HasPrefix(string(name), "__localq") {
				obj.Insert(ast.StringTerm(string(name)), ast.NewTerm(ast.MustInterfaceToValue(v)))
			}
		}
		got.Add(ast.NewTerm(obj))
		return nil
	})
	var te *topdown.Error
	switch {
	case k.WantError != nil && (err == nil || !strings.Contains(err.Error(), *k.WantError)):
		t.Errorf("error %v, not %q", err, *k.WantError)
	case k.WantErrorCode != nil && (!errors.As(err, &te) || te.Code != *k.WantErrorCode):
		t.Errorf("error %v, not of code %q", err, *k.WantErrorCode)
	case k.WantError != nil || k.WantErrorCode != nil:
		return
	case err != nil:
		t.Fatal(err)
	case k.WantResult == nil:
		t.Fatal("the case wants nothing")
	}
	want := ast.NewSet()
	for _, b := range *k.WantResult {
		obj := ast.NewObject()
		for name, v := range b {
			obj.Insert(ast.StringTerm(name), ast.NewTerm(ast.MustInterfaceToValue(v)))
		}
		want.Add(ast.NewTerm(obj))
	}
	if want.Compare(got) != 0 {
		t.Errorf("%v, not %v", got, want)
	}
}

// TestConformanceCasesAreDecided takes each case that asks for one document as a policy of this profile: it permits
// where OPA says true, and denies everything else, errors included.
func TestConformanceCasesAreDecided(t *testing.T) {
	allowed, denied := 0, 0
	for _, k := range conformance(t) {
		body, err := ast.ParseBody(k.Query)
		if err != nil || len(body) != 1 || !body[0].IsEquality() || needs(&k) != "" || k.InputTerm != nil || outside[k.Note] != "" || k.Input == nil && strings.Contains(strings.Join(k.Modules, ""), "input") {
			continue
		}
		ref, ok := body[0].Operand(0).Value.(ast.Ref)
		value, isVar := body[0].Operand(1).Value.(ast.Var)
		if !ok || !isVar || !ref.IsGround() || !ref.HasPrefix(ast.DefaultRootRef) {
			continue
		}
		cfg := Config{Files: caseFiles(&k), Entrypoint: ref.String(), Lenient: !k.StrictError, Limit: time.Minute,
			Accepted: func(rego.Finding) (string, bool) { return "as OPA does", true }}
		if k.Input != nil {
			cfg.Mappings = []Mapping{{Tool: "*", Input: quoted(*k.Input)}}
		}
		if k.Data != nil {
			data, err := json.Marshal(*k.Data)
			if err != nil {
				t.Fatal(err)
			}
			cfg.Data = []rego.File{{Name: "data.json", Data: data}}
		}
		e, err := New(cfg)
		if err != nil {
			continue // the document is data, not made by a rule, or OPA's compiler refuses it
		}
		q := action.NewQuery(action.Before)
		q.Context.Time.UnixMilli = 1_700_000_000_000
		d, err := e.Decide(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		want := action.Deny
		if k.WantResult != nil && k.WantError == nil && k.WantErrorCode == nil && len(*k.WantResult) == 1 && (*k.WantResult)[0][string(value)] == true {
			want = action.Allow
			allowed++
		} else {
			denied++
		}
		if d.Verdict != want {
			t.Errorf("%s: %s, not %s: %v", k.Note, d.Verdict, want, d.Errors)
		}
	}
	if allowed < 100 || denied < 100 {
		t.Errorf("only %d cases permit and %d deny", allowed, denied)
	}
	t.Logf("%d cases permit and %d deny, as OPA's answer says", allowed, denied)
}

// quoted is v with texts that a mapping takes as they are.
func quoted(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, v := range v {
			out[k] = quoted(v)
		}
		return out
	case []any:
		out := []any{}
		for _, v := range v {
			out = append(out, quoted(v))
		}
		return out
	case string:
		if strings.HasPrefix(v, "$") {
			return "$" + v
		}
	}
	return v
}
