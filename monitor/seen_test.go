// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce/enforcetest"
)

func mail(agent, tool, to string, at int64) *action.Query {
	q := query("x", agent, at)
	q.Resource.Server, q.Resource.Name, q.Action.Typed = "mail", tool, action.StateKnown
	if to != "" {
		q.Action.Recipients = []action.Recipient{{Kind: "email", Value: to, Outside: action.Yes}}
	}
	return q
}

func TestSeenLearnsOnlyFromWhatWasDone(t *testing.T) {
	s := NewSeen(SeenConfig{})
	ctx := context.Background()
	state := func(q *action.Query) action.Monitor {
		t.Helper()
		p, err := s.Inform(ctx, q)
		if err != nil || action.ValidatePart(p) != nil {
			t.Fatal(err, action.ValidatePart(p))
		}
		return p.(action.Monitor)
	}
	q := mail("a", "send", "Bob@example.org", start)
	for _, st := range []action.Status{action.StatusFailed, action.StatusUnknown, action.StatusRefused} {
		s.Settle(ctx, q, st)
		if p := state(q); p.FirstTool != action.Yes || p.FirstDest != action.Yes || p.State != action.StateUnknown || p.Risk != action.MaxMilli {
			t.Errorf("after %s: %+v", st, p)
		}
	}
	s.Settle(ctx, q, action.StatusDone)
	later := start + (50 * time.Hour).Milliseconds()
	if p := state(mail("a", "send", "bob@example.org", later)); p.FirstTool != action.No || p.FirstDest != action.No || p.ToolAgeD != 2 || p.DestAgeD != 2 {
		t.Errorf("a known mail: %+v", p)
	}
	for name, q := range map[string]*action.Query{"another agent": mail("b", "send", "bob@example.org", later),
		"another recipient": mail("a", "send", "eve@out.example", later)} {
		if p := state(q); p.FirstDest != action.Yes {
			t.Errorf("%s: %+v", name, p)
		}
	}
	unread := mail("a", "send", "", later)
	unread.Action.Typed = action.StateUnknown
	if p := state(unread); p.FirstDest != action.TriUnknown {
		t.Errorf("arguments nobody understood: %+v", p)
	}
}

func TestSeenIsBounded(t *testing.T) {
	s := NewSeen(SeenConfig{MaxAgents: 3, MaxKnown: 4})
	for i := range 10 {
		s.Settle(context.Background(), mail(fmt.Sprint("agent", i), "send", "", start), action.StatusDone)
		s.Settle(context.Background(), mail("agent9", fmt.Sprint("tool", i), "", start), action.StatusDone)
	}
	if len(s.agents) > 3 || len(s.agents) != s.order.Len() {
		t.Errorf("%d agents", len(s.agents))
	}
	for _, e := range s.agents {
		if n := len(e.Value.(*profile).first); n > 4 {
			t.Errorf("%d things are known of one agent", n)
		}
	}
}

func TestSeenConforms(t *testing.T) {
	enforcetest.TestInformer(t, NewSeen(SeenConfig{}), mail("a", "send", "bob@example.org", start))
}
