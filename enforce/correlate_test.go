// SPDX-License-Identifier: Apache-2.0

package enforce_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/enforce/enforcetest"
)

// side is one door of the same agent.
type side struct {
	*rig
	sub  action.Subject
	sess string
}

func (r *rig) side(t *testing.T, door action.Door, agent string) side {
	t.Helper()
	s := side{rig: r, sub: enforcetest.Subject(door)}
	s.sub.ID = agent
	var err error
	if s.sess, err = r.Session(t.Context(), &s.sub, "client", enforce.SessionOptions{}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s side) call(t *testing.T, tool, id, model, args string) enforce.Admission {
	t.Helper()
	adm, err := s.Before(t.Context(), enforce.Attempt{Subject: s.sub, Session: s.sess, CallID: id, ModelCall: model, Name: "tools/call", Type: "tool", Server: "bank",
		Tool: tool, Arguments: []byte(args), Claimed: true})
	if err != nil {
		t.Fatal(err)
	}
	return adm
}

// deniesAtHooks permits calls in answers and refuses to execute the tool "no".
func deniesAtHooks(q *action.Query) (action.Decision, error) {
	if q.Subject.Channel.Door != action.DoorLLM && q.Resource.Name == "no" {
		return enforcetest.Rule(action.Deny, "test.no"), nil
	}
	return enforcetest.Rule(action.Allow, "test.all"), nil
}

func TestCallOfAnAnswerIsCountedOnce(t *testing.T) {
	for name, c := range map[string]struct {
		door              action.Door
		agent             string
		tool, model, args string
		link              string // before the id
		count             int64  // of the cap, after both
		verdict           action.Verdict
	}{
		"the same call": {action.DoorHook, "bot", "pay", "c1", `{"a":1,"b":2}`, enforce.LinkCall, 1, action.Allow},
		"the same call with its arguments written otherwise": {action.DoorMCP, "bot", "pay", "c1", `{ "b":2,  "a":1.0 }`, enforce.LinkCall, 1, action.Allow},
		"no id is only alike":                                {action.DoorMCP, "bot", "pay", "", `{"a":1,"b":2}`, enforce.LinkAlike, 2, action.Allow},
		"another id is only alike":                           {action.DoorAPI, "bot", "pay", "c2", `{"a":1,"b":2}`, enforce.LinkAlike, 2, action.Allow},
		"other arguments are another call":                   {action.DoorHook, "bot", "pay", "c1", `{"a":1,"b":3}`, "", 2, action.Allow},
		"another tool is another call":                       {action.DoorHook, "bot", "take", "c1", `{"a":1,"b":2}`, "", 2, action.Allow},
		"another agent's call is its own":                    {action.DoorHook, "eve", "pay", "c1", `{"a":1,"b":2}`, "", 2, action.Allow},
		"a second answer executes nothing":                   {action.DoorLLM, "bot", "pay", "c1", `{"a":1,"b":2}`, "", 2, action.Allow},
	} {
		t.Run(name, func(t *testing.T) {
			caps := &enforcetest.Cap{}
			r := newRig(t, deniesAtHooks, func(c *enforce.Config) { c.Stages = [][]enforce.Source{{{Name: "cap", Informer: caps}}} })
			first := r.side(t, action.DoorLLM, "bot").call(t, "pay", "c1#n", "c1", `{"a":1,"b":2}`)
			second := r.side(t, c.door, c.agent).call(t, c.tool, "x", c.model, c.args)
			if second.Verdict != c.verdict || caps.Value() != c.count {
				t.Errorf("verdict %s, counted %d, want %s and %d", second.Verdict, caps.Value(), c.verdict, c.count)
			}
			want := ""
			if c.link != "" {
				want = c.link + first.ID
			}
			if got := subjectOf(t, r, second.ID); got != want && !(c.door == action.DoorLLM && strings.HasPrefix(got, enforce.LinkOffer)) {
				t.Errorf("the record links %q, want %q", got, want)
			}
		})
	}
}

func subjectOf(t *testing.T, r *rig, id string) string {
	t.Helper()
	for _, rec := range r.log.Records() {
		if rec.Action == id && (rec.Kind == action.KindIntent || rec.Kind == action.KindDecision) {
			return rec.Subject
		}
	}
	t.Fatalf("no record of %s", id)
	return ""
}

func TestLinkCarriesNoVerdictAndIsUsedOnce(t *testing.T) {
	caps := &enforcetest.Cap{}
	r := newRig(t, deniesAtHooks, func(c *enforce.Config) { c.Stages = [][]enforce.Source{{{Name: "cap", Informer: caps}}} })
	llm, hook := r.side(t, action.DoorLLM, "bot"), r.side(t, action.DoorHook, "bot")
	said := llm.call(t, "no", "c1#n", "c1", `{}`)
	if said.Verdict != action.Allow {
		t.Fatal(said.Verdict)
	}
	done := hook.call(t, "no", "c1", "c1", `{}`)
	if done.Verdict != action.Deny || subjectOf(t, r, done.ID) != enforce.LinkCall+said.ID || caps.Value() != 0 {
		t.Errorf("%s, linked %q, counted %d: what the other door refuses is refused, and not counted", done.Verdict, subjectOf(t, r, done.ID), caps.Value())
	}
	paid := llm.call(t, "pay", "c2#n", "c2", `{}`)
	one, two := hook.call(t, "pay", "c2", "c2", `{}`), hook.call(t, "pay", "other", "c2", `{}`)
	if subjectOf(t, r, one.ID) != enforce.LinkCall+paid.ID || subjectOf(t, r, two.ID) != "" || caps.Value() != 2 {
		t.Errorf("links %q and %q, counted %d: one call of an answer is one execution", subjectOf(t, r, one.ID), subjectOf(t, r, two.ID), caps.Value())
	}
	// The end of the answer's action frees nothing that the other door has booked.
	if _, err := r.After(t.Context(), &llm.sub, paid.ID, enforce.Outcome{Status: action.ResultFailed, Content: []byte(`1`)}); err != nil || caps.Value() != 2 {
		t.Errorf("%v, counted %d", err, caps.Value())
	}
}

func TestLinkOutlivesARestart(t *testing.T) {
	var cfg enforce.Config
	r := newRig(t, deniesAtHooks, func(c *enforce.Config) { cfg = *c })
	llm := r.side(t, action.DoorLLM, "bot")
	taken, waits := llm.call(t, "pay", "c1#n", "c1", `{"a":1}`), llm.call(t, "pay", "c2#n", "c2", `{"a":2}`)
	r.side(t, action.DoorHook, "bot").call(t, "pay", "x1", "c1", `{"a":1}`)
	e, err := enforce.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Enforcer = e
	hook := r.side(t, action.DoorHook, "bot")
	for _, c := range []struct{ model, args, link string }{
		{"c1", `{"a":1}`, ""}, {"c2", `{"a":3}`, ""}, {"c2", `{"a":2}`, enforce.LinkCall + waits.ID}, {"c2", `{"a":2}`, ""},
	} {
		if got := subjectOf(t, r, hook.call(t, "pay", "y"+c.model+c.args+c.link, c.model, c.args).ID); got != c.link {
			t.Errorf("%s %s links %q, want %q (%s is taken)", c.model, c.args, got, c.link, taken.ID)
		}
	}
}
