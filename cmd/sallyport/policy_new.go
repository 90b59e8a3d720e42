// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/policies"
	"github.com/sallyport/sallyport/policy"
)

func (a *app) policyNewCommand() *cobra.Command {
	var owner string
	var packs []string
	var alone bool
	cmd := &cobra.Command{
		Use: "new DIR", Short: "Write a bundle to begin with, of packs or from scratch", Args: cobra.ExactArgs(1),
		Long: `Write a bundle to DIR, which must not exist yet or be empty: with --pack the baseline and the named packs side by
side, with their cases and all their parameters in one params.yaml; else one rule of each kind and its cases. The bundle
passes its cases. It is a copy and yours to change: a later release of Sallyport does not touch it.

The packs: ` + strings.Join(policies.Names()[1:], ", ") + `.`,
		Example: "  sallyport policy new mine --owner payments-team && sallyport policy test mine\n" +
			"  sallyport policy new coders --owner platform --pack filesystem --pack shell",
		RunE: func(_ *cobra.Command, args []string) error {
			dir := filepath.Clean(args[0])
			name := packName(filepath.Base(dir))
			files := newBundle(name, owner)
			if len(packs) > 0 {
				var err error
				if files, err = policy.Compose(name, owner, withBaseline(packs, alone)); err != nil {
					return hinted{err, "the packs are " + strings.Join(policies.Names(), ", ")}
				}
			}
			if old, err := os.ReadDir(dir); err == nil && len(old) > 0 {
				return hinted{fmt.Errorf("%q is not empty", dir), "sallyport policy new DIR with a folder that does not exist yet"}
			} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			for _, file := range slices.Sorted(maps.Keys(files)) {
				at := filepath.Join(dir, filepath.FromSlash(file))
				if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
					return err
				}
				if err := os.WriteFile(at, []byte(files[file]), 0o644); err != nil {
					return err
				}
			}
			c, err := policy.Load(policy.Config{Dir: dir})
			if err != nil {
				return err
			}
			b := c.Bundle()
			return a.print(b, func(w io.Writer) {
				fmt.Fprintf(w, "%s %s in %s\n", b.Name, b.Digest, dir)
				fmt.Fprintf(w, "hint: sallyport policy test %s\n", dir)
			})
		},
	}
	cmd.Flags().StringVar(&owner, "owner", "", "who answers for the bundle")
	cmd.Flags().StringArrayVar(&packs, "pack", nil, "a pack to put beside the baseline; may be repeated")
	cmd.Flags().BoolVar(&alone, "without-baseline", false, "only the named packs: what none of them allows is denied")
	if err := cmd.MarkFlagRequired("owner"); err != nil {
		panic(err)
	}
	return cmd
}

// packName makes a name that Rego takes for a package out of a folder's.
func packName(s string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9' && b.Len() > 0:
			b.WriteRune(r)
		}
	}
	if b.Len() == 0 {
		return "mine"
	}
	return b.String()
}

func newBundle(name, owner string) map[string]string {
	fill := strings.NewReplacer("NAME", name, "OWNER", fmt.Sprintf("%q", owner))
	return map[string]string{
		"sallyport-bundle.yaml": fill.Replace("version: 1\nname: NAME\nsequence: 1\ndescription: What agents may do here.\nowner: OWNER\n"),
		"rules.rego":            fill.Replace(newRules),
		"tests/cases.yaml":      fill.Replace(newCases),
	}
}

const newRules = `# The most restrictive rule that fires decides; if none does, the answer is deny. Facts are never absent: what
# nobody stated is "unknown", so compare with the good value.
package sallyport.NAME

import rego.v2

allow contains {"id": "read", "code": "read-inside", "reason": "Reads inside the workspace."} if {
	input.phase == "before"
	input.action.effect == "read"
	input.action.typed == "known"
	count(input.action.paths) > 0
	every p in input.action.paths {
		p.inside == "yes"
		p.traversal == "no"
		p.private == "no"
	}
}

# Results go back to the agent.
allow contains {"id": "release", "code": "release", "reason": "The result may go back."} if {
	input.phase == "after"
	input.context.result.kind != "none"
}

ask contains {
	"id": "write", "code": "writes", "severity": "medium",
	"reason": "{tool} changes something.",
	"hint": "A person has to approve changes.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	input.action.effect == "write"
}

deny contains {
	"id": "secret", "code": "secret-outside", "severity": "critical", "always": true,
	"reason": "The arguments hold a secret.",
	"hint": "Remove the credential from the arguments.",
} if {
	input.phase == "before"
	count(input.context.detect.secrets) > 0
}
`

const newCases = `given:
  phase: before
  resource: {server: files, name: read}
  action:
    name: tools/call
    effect: read
    typed: known
    paths: [{pointer: /path, raw: /w/a.go, resolved: /w/a.go, root: /w, inside: "yes", traversal: "no", private: "no", access: read}]
cases:
  - name: a read inside the workspace passes
    expect: allow
    rules: [read]
    query: {}
  - name: a read of nothing that is known does not pass
    expect: deny
    query: {action: {typed: unknown}}
  - name: a write asks
    expect: ask
    rules: [write]
    query: {action: {effect: write}}
  - name: a secret among the arguments is refused
    expect: deny
    rules: [secret]
    query: {context: {detect: {secrets: [{kind: token}]}}}
  - name: a result goes back
    expect: allow
    rules: [release]
    query: {phase: after, context: {result: {kind: result}}}
`

// withBaseline puts the baseline before the named packs, once, unless it is not wanted.
func withBaseline(packs []string, alone bool) []string {
	var out []string
	if !alone {
		out = append(out, "baseline")
	}
	for _, p := range packs {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}
