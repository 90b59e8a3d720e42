// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/sallyport/sallyport/policy/bundle"
	"github.com/sallyport/sallyport/policy/rego"
	"github.com/sallyport/sallyport/policy/rego/opa"
)

// TestPoliciesOfOPARun has policies of the three kinds that OPA is used for: refusals over an agent's calls, Envoy's
// external authorization, and admission to a cluster.
func TestPoliciesOfOPARun(t *testing.T) {
	for _, name := range []string{"agent-tools", "envoy", "kubernetes"} {
		t.Run(name, func(t *testing.T) {
			r, err := TestDir(t.Context(), "testdata/opa/"+name)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range r.Failures {
				t.Errorf("%s: want %s, got %s", f.Case, f.Want, f.Got)
			}
			if len(r.Uncovered) > 0 {
				t.Errorf("no case fires %v", r.Uncovered)
			}
			l, err := LintDir(t.Context(), "testdata/opa/"+name)
			if err != nil || l.Errors() > 0 {
				t.Errorf("%v, %v", l.Findings, err)
			}
		})
	}
}

func TestPoliciesOfOPALoadOnlyWithTheirRisksAccepted(t *testing.T) {
	for _, name := range []string{"agent-tools", "envoy", "kubernetes"} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS("testdata/opa/"+name)); err != nil {
			t.Fatal(err)
		}
		manifest := filepath.Join(dir, bundle.ManifestFile)
		text, err := os.ReadFile(manifest)
		if err != nil {
			t.Fatal(err)
		}
		before, _, _ := strings.Cut(string(text), "waivers:")
		if err := os.WriteFile(manifest, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(Config{Dir: dir}); !errors.Is(err, opa.ErrRisk) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWaiverEnds: from its end on, a bundle that rests on it is not put in force, and lint reports the finding again.
// What was in force decides again, without a clock, as it did.
func TestWaiverEnds(t *testing.T) {
	own := t.TempDir()
	for name, text := range map[string]string{
		bundle.ManifestFile: "version: 1\nname: x\nsequence: 1\nwaivers:\n  - {lint: may-not-fire, rule: x.no, reason: why, owner: ann, until: 2100-01-01T00:00:00Z}\n",
		"x.rego":            "package sallyport.x\n\nimport rego.v2\n\ndeny contains {\"id\": \"no\", \"code\": \"c\", \"reason\": \"r\"} if input.action.arguments.a == 1\n",
	} {
		if err := os.WriteFile(filepath.Join(own, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"testdata/opa/envoy", own} {
		for day, want := range map[string]bool{"2099-12-31": true, "2100-01-01": false} {
			now := func() time.Time {
				at, _ := time.Parse(time.DateOnly, day)
				return at
			}
			_, err := Load(Config{Dir: dir, Now: now})
			if (err == nil) != want || err != nil && (!errors.Is(err, ErrRisk) && !errors.Is(err, opa.ErrRisk) || !strings.Contains(err.Error(), "ended on 2100-01-01")) {
				t.Errorf("%s on %s loads with %v", dir, day, err)
			}
			c, err := Load(Config{Dir: dir, Now: now, linting: true})
			if err != nil {
				t.Fatal(err)
			}
			r, err := c.Lint(t.Context())
			i := slices.IndexFunc(r.Findings, func(f rego.Finding) bool { return f.Lint == "may-not-fire" || f.Lint == "default-allow" })
			if err != nil || i < 0 || (r.Findings[i].Waived != "") != want {
				t.Errorf("%s on %s: %+v, %v", dir, day, r.Findings, err)
			}
		}
		if _, err := Load(Config{Dir: dir}); err != nil {
			t.Errorf("%s without a clock: %v", dir, err)
		}
	}
}

// TestCopiedPackIsComparedWithTheOneOfThisBuild: a copy is told of better rules; nothing but lint looks at it.
func TestCopiedPackIsComparedWithTheOneOfThisBuild(t *testing.T) {
	files, err := Compose("house", "test", []string{"sql", "shell"})
	if err != nil {
		t.Fatal(err)
	}
	manifest := files[bundle.ManifestFile]
	is, err := shipped("sql")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		manifest string
		want     []string
	}{
		"a fresh copy":             {manifest, nil},
		"a copy of other rules":    {strings.Replace(manifest, is.Rules, bundle.Sum(nil), 1), []string{"sql"}},
		"a pack that there is not": {strings.Replace(manifest, "pack: sql", "pack: sqlx", 1), []string{"sqlx"}},
		"a bundle that names none": {manifest[:strings.Index(manifest, "packs:")] + manifest[strings.Index(manifest, "settles:"):], nil},
	} {
		fsys := fstest.MapFS{}
		for file, text := range files {
			fsys[file] = &fstest.MapFile{Data: []byte(text)}
		}
		fsys[bundle.ManifestFile] = &fstest.MapFile{Data: []byte(c.manifest)}
		b, err := bundle.Read(fsys, nil)
		if err != nil {
			t.Fatal(name, err)
		}
		var got []string
		for _, f := range (&Compiled{source: b}).behind() {
			got = append(got, f.Rule)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: behind are %v", name, got)
		}
	}
}
