// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// byBundle is Pin.ApprovedBy of a definition whose digest the bundle in force names.
const byBundle = "bundle"

// derived reports whether an approval is derived from packs and the bundle in force, and not a person's.
func derived(by string) bool { return strings.HasPrefix(by, "pack:") || by == byBundle }

// File is one tool pack of a bundle.
type File struct {
	Name string
	Data []byte
}

// Declaration is what a bundle says of one tool, whoever lists it under this name. With a digest it approves the
// definition of that digest and holds for it alone. Without one it holds for any definition that did not change after its approval,
// and approves none.
type Declaration struct {
	Server, Tool string
	Digest       string
	Effect       action.Effect
	Reversible   action.Tri
	Idempotent   action.Tri
	Zone         action.Zone // outside, or unknown: a server is vetted by its address, which no bundle knows
}

// Declared is what the bundle in force says of tools, beside what is embedded. It is immutable; its zero value says nothing.
type Declared struct {
	packs  []*pack
	single map[[2]string][]Declaration // by server and tool
}

// The bounds of what a bundle may declare.
const (
	maxDeclaredPacks = 200
	maxDeclaredTools = 4096
)

// ReadDeclared reads the packs and single declarations of a bundle. A pack goes before the embedded one of its name. The names of
// hosts are reserved when a build is made: a pack of one must be for a host that this build knows.
func ReadDeclared(files []File, single []Declaration) (*Declared, error) {
	known, err := embeddedPacks()
	if err != nil {
		return nil, err
	}
	if len(files) > maxDeclaredPacks || len(single) > maxDeclaredTools {
		return nil, fmt.Errorf("tools: %d packs and %d tools are more than %d and %d", len(files), len(single), maxDeclaredPacks, maxDeclaredTools)
	}
	d := &Declared{single: map[[2]string][]Declaration{}}
	for _, f := range files {
		p, err := readPack(f.Data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		if slices.ContainsFunc(d.packs, func(o *pack) bool { return o.Name == p.Name }) {
			return nil, fmt.Errorf("%s: a second pack %q", f.Name, action.Clip(p.Name, 64))
		}
		host := slices.ContainsFunc(known, func(o *pack) bool { return o.Name == p.Name && o.Transport == Host })
		if host != (p.Transport == Host) {
			return nil, fmt.Errorf("%s: transport %q of %q: a pack is one of a host exactly if this build has the host's", f.Name, p.Transport, action.Clip(p.Name, 64))
		}
		d.packs = append(d.packs, p)
	}
	for _, s := range single {
		at := [2]string{s.Server, s.Tool}
		if s.Zone == action.ZoneInside {
			return nil, fmt.Errorf("tool %q: zone inside: a server is vetted by its address (gateway.servers)", action.Clip(action.ToolKey(s.Server, s.Tool), 128))
		}
		if slices.ContainsFunc(d.single[at], func(o Declaration) bool { return o.Digest == s.Digest }) {
			return nil, fmt.Errorf("tool %q: it stands twice", action.Clip(action.ToolKey(s.Server, s.Tool), 128))
		}
		d.single[at] = append(d.single[at], s)
	}
	return d, nil
}

// of is what d says of a definition: the declaration of its digest before one without.
func (d *Declared) of(pin *Pin) *Declaration {
	if d == nil || pin.Transport == Host {
		return nil
	}
	var every *Declaration
	list := d.single[[2]string{pin.Server, pin.Name}]
	for i := range list {
		switch list[i].Digest {
		case pin.Digest:
			return &list[i]
		case "":
			every = &list[i]
		}
	}
	return every
}

// approves reports whether d is about the very definition that pin holds, from the server that it was last approved from.
func (d *Declaration) approves(pin *Pin) bool {
	return d != nil && d.Digest != "" && d.Digest == pin.Digest && (pin.Trusted == "" || pin.Trusted == pin.Upstream)
}

// restate is pl as d has it.
func (d *Declaration) restate(pl *plan) *plan {
	said := *pl
	said.effect, said.source, said.pack = d.Effect, action.EffectDeclared, byBundle
	said.reversible, said.idempotent = action.Word(d.Reversible), d.Idempotent
	if said.idempotent == "" {
		said.idempotent = action.TriUnknown
	}
	if d.Zone == action.ZoneOutside {
		said.zone = d.Zone
	}
	return &said
}

// knownPacks are the packs that speak now: those of the bundle in force before the embedded ones.
func (r *Registry) knownPacks() []*pack { return *r.packs.Load() }

// take makes d what the bundle in force says; its packs hide embedded ones of their names. The caller holds mu, or r is not
// shared yet.
func (r *Registry) take(d *Declared) error {
	embedded, err := embeddedPacks()
	if err != nil {
		return err
	}
	if d == nil {
		d = &Declared{}
	}
	all := slices.Clone(d.packs)
	for _, p := range embedded {
		if !slices.ContainsFunc(d.packs, func(o *pack) bool { return o.Name == p.Name }) {
			all = append(all, p)
		}
	}
	r.declared.Store(d)
	r.packs.Store(&all)
	return nil
}

// Declare puts d in force in place of what the bundle before said, and judges every pin again, in one step for readers. A tool that
// is approved or changed by it, or approved no longer, is recorded for actor and kept. What cannot be recorded is not approved; an
// error does not undo the rest.
func (r *Registry) Declare(ctx context.Context, d *Declared, actor string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.take(d); err != nil {
		return err
	}
	old := r.snap.Load()
	next := &snapshot{tools: map[key]*entry{}, servers: maps.Clone(old.servers), digests: map[string]string{}}
	var errs []error
	for k, e := range old.tools {
		if e.pin.Transport == Host {
			continue // reserved again below
		}
		n, err := r.rejudged(ctx, k, e, actor)
		errs = append(errs, err)
		next.tools[k] = n
	}
	for tenant := range old.digests {
		r.reserve(tenant, next)
		next.shadows(tenant)
		next.digests[tenant] = next.digest(tenant)
	}
	r.snap.Store(next)
	return errors.Join(errs...)
}

// rejudged is e under what speaks now.
func (r *Registry) rejudged(ctx context.Context, k key, e *entry, actor string) (*entry, error) {
	d, err := ReadDefinition(e.pin.Definition)
	if err != nil {
		return e, err
	}
	pin, was := e.pin, e.pin
	pin.Poisoned = e.scanned
	if derived(pin.ApprovedBy) && pin.State == action.DefinitionApproved {
		pin.Approved, pin.ApprovedBy, pin.Trusted, pin.State = "", "", "", action.DefinitionPending
	}
	r.judge(&pin, &d)
	same := pin.State == was.State && pin.Approved == was.Approved && pin.ApprovedBy == was.ApprovedBy
	if !same && pin.State != was.State {
		pin.ChangedMs = r.cfg.Now().UnixMilli()
		receipt, failed := r.record(ctx, k.tenant, &pin, actor)
		if pin.Receipt, err = receipt, failed; failed != nil && pin.State == action.DefinitionApproved {
			pin.State, pin.Approved, pin.ApprovedBy, pin.Trusted = was.State, was.Approved, was.ApprovedBy, was.Trusted
		}
	}
	n := r.entry(pin, &d)
	n.rev = e.rev
	if !same {
		err = errors.Join(err, r.save(ctx, k, n))
	}
	return n, err
}
