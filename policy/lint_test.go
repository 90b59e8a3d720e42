// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/policies"
	"github.com/sallyport/sallyport/policy/bundle"
	"github.com/sallyport/sallyport/policy/rego"
)

// loadToLint loads a bundle as LintDir does.
func loadToLint(t *testing.T, fsys fs.FS) *Compiled {
	t.Helper()
	b, err := bundle.Read(fsys, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := compile(b, Config{linting: true})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// linted lints a pack of one file and returns the names of the findings in it.
func linted(t *testing.T, name, source string) (out []string) {
	t.Helper()
	c := loadToLint(t, pack("x", 1, map[string]string{name: source}))
	r, err := c.Lint(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		if f.File == name && f.Lint != "missing-case" && !slices.Contains(out, f.Lint) {
			if f.Line < 2 || f.Text == "" {
				t.Errorf("%+v", f)
			}
			out = append(out, f.Lint)
		}
	}
	return out
}

// TestLintTellsTheBadFormFromTheGoodOne has for each lint a rule that is wrong and the same rule put right.
func TestLintTellsTheBadFormFromTheGoodOne(t *testing.T) {
	deny := func(body string) string {
		return regoHead + "deny contains {\"id\": \"no\", \"code\": \"c\", \"reason\": \"r\"} if {\n\tinput.phase == \"before\"\n\t" + body + "\n}\n"
	}
	allow := func(body string) string {
		return regoHead + "allow contains {\"id\": \"ok\"} if {\n\tinput.phase == \"before\"\n\t" + body + "\n}\n"
	}
	for name, c := range map[string]struct{ lint, bad, good string }{
		"a refusal on raw arguments": {"may-not-fire", deny(`input.action.arguments.amount > 100`),
			deny("not small") + "\nsmall if input.action.arguments.amount <= 100\n"},
		"a refusal on raw arguments, in a helper": {"may-not-fire", deny("large") + "\nlarge if input.action.arguments.amount > 100\n",
			allow("small") + "\nsmall if input.action.arguments.amount <= 100\n"},
		"a permission unless raw arguments say no": {"may-not-fire", allow(`not input.action.arguments.force`), allow(`input.action.arguments.force == false`)},
		"a word that is on no list":                {"impossible-value", deny(`input.action.effect == "reed"`), deny(`input.action.effect == "read"`)},
		"a word in a list that is on no list":      {"impossible-value", deny("some p in input.action.paths\n\tnot p.access in {\"read\", \"wirte\"}"), deny("some p in input.action.paths\n\tnot p.access in {\"read\", \"write\"}")},
		"a permission below a raw amount":          {"cross-type", allow(`input.action.arguments.amount < 100`), allow("is_number(input.action.arguments.amount)\n\tinput.action.arguments.amount < 100")},
		"bounds that leave nothing":                {"contradictory", deny("input.round > 3\n\tinput.round <= 3"), deny("input.round > 3\n\tinput.round < 4")},
		"a condition and its opposite":             {"contradictory", deny("startswith(input.resource.name, \"x\")\n\tnot startswith(input.resource.name, \"x\")"), deny("startswith(input.resource.name, \"x\")\n\tnot startswith(input.resource.name, \"xy\")")},
		"a permission that a refusal always beats": {"shadowed", allow(`input.action.effect == "read"`) + strings.TrimPrefix(deny("input.action.effect in {\"read\"}"), regoHead) + strings.Replace(strings.TrimPrefix(deny(""), regoHead), `"no"`, `"never"`, 1),
			allow(`input.action.effect == "read"`) + strings.TrimPrefix(deny("input.round > 3"), regoHead)},
		"a rule with one more condition over the same list": {"shadowed", deny("some p in input.action.paths\n\tp.inside == \"no\"") + strings.Replace(strings.TrimPrefix(deny("some q in input.action.paths\n\tq.inside == \"no\"\n\tq.access == \"write\""), regoHead), `"no"`, `"write"`, 1),
			deny("some p in input.action.paths\n\tp.inside == \"no\"") + strings.Replace(strings.TrimPrefix(deny("some q in input.action.paths\n\tq.access == \"write\"\n\tsome p in input.action.paths\n\tp.inside == \"yes\""), regoHead), `"no"`, `"write"`, 1)},
		"two words that exclude each other":  {"contradictory", deny(`input.phase == "after"`), deny(`input.phase in {"before", "after"}`)},
		"a permission without a condition":   {"always-true", regoHead + "allow contains {\"id\": \"ok\"}\n", allow(`input.action.effect == "read"`)},
		"an expression that permits a part":  {"unanchored-regex", allow(`regex.match("safe", input.resource.name)`), allow(`regex.match("^safe$", input.resource.name)`)},
		"alternatives that are not anchored": {"unanchored-regex", allow(`regex.match("^a|b$", input.resource.name)`), allow(`regex.match("^(a|b)$", input.resource.name)`)},
		"an expression that refuses a part":  {"unanchored-regex", allow(`not regex.match("^safe$", input.resource.name) == false` + "\n\tregex.match(\"^safe\", input.resource.name)"), deny(`regex.match("drop", input.resource.name)`)},
		"a host by its end":                  {"host-suffix", deny("some u in input.action.urls\n\tnot endswith(u.host, \"corp.example\")"), deny("some u in input.action.urls\n\tnot endswith(u.host, \".corp.example\")")},
		"a path by its beginning":            {"path-form", allow("every p in input.action.paths { startswith(p.resolved, \"/srv/app\") }"), allow("every p in input.action.paths { startswith(p.resolved, \"/srv/app/\") }")},
		"a raw path":                         {"path-form", allow("every p in input.action.paths { startswith(p.raw, \"/srv/\") }"), allow("every p in input.action.paths { p.inside == \"yes\" }")},
		"a credential":                       {"secret-in-policy", deny(`input.resource.name == "AKIA` + `ABCDEFGHIJKLMNOP"`), deny(`input.resource.name == "AKIA"`)},
		"a helper that nobody uses":          {"unused", allow(`input.action.effect == "read"`) + "\nlost if input.action.effect == \"send\"\n", allow("found") + "\nfound if input.action.effect == \"send\"\n"},
		"a rule outside the compiled part":   {"slow-path", deny(`walk(input.context.flow, [_, "secret"])`), deny(`input.context.flow.session.secrecy == "secret"`)},
	} {
		t.Run(name, func(t *testing.T) {
			if got := linted(t, "p.rego", c.bad); !slices.Contains(got, c.lint) {
				t.Errorf("not found in the bad form, but %v", got)
			}
			if got := linted(t, "p.rego", c.good); slices.Contains(got, c.lint) {
				t.Errorf("found in the good form")
			}
		})
	}
	bad := "\n@id(\"ok\") permit (principal, action, resource);\n"
	good := "\n@id(\"ok\") permit (principal, action == Action::\"read\", resource);\n"
	if got := linted(t, "c.cedar", bad); !slices.Equal(got, []string{"always-true"}) {
		t.Errorf("a permit of everything: %v", got)
	}
	if got := linted(t, "c.cedar", good); got != nil {
		t.Errorf("a permit of reading: %v", got)
	}
	for cond, want := range map[string][]string{
		`context.phase == "befor"`: {"impossible-value"}, `context.phase == "before"`: nil,
		`["before", "aftr"].contains(context.phase)`: {"impossible-value"}, `context.action.paths.inside == ["yes", "noo"]`: {"impossible-value"},
		`context.action.paths.raw.contains("anything")`: nil, `context.flow.session.secrecy != "secrets"`: {"impossible-value"},
	} {
		if got := linted(t, "c.cedar", "\n@id(\"ok\") permit (principal, action, resource) when { "+cond+" };\n"); !slices.Equal(got, want) {
			t.Errorf("%s: %v, not %v", cond, got, want)
		}
	}
}

func TestLintLooksAtTheWholeBundle(t *testing.T) {
	fsys := pack("x", 1, map[string]string{"p.rego": regoAllow})
	r, err := mustLoad(t, fsys).Lint(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range r.Findings {
		got = append(got, f.Lint)
	}
	if want := []string{"missing-case", "missing-case", "no-owner"}; !slices.Equal(got, want) || r.Errors() != 0 {
		t.Errorf("findings %v, want %v", got, want)
	}
	data, err := r.SARIF()
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Version string `json:"version"`
		Runs    []struct {
			Results []struct {
				RuleID string `json:"ruleId"`
			} `json:"results"`
		} `json:"runs"`
	}
	if err := json.Unmarshal(data, &s); err != nil || s.Version != "2.1.0" || len(s.Runs) != 1 || len(s.Runs[0].Results) != 3 || s.Runs[0].Results[2].RuleID != "no-owner" {
		t.Errorf("%v\n%s", err, data)
	}
}

func TestLintIsWaivedByAReason(t *testing.T) {
	rule := "deny contains {\"id\": \"no\", \"code\": \"c\", \"reason\": \"r\"} if {\n\tinput.action.arguments.a == 1\n}\n"
	for comment, want := range map[string]string{
		"": "", "# lint: may-not-fire: the schema demands it\n": "the schema demands it", "# lint: may-not-fire:\n": "", "# lint: unused: why\n": "",
		"# lint: may-not-fire: far away\n\n": "", "# lint: may-not-fire: above another comment\n# More.\n": "above another comment",
	} {
		fsys := pack("x", 1, map[string]string{"p.rego": regoAllow + "\n" + comment + rule})
		r, err := loadToLint(t, fsys).Lint(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := LoadFS(fsys); (err == nil) != (want != "") || err != nil && !errors.Is(err, ErrRisk) {
			t.Errorf("%q: the bundle loads with %v", comment, err)
		}
		i := slices.IndexFunc(r.Findings, func(f rego.Finding) bool { return f.Lint == "may-not-fire" })
		if i < 0 || r.Findings[i].Waived != want || (r.Errors() == 0) != (want != "") {
			t.Errorf("%q: %+v", comment, r)
		}
	}
}

func TestPacksHaveNoLint(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and nothing in it is concurrent")
	}
	for _, name := range policies.Names() {
		c, err := Load(Config{Pack: name})
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.Lint(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range r.Findings {
			if f.Waived != "" {
				continue
			}
			t.Errorf("%s: %s:%d: %s: %s %s", name, f.File, f.Line, f.Lint, f.Rule, f.Text)
		}
	}
}

func TestEveryLintIsListed(t *testing.T) {
	for name, text := range Lints {
		if text == "" || strings.ToLower(name) != name {
			t.Errorf("lint %q: %q", name, text)
		}
	}
}
