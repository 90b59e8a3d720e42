// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/policies"
)

var (
	regoRule  = regexp.MustCompile(`(?m)^# custom: \{owasp: \[([^]]*)\], atlas: \[([^]]*)\]\}\n(deny|ask|quarantine|oblige) contains \{\s*"id": "([^"]+)"(?:[^}]*?"reason": "([^"]+)")?`)
	cedarRule = regexp.MustCompile(`(?m)^@id\("([^"]+)"\)\n((?:@.*\n)*)forbid`)
	cedarNote = regexp.MustCompile(`(?m)^@([a-z_]+)\("([^"]*)"\)`)
)

// rulesPage lists what the embedded packs refuse, ask about and label, with the known attacks that it is about.
func rulesPage(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("# Rules of the embedded packs, by known attacks\n\nEach rule that denies, asks, quarantines or obliges, with the entries of OWASP's top ten for agentic applications (ASI01 to ASI10) and the techniques of MITRE ATLAS that it is about.\n\n| rule | does | OWASP | ATLAS | reason |\n|---|---|---|---|---|\n")
	for _, pack := range policies.Names() {
		fsys, err := policies.Pack(pack)
		if err != nil {
			t.Fatal(err)
		}
		row := func(id, does, owasp, atlas, reason string) {
			fmt.Fprintf(&b, "| `%s.%s` | %s | %s | %s | %s |\n", pack, id, does, owasp, atlas, reason)
		}
		n := b.Len()
		for _, pattern := range []string{"*.rego", "*.cedar"} {
			files, err := fs.Glob(fsys, pattern)
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				data, err := fs.ReadFile(fsys, file)
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range regoRule.FindAllStringSubmatch(string(data), -1) {
					row(m[4], m[3], m[1], m[2], m[5])
				}
				name := pack
				pack = strings.TrimSuffix(file, ".cedar")
				for _, m := range cedarRule.FindAllStringSubmatch(string(data), -1) {
					notes := map[string]string{}
					for _, n := range cedarNote.FindAllStringSubmatch(m[2], -1) {
						notes[n[1]] = n[2]
					}
					does := "deny"
					if notes["ask"] != "" {
						does = "ask"
					} else if notes["quarantine"] != "" {
						does = "quarantine"
					}
					row(m[1], does, notes["owasp"], notes["atlas"], notes["reason"])
				}
				pack = name
			}
		}
		if b.Len() == n {
			t.Errorf("no rule of the pack %s is found", pack)
		}
	}
	return b.String()
}
