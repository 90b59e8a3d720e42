// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/bundle"
)

// waivers checks the manifest's waivers of rules, and returns them. A rule that a pack of the bundle does not have is a mistake; a
// pack that is not there is none, as in settled.
func waivers(evaluators []Evaluator, list []bundle.Waiver) (out []bundle.Waiver, err error) {
	rules, packs := map[string]bool{}, map[string]bool{}
	for _, e := range evaluators {
		for _, r := range e.Rules() {
			pack, _, _ := strings.Cut(r, ".")
			rules[r], packs[pack] = true, true
		}
	}
	for _, w := range list {
		if w.Lint != "" {
			continue
		}
		if pack, _, _ := strings.Cut(w.Rule, "."); packs[pack] && !rules[w.Rule] {
			return nil, fmt.Errorf("waivers: there is no rule %q", action.Clip(w.Rule, 100))
		}
		out = append(out, w)
	}
	return out, nil
}

// waive takes from one engine's answer the denials and asks that the manifest waives for this agent and tool at the query's own
// time; a query without a time has no waivers. What is marked always stays, quarantine too, and where no rule of the engine
// allows, everything stays: a waiver permits nothing by itself. Each that counted stands among the matches.
func (c *Compiled) waive(q *action.Query, d *action.Decision) {
	if len(c.waivers) == 0 || q == nil || d.Verdict != action.Ask && d.Verdict != action.Deny {
		return
	}
	now := q.Context.Time.UnixMilli
	var counted []action.Match
	kept := make([]action.Match, 0, len(d.Matches))
	for _, m := range d.Matches {
		i := slices.IndexFunc(c.waivers, func(w bundle.Waiver) bool { return w.Rule == m.ID && w.Holds(q, now) })
		if i < 0 || m.Always || m.Verdict != action.Ask && m.Verdict != action.Deny {
			kept = append(kept, m)
			continue
		}
		w := c.waivers[i]
		counted = append(counted, action.Match{ID: "waived." + m.ID, Verdict: action.Allow, Code: "waived", Severity: m.Severity,
			Reason: fmt.Sprintf("%s waived the rule for this agent and tool until %s (%s): %s", w.Owner, w.Until.UTC().Format(time.RFC3339), w.Ticket, w.Reason)})
	}
	verdict, allowed := action.Allow, false
	for _, m := range kept {
		verdict = verdict.Meet(m.Verdict)
		allowed = allowed || m.Verdict == action.Allow
	}
	if len(counted) == 0 || !allowed {
		return
	}
	d.Matches, d.Verdict = append(kept, counted...), verdict
	slices.SortStableFunc(d.Matches, func(a, b action.Match) int { return strings.Compare(a.ID, b.ID) })
}
