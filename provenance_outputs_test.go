// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"testing"

	"github.com/sallyport/sallyport/action"
)

func TestDeclaredOutputsHoldForTheDefinitionThatWasLookedAt(t *testing.T) {
	c := FlowConfig{Outputs: []FlowOutput{
		{Server: "crm", Tool: "list", Fields: []FlowField{{"/*/owner", "party"}}},
		{Server: "crm", Tool: "get", Digest: "sha256:a", Fields: []FlowField{{"/x", "own_record"}}},
	}}
	if err := c.checkOutputs(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, server, tool, digest string
		state                      action.DefinitionState
		want                       bool
	}{
		{"the tool", "crm", "list", "sha256:z", action.DefinitionApproved, true},
		{"a tool nobody has approved yet", "crm", "list", "sha256:z", action.DefinitionPending, true},
		{"one that changed", "crm", "list", "sha256:z", action.DefinitionChanged, false},
		{"another server's", "erp", "list", "sha256:z", action.DefinitionApproved, false},
		{"the definition that was named", "crm", "get", "sha256:a", action.DefinitionApproved, true},
		{"another definition", "crm", "get", "sha256:b", action.DefinitionApproved, false},
	} {
		q := action.NewQuery(action.Before)
		q.Resource.Server, q.Resource.Name, q.Resource.Definition.Digest, q.Resource.Definition.State = tt.server, tt.tool, tt.digest, tt.state
		if got := c.outputOf(q) != nil; got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	for _, bad := range []FlowOutput{
		{Server: "a", Tool: "b"}, {Tool: "b", Fields: []FlowField{{"/x", "party"}}}, {Server: "a", Tool: "b", Fields: []FlowField{{"x", "party"}}},
		{Server: "a", Tool: "b", Fields: []FlowField{{"/x", "trusted"}}}, {Server: "a", Tool: "b", Fields: []FlowField{{"/x", "party"}, {"/x", "label"}}},
	} {
		if (&FlowConfig{Outputs: []FlowOutput{bad}}).checkOutputs() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}
