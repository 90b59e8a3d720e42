// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
)

// stood is one approved mail to a customer, as it was recorded.
func stood(i int, change ...func(*Approved)) Approved {
	q := action.NewQuery(action.Before)
	q.Subject.ID, q.Subject.Tenant, q.Subject.User.ID = "helper", "default", "ann"
	q.Resource.Server, q.Resource.Name, q.Resource.ID = "mail", "send", "mail/send"
	q.Resource.Definition.State, q.Resource.Definition.Digest = action.DefinitionApproved, "sha256:d"
	q.Action.Name, q.Action.Effect, q.Action.Typed = "tools/call", action.EffectSend, action.StateKnown
	q.Action.Arguments = []byte(`{"to":"bob@example.com","subject":"Report","urgent":false}`)
	q.Action.Bytes = int64(len(q.Action.Arguments))
	q.Action.Recipients = []action.Recipient{{Pointer: "/to", Kind: "email", Value: "bob@example.com", Outside: action.Yes}}
	f := &q.Context.Flow
	f.State, f.Session = action.StateKnown, action.Labels{Untrusted: action.No, Secrecy: action.SecrecyInternal, Opaque: action.No}
	f.Arguments = []action.Value{
		{Pointer: "/to", Kind: "email", Origin: action.OriginUser, Origins: []action.Origin{action.OriginUser}, Selection: action.OriginUser, Sink: action.SinkDestination, Secrecy: action.SecrecyInternal, Owned: action.No, Known: action.TriUnknown},
		{Pointer: "/subject", Kind: "text", Origin: action.OriginAgent, Selection: action.OriginUnknown, Sink: action.SinkNone, Secrecy: action.SecrecyInternal, Owned: action.No, Known: action.TriUnknown},
	}
	q.Context.Detect.State, q.Context.Detect.Canary = action.StateKnown, action.No
	q.Context.Monitor.State, q.Context.Monitor.Risk = action.StateKnown, 40+i
	q.Context.Time.UnixMilli = int64(i) * 3_600_000
	a := Approved{TimeMs: int64(i) * 3_600_000, Query: q, Decision: action.Decision{Verdict: action.Ask, Matches: []action.Match{
		{ID: "p.send", Verdict: action.Ask}}}}
	for _, c := range change {
		c(&a)
	}
	return a
}

func run(n int, change ...func(*Approved)) []Approved {
	var out []Approved
	for i := range n {
		out = append(out, stood(i, change...))
	}
	return out
}

const asksToSend = `ask contains {"id": "send", "code": "sends", "reason": "sends", "hint": "A person has to agree.", "approver": {"channel": "operator"}} if input.action.effect == "send"
deny contains {"id": "spy", "code": "spies", "reason": "no", "hint": "No."} if input.context.detect.canary == "yes"
`

func sending(t *testing.T) *Compiled {
	return mustLoad(t, pack("x", 3, map[string]string{"p.rego": regoHead + asksToSend}))
}

// end is when the proposed rules of these tests end.
var end = time.UnixMilli(20 * 24 * 3_600_000)

func TestStandingRuleAdmitsWhatWasApprovedAndNothingBeside(t *testing.T) {
	active := sending(t)
	s, err := Stand(t.Context(), active, run(6), 0, end)
	if err != nil {
		t.Fatal(err)
	}
	with, err := s.Compile(active)
	if err != nil {
		t.Fatal(err)
	}
	if with.Bundle().Sequence != 4 || s.Approvals != 6 || len(s.Admits) != 0 {
		t.Errorf("%+v, sequence %d", s, with.Bundle().Sequence)
	}
	for name, c := range map[string]struct {
		change func(q *action.Query)
		want   action.Verdict
	}{
		"what was approved":    {func(*action.Query) {}, action.Allow},
		"an argument left out": {func(q *action.Query) { q.Action.Arguments = []byte(`{"to":"bob@example.com"}`) }, action.Allow},
		"another agent":        {func(q *action.Query) { q.Subject.ID = "other" }, action.Ask},
		"another user":         {func(q *action.Query) { q.Subject.User.ID = "eve" }, action.Ask},
		"another tenant":       {func(q *action.Query) { q.Subject.Tenant = "other" }, action.Ask},
		"another recipient":    {func(q *action.Query) { q.Action.Recipients[0].Value = "eve@example.com" }, action.Ask},
		"one more recipient": {func(q *action.Query) {
			q.Action.Recipients = append(q.Action.Recipients, action.Recipient{Value: "eve@example.com"})
		}, action.Ask},
		"another subject":            {func(q *action.Query) { q.Action.Arguments = []byte(`{"to":"bob@example.com","subject":"Secrets"}`) }, action.Ask},
		"a further argument":         {func(q *action.Query) { q.Action.Arguments = []byte(`{"to":"bob@example.com","bcc":"eve@example.com"}`) }, action.Ask},
		"a URL where none was":       {func(q *action.Query) { q.Action.URLs = []action.URL{{Host: "x.example"}} }, action.Ask},
		"a value from a stranger":    {func(q *action.Query) { q.Context.Flow.Arguments[0].Origin = action.OriginUntrusted }, action.Ask},
		"chosen by a stranger":       {func(q *action.Query) { q.Context.Flow.Arguments[0].Selection = action.OriginUntrusted }, action.Ask},
		"secret content":             {func(q *action.Query) { q.Context.Flow.Arguments[1].Secrecy = action.SecrecySecret }, action.Ask},
		"content nobody classified":  {func(q *action.Query) { q.Context.Flow.Arguments[1].Secrecy = action.SecrecyUnknown }, action.Ask},
		"a session that saw secrets": {func(q *action.Query) { q.Context.Flow.Session.Secrecy = action.SecrecySecret }, action.Ask},
		"a riskier one":              {func(q *action.Query) { q.Context.Monitor.Risk = 46 }, action.Ask},
		"of unknown risk":            {func(q *action.Query) { q.Context.Monitor.State = action.StateUnknown }, action.Ask},
		"with a finding":             {func(q *action.Query) { q.Context.Detect.Findings = []action.Finding{{Kind: "k"}} }, action.Ask},
		"of a changed definition":    {func(q *action.Query) { q.Resource.Definition.Digest = "sha256:e" }, action.Ask},
		"not understood":             {func(q *action.Query) { q.Action.Typed = action.StateUnknown }, action.Ask},
		"once it has ended":          {func(q *action.Query) { q.Context.Time.UnixMilli = end.UnixMilli() }, action.Ask},
		"what a rule denies":         {func(q *action.Query) { q.Context.Detect.Canary = action.Yes }, action.Deny},
	} {
		q := stood(2).Query
		c.change(q)
		d, err := with.Decide(t.Context(), q)
		if err != nil || len(d.Errors) > 0 || d.Verdict != c.want {
			t.Errorf("%s: %s (%v, %v)\n%s", name, d.Verdict, err, d.Errors, s.Rules)
		}
	}
	files, err := s.Files(active)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"p.rego": regoHead + asksToSend}
	for name, data := range files {
		all[name] = string(data)
	}
	c := mustLoad(t, pack("x", 4, all))
	if r, err := c.Test(t.Context()); err != nil && !strings.Contains(err.Error(), "cases of both kinds") || len(r.Failures) > 0 {
		t.Errorf("%+v, %v", r.Failures, err)
	}
	for _, f := range c.Coverage().Slow {
		t.Errorf("not compiled: %s:%d %s", f.File, f.Line, f.Why)
	}
}

func TestStandingRuleIsRefusedWhereAPersonShouldLook(t *testing.T) {
	flow := func(f func(f *action.Flow)) func(*Approved) {
		return func(a *Approved) { f(&a.Query.Context.Flow) }
	}
	last := func(i int, f func(a *Approved)) func(*Approved) {
		return func(a *Approved) {
			if a.TimeMs == int64(i)*3_600_000 {
				f(a)
			}
		}
	}
	for name, c := range map[string]struct {
		run  []Approved
		want string
	}{
		"too few":                       {run(4), "fewer than 5"},
		"all within one minute":         {run(6, func(a *Approved) { a.TimeMs = 1000 + a.TimeMs/3_600_000 }), "1 approvals on different occasions"},
		"by a second system":            {run(6, last(3, func(a *Approved) { a.Machine = true }), last(4, func(a *Approved) { a.Machine = true })), "fewer than 5"},
		"a sink of secret data":         {run(6, flow(func(f *action.Flow) { f.Arguments[0].Secrecy = action.SecrecySecret })), "secret data goes to a sink"},
		"secret content sent":           {run(6, flow(func(f *action.Flow) { f.Arguments[1].Secrecy = action.SecrecyConfidential })), "takes secret data out"},
		"content that nobody graded":    {run(6, flow(func(f *action.Flow) { f.Arguments[1].Secrecy = action.SecrecyUnknown })), "takes secret data out"},
		"a session with secrets":        {run(6, flow(func(f *action.Flow) { f.Session.Secrecy = action.SecrecySecret })), "held secret data"},
		"an untrusted sink, once":       {run(6, last(5, flow(func(f *action.Flow) { f.Arguments[0].Origin = action.OriginUntrusted }))), "untrusted source"},
		"an untrusted choice":           {run(6, flow(func(f *action.Flow) { f.Arguments[0].Selection = action.OriginUntrusted })), "untrusted source"},
		"an untrusted origin among all": {run(6, flow(func(f *action.Flow) { f.Arguments[0].Origins = append(f.Arguments[0].Origins, action.OriginUntrusted) })), "untrusted source"},
		"values of unknown origin":      {run(6, flow(func(f *action.Flow) { f.State = action.StateUnknown })), "was not known"},
		"what nobody scanned":           {run(6, func(a *Approved) { a.Query.Context.Detect.State = action.StateUnknown }), "nobody looked"},
		"a finding":                     {run(6, func(a *Approved) { a.Query.Context.Detect.Findings = []action.Finding{{Kind: "pii", Score: 500}} }), "was found"},
		"risk that differs":             {run(6, last(5, func(a *Approved) { a.Query.Context.Monitor.Risk = 200 })), "differ in risk"},
		"risk that was not known once":  {run(6, last(5, func(a *Approved) { a.Query.Context.Monitor.State = action.StateUnknown })), "differ in what was known"},
		"another rule that asked":       {run(6, last(5, func(a *Approved) { a.Decision.Matches[0].ID = "p.other" })), "different rules"},
		"a rule that always asks":       {run(6, func(a *Approved) { a.Decision.Matches[0].Always = true }), "always asks"},
		"another tool":                  {run(6, last(5, func(a *Approved) { a.Query.Resource.ID = "mail/post" })), "not all of one"},
		"another agent":                 {run(6, last(5, func(a *Approved) { a.Query.Subject.ID = "other" })), "not all of one"},
		"a changed definition":          {run(6, last(5, func(a *Approved) { a.Query.Resource.Definition.Digest = "x" })), "not all of one"},
		"a definition nobody approved":  {run(6, func(a *Approved) { a.Query.Resource.Definition.State = action.DefinitionPending }), "not approved"},
		"results to be released":        {run(6, func(a *Approved) { a.Query.Phase = action.After }), "not all of one"},
		"arguments that are no object":  {run(6, func(a *Approved) { a.Query.Action.Arguments = []byte(`[1]`) }), "no object"},
	} {
		if _, err := Stand(t.Context(), sending(t), c.run, 0, end); !errors.Is(err, ErrStanding) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What cannot be bounded is said.
func TestStandingRuleSaysWhatItAdmits(t *testing.T) {
	many := run(20, func(a *Approved) {
		a.Query.Action.Arguments = fmt.Appendf(nil, `{"to":"bob@example.com","subject":"Report %d"}`, a.TimeMs)
	})
	s, err := Stand(t.Context(), sending(t), many, 0, end)
	if err != nil || len(s.Admits) != 1 || !strings.Contains(s.Admits[0], `any value of "subject"`) {
		t.Fatalf("%+v, %v", s, err)
	}
}
