// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// vouched are the origins whose values a model may read.
var vouched = []action.Origin{action.OriginUser, action.OriginTenant, action.OriginSchema, action.OriginNamed}

// maxLeaves bounds the values of a call that are described; a larger call is for people.
const maxLeaves = 500

// name is what an argument may be called without being described itself.
var name = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,47}$`)

// host is what may be shown of a host: no words, no punctuation but dots and dashes.
var host = regexp.MustCompile(`^[a-z0-9.-]{1,120}$`)

// CallOf is the bare call as a judge may see it: tool, effect, destinations as typed facts, and for each
// argument its value where somebody trusted vouches for exactly it, else only what kind of value it is.
func CallOf(q *action.Query) (jsontext.Value, error) {
	c := caller{q: q, of: map[string]*action.Value{}}
	for i := range q.Context.Flow.Arguments {
		v := &q.Context.Flow.Arguments[i]
		if q.Context.Flow.State == action.StateKnown {
			c.of[v.Pointer] = v
		}
	}
	var doc any
	if err := action.Read(q.Action.Arguments, &doc, action.Limits{}); err != nil {
		return nil, fmt.Errorf("judge: arguments: %w", err)
	}
	args := c.value("", doc)
	if c.leaves > maxLeaves {
		return nil, fmt.Errorf("judge: %d values are more than %d", c.leaves, maxLeaves)
	}
	return action.Canonical(map[string]any{
		"tool": safe(q.Resource.Name), "server": safe(q.Resource.Server), "effect": string(q.Action.Effect),
		"reversible": string(q.Action.Reversible), "zone": string(q.Resource.Zone),
		"asked_for_by_user": string(q.Context.Flow.Asked), "session_read_untrusted_text": string(q.Context.Flow.Tainted),
		"arguments": args,
	})
}

type caller struct {
	q      *action.Query
	of     map[string]*action.Value
	leaves int
}

// value describes one value at pointer.
func (c *caller) value(at string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		out, keys := map[string]any{}, make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for i, k := range keys {
			shown := k
			if !name.MatchString(k) || strings.Count(at, "/") > 0 { // deeper names may be the agent's own
				shown = fmt.Sprintf("member %d", i+1)
			}
			out[shown] = c.value(at+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(k), v[k])
		}
		return out
	case []any:
		out := make([]any, 0, len(v))
		for i, e := range v {
			out = append(out, c.value(fmt.Sprintf("%s/%d", at, i), e))
		}
		return out
	}
	c.leaves++
	f := c.of[at]
	if f != nil && slices.Contains(vouched, f.Origin) && (len(f.Selection) == 0 || f.Selection != action.OriginUntrusted) {
		return map[string]any{"value": v, "vouched_for_by": string(f.Origin), "controls": string(f.Sink)}
	}
	return c.described(at, v, f)
}

// described says what kind of value v is, and nothing of what it says.
func (c *caller) described(at string, v any, f *action.Value) any {
	out := map[string]any{"origin": string(action.OriginUnknown), "controls": string(action.SinkUnknown)}
	if f != nil {
		out["origin"], out["controls"] = string(f.Origin), string(f.Sink)
	}
	switch v := v.(type) {
	case string:
		out["type"], out["bytes"] = "string", len(v)
	case bool:
		out["type"] = "boolean"
	case nil:
		out["type"] = "null"
	default:
		out["type"] = "number"
	}
	for _, u := range c.q.Action.URLs {
		if h := strings.ToLower(u.Host); u.Pointer == at && host.MatchString(h) {
			out["type"], out["host"] = "url", h
		}
	}
	for _, r := range c.q.Action.Recipients {
		if r.Pointer == at {
			out["type"], out["outside_the_organisation"] = "recipient", string(r.Outside)
		}
	}
	for _, p := range c.q.Action.Paths {
		if p.Pointer == at {
			out["type"], out["inside_a_root"] = "path", string(p.Inside)
		}
	}
	return out
}

// safe is a name of ours or of a server, if it is one.
func safe(s string) string {
	if name.MatchString(s) {
		return s
	}
	return "a name that is not shown"
}
