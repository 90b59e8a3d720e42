// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// enough reports whether answers satisfy every need, and with which answers it does: the fewest, the
// strongest channels kept. Answers count together only if they approve the same arguments. opened is when
// the ask was opened, in ms: what an escalation adds counts from its time on.
func enough(needs []Need, answers []Given, opened int64) ([]Given, bool) {
	var versions []string
	for _, g := range answers {
		if g.Approve && !slices.Contains(versions, g.Edited) {
			versions = append(versions, g.Edited)
		}
	}
	for _, v := range versions {
		var use []Given
		for _, g := range answers {
			if g.Approve && g.Edited == v {
				use = append(use, g)
			}
		}
		if use, ok := fewest(needs, use, opened); ok {
			return use, true
		}
	}
	return nil, false
}

func fewest(needs []Need, use []Given, opened int64) ([]Given, bool) {
	if len(needs) == 0 || !satisfied(needs, use, opened) {
		return nil, false
	}
	ranks := action.Rank("").Values()
	slices.SortStableFunc(use, func(a, b Given) int {
		return slices.Index(ranks, string(a.Channel)) - slices.Index(ranks, string(b.Channel))
	})
	for i := 0; i < len(use); {
		rest := slices.Delete(slices.Clone(use), i, i+1)
		if satisfied(needs, rest, opened) {
			use = rest
			continue
		}
		i++
	}
	return use, true
}

func satisfied(needs []Need, use []Given, opened int64) bool {
	for _, n := range needs {
		people := map[string]bool{}
		for _, g := range use {
			if n.counts(&g, opened) {
				people[fold(g.Approver)] = true
			}
		}
		if len(people) < max(n.Quorum, 1) {
			return false
		}
	}
	return true
}

// counts reports whether one approval is of the channel, group and person that n demands.
func (n *Need) counts(g *Given, opened int64) bool {
	return g.Channel.AtLeast(n.Channel) && n.member(g, opened) && (!n.Apart || g.Own == action.No) && n.proves(g)
}

// proves reports whether the sign-in behind g is what n demands of it. Whoever signed with his passkey just now needs no
// recent one.
func (n *Need) proves(g *Given) bool {
	if n.ACR != "" && (g.ACR == "" || !slices.Contains(strings.Fields(n.ACR), g.ACR)) {
		return false
	}
	methods := strings.Fields(n.AMR)
	if n.AMR != "" && len(methods) == 0 || slices.ContainsFunc(methods, func(m string) bool { return !slices.Contains(g.AMR, m) }) {
		return false
	}
	if n.MaxAgeS == 0 || g.Channel == action.RankPasskey {
		return true
	}
	age := g.TimeMs - g.AuthnMs
	return g.AuthnMs > 0 && age >= -authnSkewMs && age <= int64(n.MaxAgeS)*1000
}

// authnSkewMs is how far ahead of ours a provider's clock may be.
const authnSkewMs = 60_000

// wants says what proves misses.
func (n *Need) wants() string {
	var out []string
	if n.ACR != "" {
		out = append(out, "of level "+strings.Join(strings.Fields(n.ACR), " or "))
	}
	if n.AMR != "" {
		out = append(out, "with "+strings.Join(strings.Fields(n.AMR), " and "))
	}
	if n.MaxAgeS > 0 {
		out = append(out, fmt.Sprintf("at most %d s old", n.MaxAgeS))
	}
	return "a sign-in " + strings.Join(out, ", ") + " is needed; sign in again"
}

func (n *Need) member(g *Given, opened int64) bool {
	if n.Group == "" || slices.Contains(g.Groups, n.Group) {
		return true
	}
	return n.AfterS > 0 && n.To != "" && g.TimeMs >= opened+int64(n.AfterS)*1000 && slices.Contains(g.Groups, n.To)
}

func countsFor(needs []Need, g Given, opened int64) bool {
	return slices.ContainsFunc(needs, func(n Need) bool { return n.counts(&g, opened) })
}

// escalated reports whether the time has come at which n's other group counts.
func (n *Need) escalated(opened, now int64) bool {
	return n.AfterS > 0 && n.To != "" && now >= opened+int64(n.AfterS)*1000
}
