// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/sallyport/sallyport/policy/rego"
)

// TestEveryLintHasABadAndAGoodBundle reads testdata/lint: for each lint an archive of bundles by folder, of which those
// whose name begins with bad have the finding, with a place and a text, and those with good do not; parent is what the
// lint that compares is given. A lint without such an archive fails, and an archive of no lint does.
func TestEveryLintHasABadAndAGoodBundle(t *testing.T) {
	archives, err := filepath.Glob("testdata/lint/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range archives {
		if name := strings.TrimSuffix(filepath.Base(at), ".txtar"); Lints[name] == "" {
			t.Errorf("%s is about no lint", at)
		}
	}
	sql, err := shipped("sql")
	if err != nil {
		t.Fatal(err)
	}
	// What must not stand in this repository as a text, and what only this build knows.
	fill := strings.NewReplacer("AKIA@@", "AKIA", `"SQL"`, sql.Rules)
	for _, name := range sortedLints() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ar, err := txtar.ParseFile("testdata/lint/" + name + ".txtar")
			if err != nil {
				t.Fatal(err)
			}
			top, folders := t.TempDir(), map[string]bool{}
			for _, f := range ar.Files {
				folder, _, _ := strings.Cut(f.Name, "/")
				if at := filepath.Join(top, filepath.FromSlash(f.Name)); !folders[folder] || f.Name == folder+"/sallyport-bundle.yaml" {
					folders[folder] = true
					put(t, filepath.Join(top, folder, "sallyport-bundle.yaml"), "version: 1\nname: x\nsequence: 1\nowner: test\n")
					put(t, at, fill.Replace(string(f.Data)))
				} else {
					put(t, at, fill.Replace(string(f.Data)))
				}
			}
			kinds := map[string]int{}
			for folder := range folders {
				if folder == "parent" {
					continue
				}
				parent := ""
				if folders["parent"] {
					parent = filepath.Join(top, "parent")
				}
				// What does not load is an error and a finding.
				r, err := LintWith(t.Context(), Config{Dir: filepath.Join(top, folder)}, parent)
				if err != nil && len(r.Findings) == 0 {
					t.Fatal(folder, err)
				}
				i := slices.IndexFunc(r.Findings, func(f rego.Finding) bool { return f.Lint == name && f.Waived == "" })
				kind, _, _ := strings.Cut(folder, "-")
				kinds[kind]++
				switch {
				case kind != "bad" && kind != "good":
					t.Errorf("folder %q is neither bad nor good", folder)
				case (i >= 0) != (kind == "bad"):
					t.Errorf("%s: found %+v, %v", folder, r.Findings, err)
				case i >= 0 && strings.HasSuffix(folder, "cedar") && !strings.HasSuffix(r.Findings[i].File, ".cedar") && name != "missing-case":
					t.Errorf("%s: a finding in a Cedar file stands in %s", folder, r.Findings[i].File)
				case i >= 0 && (r.Findings[i].File == "" || r.Findings[i].Line < 1 || r.Findings[i].Text == ""):
					t.Errorf("%s: a finding without a place or a text: %+v", folder, r.Findings[i])
				case kind == "good" && err != nil:
					t.Errorf("%s: %v", folder, err)
				}
			}
			if kinds["bad"] == 0 || kinds["good"] != kinds["bad"] {
				t.Errorf("%d bad and %d good bundles", kinds["bad"], kinds["good"])
			}
		})
	}
}

func put(t *testing.T, at, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
