// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// AgentSpec is what is asked of a new agent record.
type AgentSpec struct {
	ID     string // 1 to 128 letters, digits, dots, dashes, underscores; unique without regard to case
	Tenant string // "" means the first of Config.Tenants
	Owner  string // the person who answers for it; may be empty
	Lease  bool   // it may act only while its attestation holds
	By     string // who makes it, for the record
}

// Agent is the record of one agent.
type Agent struct {
	ID        string `json:"id"`
	Tenant    string `json:"tenant"`
	Owner     string `json:"owner"`
	Lease     bool   `json:"lease"`
	By        string `json:"by"`
	CreatedMs int64  `json:"created_ms"`
	Revision  uint64 `json:"-"` // of the stored row
}

// agentKey is where an agent stands, in the store and in memory: two ids that differ only in case are one.
func agentKey(tenant, id string) string { return tenant + "/identity/agent/" + strings.ToLower(id) }

// CreateAgent makes an agent record; the record in the ledger comes first. It returns ErrExists with the
// one that is there if the id is taken.
func (t *Tokens) CreateAgent(ctx context.Context, s AgentSpec) (Agent, error) {
	if s.Tenant == "" {
		s.Tenant = t.c.Tenants[0]
	}
	if !slices.Contains(t.c.Tenants, s.Tenant) {
		return Agent{}, fmt.Errorf("%w tenant %q: there is none of that name", ErrMalformed, action.Clip(s.Tenant, 64))
	}
	if err := checkID("agent id", s.ID); err != nil {
		return Agent{}, err
	}
	if err := errors.Join(checkText("owner", s.Owner, 128), checkText("issuer", s.By, 128)); err != nil {
		return Agent{}, err
	}
	t.write.Lock()
	defer t.write.Unlock()
	if a, ok := t.agent(s.Tenant, s.ID); ok {
		return a, fmt.Errorf("%w: %q", ErrExists, a.ID)
	}
	if t.agentCount() >= MaxAgents {
		return Agent{}, fmt.Errorf("%w agents", ErrFull)
	}
	now := t.c.Now()
	a := Agent{ID: s.ID, Tenant: s.Tenant, Owner: s.Owner, Lease: s.Lease, By: s.By, CreatedMs: now.UnixMilli()}
	rec := blank(action.KindKey, a.Tenant, now)
	rec.Agent, rec.User, rec.Actor, rec.Codes = a.ID, a.Owner, a.By, []string{CodeAgentCreated}
	if err := detail(rec, owner(a.Owner, a.ID), a); err != nil {
		return Agent{}, err
	}
	if _, err := t.c.Record(ctx, rec); err != nil {
		return Agent{}, fmt.Errorf("identity: record %s: %w", CodeAgentCreated, err)
	}
	key := agentKey(a.Tenant, a.ID)
	b, err := seal(t.c.Key, key, a)
	if err != nil {
		return Agent{}, err
	}
	if a.Revision, err = t.c.Store.Put(ctx, key, b, 0); err != nil {
		return Agent{}, fmt.Errorf("identity: agent %q: %w", a.ID, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.agents[key] = a
	return a, nil
}

// Agent returns the record of an agent, or ErrNotFound.
func (t *Tokens) Agent(tenant, id string) (Agent, error) {
	a, ok := t.agent(tenant, id)
	if !ok {
		return Agent{}, fmt.Errorf("%w: agent %q", ErrNotFound, action.Clip(id, 64))
	}
	return a, nil
}

func (t *Tokens) agent(tenant, id string) (Agent, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	a, ok := t.agents[agentKey(tenant, id)]
	return a, ok
}

func (t *Tokens) agentCount() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.agents)
}

// Agents returns at most limit agents of a tenant whose ids come after the id after, in order of ids
// without regard to case. A limit of 0 means 200.
func (t *Tokens) Agents(tenant, after string, limit int) []Agent {
	if limit <= 0 {
		limit = 200
	}
	after = strings.ToLower(after)
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []Agent
	for _, a := range t.agents {
		if a.Tenant == tenant && strings.ToLower(a.ID) > after {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b Agent) int { return strings.Compare(strings.ToLower(a.ID), strings.ToLower(b.ID)) })
	return out[:min(limit, len(out))]
}
