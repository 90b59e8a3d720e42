// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// Explanation is a decision with its text for people. It names rules: agents must not see it.
type Explanation struct {
	Decision action.Decision `json:"decision"`
	Text     string          `json:"text"`
}

// Explain decides q and says why in lines of text: the verdict and bundle, each rule that fired with the
// deciding ones first, obligations, errors.
func (c *Compiled) Explain(ctx context.Context, q *action.Query) (Explanation, error) {
	d, err := c.Decide(ctx, q)
	if err != nil {
		return Explanation{Decision: d}, err
	}
	return Explanation{Decision: d, Text: Text(q, &d)}, nil
}

// Text is what Explain says about a decision that was taken on q.
func Text(q *action.Query, d *action.Decision) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q by agent %q (%s, gate %s)\n", d.Verdict, q.Resource.ID, q.Subject.ID, action.Word(q.Action.Effect), action.Word(q.Phase))
	fmt.Fprintf(&b, "  bundle %s@%d %s, %s\n", d.Bundle.Name, d.Bundle.Sequence, d.Bundle.Digest, d.Mode)
	matches := slices.Clone(d.Matches)
	slices.SortStableFunc(matches, func(x, y action.Match) int {
		return deciding(d, x) - deciding(d, y)
	})
	for _, m := range matches {
		fmt.Fprintf(&b, "  %-10s %s", m.Verdict, m.ID)
		if m.Code != "" {
			fmt.Fprintf(&b, " [%s, %s]", m.Code, m.Severity)
		}
		if m.Reason != "" {
			fmt.Fprintf(&b, ": %s", m.Reason)
		}
		if m.Verdict == action.Ask {
			fmt.Fprintf(&b, " (needs %s)", m.Approver.Need())
		}
		if m.Always {
			b.WriteString(" (always enforced)")
		}
		b.WriteByte('\n')
	}
	for _, o := range d.Obligations {
		fmt.Fprintf(&b, "  obligation %s (%s)", o.Type, o.Rule)
		keys := make([]string, 0, len(o.Params))
		for k := range o.Params {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			fmt.Fprintf(&b, " %s=%s", k, o.Params[k])
		}
		b.WriteByte('\n')
	}
	for _, e := range d.Errors {
		fmt.Fprintf(&b, "  error %q\n", e)
	}
	if h := d.Hint(); h != "" {
		fmt.Fprintf(&b, "  the agent is told: %s\n", h)
	}
	return b.String()
}

func deciding(d *action.Decision, m action.Match) int {
	if m.Verdict == d.Verdict {
		return 0
	}
	return 1
}

// Trace decides q once more, slowly, and returns the steps of each engine that can tell them, line by line, for people.
func (c *Compiled) Trace(ctx context.Context, q *action.Query) ([]string, error) {
	var out []string
	for _, e := range c.evaluators {
		t, ok := e.(interface {
			Trace(ctx context.Context, q *action.Query) ([]string, error)
		})
		if !ok {
			out = append(out, e.Engine().Name+": no trace")
			continue
		}
		lines, err := t.Trace(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("policy: bundle %q: %w", c.bundle.Name, err)
		}
		for _, l := range lines {
			out = append(out, e.Engine().Name+": "+l)
		}
	}
	return out, nil
}
