// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policies"
)

func TestRemedySaysWhatWouldMakeItAllowed(t *testing.T) {
	c := mustLoad(t, pack("x", 1, map[string]string{"p.rego": regoHead + `
allow contains {"id": "read"} if {
	input.action.effect == "read"
	input.resource.definition.state == "approved"
	every p in input.action.paths { p.inside == "yes" }
}

deny contains {"id": "secrets", "code": "c", "reason": "r"} if count(input.context.detect.secrets) > 0

quarantine contains {"id": "other", "code": "c", "reason": "r"} if input.action.effect == "send"
`}))
	for name, c2 := range map[string]struct {
		change func(q *action.Query)
		want   string
	}{
		"nothing is wrong":   {func(*action.Query) {}, "allow"},
		"one fact":           {func(q *action.Query) { q.Resource.Definition.State = action.DefinitionPending }, "allow resource.definition.state: pending -> approved"},
		"a fact in a list":   {func(q *action.Query) { q.Action.Paths[0].Inside = action.No }, "allow action.paths[0].inside: no -> yes"},
		"something is there": {func(q *action.Query) { q.Context.Detect.Secrets = []action.Secret{{}} }, "allow context.detect.secrets: (1) -> (none)"},
		"what the action is": {func(q *action.Query) { q.Action.Effect = action.EffectSend }, "quarantine"},
	} {
		t.Run(name, func(t *testing.T) {
			q := used("s/t", action.EffectRead, onPath("/w/x"))
			c2.change(q)
			r, err := c.Remedy(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			got := []string{string(r.Verdict)}
			for _, f := range r.Changes {
				got = append(got, fmt.Sprintf("%s: %s -> %s", f.Fact, f.From, f.To))
			}
			if strings.Join(got, " ") != c2.want {
				t.Errorf("%q, not %q", got, c2.want)
			}
		})
	}
}

// TestRemedyIsTheSameForCedar: the policy is asked, whatever its engine.
func TestRemedyIsTheSameForCedar(t *testing.T) {
	c := mustLoad(t, pack("x", 1, map[string]string{"p.cedar": `
@id("read") permit (principal, action == Action::"read", resource)
when { context.resource.definition.state == "approved" && context.action.paths.inside == ["yes"] };

@id("secrets") @code("c") @reason("r") forbid (principal, action, resource) when { context.detect.secrets.count > 0 };

@id("lost") @code("c") @reason("r") @ask("operator") forbid (principal, action, resource) when { context.session.state == "lost" };
`}))
	for name, k := range map[string]struct {
		change func(q *action.Query)
		want   string
	}{
		"nothing is wrong":     {func(*action.Query) {}, "allow"},
		"one fact":             {func(q *action.Query) { q.Resource.Definition.State = action.DefinitionPending }, "allow resource.definition.state: pending -> approved"},
		"a fact in a column":   {func(q *action.Query) { q.Action.Paths[0].Inside = action.No }, "allow action.paths[0].inside: no -> yes"},
		"something is there":   {func(q *action.Query) { q.Context.Detect.Secrets = []action.Secret{{}} }, "allow context.detect.secrets: (1) -> (none)"},
		"what only asks":       {func(q *action.Query) { q.Context.Session.State = action.SessionLost }, "allow context.session.state: lost -> live"},
		"what nothing permits": {func(q *action.Query) { q.Action.Effect = action.EffectSpend }, "deny"},
	} {
		q := used("s/t", action.EffectRead, onPath("/w/x"))
		k.change(q)
		r, err := c.Remedy(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		got := []string{string(r.Verdict)}
		for _, f := range r.Changes {
			got = append(got, fmt.Sprintf("%s: %s -> %s", f.Fact, f.From, f.To))
		}
		if strings.Join(got, " ") != k.want {
			t.Errorf("%s: %q, not %q", name, got, k.want)
		}
	}
}

// TestRemediesOfTheBaselineAreNeeded looks for a remedy of every case of the baseline that is not allowed: each change is
// needed, and some are found.
func TestRemediesOfTheBaselineAreNeeded(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and nothing in it is concurrent")
	}
	c, err := Load(Config{Pack: policies.Names()[0]})
	if err != nil {
		t.Fatal(err)
	}
	found, tried := 0, 0
	for i, q := range c.seeds() {
		if i%10 != 0 {
			continue
		}
		before, err := c.Decide(t.Context(), q)
		if err != nil || before.Verdict == action.Allow {
			continue
		}
		tried++
		r, err := c.Remedy(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Changes) == 0 {
			continue
		}
		found++
		if r.Verdict == before.Verdict || !slices.Contains([]action.Verdict{action.Allow, action.Ask, action.Deny}, r.Verdict) {
			t.Errorf("%s -> %s: %+v", before.Verdict, r.Verdict, r.Changes)
		}
		if after, err := c.Decide(t.Context(), q); err != nil || after.Verdict != before.Verdict {
			t.Errorf("the query was changed: %s, %v", after.Verdict, err)
		}
	}
	if found*2 < tried {
		t.Errorf("a remedy for %d of %d", found, tried)
	}
	t.Logf("a remedy for %d of %d", found, tried)
}
