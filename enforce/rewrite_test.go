// SPDX-License-Identifier: Apache-2.0

package enforce_test

import (
	"context"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/enforce/enforcetest"
)

func TestRewritingIsDecidedOnceMore(t *testing.T) {
	cap := func(max string) []action.Obligation {
		return []action.Obligation{{Type: action.ObligeCap, Rule: "test.cap", Params: map[string]string{"pointer": "/amount", "max": max}}}
	}
	for _, c := range []struct {
		name   string
		policy enforcetest.Policy
		want   string // executed bytes; "" for none
	}{
		{"capped", func(q *action.Query) (action.Decision, error) {
			d := enforcetest.Rule(action.Allow, "test.cap")
			if q.Phase == action.Before {
				d.Obligations = cap("10")
			}
			return d, nil
		}, `{"amount":10,"to":"bob"}`},
		{"nothing to change keeps the bytes", func(q *action.Query) (action.Decision, error) {
			d := enforcetest.Rule(action.Allow, "test.cap")
			d.Obligations = cap("1000")
			return d, nil
		}, `{"to":"bob", "amount":100}`},
		{"the new bytes are denied", func(q *action.Query) (action.Decision, error) {
			if strings.Contains(string(q.Action.Arguments), `"amount":10,`) {
				return enforcetest.Rule(action.Deny, "test.new"), nil
			}
			d := enforcetest.Rule(action.Allow, "test.cap")
			d.Obligations = cap("10")
			return d, nil
		}, ""},
		{"a change that would never end", func(q *action.Query) (action.Decision, error) {
			d := enforcetest.Rule(action.Allow, "test.cap")
			d.Obligations = cap("10")
			if strings.Contains(string(q.Action.Arguments), `"amount":10,`) {
				d.Obligations = cap("5")
			}
			return d, nil
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.policy, nil)
			var got string
			_, _, err := r.Do(t.Context(), r.attempt("read", "c", `{"to":"bob", "amount":100}`), func(_ context.Context, a enforce.Admission) (enforce.Outcome, error) {
				got = string(a.Arguments)
				return enforce.Outcome{Status: action.ResultDone, Content: []byte(`{}`)}, nil
			})
			if err != nil || got != c.want {
				t.Fatalf("executed %q, want %q (%v)", got, c.want, err)
			}
			if got != "" && string(r.log.Of(action.KindIntent)[0].Part(action.PartArguments)) != got {
				t.Error("the record holds other bytes than were executed")
			}
		})
	}
}
