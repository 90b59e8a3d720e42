// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"fmt"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/flow"
)

// FlowOutput declares what the fields of one tool's results may vouch for.
type FlowOutput struct {
	Server string      `yaml:"server" doc:"our name of the server"`
	Tool   string      `yaml:"tool" doc:"the tool's name"`
	Digest string      `yaml:"digest" doc:"the definition that was looked at; default: whichever stands, unless it changed after its approval"`
	Fields []FlowField `yaml:"fields"`
}

// FlowField is one field, by the pattern of its pointer.
type FlowField struct {
	Pointer string `yaml:"pointer" doc:"JSON pointer in the result; * stands for any index, and for a key that is a value"`
	Class   string `yaml:"class" doc:"own_record, party, label, counterparty or free_text"`
}

func (c *FlowConfig) checkOutputs() error {
	seen := map[string]bool{}
	for _, o := range c.Outputs {
		if o.Server == "" || o.Tool == "" || len(o.Fields) == 0 {
			return fmt.Errorf("flow.outputs: server %q, tool %q: a server, a tool and fields are required", o.Server, o.Tool)
		}
		for _, f := range o.Fields {
			at := action.ToolKey(o.Server, o.Tool) + " " + f.Pointer
			if seen[at] || f.Pointer != "" && !strings.HasPrefix(f.Pointer, "/") || !flow.Class(f.Class).Valid() {
				return fmt.Errorf("flow.outputs: %s/%s: field %q of class %q is named twice, no pointer, or no class", o.Server, o.Tool, f.Pointer, f.Class)
			}
			seen[at] = true
		}
	}
	return nil
}

// flowTool is what the tools column and the operator know of a tool, in flow's words. The operator's word on
// output, in the bundle in force or without one in the configuration, goes before a pack's; a definition that changed
// after its approval has neither.
func (s *Sallyport) flowTool(q *action.Query) flow.Tool {
	o := s.Tools.Outline(q)
	declared := s.Config.Flow.outputOf(q)
	if known, err := s.bundleLabels(); err == nil && declared == nil {
		declared = known.flow.outputOf(q)
	}
	return flow.Tool{Class: o.Class, Words: o.Words, About: o.About, Role: o.Role, Field: func(pointer string) flow.Class {
		for _, f := range declared {
			if f.Pointer == pointer {
				return flow.Class(f.Class)
			}
		}
		return flow.Class(o.Field(pointer))
	}}
}

func (c *FlowConfig) outputOf(q *action.Query) []FlowField {
	d := &q.Resource.Definition
	for i := range c.Outputs {
		o := &c.Outputs[i]
		if o.Server == q.Resource.Server && o.Tool == q.Resource.Name && d.State != action.DefinitionChanged && (o.Digest == "" || o.Digest == d.Digest) {
			return o.Fields
		}
	}
	return nil
}
