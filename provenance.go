// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/flow"
)

// flowTool is what the tools column knows of a tool, in flow's words.
func (s *Sallyport) flowTool(q *action.Query) flow.Tool {
	o := s.Tools.Outline(q)
	return flow.Tool{Class: o.Class, Words: o.Words, About: o.About, Role: o.Role}
}
