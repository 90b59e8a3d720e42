// SPDX-License-Identifier: Apache-2.0

package opa

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/rego"
)

func module(text string) []rego.File {
	return []rego.File{{Name: "p.rego", Data: []byte("package p\n\nimport rego.v1\n\n" + text)}}
}

func TestProfileNamesWhatFailsOpen(t *testing.T) {
	facts := []Mapping{{Tool: "*", Input: map[string]any{"tool": "$resource.name", "amount": "$action.arguments.amount", "fixed": 5, "args": "$action.arguments"}}}
	for name, c := range map[string]struct {
		entry, refusals, text string
		want                  []string // lint:line
	}{
		"a refusal over a value that may be absent": {"", "p/deny", `deny contains "x" if input.amount > 100`,
			[]string{"default-allow:5", "may-not-fire:5"}},
		"a refusal over a fact that is always there":   {"p/allow", "p/deny", "deny contains \"x\" if input.tool == \"rm\"\n\nallow if input.tool", nil},
		"a permission over a value that may be absent": {"p/allow", "", `allow if input.args.path == "/tmp"`, nil},
		"a permission unless something of a value": {"p/allow", "", "allow if {\n\tnot bad\n}\n\nbad if input.args.path == \"/etc\"",
			[]string{"may-not-fire:9"}},
		"the same through a name for a part of the input": {"p/allow", "", "args := input.args\n\nallow if {\n\tnot bad\n}\n\nbad if args.path == \"/etc\"",
			[]string{"may-not-fire:11", "may-not-fire:5"}},
		"the same through a variable": {"p/allow", "", "allow if {\n\tnot bad\n}\n\nbad if {\n\ta := input.args\n\ta.path == \"/etc\"\n}",
			[]string{"may-not-fire:10", "may-not-fire:11"}},
		"the same through the argument of a function": {"p/allow", "", "allow if {\n\tnot bad(input)\n}\n\nbad(x) if x.args.path == \"/etc\"",
			[]string{"may-not-fire:9"}},
		"a rule whose value is false": {"p/allow", "", "allow := true if input.tool\n\nallow := false if input.args.path == \"/etc\"",
			[]string{"may-not-fire:7"}},
		"a default that permits":                       {"p/allow", "", "default allow := true", []string{"default-allow:5"}},
		"a default that denies":                        {"p/allow", "", "default allow := false\n\nallow if input.tool", nil},
		"a permission below an amount":                 {"p/allow", "", "allow if input.amount < 100", []string{"cross-type:5"}},
		"the same once the type is known":              {"p/allow", "", "allow if {\n\tis_number(input.amount)\n\tinput.amount < 100\n}", nil},
		"a permission over a constant":                 {"p/allow", "", "allow if input.fixed < 100", nil},
		"a permission over a count":                    {"p/allow", "", "allow if count(input.args) < 3", nil},
		"a permission through a function of an amount": {"p/allow", "", "allow if small(input.amount)\n\nsmall(x) if x < 100", []string{"cross-type:7"}},
		"every of a list that may be empty":            {"p/allow", "", "allow if {\n\tevery x in input.args.list { x == 1 }\n}", nil},
		"no element of a comprehension": {"p/allow", "", "allow if count([x | some x in input.args.list; x.bad == true]) == 0",
			[]string{"may-not-fire:5"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			_, err := New(Config{Files: module(c.text), Entrypoint: c.entry, Refusals: c.refusals, Mappings: facts,
				Accepted: func(f rego.Finding) (string, bool) {
					got = append(got, fmt.Sprintf("%s:%d", f.Lint, f.Line))
					return "a test", true
				}})
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(got)
			if got = slices.Compact(got); !slices.Equal(got, c.want) {
				t.Errorf("found %q, not %q", got, c.want)
			}
			_, err = New(Config{Files: module(c.text), Entrypoint: c.entry, Refusals: c.refusals, Mappings: facts})
			if (len(c.want) > 0) != errors.Is(err, ErrRisk) {
				t.Errorf("nothing is accepted, and the answer is %v", err)
			}
		})
	}
}

func all(rego.Finding) (string, bool) { return "a test", true }

func TestDecideFailsClosed(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  Config
		args string
		want string // verdict and code
	}{
		"true permits":                      {Config{Entrypoint: "p/allow", Files: module("allow := true")}, `{}`, "allow permitted"},
		"false denies":                      {Config{Entrypoint: "p/allow", Files: module("allow := false")}, `{}`, "deny not-permitted"},
		"undefined denies":                  {Config{Entrypoint: "p/allow", Files: module("allow if input.action.arguments.x")}, `{}`, "deny undefined"},
		"a text is not true":                {Config{Entrypoint: "p/allow", Files: module(`allow := "true"`)}, `{}`, "deny not-permitted"},
		"an empty set permits":              {Config{Refusals: "p/deny", Files: module(`deny contains 1 if false`)}, `{}`, "allow permitted"},
		"a refusal denies":                  {Config{Refusals: "p/deny", Files: module(`deny contains 1`)}, `{}`, "deny refused"},
		"refusals that are undefined":       {Config{Refusals: "p/deny", Files: module(`deny := [1] if false`)}, `{}`, "deny undefined"},
		"refusals that are a number":        {Config{Refusals: "p/deny", Files: module(`deny := 0`)}, `{}`, "deny undefined"},
		"permitted and refused":             {Config{Entrypoint: "p/allow", Refusals: "p/deny", Files: module("allow := true\n\ndeny contains 1")}, `{}`, "deny refused"},
		"two values of one rule":            {Config{Entrypoint: "p/allow", Files: module("allow := true if input\n\nallow := false if input")}, `{}`, "deny evaluation-error"},
		"a built-in that errs":              {Config{Entrypoint: "p/allow", Files: module("allow if not bad\n\nbad if to_number(input.action.arguments.x) > 1")}, `{"x": "one"}`, "deny evaluation-error"},
		"the same with OPA's habit":         {Config{Lenient: true, Entrypoint: "p/allow", Files: module("allow if not bad\n\nbad if to_number(input.action.arguments.x) > 1")}, `{"x": "one"}`, "allow permitted"},
		"a tool that nothing is mapped for": {Config{Entrypoint: "p/allow", Files: module("allow := true"), Mappings: []Mapping{{Tool: "other/*", Input: "$"}}}, `{}`, "deny no-mapping"},
		"too long":                          {Config{Limit: 1, Entrypoint: "p/allow", Files: module("allow if count([1 | some i in s; some j in s; some k in s; concat(\"\", [i, j, k]) == \"x\"]) == 0\n\ns := [x | some x in split(\"" + strings.Repeat("a,", 3000) + "\", \",\")]")}, `{}`, "deny evaluation-error"},
		"the clock is the query's":          {Config{Entrypoint: "p/allow", Files: module("allow if time.now_ns() == 1700000000000000000")}, `{}`, "allow permitted"},
	} {
		t.Run(name, func(t *testing.T) {
			c.cfg.Accepted = all
			e, err := New(c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			q := action.NewQuery(action.Before)
			q.Resource.Server, q.Resource.Name, q.Resource.ID = "s", "t", "s/t"
			q.Action.Arguments = []byte(c.args)
			q.Context.Time.UnixMilli = 1_700_000_000_000
			d, err := e.Decide(t.Context(), q)
			if err != nil || len(d.Matches) != 1 {
				t.Fatalf("%v, %v", d, err)
			}
			if got := string(d.Verdict) + " " + d.Matches[0].Code; got != c.want {
				t.Errorf("%s, not %s: %v", got, c.want, d.Errors)
			}
		})
	}
}

func TestPolicyThatReadsTheClockNeedsTheTime(t *testing.T) {
	e, err := New(Config{Entrypoint: "p/allow", Files: module("allow if time.now_ns() > -1"), Accepted: all})
	if err != nil {
		t.Fatal(err)
	}
	q := action.NewQuery(action.Before)
	if d, _ := e.Decide(t.Context(), q); d.Verdict != action.Deny {
		t.Errorf("without a time: %s", d.Verdict)
	}
	q.Context.Time.UnixMilli = 1
	if d, _ := e.Decide(t.Context(), q); d.Verdict != action.Allow {
		t.Errorf("with a time: %s", d.Verdict)
	}
}

func TestReasonsQuoteThePolicyAndNeverTheInput(t *testing.T) {
	e, err := New(Config{Refusals: "p/deny", Accepted: all, Files: module("deny contains \"Not here.\"\n\ndeny contains input.action.arguments.text")})
	if err != nil {
		t.Fatal(err)
	}
	q := action.NewQuery(action.Before)
	q.Action.Arguments = []byte(`{"text": "a word of the agent"}`)
	d, err := e.Decide(t.Context(), q)
	if err != nil || len(d.Matches) != 1 {
		t.Fatal(d, err)
	}
	if r := d.Matches[0].Reason; !strings.Contains(r, "2 times") || !strings.Contains(r, "Not here.") || strings.Contains(r, "agent") {
		t.Errorf("reason: %s", r)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"nothing that decides":          {Config{Files: module("allow := true")}, "must be named"},
		"a document that no rule makes": {Config{Files: module("allow := true"), Entrypoint: "p/alow"}, "no rule makes"},
		"a path with an empty part":     {Config{Files: module("allow := true"), Entrypoint: "p//allow"}, "empty part"},
		"a path that is computed":       {Config{Files: module("allow := true"), Entrypoint: "data.p[x]"}, "no reference"},
		"the network":                   {Config{Files: module(`allow if http.send({"url": "https://x"})`), Entrypoint: "p/allow"}, "p.rego:5: http.send is withheld: it reaches the network"},
		"a tool that is no name":        {Config{Files: module("allow := true"), Entrypoint: "p/allow", Mappings: []Mapping{{Tool: "a/b*", Input: "$"}}}, "neither"},
		"a fact that does not exist":    {Config{Files: module("allow := true"), Entrypoint: "p/allow", Mappings: []Mapping{{Tool: "*", Input: "$action.efect"}}}, "agent.v1 has no action.efect"},
		"data that stands twice": {Config{Files: module("allow := true"), Entrypoint: "p/allow",
			Data: []rego.File{{Name: "data.json", Data: []byte(`{"a": {"b": 1}}`)}, {Name: "a/data.yaml", Data: []byte("b: 2")}}}, "stands in another file"},
		"the older language in the newer": {Config{Files: []rego.File{{Name: "p.rego", Data: []byte("package p\n\nallow { true }")}}, Entrypoint: "p/allow"}, "p.rego:3"},
	} {
		t.Run(name, func(t *testing.T) {
			c.cfg.Accepted = all
			if _, err := New(c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, not %q", err, c.want)
			}
		})
	}
}

func TestMappingLeavesOutWhatIsNotThere(t *testing.T) {
	maps, input, err := mappings([]Mapping{{Tool: "*", Input: map[string]any{
		"gone": "$action.arguments.gone", "here": "$action.arguments.here", "text": "$$x", "list": []any{"$action.arguments.gone", 1}, "who": "$subject.id"}}})
	if err != nil {
		t.Fatal(err)
	}
	q := action.NewQuery(action.Before)
	q.Subject.ID, q.Action.Arguments = "ann", []byte(`{"here": [1]}`)
	facts, err := input.Term(q)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := maps[0].root.term(facts).String(), `{"here": [1], "list": [1], "text": "$x", "who": "ann"}`; got != want {
		t.Errorf("%s, not %s", got, want)
	}
}

func FuzzEntrypoint(f *testing.F) {
	for _, s := range []string{"a/b", "data.a.b", `data["a b"].c`, "data", "data.a[x]", "//", "data[", "data.a; x = 1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := entrypoint(s)
		if err != nil || ref == nil {
			return
		}
		if again, err := entrypoint(ref.String()); err != nil || !again.Equal(ref) {
			t.Errorf("%q is %s and then %s, %v", s, ref, again, err)
		}
	})
}
