// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/sallyport/sallyport/action"
)

// The bounds of what is looked at in one call. Beyond them Typed stays unknown, and the last element of
// a list that is full is one of which everything is unknown.
const (
	maxFacts  = 64
	maxLeaves = 4096
)

// Inform states the facts of q's tool and arguments. At the second gate only those that no argument
// changes are stated again. It errs only on arguments that are no JSON object: a door let them through.
func (r *Registry) Inform(ctx context.Context, q *action.Query) (action.Part, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	snap := r.snap.Load()
	tenant := q.Subject.Tenant
	if q.Resource.Type == "host" {
		return r.host(snap, q)
	}
	pl, def := r.standing(snap, q)
	def.Registry = snap.digests[tenant]
	f := action.ToolFacts{Effect: pl.effect, Source: pl.source, Idempotent: pl.idempotent, Zone: pl.zone, Definition: def,
		Typed: action.StateUnknown, Reversible: action.TriUnknown}
	if pl.reversible == "yes" || pl.reversible == "no" {
		f.Reversible = action.Tri(pl.reversible)
	}
	if q.Phase == action.After {
		return f, nil
	}
	c := call{r: r, plan: pl, facts: &f, typed: true,
		at: around{cwd: cwdOf(q), roots: q.Context.Session.Roots}}
	if q.Resource.Type == "resource" {
		c.resource(q.Resource.Name)
	}
	if err := c.walk(q.Action.Arguments); err != nil {
		return nil, fmt.Errorf("tools: arguments: %w", err)
	}
	c.finish()
	return f, nil
}

func cwdOf(q *action.Query) string {
	if c := q.Context.Session.Cwd; path.IsAbs(c) {
		return path.Clean(c)
	}
	return ""
}

// standing returns the plan and definition of what q acts on.
func (r *Registry) standing(snap *snapshot, q *action.Query) (*plan, action.Definition) {
	none := action.Definition{State: action.DefinitionUnknown, Poisoned: action.TriUnknown}
	tenant, server := q.Subject.Tenant, q.Resource.Server
	zone := action.ZoneUnknown
	if s, ok := snap.servers[key{tenant: tenant, server: server}]; ok {
		zone, none.Upstream = s.zone, s.identity
	}
	switch q.Resource.Type {
	case "tool", "":
		e := snap.tools[key{tenant, server, q.Resource.Name}]
		switch {
		case e == nil:
			return unlisted(server, q.Resource.Name, zone), none
		case e.pin.Transport != Host && e.pin.Upstream != none.Upstream:
			// Another server answers under this name now, and has not said what its tools are.
			none.State, none.Digest = action.DefinitionPending, e.pin.Digest
			if e.pin.State == action.DefinitionChanged {
				none.State = action.DefinitionChanged
			}
			return unlisted(server, q.Resource.Name, zone), none
		}
		return e.plan, e.at
	case "resource", "prompt":
		if q.Action.Name == action.NameResult { // no server is told anything
			zone = action.ZoneInside
		}
		return &plan{effect: action.EffectRead, source: action.EffectInferred, reversible: "yes", idempotent: action.TriUnknown,
			zone: zone, class: verbRead}, none
	case "message":
		return &plan{effect: action.EffectRespond, source: action.EffectDeclared, reversible: "no", idempotent: action.No,
			zone: action.ZoneInside, class: verbSend}, none
	}
	return &plan{effect: action.EffectUnknown, source: action.EffectSourceUnknown, reversible: "unknown",
		idempotent: action.TriUnknown, zone: zone}, none
}

// call collects the typed facts of one call.
type call struct {
	r        *Registry
	plan     *plan
	facts    *action.ToolFacts
	at       around
	typed    bool // every argument so far was understood
	leaves   int
	currency string
	texts    []located     // shell texts
	vectors  []vector      // argument vectors by the pointer of their array
	argv     []string      // words beside a command
	over     [6]bool       // paths, urls, commands, recipients, amounts, statements
	sqlWorst action.Effect // of the statements; "" for none
	reach    bool          // a URL that is not our own network's is named: something outside will be told
}

type located struct{ pointer, text string }

type vector struct {
	pointer string
	words   []string
}

func decoder(v []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(v), jsontext.AllowDuplicateNames(true))
}

// walk visits every leaf. The pattern of a leaf is its pointer with "*" for array indices; its name is
// that of the nearest member above it.
func (c *call) walk(args jsontext.Value) error {
	if len(args) == 0 || args.Kind() != '{' {
		return fmt.Errorf("not an object")
	}
	dec := decoder(args)
	var pattern []byte
	var open []frame // one per open value
	for {
		tok, err := dec.ReadToken()
		if err != nil {
			return fmt.Errorf("not JSON at byte %d", dec.InputOffset())
		}
		kind := tok.Kind()
		if kind == '}' || kind == ']' {
			pattern = pattern[:open[len(open)-1].mark]
			if open = open[:len(open)-1]; len(open) == 0 {
				return nil
			}
			continue
		}
		name := ""
		mark := len(pattern)
		if n := len(open); n > 0 {
			top := &open[n-1]
			if top.object && !top.value {
				top.name, top.value = tok.String(), true
				continue
			}
			top.value = false
			name = top.name
			pattern = append(pattern, '/')
			if top.object {
				pattern = append(pattern, escapePointer(top.name)...)
			} else {
				pattern = append(pattern, '*')
			}
		}
		if kind == '{' || kind == '[' {
			if len(open) >= action.DefaultDepth {
				return fmt.Errorf("nested too deeply")
			}
			open = append(open, frame{object: kind == '{', name: name, mark: mark})
			continue
		}
		if c.leaves++; c.leaves > maxLeaves {
			c.typed = false
			return nil
		}
		c.leaf(dec, tok, pattern, name)
		pattern = pattern[:mark]
	}
}

type frame struct {
	object bool
	value  bool   // the next string of an object is a value
	name   string // of the member being read, or of the array
	mark   int    // length of the pattern above
}

func (c *call) leaf(dec *jsontext.Decoder, tok jsontext.Token, pattern []byte, name string) {
	ro, sure := c.role(pattern, name)
	if !sure {
		c.typed = false
	}
	switch tok.Kind() {
	case '"':
		c.str(string(dec.StackPointer()), tok.String(), ro, sure)
	case '0':
		if ro == roleAmount {
			c.amount(string(dec.StackPointer()), tok.String())
		}
	}
}

// role returns what an argument is for, and whether it was understood. Under a pack only declared
// arguments are; what else is sent is read by its name, so that its facts show, but not relied on.
func (c *call) role(pattern []byte, name string) (role, bool) {
	return c.plan.role(string(pattern), name)
}

func (p *plan) role(pattern, name string) (role, bool) {
	if p.declared != nil {
		if ro, ok := p.declared[pattern]; ok {
			return ro, true
		}
		if ro, ok := p.within(pattern); ok {
			return ro, true
		}
		return roleOf(name, p.class), false
	}
	h := p.hints[pattern]
	ro := h.role
	if ro == roleNone {
		ro = roleOf(name, p.class)
	}
	if ro == roleNone && h.about != "" {
		ro = roleSaid(h.about, p.class)
	}
	if p.dialect != "" && statementNames[strings.ToLower(name)] {
		ro = roleSQL
	}
	if ro == roleRecipient && p.effect == action.EffectRead {
		ro = roleSelector // nobody receives anything: it says whose things are read
	}
	if ro == roleNone && h.closed {
		ro = roleNeutral
	}
	return ro, ro != roleNone
}

// within finds the longest declaration of everything below a place, such as "/filter/**".
func (p *plan) within(pattern string) (role, bool) {
	for at := strings.LastIndexByte(pattern, '/'); at > 0; at = strings.LastIndexByte(pattern[:at], '/') {
		if ro, ok := p.declared[pattern[:at]+"/**"]; ok {
			return ro, true
		}
	}
	return roleNone, false
}

func (c *call) str(pointer, s string, ro role, sure bool) {
	switch ro {
	case rolePath:
		a := access(c.plan.effect)
		if a == action.EffectRead && saves(pointer) {
			a = action.EffectWrite
		}
		c.path(pointer, s, a, false)
	case rolePathRead:
		c.path(pointer, s, action.EffectRead, false)
	case rolePathList:
		c.path(pointer, s, action.EffectRead, true)
	case rolePathWrite:
		c.path(pointer, s, action.EffectWrite, false)
	case rolePathGone:
		c.path(pointer, s, action.EffectDestroy, false)
	case roleGlob:
		c.glob(pointer, s, action.EffectRead)
	case roleURL:
		c.locator(pointer, s)
	case roleRecipient, rolePayee:
		c.recipient(pointer, s, ro)
	case roleAmount:
		c.amount(pointer, s)
	case roleCurrency:
		c.currency = s
	case roleCommand:
		c.command(pointer, s)
	case roleArgv:
		c.argv = append(c.argv, s)
	case roleCwd:
		c.workdir(pointer, s)
	case roleProgram:
		c.opaque(pointer, s)
	case roleSQL:
		c.sql(pointer, s)
	case rolePatch:
		c.patch(pointer, s)
	case roleNone, roleSelector, roleNeutral:
		if c.plan.declared == nil || !sure {
			c.shape(pointer, s)
		}
	}
}

// shape looks at a value whose name says nothing of a place, and finds the ones that are places anyhow.
func (c *call) shape(pointer, s string) {
	switch {
	case strings.Contains(s, "://") && !strings.ContainsAny(s, " \n"), strings.HasPrefix(s, "file:"):
		c.locator(pointer, s)
	case strings.HasPrefix(s, "~/"), strings.HasPrefix(s, "../"), strings.Contains(s, "/../"), s == "..":
		c.path(pointer, s, access(c.plan.effect), false)
	case strings.HasPrefix(s, "/") && !strings.ContainsAny(s, " \n"):
		if p := c.r.path(pointer, s, access(c.plan.effect), c.at, false); p.Exists != action.No || p.Private != action.No {
			c.addPath(p)
		}
	case c.plan.effect != action.EffectRead && mailLike(s):
		c.recipient(pointer, s, roleRecipient)
	}
}

func (c *call) path(pointer, s string, access action.Effect, shallow bool) {
	p := c.r.path(pointer, s, access, c.at, shallow)
	if p.Resolved == "" {
		c.typed = false
	}
	c.addPath(p)
}

func (c *call) glob(pointer, s string, access action.Effect) {
	root, ok := globRoot(s)
	p := c.r.path(pointer, root, access, c.at, false)
	p.Raw = action.Clip(s, maxPathBytes)
	if !ok {
		p.Resolved, p.Root, p.Inside, p.Private, p.Traverse = "", "", action.TriUnknown, action.TriUnknown, action.Yes
	}
	if p.Resolved == "" {
		c.typed = false
	}
	c.addPath(p)
}

// resource takes the URI of a resource. Schemes that are the server's own name nothing outside of it.
func (c *call) resource(uri string) {
	scheme, _, _ := strings.Cut(strings.ToLower(action.Clip(uri, 64)), ":")
	if _, network := defaultPorts[scheme]; network || scheme == "file" {
		c.locator("", uri)
	}
}

// locator takes a URL, a host, or what else stands where a URL is expected.
func (c *call) locator(pointer, s string) {
	low := strings.ToLower(action.Clip(s, 16))
	switch {
	case strings.HasPrefix(low, "file:"):
		c.path(pointer, s, access(c.plan.effect), false)
	case strings.HasPrefix(low, "data:"):
	case strings.HasPrefix(low, "mailto:"):
		c.recipient(pointer, s[len("mailto:"):], roleRecipient)
	default:
		c.addURL(pointer, s)
	}
}

func (c *call) addURL(pointer, s string) {
	u, can := urlFacts(pointer, s)
	c.reach = c.reach || u.Private != action.Yes
	if !can.ok {
		c.typed = false
	}
	if len(c.facts.URLs) < maxFacts {
		c.facts.URLs = append(c.facts.URLs, u)
	} else {
		c.over[1] = true
	}
}

func (c *call) addPath(p action.Path) {
	if len(c.facts.Paths) < maxFacts {
		c.facts.Paths = append(c.facts.Paths, p)
	} else {
		c.over[0] = true
	}
}

// finish reads the commands, now that their folder is known, and closes the lists.
func (c *call) finish() {
	c.commands()
	f := c.facts
	for i := range f.Amounts {
		if f.Amounts[i].Currency == "" {
			f.Amounts[i].Currency = currencyCode(c.currency)
		}
	}
	if c.over[0] {
		f.Paths[maxFacts-1] = action.Path{Inside: action.TriUnknown, Traverse: action.TriUnknown, Private: action.TriUnknown,
			Exists: action.TriUnknown, Access: action.EffectUnknown}
	}
	if c.over[1] {
		f.URLs[maxFacts-1] = action.URL{Query: action.TriUnknown, Private: action.TriUnknown}
	}
	if c.over[2] {
		f.Commands[maxFacts-1] = unreadable("", action.TriUnknown)
	}
	if c.over[3] {
		f.Recipients[maxFacts-1] = action.Recipient{Outside: action.TriUnknown}
	}
	if c.over[4] {
		f.Amounts[maxFacts-1] = action.Amount{Minor: action.MaxNumber, Overflow: action.Yes}
	}
	if c.over[5] {
		f.SQL[maxFacts-1] = action.SQL{Dialect: string(c.plan.dialect), Writes: action.TriUnknown, Parsed: action.StateUnknown}
	}
	for _, over := range c.over {
		c.typed = c.typed && !over
	}
	c.statements()
	if c.reach && f.Zone == action.ZoneInside {
		f.Zone = action.ZoneOutside
	}
	if c.plan.reversible == "new" {
		f.Reversible = action.TriOf(onlyNew(f.Paths))
	}
	for _, p := range f.Paths {
		// What a hook or a setting lets run later is not undone by restoring the file.
		if f.Reversible == action.Yes && p.Access != action.EffectRead && (control(p.Resolved) || control(p.Raw)) {
			f.Reversible = action.TriUnknown
		}
	}
	if c.typed {
		f.Typed = action.StateKnown
	}
}

func onlyNew(paths []action.Path) bool {
	for _, p := range paths {
		if p.Access != action.EffectRead && p.Exists != action.No {
			return false
		}
	}
	return true
}
