// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
)

const waivedRules = `allow contains {"id": "ok"} if input.action.effect != "destroy"

ask contains {"id": "who", "code": "c", "reason": "r"} if input.action.effect == "send"

deny contains {"id": "far", "code": "c", "reason": "r"} if input.resource.zone == "outside"

deny contains {"id": "secret", "code": "c", "reason": "r", "always": true} if input.action.effect == "spend"

deny contains {"id": "gone", "code": "c", "reason": "r"} if input.action.effect == "destroy"

quarantine contains {"id": "odd", "code": "c", "reason": "r"} if input.action.effect == "execute"
`

func withWaivers(t *testing.T, files map[string]string, rules ...string) *Compiled {
	t.Helper()
	fsys := pack("x", 1, files)
	text := "waivers:\n"
	for _, r := range rules {
		text += "  - {rule: " + r + ", agent: bot, tool: crm/send, reason: moving, owner: ann, ticket: SEC-7, until: 2030-01-01T00:00:00Z}\n"
	}
	fsys["sallyport-bundle.yaml"].Data = append(fsys["sallyport-bundle.yaml"].Data, text...)
	c, err := LoadFS(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWaiverLiftsOneRuleForOneAgentAndTool(t *testing.T) {
	c := withWaivers(t, map[string]string{"p.rego": regoHead + waivedRules}, "p.who", "p.far", "p.secret", "p.gone", "p.odd")
	ends := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	for name, k := range map[string]struct {
		change func(q *action.Query)
		want   action.Verdict
		rules  string
	}{
		"what is asked about passes":      {func(*action.Query) {}, action.Allow, "p.ok,waived.p.who"},
		"what is denied passes":           {func(q *action.Query) { q.Action.Effect, q.Resource.Zone = action.EffectRead, action.ZoneOutside }, action.Allow, "p.ok,waived.p.far"},
		"both":                            {func(q *action.Query) { q.Resource.Zone = action.ZoneOutside }, action.Allow, "p.ok,waived.p.far,waived.p.who"},
		"another agent is asked":          {func(q *action.Query) { q.Subject.ID = "bit" }, action.Ask, "p.who"},
		"another tenant's agent is asked": {func(q *action.Query) { q.Subject.Tenant = "other" }, action.Ask, "p.who"},
		"another tool is asked about":     {func(q *action.Query) { q.Resource.ID = "crm/sent" }, action.Ask, "p.who"},
		"at its end it is asked":          {func(q *action.Query) { q.Context.Time.UnixMilli = ends }, action.Ask, "p.who"},
		"just before it is not":           {func(q *action.Query) { q.Context.Time.UnixMilli = ends - 1 }, action.Allow, "p.ok,waived.p.who"},
		"without a time it is asked":      {func(q *action.Query) { q.Context.Time.UnixMilli = 0 }, action.Ask, "p.who"},
		"what is marked always stays":     {func(q *action.Query) { q.Action.Effect = action.EffectSpend }, action.Deny, "p.secret"},
		"what nothing allows stays":       {func(q *action.Query) { q.Action.Effect = action.EffectDestroy }, action.Deny, "p.gone"},
		"quarantine stays":                {func(q *action.Query) { q.Action.Effect = action.EffectExecute }, action.Quarantine, "p.odd"},
	} {
		q := action.NewQuery(action.Before)
		q.Subject.ID, q.Subject.Tenant, q.Resource.ID, q.Action.Effect, q.Context.Time.UnixMilli = "bot", "default", "crm/send", action.EffectSend, ends-1000
		k.change(q)
		d, err := c.Decide(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, m := range d.Deciding() {
			ids = append(ids, m.ID)
		}
		if got := strings.Join(ids, ","); d.Verdict != k.want || got != k.rules {
			t.Errorf("%s: %s by %s, not %s by %s", name, d.Verdict, got, k.want, k.rules)
		}
	}
	if c.Never("default", "bot", "crm", "send") {
		t.Error("a tool with a waiver counts as one that can never pass")
	}
}

// A waiver in one engine's answer permits nothing that the other denies.
func TestWaiverPermitsNothingInAnotherEngine(t *testing.T) {
	c := withWaivers(t, map[string]string{"p.rego": regoHead + waivedRules, "q.cedar": `@id("read") @code("c") @reason("R.") permit (principal, action == Action::"read", resource);`}, "p.who", "p.far")
	q := action.NewQuery(action.Before)
	q.Subject.ID, q.Resource.ID, q.Action.Effect, q.Context.Time.UnixMilli = "bot", "crm/send", action.EffectSend, 1_790_000_000_000
	if d, err := c.Decide(t.Context(), q); err != nil || d.Verdict != action.Deny {
		t.Errorf("%+v %v", d, err)
	}
	q.Action.Effect, q.Resource.Zone = action.EffectRead, action.ZoneOutside
	if d, err := c.Decide(t.Context(), q); err != nil || d.Verdict != action.Allow {
		t.Errorf("%+v %v", d, err)
	}
}

func TestWaiverOfARuleIsNarrowAndSigned(t *testing.T) {
	for entry, want := range map[string]string{
		"{rule: p.who, agent: bot, tool: crm/send, reason: r, owner: ann, ticket: T, until: 2030-01-01T00:00:00Z}":               "",
		"{rule: p.whom, agent: bot, tool: crm/send, reason: r, owner: ann, ticket: T, until: 2030-01-01T00:00:00Z}":              `no rule "p.whom"`,
		"{rule: p.who, agent: \"*\", tool: crm/send, reason: r, owner: ann, ticket: T, until: 2030-01-01T00:00:00Z}":             "one agent and one tool",
		"{rule: p.who, agent: bot, tool: \"crm/*\", reason: r, owner: ann, ticket: T, until: 2030-01-01T00:00:00Z}":              "one agent and one tool",
		"{rule: p.who, agent: bot, reason: r, owner: ann, ticket: T, until: 2030-01-01T00:00:00Z}":                               "one agent and one tool",
		"{rule: p.who, reason: r, owner: ann, ticket: T, until: 2030-01-01T00:00:00Z}":                                           "either lint",
		"{rule: p.who, lint: unused, agent: bot, tool: crm/send, reason: r, owner: ann, ticket: T, until: 2030-01-01T00:00:00Z}": "either lint",
		"{rule: \"p.*\", agent: bot, tool: crm/send, reason: r, owner: ann, ticket: T, until: 2030-01-01T00:00:00Z}":             "must be one rule",
		"{rule: p.who, agent: bot, tool: crm/send, reason: r, ticket: T, until: 2030-01-01T00:00:00Z}":                           "owner is required",
		"{rule: p.who, agent: bot, tool: crm/send, reason: r, owner: ann, until: 2030-01-01T00:00:00Z}":                          "ticket is required",
		"{rule: p.who, agent: bot, tool: crm/send, reason: r, owner: ann, ticket: T}":                                            "until is required",
		"{rule: p.who, tenant: other, lint: unused, reason: r, owner: ann, until: 2030-01-01T00:00:00Z}":                         "no tenant",
	} {
		fsys := pack("x", 1, map[string]string{"p.rego": regoHead + waivedRules})
		fsys["sallyport-bundle.yaml"].Data = append(fsys["sallyport-bundle.yaml"].Data, "waivers: ["+entry+"]\n"...)
		if _, err := LoadFS(fsys); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", entry, err, want)
		}
	}
	old := mustLoad(t, pack("x", 1, map[string]string{"p.rego": regoHead + waivedRules}))
	if why := untight(old, withWaivers(t, map[string]string{"p.rego": regoHead + waivedRules}, "p.who")); why == "" {
		t.Error("one person may waive a rule")
	}
	// Lint reports one that has ended.
	fsys := pack("x", 1, map[string]string{"p.rego": regoHead + waivedRules})
	fsys["sallyport-bundle.yaml"].Data = append(fsys["sallyport-bundle.yaml"].Data, "waivers: [{rule: p.who, agent: bot, tool: crm/send, reason: r, owner: ann, ticket: T, until: 2020-01-01T00:00:00Z}]\n"...)
	r, err := mustLoad(t, fsys).Lint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range r.Findings {
		found = found || f.Lint == "unused-waiver" && strings.Contains(f.Text, "ended on 2020-01-01")
	}
	if !found {
		t.Errorf("%+v", r.Findings)
	}
}
