// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
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
