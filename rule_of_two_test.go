// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"fmt"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy"
)

// Of what strangers wrote, what is private, and what acts outside, a policy lets at most two come together
// without a person: the facts say each of the three.
func TestRuleOfTwoCanBeSaid(t *testing.T) {
	compiled, err := policy.Load(policy.Config{Dir: bundle(t, `
untrusted if not input.context.flow.session.untrusted == "no"

private if not input.context.flow.session.secrecy in {"public", "internal"}

outside if input.action.effect in {"send", "spend", "admin", "unknown"}

outside if not input.resource.zone == "inside"

ask contains {"id": "two", "code": "rule-of-two", "reason": "Strangers' text, private data and an effect outside come together.", "approver": {"channel": "operator"}} if {
	input.phase == "before"
	untrusted
	private
	outside
}
`)})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 8 {
		strangers, private, outside := n&1 != 0, n&2 != 0, n&4 != 0
		q := action.NewQuery(action.Before)
		q.Subject.ID, q.Resource.Server, q.Resource.Name = "agent", "desk", "tool"
		q.Context.Flow.State = action.StateKnown
		q.Context.Flow.Session = action.Labels{Untrusted: action.TriOf(strangers), Secrecy: action.SecrecyInternal, Opaque: action.No}
		if private {
			q.Context.Flow.Session.Secrecy = action.SecrecyConfidential
		}
		q.Action.Effect, q.Resource.Zone = action.EffectWrite, action.ZoneInside
		if outside {
			q.Action.Effect = action.EffectSend
		}
		t.Run(fmt.Sprintf("strangers %t, private %t, outside %t", strangers, private, outside), func(t *testing.T) {
			want := action.Allow
			if n == 7 {
				want = action.Ask
			}
			d, err := compiled.Decide(t.Context(), q)
			if err != nil || d.Verdict != want {
				t.Errorf("%s, want %s: %v", d.Verdict, want, err)
			}
			unknown := *q // what nobody knows counts as there
			if unknown.Context.Flow = action.UnknownFlow(); n >= 4 {
				want = action.Ask
			}
			if d, err := compiled.Decide(t.Context(), &unknown); err != nil || d.Verdict != want {
				t.Errorf("unknown: %s, want %s: %v", d.Verdict, want, err)
			}
		})
	}
}
