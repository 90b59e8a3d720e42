// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/sallyport/sallyport/policies"
)

func TestPacksPassTheirCases(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and nothing in it is concurrent")
	}
	for _, name := range policies.Names() {
		t.Run(name, func(t *testing.T) {
			fsys, err := policies.Pack(name)
			if err != nil {
				t.Fatal(err)
			}
			r, err := TestFS(context.Background(), fsys)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range r.Failures {
				t.Errorf("%s:%d: %s: want %s, got %s\n%s", f.File, f.Line, f.Case, f.Want, f.Got, f.Text)
			}
			for _, id := range r.Uncovered {
				t.Errorf("no case fires rule %s", id)
			}
			if name == "baseline" && (r.Allowing < 20 || r.Refusing < 20) {
				t.Errorf("%d allowing and %d refusing cases are fewer than 20", r.Allowing, r.Refusing)
			}
		})
	}
}

func TestTestRefusesOneSidedCases(t *testing.T) {
	manifest := &fstest.MapFile{Data: []byte("version: 1\nname: x\nsequence: 1\n")}
	rules := &fstest.MapFile{Data: []byte("package sallyport.x\nimport rego.v2\nallow contains {\"id\": \"a\"} if input.phase == \"before\"\n")}
	allow := "cases:\n  - {name: passes, expect: allow, query: {phase: before}}\n"
	deny := "  - {name: stops, expect: deny, query: {phase: after}}\n"
	for name, c := range map[string]struct {
		cases string
		want  error
	}{
		"no case at all":   {"cases: []\n", ErrOneSided},
		"only allowing":    {allow, ErrOneSided},
		"only refusing":    {"cases:\n" + deny, ErrOneSided},
		"one of each kind": {allow + deny, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := TestFS(context.Background(), fstest.MapFS{"sallyport-bundle.yaml": manifest, "x.rego": rules,
				"tests/c.yaml": {Data: []byte(c.cases)}})
			if !errors.Is(err, c.want) || err == nil && !r.Passed() {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// TestRegoTestsOfABundleCount runs Rego's own tests beside the cases: they see the policy and its parameters.
func TestRegoTestsOfABundleCount(t *testing.T) {
	const head = "package sallyport.x_test\nimport rego.v2\n"
	fsys := fstest.MapFS{
		"sallyport-bundle.yaml": {Data: []byte("version: 1\nname: x\nsequence: 1\n")},
		"params.yaml":           {Data: []byte("hosts: [a.example]\n")},
		"x.rego":                {Data: []byte("package sallyport.x\nimport rego.v2\nallow contains {\"id\": \"a\"} if input.phase == \"before\"\n")},
		"tests/c.yaml":          {Data: []byte("cases: [{name: a, expect: allow, query: {phase: before}}, {name: b, expect: deny, query: {phase: after}}]")},
	}
	for name, c := range map[string]struct {
		test   string
		ran    int
		failed []string
		refuse string
	}{
		"none":                     {"", 0, nil, ""},
		"two that hold":            {head + "test_a if count(data.sallyport.x.allow) == 1 with input as {\"phase\": \"before\"}\ntest_b if data.params.hosts == [\"a.example\"]\n", 2, nil, ""},
		"one that does not":        {head + "test_a if count(data.sallyport.x.allow) == 1 with input as {\"phase\": \"after\"}\ntest_b if true\n", 2, []string{"data.sallyport.x_test.test_a"}, ""},
		"one that is put off":      {head + "todo_test_a if true\n", 1, []string{"data.sallyport.x_test.todo_test_a"}, ""},
		"no test in it":            {head + "helper if true\n", 0, nil, "begins with test_"},
		"one that is not Rego":     {head + "test_a if {\n", 0, nil, "x_test.rego"},
		"a call of the network":    {head + "test_a if http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1\"})\n", 0, nil, "http.send"},
		"a name that is not there": {head + "test_a if nothing(1)\n", 0, nil, "nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			delete(fsys, "x_test.rego")
			if c.test != "" {
				fsys["x_test.rego"] = &fstest.MapFile{Data: []byte(c.test)}
			}
			r, err := TestFS(t.Context(), fsys)
			if c.refuse != "" {
				if err == nil || !strings.Contains(err.Error(), c.refuse) {
					t.Errorf("error %v does not say %s", err, c.refuse)
				}
				return
			}
			var failed []string
			for _, f := range r.Failures {
				failed = append(failed, f.Case)
			}
			if err != nil || r.RegoTests != c.ran || !slices.Equal(failed, c.failed) {
				t.Errorf("%v %+v", err, r)
			}
		})
	}
}

func TestTestNamesWhatIsWrongWithACase(t *testing.T) {
	fsys := fstest.MapFS{
		"sallyport-bundle.yaml": {Data: []byte("version: 1\nname: x\nsequence: 1\n")},
		"x.rego":                {Data: []byte("package sallyport.x\nimport rego.v2\nallow contains {\"id\": \"a\"} if input.phase == \"before\"\n")},
	}
	for name, c := range map[string]struct{ cases, want string }{
		"a fact that does not exist":   {"cases: [{name: a, expect: allow, query: {action: {efect: read}}}]", "unknown object member name"},
		"a word that is on no list":    {"cases: [{name: a, expect: allow, query: {action: {effect: reed}}}]", `"reed"`},
		"an answer that is on no list": {"cases: [{name: a, expect: permit, query: {}}]", "expect"},
		"a misspelt key":               {"cases:\n  - {name: a, expct: allow}", `tests/c.yaml:2: unknown key "expct" (nearest: "expect")`},
	} {
		t.Run(name, func(t *testing.T) {
			fsys["tests/c.yaml"] = &fstest.MapFile{Data: []byte(c.cases)}
			if _, err := TestFS(context.Background(), fsys); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v does not say %s", err, c.want)
			}
		})
	}
}
