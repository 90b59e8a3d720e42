// SPDX-License-Identifier: Apache-2.0

package opa

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/policy/rego"
)

func TestMigrateRewritesWhatItCanProve(t *testing.T) {
	for name, c := range map[string]struct {
		text, want string
		v0         bool
		notes      []string
	}{
		"the newer language stays as it is": {"package p\n\nallow if input.x\n", "package p\n\nallow if input.x\n", false, nil},
		"the older one gets the import":     {"package p\n\nallow { input.x == 1 }\n", "import rego.v1\n\nallow if input.x == 1", false, nil},
		"a set of the older language":       {"package p\n\ndeny[m] { m := input.list[_] }\n", "deny contains m if m := input.list", false, nil},
		"a default of the older language":   {"package p\n\ndefault allow = false\n\nallow { input.x }\n", "default allow := false", false, nil},
		"an old built-in":                   {"package p\n\nallow { re_match(`a`, input.x) }\n", "re_match", true, []string{"not-rewritten"}},
		"the network":                       {"package p\n\nallow if {\n\thttp.send({\"url\": \"https://x\"}).ok\n}\n", "http.send", false, []string{"withheld:4"}},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Migrate([]rego.File{{Name: "p.rego", Data: []byte(c.text)}})
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(m.Files[0].Data), c.want) || m.V0 != c.v0 {
				t.Errorf("v0 %v\n%s", m.V0, m.Files[0].Data)
			}
			for i, n := range m.Notes {
				if got := fmt.Sprintf("%s:%d", n.Lint, n.Line); i >= len(c.notes) || !strings.HasPrefix(got, c.notes[i]) {
					t.Errorf("note %+v", n)
				}
			}
			if len(m.Notes) != len(c.notes) {
				t.Errorf("%+v", m.Notes)
			}
		})
	}
	if _, err := Migrate([]rego.File{{Name: "p.rego", Data: []byte("package p\n\nallow {{")}}); err == nil {
		t.Error("nonsense is read")
	}
}

// TestMigratedConformanceCasesMeanTheSame takes OPA's own cases through the rewriting, which must leave them as they are.
func TestMigratedConformanceCasesMeanTheSame(t *testing.T) {
	n := 0
	for _, k := range conformance(t) {
		if n++; n%7 != 0 || len(k.Modules) == 0 {
			continue
		}
		m, err := Migrate(caseFiles(&k))
		if err != nil {
			continue // a case of what OPA refuses
		}
		for i, f := range caseFiles(&k) {
			if !m.V0 && string(m.Files[i].Data) != string(f.Data) {
				t.Errorf("%s: a file of the newer language was changed", k.Note)
			}
		}
	}
}
