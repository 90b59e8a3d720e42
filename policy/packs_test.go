// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/policies"
)

// OWASP's top ten for agentic applications, and those techniques of MITRE ATLAS that the packs speak of.
var (
	owasp = regexp.MustCompile(`^ASI(0[1-9]|10)$`)
	atlas = map[string]string{
		"AML.T0010": "AI supply chain compromise", "AML.T0048": "external harms", "AML.T0050": "command and scripting interpreter",
		"AML.T0051": "LLM prompt injection", "AML.T0053": "AI agent tool invocation", "AML.T0055": "unsecured credentials",
		"AML.T0057": "LLM data leakage", "AML.T0073": "impersonation", "AML.T0080": "AI agent context poisoning",
		"AML.T0081": "modify AI agent configuration", "AML.T0085": "data from AI services", "AML.T0086": "exfiltration via AI agent tool invocation",
		"AML.T0098": "AI agent tool credential harvesting", "AML.T0101": "data destruction via AI agent tool invocation",
		"AML.T0105": "escape to host", "AML.T0110": "AI agent tool poisoning",
	}
	regoNotes  = regexp.MustCompile(`(?m)^# custom: \{owasp: \[([^]]*)\], atlas: \[([^]]*)\]\}\n(?:deny|ask|quarantine|oblige) contains`)
	regoRules  = regexp.MustCompile(`(?m)^(?:deny|ask|quarantine|oblige) contains`)
	cedarNotes = regexp.MustCompile(`(?m)^@owasp\("([^"]*)"\)\n@atlas\("([^"]*)"\)`)
	cedarRules = regexp.MustCompile(`(?m)^forbid `)
)

// TestPacksNameTheAttacksThatTheyAreAbout: what refuses or labels says which known attacks it is about.
func TestPacksNameTheAttacksThatTheyAreAbout(t *testing.T) {
	for _, name := range policies.Names() {
		fsys, err := policies.Pack(name)
		if err != nil {
			t.Fatal(err)
		}
		for ext, of := range map[string][2]*regexp.Regexp{"*.rego": {regoRules, regoNotes}, "*.cedar": {cedarRules, cedarNotes}} {
			files, _ := fs.Glob(fsys, ext)
			for _, f := range files {
				data, err := fs.ReadFile(fsys, f)
				if err != nil {
					t.Fatal(err)
				}
				rules, notes := of[0].FindAllString(string(data), -1), of[1].FindAllStringSubmatch(string(data), -1)
				if len(rules) != len(notes) {
					t.Errorf("%s/%s: %d of %d rules name attacks", name, f, len(notes), len(rules))
				}
				for _, n := range notes {
					for _, id := range strings.Split(n[1], ", ") {
						if !owasp.MatchString(id) {
							t.Errorf("%s/%s: %q is not on OWASP's list", name, f, id)
						}
					}
					for _, id := range strings.Split(n[2], ", ") {
						if atlas[id] == "" {
							t.Errorf("%s/%s: %q is no technique that is known here", name, f, id)
						}
					}
				}
			}
		}
	}
}

// TestPacksHaveCasesOfBothKinds: at least twenty that pass and twenty that do not, and every rule fires in one.
func TestPacksHaveCasesOfBothKinds(t *testing.T) {
	for _, name := range policies.Names() {
		c, err := Load(Config{Pack: name, unproved: true})
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.Test(context.Background())
		if err != nil || !r.Passed() || len(r.Uncovered) > 0 || r.Allowing < 20 || r.Refusing < 20 {
			t.Errorf("%s: %v, %d allowing, %d refusing, uncovered %v, %+v", name, err, r.Allowing, r.Refusing, r.Uncovered, r.Failures)
		}
	}
}
