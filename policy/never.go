// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/usage"
)

// foreseer is an engine that can tell what it will never let pass.
type foreseer interface{ Never(known usage.Known) bool }

// Never reports whether no call of a tool by an agent can be allowed or asked about under the active bundle.
func (p *PDP) Never(tenant, agent, server, tool string) bool {
	return p.active.Load().Never(tenant, agent, server, tool)
}

// Never reports whether no call of server's tool by agent can be allowed or asked about, whatever its arguments, its user, its
// session and everything else that is not known before it. False proves nothing: what an engine cannot foresee may happen. A tool
// that is only observed, now or later, is never one of them. It takes microseconds and is safe for concurrent use.
func (c *Compiled) Never(tenant, agent, server, tool string) bool {
	id := action.ToolKey(server, tool)
	for _, o := range c.source.Manifest.Observe {
		if (o.Agent == "*" || o.Agent == agent) && (o.Tool == "*" || o.Tool == id || strings.HasSuffix(o.Tool, "/*") && o.Tool == server+"/*") {
			return false
		}
	}
	if c.source.Manifest.WaivesSome(tenant, agent, id) {
		return false
	}
	known := usage.Known{"phase": string(action.Before), "subject.tenant": tenant, "subject.id": agent, "action.name": "tools/call",
		"resource.type": "tool", "resource.id": id, "resource.server": server, "resource.name": tool}
	for _, e := range c.evaluators {
		if f, ok := e.(foreseer); ok && f.Never(known) {
			return true
		}
	}
	return false
}
