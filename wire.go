// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/attest/lease"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/gateway/mcp"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/index"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/tools"
)

func (s *Sallyport) ledgerConfig() ledger.Config {
	c, d := &s.Config.Ledger, layout(s.Config.Data)
	head := c.Head
	if head == "" {
		head = filepath.Join(d.keys, "head")
	}
	cfg := ledger.Config{Wal: d.wal, Snapshot: filepath.Join(d.snapshots, "log"), Keys: d.keys, Tiles: d.tiles, Anchors: filepath.Join(s.Config.Data, "anchors"), Head: head, Origin: c.Origin,
		SegmentBytes: c.SegmentBytes, ReserveBytes: c.ReserveBytes, AgentBytes: c.AgentBytes, Quorum: c.Quorum, WitnessFor: c.WitnessTimeout, Shards: len(c.Retention) > 0}
	cfg.Ordered = func(r *action.Record, index uint64) {
		if s.Profiles != nil { // opened after the log, and before anything else appends
			s.Profiles.Ordered(r, index)
		}
	}
	for _, w := range c.Witnesses {
		cfg.Witnesses = append(cfg.Witnesses, ledger.Witness{URL: w.URL, Vkey: w.Vkey})
	}
	return cfg
}

// RecoverLedger goes on with a log that is behind its newest checkpoint, as ledger.Recover does. No owner
// may be at work. The index is thrown away once the new epoch is open: it knows entries that are lost.
func RecoverLedger(cfg Config, operator string, known ...[]byte) (ledger.Recovery, error) {
	done, err := offline(cfg, func(lc ledger.Config) (ledger.Recovery, error) { return ledger.Recover(lc, operator, known...) })
	if err == nil && done.Second != "" {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if gone := os.Remove(layout(cfg.Data).index + suffix); !errors.Is(gone, fs.ErrNotExist) {
				err = errors.Join(err, gone)
			}
		}
	}
	return done, err
}

// RotateLedger gives the log another signing key, as ledger.Rotate does. No owner may be at work.
func RotateLedger(cfg Config, operator string) (ledger.Recovery, error) {
	return offline(cfg, func(lc ledger.Config) (ledger.Recovery, error) { return ledger.Rotate(lc, operator) })
}

// RepairLedger mends segments from those of a copy, as ledger.Repair does. No owner may be at work.
func RepairLedger(cfg Config, from, operator string) (ledger.Repaired, error) {
	return offline(cfg, func(lc ledger.Config) (ledger.Repaired, error) { return ledger.Repair(lc, from, operator) })
}

// offline runs do on the log of a directory that no owner has.
func offline[T any](cfg Config, do func(ledger.Config) (T, error)) (done T, err error) {
	lock, err := own(cfg.Data)
	if err != nil {
		return done, err
	}
	lc := (&Sallyport{Config: cfg}).ledgerConfig()
	if lc.Wrap, err = cfg.Ledger.TenantKey.open(cfg.Data); err != nil {
		return done, errors.Join(err, lock.Close())
	}
	done, err = do(lc)
	return done, errors.Join(err, lock.Close())
}

func (s *Sallyport) toolsConfig() tools.Config {
	home, _ := os.UserHomeDir()
	exe, _ := os.Executable()
	return tools.Config{
		Store: s.Store, DataDir: s.Config.Data, Home: home, Domains: s.Config.Tools.Domains, SignedOnly: s.Config.Tools.SignedOnly, Executable: exe,
		Listeners: []string{s.Config.Gateway.Listen, s.Config.Admin.Listen}, Host: s.Config.Egress.standing,
		Record: s.Ledger.Append, Poisoned: s.Detect.Poisoned, Proved: s.proved, Now: s.Ledger.Now,
	}
}

// policyAlarm notes that the compiled form of a policy was given up for the slow one.
func (s *Sallyport) policyAlarm(why string) { s.alarm("policy.compiled_given_up", why) }

// recordAlarms writes alarms down as alerts.
func (s *Sallyport) recordAlarms(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case a := <-s.alarms:
			_, err := s.Ledger.Append(ctx, &action.Record{Kind: action.KindAlert, Tenant: "default", TimeMs: s.Ledger.Now().UnixMilli(),
				Status: action.StatusNone, Codes: []string{a.code},
				Parts: []action.PayloadPart{{Name: action.PartDetail, Owner: "policy", Data: []byte(a.why)}}})
			if err != nil {
				return fmt.Errorf("record of an alarm: %w", err)
			}
		}
	}
}

// recordOf is a leaf as a record: identities are pseudonyms, and there are no parts.
func recordOf(l *ledger.Leaf) *action.Record {
	return &action.Record{
		Kind: l.Kind, Tenant: l.Tenant, TimeMs: l.TimeMs, Action: l.Action, Round: int(l.Round), Session: l.Session,
		Agent: l.Agent, User: l.User, Actor: l.Actor, Door: l.Door, Server: l.Server, Tool: l.Tool, Effect: l.Effect,
		Phase: l.Phase, Verdict: l.Verdict, Enforced: l.Enforced, Status: l.Status, Rules: l.Rules, Codes: l.Codes,
		Bundle: l.Bundle, Engines: l.Engines, Call: l.Call, Binding: l.Binding, Grant: l.Grant, Channel: l.Channel,
		Grade: l.Grade, Separation: l.Separation, Observed: l.Observed, Assurance: int(l.Assurance), Model: int(l.Model),
		Durability: l.Durability, Epoch: l.Epoch, Subject: l.Subject, Count: l.Count,
	}
}

// pastKinds are the kinds of records that columns hold their stored rows against.
var pastKinds = []action.Kind{action.KindKey, action.KindKill, action.KindApproval, action.KindAttestation, action.KindPolicy, action.KindTool}

// past replays the records of pastKinds, and whatever names a grant. A column that needs another kind has to
// add it there, and ledger.Leaf.Shelf must keep a list of it.
func (s *Sallyport) past(ctx context.Context, fn func(r *action.Record) error) error {
	shelves := []string{ledger.ShelfGranted}
	for _, k := range pastKinds {
		shelves = append(shelves, string(k))
	}
	return s.Ledger.Select(ctx, 0, shelves, func(e ledger.Entry) error { return fn(recordOf(e.Leaf)) })
}

// restoreEntry feeds one record. Counters and labels want what is recent, profiles what is new to them.
func (s *Sallyport) restoreEntry(ctx context.Context, e ledger.Entry, open map[string]*action.Query, recent, fresh bool) error {
	l := e.Leaf
	switch l.Kind {
	case action.KindAlert:
		s.restoreAlert(e, fresh)
	case action.KindIntent:
		q, err := recordedInput(e, action.PartInputBefore)
		if err != nil || q == nil {
			return err
		}
		open[l.Action] = q
		if id, ok := strings.CutPrefix(l.Subject, enforce.LinkCall); ok && recent {
			s.Monitor.Yield(id)
		}
		s.Alarms.Replay(q)
		if fresh {
			err = s.Profiles.Restore(ctx, q)
		}
		if recent {
			err = errors.Join(err, s.Monitor.Restore(ctx, q), s.Flow.Restore(ctx, q))
		}
		return err
	case action.KindDecision:
		if q, err := recordedInput(e, action.PartInputBefore); err == nil && q != nil && l.Phase != action.After {
			s.Alarms.Replay(q)
			if l.Status == action.StatusRefused && recent {
				s.Monitor.Denied(q)
			}
			if l.Status == action.StatusRefused && fresh {
				s.Profiles.Denied(q)
			}
		}
	case action.KindOutcome, action.KindUnknown, action.KindLate:
		q := open[l.Action]
		if q == nil {
			s.Profiles.Settle(ctx, only(l.Action), l.Status) // what it looked like may stand in their snapshot
			return nil
		}
		s.Profiles.Settle(ctx, q, l.Status) // learns what it saw at gate one
		if after, err := recordedInput(e, action.PartInputAfter); err == nil && after != nil {
			q = after
		}
		if recent {
			s.Monitor.Settle(ctx, q, l.Status)
			s.Flow.Settle(ctx, q, l.Status)
		}
		delete(open, l.Action)
	}
	return nil
}

// only is a query of which nothing is left but its id.
func only(id string) *action.Query {
	q := action.NewQuery(action.Before)
	q.ID = id
	return q
}

// recordedInput opens the query of an entry; nil where it was erased.
func recordedInput(e ledger.Entry, part action.PartName) (*action.Query, error) {
	b, err := e.Open(part)
	if errors.Is(err, ledger.ErrErased) || errors.Is(err, ledger.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("entry %d: %w", e.Index, err)
	}
	q, err := action.ReadQuery(b)
	if err != nil {
		return nil, fmt.Errorf("entry %d: recorded input: %w", e.Index, err)
	}
	return q, nil
}

// proved reports whether the ledger holds the approval of a definition.
func (s *Sallyport) proved(_ context.Context, digest string, r action.Receipt) bool {
	if r.Leaf == "" {
		return false
	}
	e, err := s.Ledger.Read(r.Index)
	return err == nil && e.Leaf.Kind == action.KindTool && e.Leaf.Subject == digest
}

func (s *Sallyport) indexConfig() index.Config {
	return index.Config{
		Path: layout(s.Config.Data).index, Pseudonym: s.Ledger.Pseudonym,
		Head: func(context.Context) (uint64, error) { return s.Ledger.Checkpoint().Size, nil },
		Follow: func(ctx context.Context, from uint64, fn func(index.Entry) error) error {
			return s.Ledger.Follow(ctx, from, func(e ledger.Entry) error { return fn(indexEntry(e)) })
		},
		Payload: func(ctx context.Context, i uint64, part action.PartName) ([]byte, error) {
			b, err := s.Ledger.Payload(ctx, i, part)
			switch {
			case errors.Is(err, ledger.ErrErased):
				return nil, index.ErrErased
			case errors.Is(err, ledger.ErrNotFound):
				return nil, nil
			}
			return b, err
		},
		Opening: s.opening,
	}
}

func indexEntry(e ledger.Entry) index.Entry {
	leaf := sha256.Sum256(append([]byte{0}, e.Raw...)) // RFC 6962: a leaf is hashed behind a zero byte
	return index.Entry{Index: e.Index, Leaf: "sha256:" + hex.EncodeToString(leaf[:]), Record: recordOf(e.Leaf), Sealed: true, Open: func(part action.PartName) ([]byte, error) {
		b, err := e.Open(part)
		if errors.Is(err, ledger.ErrNotFound) {
			return nil, nil
		}
		return b, err
	}}
}

// quarantine stops a session because a rule said so.
func (s *Sallyport) quarantine(ctx context.Context, sub *action.Subject, session string, why []action.Match) {
	reason := "policy"
	if len(why) > 0 {
		reason = why[0].ID
	}
	if credential := s.leaseOf(sub); strings.HasPrefix(credential, lease.CredentialPrefix) {
		id := strings.TrimPrefix(credential, lease.CredentialPrefix)
		_, _ = s.attest.book.End(context.WithoutCancel(ctx), func(l *lease.Lease) bool { return l.ID == id }, lease.CodeAnomaly, "policy", reason)
	}
	_, _ = s.Kill.Kill(context.WithoutCancel(ctx), identity.Actor{ID: byPolicy},
		identity.Target{Scope: identity.KillSession, Tenant: sub.Tenant, ID: session, Agent: sub.ID}, reason)
}

// kindOf is the pack that the configuration declares a server to be of.
func (c *Config) kindOf(server string) string {
	i := slices.IndexFunc(c.Tools.Kinds, func(k ToolKind) bool { return k.Server == server })
	if i < 0 {
		return ""
	}
	return c.Tools.Kinds[i].Kind
}

// observe pins what a server lists. In place of a definition that cannot be read it pins one that says so:
// a tool that was approved counts as changed from then on, and one that was never seen as one that may
// destroy, whatever its name or its server's kind says.
func (s *Sallyport) observe(ctx context.Context, o mcp.Observation) (unusable []string, err error) {
	var defs, broken []tools.Definition
	for _, t := range o.Tools {
		d, err := tools.ReadDefinition(t.Raw)
		if err == nil {
			defs = append(defs, d)
			continue
		}
		unusable = append(unusable, t.Name)
		if d, err := unreadable(t); err == nil { // without a usable name nothing can be pinned, and nothing is known of it
			broken = append(broken, d)
		}
	}
	up := s.upstream(o.Subject.Tenant, o.Upstream)
	if _, err := s.Tools.Observe(ctx, up, defs); err != nil || len(broken) == 0 {
		return unusable, err
	}
	up.Kind = ""
	_, err = s.Tools.Observe(ctx, up, broken)
	return unusable, err
}

// unreadable stands for a definition that cannot be read; its digest changes with it.
func unreadable(t mcp.Tool) (tools.Definition, error) {
	sum := sha256.Sum256(t.Raw)
	raw, err := action.Canonical(struct {
		Name        string          `json:"name"`
		Description string          `json:"description"`
		Annotations map[string]bool `json:"annotations"`
	}{t.Name, "The definition that the server lists cannot be read: sha256:" + hex.EncodeToString(sum[:]),
		map[string]bool{"readOnlyHint": false, "destructiveHint": true}})
	if err != nil {
		return tools.Definition{}, err
	}
	return tools.ReadDefinition(raw)
}

// upstream is a server as the registry knows it: kind and zone are the operator's word.
func (s *Sallyport) upstream(tenant string, u mcp.Upstream) tools.Upstream {
	up := tools.Upstream{Tenant: tenant, Server: u.Name, Transport: tools.Stdio, Command: u.Command, Roots: u.Roots,
		URL: u.URL, Kind: s.Config.kindOf(u.Name), Zone: u.Zone}
	if u.URL != "" {
		up.Transport = tools.HTTP
	}
	return up
}

// relayUpstream vets the server behind a relay. A process of this machine is inside. A remote server is
// outside unless the configuration vets that very address, and then it has the configuration's name for it,
// so that what is declared of the name holds for it. No other server may take such a name.
func (s *Sallyport) relayUpstream(ctx context.Context, c *gateway.Caller, up mcp.Upstream) (mcp.Upstream, error) {
	up.Zone = action.ZoneInside
	if up.URL != "" {
		up.Zone = action.ZoneOutside
	}
	servers := s.Config.Gateway.Servers
	named := slices.IndexFunc(servers, func(r MCPServer) bool { return r.Name == up.Name })
	there := slices.IndexFunc(servers, func(r MCPServer) bool { return up.URL != "" && r.URL == up.URL })
	switch {
	case named >= 0 && up.URL != "" && servers[named].URL == up.URL:
	case named >= 0:
		return up, fmt.Errorf("server %q: the name belongs to a remote server; hint: use --name", up.Name)
	case there >= 0 && up.Name == mcp.RemoteName(up.URL): // no name was given
		named, up.Name = there, servers[there].Name
	case there >= 0:
		return up, fmt.Errorf("server %q: the configuration calls this address %q; hint: use --name %s", up.Name, servers[there].Name, servers[there].Name)
	}
	if named >= 0 && servers[named].Zone == "inside" {
		up.Zone = action.ZoneInside
	}
	_, err := s.Tools.Observe(ctx, s.upstream(c.Subject.Tenant, up), nil)
	if errors.Is(err, tools.ErrUpstream) {
		err = fmt.Errorf("%w; hint: give the server another name with --name", err)
	}
	return up, err
}

// httpUpstream is the remote server of a name, with the credential that we present to it.
func (s *Sallyport) httpUpstream(ctx context.Context, c *gateway.Caller, name string) (mcp.HTTPUpstream, bool) {
	i := slices.IndexFunc(s.Config.Gateway.Servers, func(m MCPServer) bool { return m.Name == name })
	if i < 0 {
		return mcp.HTTPUpstream{}, false
	}
	m := s.Config.Gateway.Servers[i]
	up := mcp.HTTPUpstream{Upstream: mcp.Upstream{Name: m.Name, URL: m.URL, Zone: action.ZoneOutside}}
	if m.Zone == "inside" {
		up.Zone = action.ZoneInside
	}
	if m.TokenFile != "" {
		b, err := os.ReadFile(m.TokenFile)
		if err != nil {
			return mcp.HTTPUpstream{}, false // without its credential the server is not there
		}
		up.Header = http.Header{"Authorization": {"Bearer " + strings.TrimSpace(string(b))}}
	}
	_, err := s.Tools.Observe(ctx, s.upstream(c.Subject.Tenant, up.Upstream), nil)
	return up, err == nil
}

// sweepLabels drops expired labels from the store now and then.
func (s *Sallyport) sweepLabels(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			_ = s.Flow.Sweep(ctx, "default", s.Ledger.Now()) // tried again at the next turn
		}
	}
}

// visible hides tools whose descriptions carry instructions, because a model that reads them is attacked already, and those
// that the policy in force can never let this agent use. Who calls one of them all the same is judged and recorded.
func (s *Sallyport) visible(ctx context.Context, sub *action.Subject, server string, t mcp.Tool) bool {
	f, ok := s.Tools.Lookup(sub.Tenant, server, t.Name)
	return ok && f.Definition.Poisoned != action.Yes && (ctx.Err() != nil || !s.Policy.Never(sub.Tenant, sub.ID, server, t.Name))
}

// clientAnswer hands in what the user of the agent's own client said.
func (s *Sallyport) clientAnswer(ctx context.Context, ticket string, accept bool, sub *action.Subject) error {
	who := approval.Actor{ID: "client:" + sub.User.ID, Channel: action.RankClient, Agent: sub.ID, Credential: sub.Channel.CredID,
		UID: sub.Channel.UID, HasUID: sub.Channel.UID >= 0}
	if v, err := s.Approval.Show(ctx, ticket); err == nil {
		who.Session = v.Session
	}
	answer := s.Approval.Deny
	if accept {
		answer = s.Approval.Approve
	}
	_, err := answer(ctx, ticket, who, "")
	return err
}

// secretKey reads the 32-byte key at path, making it the first time.
func secretKey(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		if len(b) != 32 {
			return nil, fmt.Errorf("key %q holds %d bytes, not 32", path, len(b))
		}
		return b, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("key %q: %w", path, err)
	}
	b = make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return nil, err
	}
	return b, writeDurably(path, b)
}
