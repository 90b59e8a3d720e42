// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

func TestDecidedByNamesTheRuleBeforeKernelAndDefault(t *testing.T) {
	deny := func(ids ...string) *action.Decision {
		d := &action.Decision{Verdict: action.Deny, Matches: []action.Match{{ID: "baseline.read", Verdict: action.Allow}}}
		for _, id := range ids {
			d.Matches = append(d.Matches, action.Match{ID: id, Verdict: action.Deny})
		}
		return d
	}
	for name, c := range map[string]struct {
		d    *action.Decision
		want decider
	}{
		"a rule that lost does not count":   {deny(), byDefault},
		"no rule of an engine fired":        {deny("default.rego", "default.cedar"), byDefault},
		"one engine's rule and none of two": {deny("default.cedar", "mine.write"), byRule},
		"the kernel":                        {deny("kernel.killed"), byKernel},
		"the kernel and no rule":            {deny("kernel.killed", "default.rego"), byKernel},
		"a person and a rule":               {deny("approval.refused", "mine.write"), byRule},
	} {
		t.Run(name, func(t *testing.T) {
			if got := decidedBy(c.d); got != c.want {
				t.Errorf("decided by %d, not %d", got, c.want)
			}
		})
	}
}

func TestArgumentNamesAreShortPlainAndWithoutValues(t *testing.T) {
	for in, want := range map[string]string{
		`{"path":"/etc/x","name":{"inner":1}}`: "name,path",
		`{}`:                                   "",
		`[1]`:                                  "",
		`{"a\u001b[2J,b":1}`:                   `"a\x1b[2J,b"`,
		`{"":1}`:                               `""`,
	} {
		if got := argumentNames([]byte(in)); got != want {
			t.Errorf("%s: %s, not %s", in, got, want)
		}
	}
	var many []string
	for i := range 100 {
		many = append(many, `"`+strings.Repeat("n", 200)+string(rune('a'+i%26))+strings.Repeat("x", i)+`":1`)
	}
	if got := argumentNames([]byte("{" + strings.Join(many, ",") + "}")); len(got) > 32*80+4 || !strings.HasSuffix(got, ",...") {
		t.Errorf("%d bytes: %.80s", len(got), got)
	}
}

// TestDifferenceIsBounded: names of tools come from agents, so that as many groups as there are records are possible.
func TestDifferenceIsBounded(t *testing.T) {
	var d PolicyDiff
	c := policyChanges{}
	for i := range maxCounted + 500 {
		c.add(&d, PolicyChange{Tool: fmt.Sprint(i)}, uint64(i))
	}
	for range 3 {
		c.add(&d, PolicyChange{Tool: "7"}, 9)
	}
	c.list(&d)
	if len(c) != maxCounted || d.Ungrouped != 500 || d.Changed != maxCounted+503 || len(d.Groups) != maxGroups || d.Omitted != maxCounted-maxGroups {
		t.Errorf("%d groups held, %d listed, %d left out, %d of %d changes in none", len(c), len(d.Groups), d.Omitted, d.Ungrouped, d.Changed)
	}
	if g := d.Groups[0]; g.Tool != "7" || g.N != 4 || g.Example != 7 {
		t.Errorf("the most frequent is %+v", g)
	}
}
