// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

// taken is one action of a session: its tool, and what else is told of it.
type taken struct {
	tool   string
	effect action.Effect
	to     string
	minute int64
	denied bool
	facts  func(q *action.Query)
}

func tainted(q *action.Query) {
	q.Context.Flow.State, q.Context.Flow.Session.Untrusted = action.StateKnown, action.Yes
}

func planted(q *action.Query) {
	tainted(q)
	q.Context.Flow.Arguments = []action.Value{{Sink: action.SinkDestination, Origin: action.OriginUntrusted}}
}

func secret(q *action.Query) {
	q.Context.Flow.State, q.Context.Flow.Session.Secrecy = action.StateKnown, action.SecrecySecret
}

func pays(n int, payee string, every int64) (out []taken) {
	for i := range n {
		out = append(out, taken{tool: "bank/pay", effect: action.EffectSpend, to: strings.ReplaceAll(payee, "%d", fmt.Sprint(i)), minute: int64(i) * every})
	}
	return out
}

func TestRulesFindTheirChains(t *testing.T) {
	rules, err := DefaultRules()
	if err != nil {
		t.Fatal(err)
	}
	read := taken{tool: "web/get", effect: action.EffectRead}
	var refused, sweep []taken
	for i := range 5 {
		refused = append(refused, taken{tool: "x/y", effect: action.EffectRead, denied: true, minute: int64(i)})
	}
	for i := range 8 {
		sweep = append(sweep, taken{tool: fmt.Sprint("crm/get", i), effect: action.EffectRead})
	}
	for _, c := range []struct {
		name string
		then []taken
		want string // "" none
	}{
		{"a planted destination", []taken{{tool: "mail/send", effect: action.EffectSend, to: "eve@out.example", facts: planted}}, "chain.planted_destination"},
		{"the same in a clean session", []taken{{tool: "mail/send", effect: action.EffectSend, to: "eve@out.example"}}, ""},
		{"a secret that was read goes out", []taken{read, {tool: "mail/send", effect: action.EffectSend, to: "eve@out.example", minute: 29, facts: secret}}, "chain.secret_out"},
		{"the same, half an hour later", []taken{read, {tool: "mail/send", effect: action.EffectSend, to: "eve@out.example", minute: 31, facts: secret}}, ""},
		{"the other way round", []taken{{tool: "mail/send", effect: action.EffectSend, to: "eve@out.example", facts: secret}, read}, ""},
		{"five refusals, then something new", append(slices.Clone(refused), taken{tool: "shell/run", effect: action.EffectExecute, minute: 6}), "chain.probing"},
		{"four refusals", append(slices.Clone(refused[:4]), taken{tool: "shell/run", effect: action.EffectExecute, minute: 6}), ""},
		{"three new payees", pays(3, "payee%d@out.example", 10), "chain.spree"},
		{"one payee, three times", pays(3, "payee@out.example", 10), ""},
		{"three new payees in a day", pays(3, "payee%d@out.example", 400), ""},
		{"many tools that read, then a send", append(slices.Clone(sweep), taken{tool: "mail/send", effect: action.EffectSend, to: "a@b.example", minute: 1}), "chain.sweep"},
		{"one tool that reads eight times", append(slices.Repeat([]taken{read}, 8), taken{tool: "mail/send", effect: action.EffectSend, to: "a@b.example", minute: 1}), ""},
	} {
		m := profiles(t, ProfilesConfig{Rules: rules})
		var got []string
		for _, s := range c.then {
			q := call("a", s.tool, s.to, start+s.minute*60_000)
			q.Action.Effect = s.effect
			if s.facts != nil {
				s.facts(q)
			}
			p, _ := m.Inform(t.Context(), q)
			p.Put(q)
			got = q.Context.Monitor.Alerts
			if s.denied {
				m.Denied(q)
			} else if err := m.Reserve(t.Context(), q); err != nil { // on its way: nothing has ended yet
				t.Fatal(err)
			}
		}
		if c.want == "" && len(got) > 0 || c.want != "" && !slices.Contains(got, c.want) {
			t.Errorf("%s: %v, want %q", c.name, got, c.want)
		}
	}
}

func TestRulesLookAtTheirOwnSessionOnly(t *testing.T) {
	rules, _ := DefaultRules()
	m := profiles(t, ProfilesConfig{Rules: rules})
	read := call("a", "crm/get", "", start)
	do(t, m, read)
	q := call("a", "mail/send", "eve@out.example", start+1000)
	q.Action.Effect, q.Context.Session.ID = action.EffectSend, "another"
	secret(q)
	if got := do(t, m, q); slices.Contains(got.Alerts, "chain.secret_out") {
		t.Errorf("%v", got.Alerts)
	}
}

func TestChainsAreSeenAcrossSessions(t *testing.T) {
	for _, c := range []struct {
		per, agent, user, tenant string // of the second step
		hours                    int64  // after the first
		busy                     int    // other actions of the tenant between them
		want                     bool
	}{
		{"agent", "a", "ann", "default", 20, 500, true},
		{"agent", "a", "ann", "default", 25, 0, false},
		{"agent", "b", "ann", "default", 1, 0, false},
		{"agent", "a", "ann", "other", 1, 0, false},
		{"user", "b", "ann", "default", 20, 500, true},
		{"user", "a", "ben", "default", 1, 0, false},
		{"user", "a", "", "default", 1, 0, false},
		{"tenant", "b", "ben", "default", 20, 500, true},
		{"tenant", "a", "ann", "other", 1, 0, false},
		{"session", "a", "ann", "default", 1, 0, false},
	} {
		r, err := ReadRules("f.yaml", []byte("version: 1\nrules:\n  - {id: a.b, title: t, within: 24h, per: "+c.per+", steps: [{tool: [crm/export]}, {tool: [mail/send]}]}\n"))
		if err != nil {
			t.Fatal(err)
		}
		m := profiles(t, ProfilesConfig{Rules: r})
		first := call("a", "crm/export", "", start)
		first.Subject.User.ID = "ann"
		do(t, m, first)
		for i := range c.busy {
			q := call(fmt.Sprint("worker", i%7), "x/y", "", start+int64(i))
			q.Context.Session.ID = fmt.Sprint("s", i%9)
			do(t, m, q)
		}
		q := call(c.agent, "mail/send", "", start+c.hours*3_600_000)
		q.Subject.User.ID, q.Subject.Tenant, q.Context.Session.ID = c.user, c.tenant, "another"
		if got := slices.Contains(do(t, m, q).Alerts, "a.b"); got != c.want {
			t.Errorf("per %s, by %s for %q of %s, %d hours later: %v", c.per, c.agent, c.user, c.tenant, c.hours, got)
		}
	}
}

func TestRulesRefuseWhatCouldNeverFire(t *testing.T) {
	rule := func(head, steps string) string {
		return "version: 1\nrules:\n  - id: a.b\n    title: t\n    within: 1h\n" + head + "    steps:\n" + steps
	}
	for name, c := range map[string]struct {
		file string
		ok   bool
	}{
		"a rule":                     {rule("", "      - effect: [read]\n"), true},
		"an unknown effect":          {rule("", "      - effect: [sends]\n"), false},
		"an unknown key":             {rule("", "      - effects: [send]\n"), false},
		"no steps":                   {rule("", "      []\n"), false},
		"no version":                 {"rules: []\n", false},
		"a bad pattern":              {rule("", "      - tool: ['[']\n"), false},
		"too many":                   {rule("", "      - count: 65\n"), false},
		"a window of two days":       {"version: 1\nrules:\n  - {id: a.b, title: t, within: 48h, steps: [{count: 1}]}\n", false},
		"an id with a space":         {"version: 1\nrules:\n  - {id: 'a b', title: t, within: 1h, steps: [{count: 1}]}\n", false},
		"an id that stands twice":    {"version: 1\nrules:\n  - {id: a.b, title: t, within: 1h, steps: [{count: 1}]}\n  - {id: a.b, title: t, within: 1h, steps: [{count: 1}]}\n", false},
		"an unknown way to differ":   {rule("", "      - distinct: user\n"), false},
		"any order":                  {rule("    any_order: true\n", "      - effect: [read]\n      - effect: [send]\n"), true},
		"a wide rule":                {rule("    per: tenant\n", "      - effect: [send]\n"), true},
		"an unknown width":           {rule("    per: host\n", "      - effect: [send]\n"), false},
		"an unknown answer to a yes": {rule("", "      - first_tool: maybe\n"), false},
	} {
		if _, err := ReadRules("f.yaml", []byte(c.file)); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRulesInAnyOrder(t *testing.T) {
	r, err := ReadRules("f.yaml", []byte("version: 1\nrules:\n  - {id: a.b, title: t, within: 1h, any_order: true, steps: [{effect: [read], count: 2}, {effect: [send]}]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	m := profiles(t, ProfilesConfig{Rules: r})
	var got []string
	for i, e := range []action.Effect{action.EffectRead, action.EffectSend, action.EffectRead} {
		q := call("a", "x/y", "", start+int64(i))
		q.Action.Effect = e
		got = do(t, m, q).Alerts
	}
	if !slices.Contains(got, "a.b") {
		t.Errorf("%v", got)
	}
}

func FuzzRules(f *testing.F) {
	f.Add(string(defaultRules))
	f.Fuzz(func(t *testing.T, file string) {
		r, err := ReadRules("f.yaml", []byte(file))
		if err != nil {
			return
		}
		m := profiles(t, ProfilesConfig{Rules: r})
		for i := range 3 {
			do(t, m, call("a", "s/t", "x@example.org", start+int64(i)))
		}
	})
}
