// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// maxTyped bounds the tools whose arguments policies are checked against.
const maxTyped = 5000

// toolArguments are the schemas of the arguments of the tools that are pinned and approved, by "server/name". At the
// owner's start, before the registry is open, there are none.
func (s *Sallyport) toolArguments() map[string][]byte {
	if s.Tools == nil {
		return nil
	}
	out := map[string][]byte{}
	for _, pin := range s.Tools.List("default", "", "", maxTyped) {
		var d struct {
			Schema jsontext.Value `json:"inputSchema"`
		}
		if pin.State == action.DefinitionApproved && json.Unmarshal(pin.Definition, &d) == nil && len(d.Schema) > 0 {
			out[action.ToolKey(pin.Server, pin.Name)] = d.Schema
		}
	}
	return out
}
