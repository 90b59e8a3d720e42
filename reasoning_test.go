// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"testing"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/ledger"
)

// TestReasoningIsStoredWhereThePolicySays has one tool whose rule keeps reasons and one without, and what an agent says
// beside its actions, under each setting.
func TestReasoningIsStoredWhereThePolicySays(t *testing.T) {
	for setting, want := range map[string][3]bool{"": {true, true, true}, "policy": {true, false, false}, "keep": {true, true, true}, "drop": {}} {
		t.Run(setting, func(t *testing.T) {
			h := open(t, func(c *sallyport.Config) {
				c.Ledger.Reasoning = setting
				c.Policy.Dir = bundle(t, `oblige contains {"id": "why", "type": "keep", "params": {"part": "reasoning"}} if {
	input.phase == "before"
	input.resource.name == "read_note"
}
`)
			})
			h.server("files", readTool, wipeTool)
			sub, sess := h.agent("bot")
			actions := map[string]int{}
			for i, tool := range []string{"read_note", "delete_note"} {
				a := attempt(sub, sess, "files", tool, `{"name":"n"}`)
				a.Reasoning = []byte("because")
				adm, err := h.Enforcer.Before(t.Context(), a)
				if err != nil {
					t.Fatal(err)
				}
				actions[adm.ID] = i
			}
			if err := h.Enforcer.Say(t.Context(), &sub, sess, enforce.Said{By: action.AssertedSDK, Kind: action.PartReasoning, Text: []byte("I think")}); err != nil {
				t.Fatal(err)
			}
			var got [3]bool
			err := h.Ledger.Records(t.Context(), func(e ledger.Entry) error {
				for _, p := range e.Leaf.Parts {
					if p.Name != action.PartReasoning {
						continue
					}
					if i, ok := actions[e.Leaf.Action]; ok {
						got[i] = true
					} else {
						got[2] = true
					}
				}
				return nil
			})
			if err != nil || got != want {
				t.Errorf("stored with the rule, without, beside an action: %v, not %v (%v)", got, want, err)
			}
		})
	}
}
