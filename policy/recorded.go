// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"fmt"

	"github.com/sallyport/sallyport/action"
)

// RecordedCase makes a case out of a recorded input: what c does not need to decide as it does is left out, and texts
// that decide nothing are replaced. Where expect is another answer than c's, the typed facts stay, and only the user's
// id and the texts of raw arguments are replaced. It returns the case's text and c's answer. "" as the name means one
// that says of which record it is.
func (c *Compiled) RecordedCase(ctx context.Context, q *action.Query, record, name string, expect action.Verdict) (string, action.Verdict, error) {
	d, err := c.Decide(ctx, q)
	if err != nil {
		return "", d.Verdict, err
	}
	part, err := c.casePart(ctx, q, d.Verdict == expect)
	if err != nil {
		return "", d.Verdict, err
	}
	if name == "" {
		name = fmt.Sprintf("record %s: %s of %s", record, action.Word(q.Action.Effect), q.Resource.ID)
	}
	text, err := CaseText(name, expect, nil, part)
	return text, d.Verdict, err
}

func (c *Compiled) casePart(ctx context.Context, q *action.Query, answered bool) (map[string]any, error) {
	if answered {
		keep := q.Resource
		return c.Minimal(ctx, q, func(now *action.Query) bool {
			return now.Phase == q.Phase && now.Resource.Server == keep.Server && now.Resource.Name == keep.Name && now.Action.Effect == q.Action.Effect
		})
	}
	part, err := Stating(q)
	if err != nil {
		return nil, err
	}
	for _, at := range [][]string{{"subject", "user", "id"}, {"action", "arguments"}, {"context", "result", "content"}} {
		redactAt(part, at)
	}
	return part, nil
}

// redactAt replaces every text below a path of members.
func redactAt(in map[string]any, at []string) {
	v, ok := in[at[0]]
	if !ok {
		return
	}
	if len(at) == 1 {
		in[at[0]] = withoutTexts(v)
		return
	}
	if next, ok := v.(map[string]any); ok {
		redactAt(next, at[1:])
	}
}

// withoutTexts replaces every text of v, and leaves names and numbers.
func withoutTexts(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name := range v {
			v[name] = withoutTexts(v[name])
		}
	case []any:
		for i := range v {
			v[i] = withoutTexts(v[i])
		}
	case string:
		return redacted
	}
	return v
}
