// SPDX-License-Identifier: Apache-2.0

package rego_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/tester"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policies"
	"github.com/sallyport/sallyport/policy/bundle"
)

// TestPacksPassOPATest writes each pack's cases as Rego tests beside its policies and lets OPA's own test
// runner judge them, which knows nothing of this program.
func TestPacksPassOPATest(t *testing.T) {
	for _, name := range policies.Names() {
		fsys, err := policies.Pack(name)
		if err != nil {
			t.Fatal(err)
		}
		if rego, _ := fs.Glob(fsys, "*.rego"); len(rego) == 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			want := regoTests(t, fsys, dir)
			got, err := tester.Run(context.Background(), dir)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != want || want < 40 {
				t.Errorf("%d of %d cases ran", len(got), want)
			}
			for _, r := range got {
				if !r.Pass() {
					t.Errorf("%s", r)
				}
			}
		})
	}
}

const regoTestHead = `
verdict := "quarantine" if count(data.sallyport.PACK.quarantine) > 0

else := "deny" if count(data.sallyport.PACK.deny) > 0

else := "ask" if count(data.sallyport.PACK.ask) > 0

else := "allow" if count(data.sallyport.PACK.allow) > 0

else := "deny"

ids := {r.id | some r in data.sallyport.PACK[verdict]}
`

var packageLine = regexp.MustCompile(`(?m)^package sallyport\.([a-z]+)$`)

// regoTests copies the pack to dir with its cases as tests, and returns their number.
func regoTests(t *testing.T, fsys fs.FS, dir string) int {
	t.Helper()
	b, err := bundle.Read(fsys, nil)
	if err != nil {
		t.Fatal(err)
	}
	pack := ""
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range b.Policies(".rego") {
		pack = packageLine.FindStringSubmatch(string(f.Data))[1]
		write(f.Name, f.Data)
	}
	suites, err := b.Suites()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	out.WriteString("package sallyport." + pack + "_cases\n\nimport rego.v2\n" + strings.ReplaceAll(regoTestHead, "PACK", pack))
	n := 0
	for i, s := range suites {
		params := b.Params
		if s.Params != nil {
			if params, err = bundle.ReadParams(s.Params); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Fprintf(&out, "\nparams_%d := %s\n", i, canonical(t, params))
		for _, k := range s.Cases {
			fmt.Fprintf(&out, "\n# %s: %s\ntest_%d if {\n\tdoc := %s\n\tverdict == %q with input as doc with data.params as params_%d\n", s.File, k.Name, n, canonical(t, k.Query), k.Expect, i)
			if len(k.Rules) > 0 && k.Rules[0] != "rego" { // "default.rego" stands for no rule
				fmt.Fprintf(&out, "\tids == {\"%s\"} with input as doc with data.params as params_%d\n", strings.Join(k.Rules, `", "`), i)
			}
			out.WriteString("}\n")
			n++
		}
	}
	write("cases_test.rego", []byte(out.String()))
	return n
}

func canonical(t *testing.T, v any) []byte {
	t.Helper()
	out, err := action.Canonical(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
