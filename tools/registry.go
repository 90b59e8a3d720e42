// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/store"
)

// Pin is where one tool's definition stands. It is what Store holds and what people are shown.
type Pin struct {
	Server     string                 `json:"server"`
	Name       string                 `json:"name"`
	State      action.DefinitionState `json:"state"`
	Digest     string                 `json:"digest"`      // of the definition as last listed
	Approved   string                 `json:"approved"`    // the digest that was approved last; "" if none was
	ApprovedBy string                 `json:"approved_by"` // an operator, or "pack:NAME"
	Upstream   string                 `json:"upstream"`    // identity of the server that listed it
	Trusted    string                 `json:"trusted"`     // identity of the server when it was approved
	Transport  Transport              `json:"transport"`
	Kind       string                 `json:"kind"` // as the operator declared it
	Zone       action.Zone            `json:"zone"`
	Poisoned   action.Tri             `json:"poisoned"`
	Effect     action.Effect          `json:"effect"`
	Source     action.EffectSource    `json:"effect_source"`
	Pack       string                 `json:"pack"`
	FirstMs    int64                  `json:"first_seen_ms"`
	ChangedMs  int64                  `json:"changed_ms"` // of State
	Receipt    action.Receipt         `json:"receipt"`    // of the record of the approval or change
	Definition jsontext.Value         `json:"definition"` // complete, canonical
}

// Seen is what Observe found about one definition.
type Seen struct {
	Pin
	First    bool // never seen before
	Changed  bool // this observation made it changed
	Previous action.DefinitionState
}

// Observe takes the definitions that a server listed. A first sight is pending unless a pack approves it;
// a definition that differs from the approved one, or comes from another upstream than the approved one
// did, is changed and stays so until it is approved again, even if the old one comes back. With no
// definitions it only declares the server: until it lists them, the tools of another one under its name
// count as pending. All definitions are refused if one is unusable: a list in
// part would hide tools from the pins. A change that cannot be recorded is an error, and binds anyway.
func (r *Registry) Observe(ctx context.Context, up Upstream, defs []Definition) ([]Seen, error) {
	identity, err := up.Identity()
	if err != nil {
		return nil, err
	}
	if !validName(up.Server) || strings.Contains(up.Server, "/") {
		return nil, fmt.Errorf("%w: name %q", ErrUpstream, action.Clip(up.Server, 64))
	}
	if p := r.hostPack(up.Server); (p != nil) != (up.Transport == Host) {
		return nil, fmt.Errorf("%w: name %q is reserved for the built-in tools of a host", ErrUpstream, up.Server)
	}
	if up.Kind != "" && r.pack(up.Kind) == nil {
		return nil, fmt.Errorf("%w: %q is declared as unknown kind %q", ErrUpstream, up.Server, action.Clip(up.Kind, 64))
	}
	if len(defs) > MaxPerServer {
		return nil, fmt.Errorf("%w: %q lists %d tools, more than %d", ErrDefinition, up.Server, len(defs), MaxPerServer)
	}
	names := map[string]bool{}
	for _, d := range defs {
		if names[d.Name] {
			return nil, fmt.Errorf("%w: %q lists %q twice", ErrDefinition, up.Server, action.Clip(d.Name, 64))
		}
		names[d.Name] = true
	}
	if seen, same := r.unchanged(&up, identity, defs); same {
		return seen, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	next, err := r.room(up.tenant(), up.Server, names)
	if err != nil {
		return nil, err
	}
	next.servers[key{tenant: up.tenant(), server: up.Server}] = served{identity, up.zone()}
	out, errs := make([]Seen, 0, len(defs)), []error(nil)
	for i := range defs {
		s, err := r.observe(ctx, next, &up, identity, &defs[i])
		errs = append(errs, err)
		out = append(out, s)
	}
	next.shadows(up.tenant())
	for i := range out {
		if e := next.tools[key{up.tenant(), up.Server, out[i].Pin.Name}]; e != nil {
			out[i].Pin.Poisoned = e.pin.Poisoned
		}
	}
	next.digests[up.tenant()] = next.digest(up.tenant())
	r.snap.Store(next)
	return out, errors.Join(errs...)
}

// unchanged answers an observation that says nothing new, which most do, from the snapshot.
func (r *Registry) unchanged(up *Upstream, identity string, defs []Definition) ([]Seen, bool) {
	snap := r.snap.Load()
	if snap.servers[key{tenant: up.tenant(), server: up.Server}] != (served{identity, up.zone()}) {
		return nil, false
	}
	out := make([]Seen, 0, len(defs))
	for i := range defs {
		e := snap.tools[key{up.tenant(), up.Server, defs[i].Name}]
		digest, err := defs[i].digest(up.Server)
		if e == nil || err != nil || !e.pin.same(digest, identity, up) || r.owed(&e.pin, &defs[i]) {
			return nil, false
		}
		out = append(out, Seen{Pin: e.pin, Previous: e.pin.State})
	}
	return out, true
}

// same reports whether p already holds what is observed.
func (p *Pin) same(digest, identity string, up *Upstream) bool {
	return p.Digest == digest && p.Upstream == identity && p.Kind == up.Kind && p.Zone == up.zone()
}

// room copies the snapshot for writing if it has room for the names.
func (r *Registry) room(tenant, server string, names map[string]bool) (*snapshot, error) {
	old := r.snap.Load()
	n, all := 0, len(old.tools)
	for k := range old.tools {
		if k.tenant == tenant && k.server == server && !names[k.name] {
			n++
		}
	}
	for name := range names {
		if old.tools[key{tenant, server, name}] == nil {
			all++
		}
	}
	if n+len(names) > MaxPerServer || all > MaxPins {
		return nil, fmt.Errorf("%w: %q has listed too many tools", ErrDefinition, server)
	}
	return &snapshot{tools: maps.Clone(old.tools), servers: maps.Clone(old.servers), digests: maps.Clone(old.digests)}, nil
}

func (r *Registry) observe(ctx context.Context, next *snapshot, up *Upstream, identity string, d *Definition) (Seen, error) {
	k := key{up.tenant(), up.Server, d.Name}
	digest, err := d.digest(up.Server)
	if err != nil {
		return Seen{}, err
	}
	old := next.tools[k]
	now := r.cfg.Now().UnixMilli()
	pin := Pin{Server: up.Server, Name: d.Name, State: action.DefinitionPending, FirstMs: now, ChangedMs: now}
	s := Seen{First: old == nil, Previous: action.DefinitionUnknown}
	if old != nil {
		pin, s.Previous = old.pin, old.pin.State
		if pin.same(digest, identity, up) && !r.owed(&pin, d) {
			s.Pin = pin
			return s, nil
		}
	}
	pin.Digest, pin.Upstream, pin.Definition = digest, identity, d.Complete
	pin.Transport, pin.Kind, pin.Zone = up.Transport, up.Kind, up.zone()
	pin.Poisoned = r.poisoned(d)
	r.judge(&pin, d)
	if pin.State != s.Previous {
		pin.ChangedMs, pin.Receipt = now, action.Receipt{}
	}
	s.Changed = pin.State == action.DefinitionChanged && s.Previous != action.DefinitionChanged
	var failed error
	owed := pin.State == action.DefinitionChanged && pin.Receipt == (action.Receipt{}) && r.cfg.Record != nil
	if s.Changed || owed || (pin.State == action.DefinitionApproved && pin.State != s.Previous) {
		pin.Receipt, failed = r.record(ctx, k.tenant, &pin, pin.ApprovedBy)
	}
	if failed != nil && pin.State == action.DefinitionApproved {
		pin.State, pin.Approved, pin.ApprovedBy = action.DefinitionPending, "", ""
	}
	e := r.entry(pin, d)
	s.Pin = e.pin
	if old != nil {
		e.rev = old.rev
	}
	if err := r.save(ctx, k, e); err != nil {
		failed = errors.Join(failed, err)
	}
	next.tools[k] = e
	return s, failed
}

// owed reports whether an earlier observation could not be recorded: a change without receipt, or a
// definition that a pack would approve and that is still pending.
func (r *Registry) owed(pin *Pin, d *Definition) bool {
	switch pin.State {
	case action.DefinitionChanged:
		return r.cfg.Record != nil && pin.Receipt == (action.Receipt{})
	case action.DefinitionPending:
		p := r.speaker(pin, d)
		return p != nil && p.approves(pin, d) || r.declared.Load().of(pin).approves(pin)
	}
	return false
}

// judge sets State from the definition that pin now holds.
func (r *Registry) judge(pin *Pin, d *Definition) {
	p := r.speaker(pin, d)
	byPack := p != nil && (pin.Approved == "" || derived(pin.ApprovedBy)) && p.approves(pin, d)
	switch {
	case r.declared.Load().of(pin).approves(pin):
		pin.State, pin.Approved, pin.Trusted, pin.ApprovedBy = action.DefinitionApproved, pin.Digest, pin.Upstream, byBundle
	case pin.State == action.DefinitionChanged:
	case pin.Approved != "" && pin.Approved == pin.Digest && pin.Trusted == pin.Upstream:
		pin.State = action.DefinitionApproved
	case byPack:
		pin.State, pin.Approved, pin.Trusted, pin.ApprovedBy = action.DefinitionApproved, pin.Digest, pin.Upstream, "pack:"+p.Name
	case pin.Approved != "":
		pin.State = action.DefinitionChanged
	default:
		pin.State = action.DefinitionPending
	}
}

func (r *Registry) poisoned(d *Definition) action.Tri {
	if r.cfg.Poisoned == nil {
		return action.TriUnknown
	}
	switch t := r.cfg.Poisoned(d.text()); t {
	case action.Yes, action.No:
		return t
	}
	return action.TriUnknown
}

// SignedOnly reports whether only packs and the bundle in force approve definitions.
func (r *Registry) SignedOnly() bool { return r.cfg.SignedOnly }

// Approve makes the observed definition the approved one. digest must be the one that the actor was
// shown: ErrDigest if the server has listed another since, ErrNotFound if the tool was never observed, ErrSigned if no person may.
// The approval is recorded before it counts.
func (r *Registry) Approve(ctx context.Context, tenant, server, name, digest, actor string) (Pin, error) {
	if actor == "" {
		return Pin{}, errors.New("tools: an approval needs an actor")
	}
	if r.cfg.SignedOnly {
		return Pin{}, fmt.Errorf("%w: %q", ErrSigned, action.Clip(action.ToolKey(server, name), 128))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.snap.Load()
	k := key{tenant, server, name}
	e := old.tools[k]
	if e == nil {
		return Pin{}, fmt.Errorf("%w: %q", ErrNotFound, action.Clip(action.ToolKey(server, name), 128))
	}
	if e.pin.Digest != digest {
		return Pin{}, fmt.Errorf("%w: %q", ErrDigest, action.Clip(action.ToolKey(server, name), 128))
	}
	d, err := ReadDefinition(e.pin.Definition)
	if err != nil {
		return Pin{}, err
	}
	pin := e.pin
	pin.State, pin.Approved, pin.Trusted = action.DefinitionApproved, pin.Digest, pin.Upstream
	pin.ApprovedBy, pin.ChangedMs = "operator:"+actor, r.cfg.Now().UnixMilli()
	if pin.Receipt, err = r.record(ctx, tenant, &pin, actor); err != nil {
		return Pin{}, err
	}
	pin.Poisoned = e.scanned
	n := r.entry(pin, &d)
	n.rev = e.rev
	if err := r.save(ctx, k, n); err != nil {
		return Pin{}, err
	}
	next := &snapshot{tools: maps.Clone(old.tools), servers: maps.Clone(old.servers), digests: maps.Clone(old.digests)}
	next.tools[k] = n
	next.shadows(tenant)
	next.digests[tenant] = next.digest(tenant)
	r.snap.Store(next)
	return n.pin, nil
}

// record writes the pin's new state to the ledger.
func (r *Registry) record(ctx context.Context, tenant string, pin *Pin, actor string) (action.Receipt, error) {
	if r.cfg.Record == nil {
		return action.Receipt{}, nil
	}
	detail, err := action.Canonical(struct {
		State      action.DefinitionState `json:"state"`
		Digest     string                 `json:"digest"`
		Approved   string                 `json:"approved"`
		By         string                 `json:"approved_by"`
		Upstream   string                 `json:"upstream"`
		Zone       action.Zone            `json:"zone"`
		Definition jsontext.Value         `json:"definition"`
	}{pin.State, pin.Digest, pin.Approved, pin.ApprovedBy, pin.Upstream, pin.Zone, pin.Definition})
	if err != nil {
		return action.Receipt{}, err
	}
	rec := &action.Record{Kind: action.KindTool, Tenant: tenant, TimeMs: r.cfg.Now().UnixMilli(), Actor: actor,
		Server: pin.Server, Tool: pin.Name, Subject: pin.Digest, Status: action.StatusNone,
		Codes: []string{"definition." + string(pin.State)},
		Parts: []action.PayloadPart{{Name: action.PartDetail, Owner: pin.Server, Data: detail}}}
	got, err := r.cfg.Record(ctx, rec)
	if err != nil {
		return action.Receipt{}, fmt.Errorf("tools: %q is %s, which cannot be recorded: %w",
			action.ToolKey(pin.Server, pin.Name), pin.State, err)
	}
	return got, nil
}

// Get returns the pin of a tool, or ErrNotFound.
func (r *Registry) Get(tenant, server, name string) (Pin, error) {
	e := r.snap.Load().tools[key{tenant, server, name}]
	if e == nil {
		return Pin{}, fmt.Errorf("%w: %q", ErrNotFound, action.Clip(action.ToolKey(server, name), 128))
	}
	return e.pin, nil
}

// List returns at most limit (0 means 200) pins of a tenant, of one server if server is not "", whose key
// "server/name" comes after after, sorted by server and name.
func (r *Registry) List(tenant, server, after string, limit int) []Pin {
	if limit <= 0 {
		limit = 200
	}
	snap := r.snap.Load()
	var out []Pin
	for _, k := range snap.keys(tenant) {
		if (server != "" && k.server != server) || action.ToolKey(k.server, k.name) <= after {
			continue
		}
		if out = append(out, snap.tools[k].pin); len(out) == limit {
			break
		}
	}
	return out
}

// Digest is over all pins of a tenant; it changes whenever one of them does.
func (r *Registry) Digest(tenant string) string { return r.snap.Load().digests[tenant] }

func (s *snapshot) keys(tenant string) []key {
	var out []key
	for k := range s.tools {
		if k.tenant == tenant {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b key) int {
		return strings.Compare(action.ToolKey(a.server, a.name), action.ToolKey(b.server, b.name))
	})
	return out
}

func (s *snapshot) digest(tenant string) string {
	var b []byte
	for _, k := range s.keys(tenant) {
		p := &s.tools[k].pin
		for _, f := range []string{p.Server, p.Name, string(p.State), p.Digest, p.Approved, p.Upstream, string(p.Effect)} {
			b = fmt.Appendf(b, "%d:%s,", len(f), f)
		}
	}
	return sum(b)
}

func storeKey(k key) string {
	return url.PathEscape(k.tenant) + "/tool/" + url.PathEscape(k.server) + "/" + url.PathEscape(k.name)
}

// save writes the pin. The registry is the only writer of its keys in a process; another process's write
// since is overwritten once, after reading its revision.
func (r *Registry) save(ctx context.Context, k key, e *entry) error {
	v, err := action.Canonical(&e.pin)
	if err != nil {
		return err
	}
	rev, err := r.cfg.Store.Put(ctx, storeKey(k), v, e.rev)
	if errors.Is(err, store.ErrConflict) {
		var cur store.Entry
		if cur, err = r.cfg.Store.Get(ctx, storeKey(k)); err == nil {
			rev, err = r.cfg.Store.Put(ctx, storeKey(k), v, cur.Revision)
		}
	}
	if err != nil {
		return fmt.Errorf("tools: pin of %q: %w", action.ToolKey(k.server, k.name), err)
	}
	e.rev = rev
	return nil
}

// load reads the pins of a tenant. A row that cannot be read, or whose digest is not that of its
// definition, stops the start: it was damaged or forged.
func (r *Registry) load(ctx context.Context, tenant string, next *snapshot) error {
	prefix := url.PathEscape(tenant) + "/tool/"
	for after := ""; ; {
		rows, err := r.cfg.Store.List(ctx, prefix, after, 500)
		if err != nil {
			return fmt.Errorf("tools: pins of %q: %w", tenant, err)
		}
		if len(rows) == 0 {
			return nil
		}
		for _, row := range rows {
			e, err := r.reload(ctx, row)
			if err != nil {
				return fmt.Errorf("tools: pin %q: %w", row.Key, err)
			}
			next.tools[key{tenant, e.pin.Server, e.pin.Name}] = e
			next.servers[key{tenant: tenant, server: e.pin.Server}] = served{e.pin.Upstream, e.pin.Zone}
			after = row.Key
		}
		if len(next.tools) > 2*MaxPins {
			return fmt.Errorf("tools: more than %d pins", MaxPins)
		}
	}
}

func (r *Registry) reload(ctx context.Context, row store.Entry) (*entry, error) {
	var pin Pin
	if err := action.Read(row.Value, &pin, action.Limits{}); err != nil {
		return nil, err
	}
	d, err := ReadDefinition(pin.Definition)
	if err != nil {
		return nil, err
	}
	if got, err := d.digest(pin.Server); err != nil || got != pin.Digest || d.Name != pin.Name {
		return nil, fmt.Errorf("%w: the definition is not the one that was pinned", ErrDefinition)
	}
	pin.Poisoned = r.poisoned(&d)
	switch {
	case pin.State == action.DefinitionChanged:
	case derived(pin.ApprovedBy), r.cfg.SignedOnly:
		was := pin
		pin.Approved, pin.ApprovedBy, pin.State = "", "", action.DefinitionPending
		r.judge(&pin, &d)
		pin.Receipt = was.Receipt
	case pin.Approved != "" && r.cfg.Proved != nil && !r.cfg.Proved(ctx, pin.Approved, pin.Receipt):
		pin.Approved, pin.ApprovedBy, pin.State = "", "", action.DefinitionPending
	default:
		r.judge(&pin, &d)
	}
	e := r.entry(pin, &d)
	e.rev = row.Revision
	return e, nil
}
