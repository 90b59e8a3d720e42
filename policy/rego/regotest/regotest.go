// SPDX-License-Identifier: Apache-2.0

// Package regotest writes the cases of a pack as Rego's own tests, for tests that let OPA judge the packs.
package regotest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/bundle"
)

const head = `
verdict := "quarantine" if count(data.sallyport.PACK.quarantine) > 0

else := "deny" if count(data.sallyport.PACK.deny) > 0

else := "ask" if count(data.sallyport.PACK.ask) > 0

else := "allow" if count(data.sallyport.PACK.allow) > 0

else := "deny"

ids := {r.id | some r in data.sallyport.PACK[verdict]}
`

// packageLine names the pack as its rules are reached.
var packageLine = regexp.MustCompile(`(?m)^package sallyport\.([a-z_]+)$`)

// Write copies the policies of the pack at the top of fsys to the folder dir, with its cases as tests beside them, and
// returns the number of these. Whatever runs Rego's tests can then judge the pack; it has no need of this program.
func Write(fsys fs.FS, dir string) (int, error) {
	b, err := bundle.Read(fsys, nil)
	if err != nil {
		return 0, err
	}
	pack := ""
	for _, f := range b.Policies(".rego") {
		m := packageLine.FindStringSubmatch(string(f.Data))
		if m == nil {
			return 0, fmt.Errorf("%s: its package is not sallyport.NAME", f.Name)
		}
		pack = m[1]
		if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
			return 0, err
		}
	}
	text, n, err := cases(b, pack)
	if err != nil {
		return 0, err
	}
	return n, os.WriteFile(filepath.Join(dir, "cases_test.rego"), []byte(text), 0o600)
}

// cases are the pack's cases as Rego, and how many there are.
func cases(b *bundle.Bundle, pack string) (string, int, error) {
	suites, err := b.Suites()
	if err != nil {
		return "", 0, err
	}
	var out strings.Builder
	out.WriteString("package sallyport." + pack + "_cases\n\nimport rego.v2\n" + strings.ReplaceAll(head, "PACK", pack))
	n := 0
	for i, s := range suites {
		params := b.Params
		if s.Params != nil {
			if params, err = bundle.ReadParams(s.Params); err != nil {
				return "", 0, err
			}
		}
		given, err := action.Canonical(params)
		if err != nil {
			return "", 0, err
		}
		fmt.Fprintf(&out, "\nparams_%d := %s\n", i, given)
		for _, k := range s.Cases {
			doc, err := action.Canonical(k.Query)
			if err != nil {
				return "", 0, err
			}
			fmt.Fprintf(&out, "\n# %s: %s\ntest_%d if {\n\tdoc := %s\n\tverdict == %q with input as doc with data.params as params_%d\n", s.File, k.Name, n, doc, k.Expect, i)
			if len(k.Rules) > 0 && k.Rules[0] != "rego" { // "default.rego" stands for no rule
				fmt.Fprintf(&out, "\tids == {\"%s\"} with input as doc with data.params as params_%d\n", strings.Join(k.Rules, `", "`), i)
			}
			out.WriteString("}\n")
			n++
		}
	}
	return out.String(), n, nil
}
