// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"errors"
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
