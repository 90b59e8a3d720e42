// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/bundle"
	"github.com/sallyport/sallyport/policy/rego"
)

// DefaultDocuments is how many documents Wider decides.
const DefaultDocuments = 5000

// Wider decides n documents (0 means DefaultDocuments) under c and under an older bundle and returns a finding for
// each rule of c that lets pass, or only asks about, what the older one denied. The documents are the cases of both
// bundles, and these changed by the words and numbers of both. What it finds is so; that it finds nothing proves nothing.
func (c *Compiled) Wider(ctx context.Context, parent *Compiled, n int) ([]rego.Finding, error) {
	if n == 0 {
		n = DefaultDocuments
	}
	seeds := slices.Concat(c.seeds(), parent.seeds())
	var generators []*rego.Generator
	for i, b := range []*Compiled{c, parent} {
		if b.documents != nil && b.documents.Decides() {
			generators = append(generators, rego.NewGenerator(b.documents, seeds, uint64(i+1)))
		}
	}
	total := len(seeds)
	if len(generators) > 0 {
		total = max(n, total)
	}
	type group struct {
		n    int
		text string
	}
	groups := map[string]*group{}
	for i := range total {
		q := pick(seeds, generators, i)
		before, err := parent.Decide(ctx, q)
		if err != nil {
			return nil, err
		}
		after, err := c.Decide(ctx, q)
		if err != nil {
			return nil, err
		}
		if !looser(&after, &before) {
			continue
		}
		rule := decidingRules(&after)
		if groups[rule] == nil {
			groups[rule] = &group{text: fmt.Sprintf("%s what %s by %s, such as %s", says[after.Verdict], past[before.Verdict], decidingRules(&before), example(q))}
		}
		groups[rule].n++
	}
	var out []rego.Finding
	for rule, g := range groups {
		out = append(out, rego.Finding{Lint: "wider-than-parent", File: bundle.ManifestFile, Line: 1, Rule: rule,
			Text: fmt.Sprintf("%s (%d of %d documents)", g.text, g.n, total), Safe: "a condition that leaves out what was denied before"})
	}
	slices.SortFunc(out, func(a, b rego.Finding) int { return strings.Compare(a.Rule, b.Rule) })
	return out, nil
}

// pick returns the i-th document: a seed, or a made one.
func pick(seeds []*action.Query, generators []*rego.Generator, i int) *action.Query {
	if i < len(seeds) {
		return seeds[i]
	}
	return generators[i%len(generators)].Next(i)
}

var (
	says = map[action.Verdict]string{action.Allow: "permits", action.Ask: "only asks about", action.Deny: "does not enforce"}
	past = map[action.Verdict]string{action.Ask: "was asked about", action.Deny: "was denied", action.Quarantine: "was denied, with the session stopped,"}
)

// looser reports whether a lets pass more than b.
func looser(a, b *action.Decision) bool {
	if a.Mode == action.Observe && b.Mode != action.Observe && a.Verdict != action.Allow {
		return true
	}
	return a.Verdict != b.Verdict && a.Verdict.Meet(b.Verdict) == b.Verdict
}

// decidingRules are the rules that a decision rests on.
func decidingRules(d *action.Decision) string {
	var ids []string
	for _, m := range d.Deciding() {
		ids = append(ids, m.ID)
	}
	slices.Sort(ids)
	return strings.Join(slices.Compact(ids), ", ")
}

// example shows the first facts of q that say what is done.
func example(q *action.Query) string {
	facts := Stated(q)
	slices.SortStableFunc(facts, func(a, b string) int { return telling(a) - telling(b) })
	out := []string{"gate " + action.Word(q.Phase)}
	for _, f := range facts[:min(len(facts), 4)] {
		out = append(out, action.Clip(f, 80))
	}
	return strings.Join(out, ", ")
}

// telling orders facts by how much they say about what is done.
func telling(fact string) int {
	for i, part := range []string{"resource.id", "action.effect", "action.", "resource.", "round", "context."} {
		if strings.HasPrefix(fact, part) {
			return i
		}
	}
	return 100
}
