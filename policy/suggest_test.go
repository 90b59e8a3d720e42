// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

func used(tool string, effect action.Effect, change func(a *action.Act)) *action.Query {
	q := action.NewQuery(action.Before)
	q.Subject.ID = `co"der`
	server, name, _ := strings.Cut(tool, "/")
	q.Resource = action.Resource{Type: "tool", ID: tool, Server: server, Name: name, Zone: action.ZoneInside, Definition: q.Resource.Definition}
	q.Resource.Definition.State = action.DefinitionApproved
	q.Action.Name, q.Action.Effect, q.Action.Typed, q.Action.Source = "tools/call", effect, action.StateKnown, action.EffectDeclared
	if change != nil {
		change(&q.Action)
	}
	return q
}

func onPath(p string) func(a *action.Act) {
	return func(a *action.Act) {
		a.Paths = []action.Path{{Pointer: "/path", Resolved: p, Inside: action.Yes, Traverse: action.No, Private: action.No, Access: action.EffectRead}}
	}
}

func onHost(h string) func(a *action.Act) {
	return func(a *action.Act) { a.URLs = []action.URL{{Pointer: "/url", Host: h}} }
}

func to(r string) func(a *action.Act) {
	return func(a *action.Act) { a.Recipients = []action.Recipient{{Pointer: "/to", Value: r}} }
}

func pays(minor int64) func(a *action.Act) {
	return func(a *action.Act) {
		a.Amounts = []action.Amount{{Pointer: "/amount", Minor: minor, Exponent: 2, Currency: "EUR", Overflow: action.No}}
	}
}

func runs(name, verb string) func(a *action.Act) {
	return func(a *action.Act) {
		a.Commands = []action.Command{{Pointer: "/command", Name: name, Verb: verb, Dynamic: action.No}}
	}
}

func TestSuggestionKnowsWhatWasSeenAndAsksAboutTheRest(t *testing.T) {
	seen := []*action.Query{
		used("files/read", action.EffectRead, onPath("/home/ann/src/main.go")), used("files/read", action.EffectRead, onPath("/home/ann/src/lib/x.go")),
		used("files/delete", action.EffectDestroy, onPath("/home/ann/tmp/a")), used("web/get", action.EffectRead, onHost("docs.example.com")),
		used("mail/send", action.EffectSend, to("bob@example.com")), used("bank/pay", action.EffectSpend, pays(5000)), used("bank/pay", action.EffectSpend, pays(100)),
		used("shell/run", action.EffectExecute, runs("go", "test")), used("top/read", action.EffectRead, onPath("/etc")),
		used("db/query", action.EffectRead, func(a *action.Act) {
			a.SQL = []action.SQL{{Verb: "select", Tables: []string{"users"}, Parsed: action.StateKnown, Writes: action.No}}
		}),
	}
	s := NewSuggester("default", `co"der`)
	for _, q := range seen {
		s.Add(q)
	}
	s.Add(used("shell/run", action.EffectExecute, nil))
	other := used("other/tool", action.EffectRead, nil)
	other.Subject.ID = "somebody"
	s.Add(other)
	everything := regoHead + "allow contains {\"id\": \"all\"} if {\n\tinput.phase in {\"before\", \"after\"}\n}\n"
	active := mustLoad(t, pack("x", 1, map[string]string{"p.rego": everything}))
	out, err := s.Suggest(t.Context(), active)
	if err != nil {
		t.Fatal(err)
	}
	c := mustLoad(t, pack("x", 1, map[string]string{"p.rego": everything, "seen.rego": out.Rules, "tests/seen.yaml": "cases:\n" + strings.Join(out.Cases, "")}))
	decide := func(q *action.Query) string {
		d, err := c.Decide(t.Context(), q)
		if err != nil || len(d.Errors) > 0 {
			t.Fatal(err, d.Errors)
		}
		return fmt.Sprint(d.Verdict, " ", decidingRules(&d))
	}
	for _, q := range seen {
		if got := decide(q); got != "allow p.all" {
			t.Errorf("%s, which was seen: %s\n%s", q.Resource.ID, got, out.Rules)
		}
	}
	pending := used("web/get", action.EffectRead, onHost("docs.example.com"))
	pending.Resource.Definition.State = action.DefinitionPending
	for name, q := range map[string]*action.Query{
		"another tool": used("files/write", action.EffectWrite, nil), "another effect of a tool": used("files/read", action.EffectWrite, onPath("/home/ann/src/main.go")),
		"a folder beside":             used("files/read", action.EffectRead, onPath("/home/ann/srcs/x")),
		"beside a file to be deleted": used("files/delete", action.EffectDestroy, onPath("/home/ann/tmp/b")),
		"another host":                used("web/get", action.EffectRead, onHost("evil.example")), "another recipient": used("mail/send", action.EffectSend, to("eve@example.com")),
		"a higher amount": used("bank/pay", action.EffectSpend, pays(5001)), "a negative amount": used("bank/pay", action.EffectSpend, pays(-1)),
		"another verb": used("shell/run", action.EffectExecute, runs("go", "run")), "below a path at the top": used("top/read", action.EffectRead, onPath("/etc/passwd")),
		"another table": used("db/query", action.EffectRead, func(a *action.Act) {
			a.SQL = []action.SQL{{Verb: "select", Tables: []string{"users", "cards"}, Parsed: action.StateKnown}}
		}),
		"a host where none was seen":         used("mail/send", action.EffectSend, func(a *action.Act) { to("bob@example.com")(a); onHost("x.example")(a) }),
		"a definition that nobody approved":  pending,
		"arguments that were not understood": used("web/get", action.EffectRead, func(a *action.Act) { onHost("docs.example.com")(a); a.Typed = action.StateUnknown }),
	} {
		if got := decide(q); got != "ask "+out.Pack+".unseen" {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := decide(other); got != "allow p.all" {
		t.Errorf("another agent: %s", got)
	}
	if r, err := c.Test(t.Context()); err != nil && !strings.Contains(err.Error(), "cases of both kinds") || len(r.Failures) > 0 {
		t.Errorf("%+v, %v", r.Failures, err)
	}
	for _, f := range c.Coverage().Slow {
		t.Errorf("not compiled: %s:%d %s", f.File, f.Line, f.Why)
	}
	for _, want := range []string{`"files/read" (read): every path below "/home/ann/src/"`, `"bank/pay" (spend): every amount up to 5000 of EUR/2`, `"shell/run" (execute): "go test" with other words`} {
		if !slices.Contains(out.Admits, want) {
			t.Errorf("%q is not admitted: %q", want, out.Admits)
		}
	}
}

func TestSuggestionLeavesOutWhatItCannotTell(t *testing.T) {
	s := NewSuggester("default", `co"der`)
	s.Add(used("shell/run", action.EffectExecute, func(a *action.Act) { runs("go", "test")(a); a.Commands[0].Dynamic = action.Yes }))
	for i := range maxListed + 1 {
		s.Add(used("web/get", action.EffectRead, onHost(fmt.Sprintf("h%d.example", i))))
	}
	out, err := s.Suggest(t.Context(), mustLoad(t, pack("x", 1, map[string]string{"p.rego": regoAllow})))
	if err != nil || len(out.Omitted) != 2 || strings.Contains(out.Rules, "seen if") {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestGatherNeverGoesToTheTop(t *testing.T) {
	folders := map[string]bool{}
	for i := range 100 {
		folders[fmt.Sprintf("/home/u%d/a/b/", i)] = true
		folders[fmt.Sprintf("/srv/one/%d/x/", i)] = true
	}
	got := gather(folders)
	if got["/home/"] || got["/"] || got["/srv/"] || !got["/srv/one/"] {
		t.Errorf("%v", got)
	}
}

func TestProposalLoadsWhateverTheToolIsCalled(t *testing.T) {
	for _, tool := range []string{"notes/find", "a\"b/c{}\n", "/", "ÄÖ/ß", strings.Repeat("x", 500)} {
		for _, effect := range []string{"read", "send", "unknown"} {
			rule := Propose(tool, action.Effect(effect))
			c := mustLoad(t, pack("x", 1, map[string]string{"p.rego": regoHead + rule}))
			if want := map[string]string{"read": "allow", "send": "ask", "unknown": "ask"}[effect]; !strings.HasPrefix(rule, want) || len(c.Rules()) != 1 {
				t.Errorf("%q, %s: %s", tool, effect, rule)
			}
		}
	}
}
