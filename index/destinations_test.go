// SPDX-License-Identifier: Apache-2.0

package index

import (
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/action"
)

func TestDestinationsGroupWhatWent(t *testing.T) {
	l := newLog()
	put := func(ms int64, server, agent, tool string, e action.Effect, v action.Verdict, p action.Phase) {
		l.append(action.Record{Kind: action.KindIntent, TimeMs: ms, Server: server, Agent: agent, Tool: tool, Effect: e, Verdict: v, Phase: p})
	}
	put(10, "crm", "a", "read", action.EffectRead, action.Allow, action.Before)
	put(10, "crm", "a", "read", action.EffectRead, action.Allow, action.After) // its result
	put(20, "crm", "a", "list", action.EffectRead, action.Deny, action.Before)
	put(30, "api.example:443", "a", "connect", action.EffectSend, action.Ask, action.Before)
	put(40, "crm", "b", "read", action.EffectRead, action.Quarantine, action.Before)
	put(50, "crm", "b", "", "", "", "") // decides nothing
	x, stop := running(t, l, filepath.Join(t.TempDir(), "index.db"))
	defer stop()
	caughtUp(t, x, l)
	got, err := x.Destinations(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []Destination{
		{Server: "crm", Agent: "b", Effect: action.EffectRead, Tools: 1, FirstMs: 40, LastMs: 40, Denied: 1, Last: 4},
		{Server: "api.example:443", Agent: "a", Effect: action.EffectSend, Tools: 1, FirstMs: 30, LastMs: 30, Asked: 1, Last: 3},
		{Server: "crm", Agent: "a", Effect: action.EffectRead, Tools: 2, FirstMs: 10, LastMs: 20, Allowed: 1, Denied: 1, Last: 2},
	}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%d: %+v, want %+v", i, got[i], want[i])
		}
	}
	if got, err = x.Destinations(t.Context(), 25); err != nil || len(got) != 2 {
		t.Errorf("since 25: %+v, %v", got, err)
	}
}
