// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/action"
)

// maxTools bounds one page of definitions, listTime how long it may be thought about which of them are shown.
const (
	maxTools = 4096
	listTime = 2 * time.Second
)

// tools observes a page of definitions and returns the part that the subject may see, for it alone. first
// says that the page was asked for without a cursor. One tool that cannot be read does not cost the others:
// it is hidden and recorded, and a call of it is a call of an unlisted tool.
func (c *Conn) tools(ctx context.Context, result []byte, first bool) ([]byte, error) {
	list, err := elements(member(result, "tools"))
	if err != nil || len(list) > maxTools {
		return nil, fmt.Errorf("mcp: %q: no list of tools", c.up.Name)
	}
	tools, hidden := named(list)
	cfg := &c.gate.cfg
	if cfg.Observe != nil {
		o := Observation{Subject: &c.peer.Subject, Upstream: c.up, Tools: tools, Complete: first && member(result, "nextCursor") == nil}
		unusable, err := cfg.Observe(ctx, o)
		if err != nil {
			return nil, fmt.Errorf("mcp: %q: definitions are not recorded: %w", c.up.Name, err)
		}
		for _, name := range unusable {
			hidden[name] = true
		}
	}
	for range len(hidden) + len(list) - len(tools) {
		c.malformed(ctx, "definition")
	}
	c.gate.learn(c.up.Name, tools)
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	shown := []byte{'['}
	n := 0
	for _, t := range tools {
		if hidden[t.Name] || cfg.Visible != nil && !cfg.Visible(ctx, &c.peer.Subject, c.up.Name, t) {
			continue
		}
		if n++; n > 1 {
			shown = append(shown, ',')
		}
		shown = append(shown, t.Raw...)
	}
	if n < len(list) {
		result = with(result, "tools", append(shown, ']'))
	}
	return c.private(result), nil
}

// named returns the tools of a list under their names. What has no name is left out; what stands under one
// name several times is one tool, whose Raw is the array of all its definitions, and hidden: whoever calls
// it would get one of them and was shown another.
func named(list [][]byte) (tools []Tool, hidden map[string]bool) {
	hidden = map[string]bool{}
	at := map[string]int{}
	for _, raw := range list {
		name, ok := text(member(raw, "name"))
		if !ok || name == "" {
			continue
		}
		i, again := at[name]
		if !again {
			at[name] = len(tools)
			tools = append(tools, Tool{Name: name, Raw: raw})
			continue
		}
		t := &tools[i]
		if !hidden[name] {
			t.Raw = append([]byte{'['}, t.Raw...)
		} else {
			t.Raw = t.Raw[:len(t.Raw)-1]
		}
		hidden[name] = true
		t.Raw = append(append(append(t.Raw, ','), raw...), ']')
	}
	return tools, hidden
}

// private keeps an answer that was judged for one subject out of shared caches, and bounds how long a
// revocation may lag behind a private one. Answers without cache members (before 2026-07-28) stay as they
// are.
func (c *Conn) private(result []byte) []byte {
	if s := member(result, "cacheScope"); s != nil && string(s) != `"private"` {
		result = with(result, "cacheScope", []byte(`"private"`))
	}
	limit := c.gate.cfg.ListTTL.Milliseconds()
	if raw := member(result, "ttlMs"); raw != nil {
		if ttl, err := strconv.ParseInt(string(raw), 10, 64); err != nil || ttl > limit || ttl < 0 {
			result = with(result, "ttlMs", strconv.AppendInt(nil, limit, 10))
		}
	}
	return result
}

// binding says which argument a tool mirrors in which Mcp-Param header.
type binding struct {
	path   []string
	header string
}

// learn keeps which arguments the tools of a server mirror in headers.
func (g *Gate) learn(server string, tools []Tool) {
	found := map[string][]binding{}
	for _, t := range tools {
		found[t.Name] = bindings(member(t.Raw, "inputSchema"), nil, nil)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	known := g.bindings[server]
	if known == nil {
		if len(g.bindings) >= 1024 {
			clear(g.bindings)
		}
		known = map[string][]binding{}
		g.bindings[server] = known
	}
	if len(known)+len(found) > 4*maxTools {
		clear(known)
	}
	for name, b := range found {
		known[name] = b
	}
}

// mirrored returns the bindings of a tool, and false if its definition was never listed here.
func (g *Gate) mirrored(server, tool string) ([]binding, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	b, ok := g.bindings[server][tool]
	return b, ok
}

func bindings(schema []byte, path []string, out []binding) []binding {
	ms, err := members(member(schema, "properties"))
	if err != nil || len(path) > action.DefaultDepth {
		return out
	}
	for _, f := range ms {
		at := append(append([]string(nil), path...), f.name)
		if h, ok := text(member(f.value, "x-mcp-header")); ok && h != "" && len(out) < 64 {
			out = append(out, binding{at, h})
		}
		out = bindings(f.value, at, out)
	}
	return out
}
