// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/policy/bundle"
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

func TestWaiverEnds(t *testing.T) {
	for day, want := range map[string]bool{"2099-12-31": true, "2100-01-01": false} {
		c, err := Load(Config{Dir: "testdata/opa/envoy", Now: func() time.Time {
			at, _ := time.Parse(time.DateOnly, day)
			return at
		}})
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.Lint(t.Context())
		if err != nil || len(r.Findings) != 1 || (r.Findings[0].Waived != "") != want {
			t.Errorf("on %s: %+v, %v", day, r.Findings, err)
		}
	}
}
