// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/tools/sql"
)

// plan is everything that a definition says about every call of its tool, computed once.
type plan struct {
	effect     action.Effect
	source     action.EffectSource
	reversible string // "yes", "no", "unknown", or "new"
	idempotent action.Tri
	zone       action.Zone
	pack       string
	class      verb
	declared   map[string]role   // by a pack; nil if the roles are inferred
	hints      map[string]hint   // of the schema, if they are inferred
	output     map[string]string // of results, by a pack
	dialect    sql.Dialect       // of a tool that takes statements; "" if it is not known to
	named      []string          // words of the name
	about      []string          // words of what the description's first verb is done to
}

// entry computes the plan of a pin. Sources of the effect: a pack that speaks for the tool declares it; an
// operator's approval of an inferred one makes it approved; a definition that changed is inferred again,
// whoever spoke for the old one, and never counts as less than what was approved.
func (r *Registry) entry(pin Pin, d *Definition) *entry {
	pl := r.inferPlan(&pin, d)
	speaker := r.speaker(&pin, d)
	switch {
	case pin.State == action.DefinitionChanged:
		if pin.Effect != "" && pin.Effect.Severity() > pl.effect.Severity() {
			pl.effect = pin.Effect
		}
	case speaker != nil:
		pl = speaker.plan(&pin, d)
	case pin.State == action.DefinitionApproved:
		pl.source = action.EffectApproved
	}
	if said := r.declared.Load().of(&pin); said != nil && pin.State != action.DefinitionChanged {
		pl = said.restate(pl)
	}
	pl.named = words(d.Name)
	_, pl.about = done(d.Description)
	pin.Effect, pin.Source, pin.Pack = pl.effect, pl.source, pl.pack
	return &entry{pin: pin, plan: pl, scanned: pin.Poisoned, mentions: mentions(d), demands: demands(d), subject: subject(pin.Server, d.Name),
		at: action.Definition{State: pin.State, Digest: pin.Digest,
			Upstream: pin.Upstream, Pack: pl.pack, Poisoned: pin.Poisoned}}
}

func (p *pack) plan(pin *Pin, d *Definition) *plan {
	t := p.Tools[d.Name]
	pl := &plan{effect: t.Effect, source: action.EffectDeclared, reversible: t.Reversible, idempotent: t.Idempotent,
		zone: pin.Zone, pack: p.Name, class: infer(d), declared: t.Arguments, output: t.Output, dialect: dialectOf(pin.Server, d)}
	if d := dialectOf(p.Name, &Definition{}); d != "" {
		pl.dialect = d // what the pack was written for
	}
	if pl.reversible == "" {
		pl.reversible = "unknown"
	}
	if pl.idempotent == "" {
		pl.idempotent = action.TriUnknown
	}
	if t.Zone != "" && pl.zone == action.ZoneInside {
		pl.zone = t.Zone
	}
	if pl.declared == nil {
		pl.declared = map[string]role{}
	}
	return pl
}

func (r *Registry) inferPlan(pin *Pin, d *Definition) *plan {
	v := infer(d)
	pl := &plan{effect: raise(v.effect(), d.Annotations), source: action.EffectInferred, reversible: "unknown",
		idempotent: action.TriUnknown, zone: pin.Zone, class: v, hints: hints(d.InputSchema),
		dialect: dialectOf(pin.Server, d)}
	switch pl.effect {
	case action.EffectRead, action.EffectRespond:
		pl.reversible = "yes"
	case action.EffectDestroy, action.EffectSend, action.EffectSpend:
		pl.reversible = "no"
	}
	if d.Annotations.Idempotent == action.No {
		pl.idempotent = action.No
	}
	if (v == verbFetch || d.Annotations.OpenWorld == action.Yes) && pl.zone == action.ZoneInside {
		pl.zone = action.ZoneOutside
	}
	return pl
}

// unlisted is the plan of a tool that was never listed: its name is all there is, and the server may lie.
func unlisted(server, name string, zone action.Zone) *plan {
	d := &Definition{Name: name}
	v := infer(d)
	return &plan{effect: v.effect(), source: action.EffectInferred, reversible: "unknown", idempotent: action.TriUnknown,
		zone: zone, class: v, dialect: dialectOf(server, d), named: words(name)}
}

// runsCommands reports whether a call without a command is no call of this tool.
func (p *plan) runsCommands() bool {
	for _, ro := range p.declared {
		if ro == roleCommand {
			return true
		}
	}
	return false
}

// access is what a path argument of a tool with this effect is for, where nobody said.
func access(e action.Effect) action.Effect {
	switch e {
	case action.EffectRead, action.EffectDestroy:
		return e
	case action.EffectWrite:
		return e
	case action.EffectSend: // what is sent is read
		return action.EffectRead
	}
	return action.EffectUnknown
}

// Facts are the part of a tool's facts that no argument changes.
type Facts struct {
	Effect     action.Effect
	Source     action.EffectSource
	Zone       action.Zone
	Definition action.Definition
}

// Lookup returns what is known of a tool without a call, for filtering lists and for people. It takes no
// lock and allocates nothing. For a tool that was never listed ok is false and everything is unknown.
func (r *Registry) Lookup(tenant, server, name string) (f Facts, ok bool) {
	snap := r.snap.Load()
	e := snap.tools[key{tenant, server, name}]
	if e == nil {
		return Facts{Effect: action.EffectUnknown, Source: action.EffectSourceUnknown, Zone: action.ZoneUnknown,
			Definition: action.Definition{State: action.DefinitionUnknown, Registry: snap.digests[tenant], Poisoned: action.TriUnknown}}, false
	}
	if s := snap.servers[key{tenant: tenant, server: server}]; e.pin.Transport != Host && s.identity != e.pin.Upstream {
		d := e.at
		d.State, d.Pack, d.Registry = action.DefinitionPending, "", snap.digests[tenant]
		return Facts{Effect: action.EffectUnknown, Source: action.EffectSourceUnknown, Zone: s.zone, Definition: d}, true
	}
	f = Facts{Effect: e.plan.effect, Source: e.plan.source, Zone: e.plan.zone, Definition: e.at}
	f.Definition.Registry = snap.digests[tenant]
	return f, true
}
