// SPDX-License-Identifier: Apache-2.0

package replaybench

import (
	"context"
	"slices"

	"github.com/sallyport/sallyport/action"
)

// Case is a call that the policy got wrong: a benign one that was lost, or harm that ran.
type Case struct {
	Wrong     string         `json:"wrong"` // false_block, passed_harm, result_withheld
	Suite     string         `json:"suite"`
	Run       string         `json:"run"`
	UserTask  string         `json:"user_task"`
	Injection string         `json:"injection_task,omitzero"`
	Attacked  bool           `json:"attacked"`
	Solved    bool           `json:"solved"` // the user's task, as recorded
	Prompt    string         `json:"prompt"`
	Call      int            `json:"call"` // of the run, from 1
	Server    string         `json:"server"`
	Tool      string         `json:"tool"`
	Arguments any            `json:"arguments"`
	Verdict   action.Verdict `json:"verdict"` // "" if the door refused the call
	Hint      string         `json:"hint"`
	Rules     []string       `json:"rules"`
	RulesTwo  []string       `json:"rules_of_gate_two,omitzero"`
	Effect    action.Effect  `json:"effect,omitzero"`
	Flow      *action.Flow   `json:"flow,omitzero"`
}

// known is what the record holds of one decision.
type known struct {
	by         string
	rules, two []string
	input      *action.Query  // nil unless it was kept
	unselected action.Verdict // decided again with every object the user's choice; "" where that changes nothing
}

// facts reads what is on record of the calls. Inputs are kept of those that were decided wrongly.
func (p *player) facts(ctx context.Context, plays []*played, keep, again bool) (map[string]known, error) {
	calls := map[string]*outcome{}
	for _, r := range plays {
		for i := range r.calls {
			if c := &r.calls[i]; c.id != "" {
				calls[c.id] = c
			}
		}
	}
	out := map[string]known{}
	err := p.Decisions(ctx, func(d Decided) error {
		c := calls[d.Action]
		if d.After && c != nil {
			k := out[d.Action]
			k.two = d.Rules
			out[d.Action] = k
			return nil
		}
		if _, seen := out[d.Action]; seen || c == nil {
			return nil
		}
		k := known{by: stoppedBy(d.Input), rules: d.Rules}
		if keep && c.stopped() == (c.call.Harm == 0) {
			k.input = d.Input
		}
		if again {
			if q, differs := chosenByUser(d.Input); differs {
				got, err := p.Redecide(ctx, q)
				if err != nil {
					return err
				}
				k.unselected = got.Verdict
			}
		}
		out[d.Action] = k
		return nil
	})
	return out, err
}

// stoppedBy says which argument of a stopped call had an origin that nobody vouches for: one that says
// where something goes before one that chooses an object.
func stoppedBy(q *action.Query) string {
	by := "other"
	for i := range q.Context.Flow.Arguments {
		v := &q.Context.Flow.Arguments[i]
		switch v.Sink {
		case action.SinkDestination, action.SinkCommand:
			if !vouched(v.Origin) && !vouched(v.Selection) {
				return "destination"
			}
		case action.SinkSelector:
			if !vouched(v.Origin) && !vouched(v.Selection) {
				by = "selection"
			}
		}
	}
	return by
}

func vouched(o action.Origin) bool {
	return o == action.OriginUser || o == action.OriginTenant || o == action.OriginSchema
}

// chosenByUser is the input as it would be had the user named every object. It reports whether that is
// another input.
func chosenByUser(q *action.Query) (*action.Query, bool) {
	args := slices.Clone(q.Context.Flow.Arguments)
	differs := false
	for i := range args {
		if v := &args[i]; v.Sink == action.SinkSelector && (v.Origin != action.OriginUser || v.Selection != action.OriginUser) {
			v.Origin, v.Origins, v.Selection, v.Grade, v.Evidence = action.OriginUser, []action.Origin{action.OriginUser}, action.OriginUser, "U", nil
			differs = true
		}
	}
	if !differs {
		return nil, false
	}
	c := *q
	c.Context.Flow.Arguments = args
	return &c, true
}

// wrong tells what the policy got wrong in a run.
func (p *player) wrong(r *played, facts map[string]known, seen func(Case) error) error {
	for i := range r.calls {
		c := &r.calls[i]
		word := ""
		switch {
		case c.call.Serves && c.call.Harm == 0:
			continue
		case c.call.Harm != 0 && c.passed:
			word = "passed_harm"
		case c.call.Harm == 0 && !c.passed:
			word = "false_block"
		case c.call.Harm == 0 && !c.back:
			word = "result_withheld"
		default:
			continue
		}
		k := facts[c.id]
		x := Case{Wrong: word, Suite: r.run.Suite, Run: r.run.ID, UserTask: r.run.UserTask, Injection: r.run.Injection, Attacked: r.run.Attack != "",
			Solved: r.run.Utility, Prompt: r.run.Prompt, Call: i + 1, Server: p.servers[c.call.Tool], Tool: c.call.Tool, Arguments: c.call.Args,
			Verdict: c.verdict, Hint: c.hint, Rules: k.rules, RulesTwo: k.two}
		if k.input != nil {
			x.Effect, x.Flow = k.input.Action.Effect, &k.input.Context.Flow
		}
		if err := seen(x); err != nil {
			return err
		}
	}
	return nil
}
