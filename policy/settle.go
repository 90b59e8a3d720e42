// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/bundle"
)

// settled checks what a manifest settles and returns it by the rule that settles. Names of packs that are
// not in the bundle are no error, so that a pack can say what it settles wherever it is put; a name that a
// pack of the bundle does not have is a mistake.
func settled(evaluators []Evaluator, list []bundle.Settle) (map[string]map[string]bool, error) {
	if len(list) == 0 {
		return nil, nil
	}
	rules, packs := map[string]bool{}, map[string]bool{}
	for _, e := range evaluators {
		for _, r := range e.Rules() {
			pack, _, _ := strings.Cut(r, ".")
			rules[r], packs[pack] = true, true
		}
	}
	out := map[string]map[string]bool{}
	for _, s := range list {
		if !rules[s.Rule] {
			return nil, fmt.Errorf("settles: there is no rule %q", action.Clip(s.Rule, 100))
		}
		if out[s.Rule] == nil {
			out[s.Rule] = map[string]bool{}
		}
		for _, ask := range s.Asks {
			if pack, _, _ := strings.Cut(ask, "."); packs[pack] && !rules[ask] {
				return nil, fmt.Errorf("settles: there is no rule %q", action.Clip(ask, 100))
			}
			out[s.Rule][ask] = true
		}
	}
	return out, nil
}

// settle drops the asks that a rule which allowed settles. Only a decision that asks is touched: what
// denies, and what is marked always, stays.
func (c *Compiled) settle(d *action.Decision) {
	if d.Verdict != action.Ask || c.settled == nil {
		return
	}
	kept := slices.DeleteFunc(slices.Clone(d.Matches), func(m action.Match) bool {
		return m.Verdict == action.Ask && !m.Always && c.settles(d.Matches, m.ID)
	})
	if len(kept) == len(d.Matches) {
		return
	}
	d.Matches = kept
	if !slices.ContainsFunc(kept, func(m action.Match) bool { return m.Verdict == action.Ask }) {
		d.Verdict = action.Allow
	}
}

func (c *Compiled) settles(fired []action.Match, ask string) bool {
	return slices.ContainsFunc(fired, func(m action.Match) bool { return m.Verdict == action.Allow && c.settled[m.ID][ask] })
}
