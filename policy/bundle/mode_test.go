// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"testing"
	"time"
)

func TestModeOfAnAgentAsAWhole(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	later, over := now.Add(time.Hour), now
	m := &Manifest{Observe: []Observe{
		{Agent: "new", Tool: "*", Until: later}, {Agent: "half", Tool: "crm/*", Until: later}, {Agent: "old", Tool: "*", Until: over},
		{Agent: "theirs", Tool: "*", Until: later, Tenant: "other"}, {Agent: "both", Tool: "crm/find", Until: later}, {Agent: "both", Tool: "*", Until: later},
	}}
	for agent, want := range map[string]string{"new": ModeObserve, "half": ModePartly, "old": ModeEnforce, "theirs": ModeEnforce, "both": ModeObserve, "": ModeEnforce} {
		if got := m.ModeOf("default", agent, now); got != want {
			t.Errorf("%q: %s, not %s", agent, got, want)
		}
	}
	m.Observe = append(m.Observe, Observe{Agent: "*", Tool: "crm/find", Until: later})
	if got := m.ModeOf("default", "anybody", now); got != ModePartly {
		t.Errorf("anybody: %s", got)
	}
	if n := len(m.Observed(now)); n != 6 {
		t.Errorf("%d entries hold", n)
	}
}
