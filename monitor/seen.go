// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"container/list"
	"context"
	"hash/maphash"
	"strings"
	"sync"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// SeenConfig bounds a Seen. Its zero value is ready.
type SeenConfig struct {
	MaxAgents int // profiles in memory, the least recently used dropped first; 0 means 4,096
	MaxKnown  int // tools and destinations per agent; 0 means 1,024
}

// Seen states whether an agent uses a tool or reaches a destination for the first time, and for how long
// it has known them. It learns only from actions that were permitted and done. What does not fit is not
// learnt, and what was dropped is new again: both err towards "first". It gives no score, so the part's
// State stays unknown and Risk the worst. It is safe for concurrent use.
type Seen struct {
	cfg  SeenConfig
	seed maphash.Seed

	mu     sync.Mutex // guards below
	agents map[uint64]*list.Element
	order  *list.List // of *profile; front is the most recently used
}

// profile holds, by keyed hash, when an agent first did something, unix ms.
type profile struct {
	agent uint64
	first map[uint64]int64
}

var _ enforce.Reserver = (*Seen)(nil)

// NewSeen returns a Seen that has seen nothing.
func NewSeen(c SeenConfig) *Seen {
	if c.MaxAgents <= 0 {
		c.MaxAgents = 4096
	}
	if c.MaxKnown <= 0 {
		c.MaxKnown = 1024
	}
	return &Seen{cfg: c, seed: maphash.MakeSeed(), agents: map[uint64]*list.Element{}, order: list.New()}
}

func (s *Seen) hash(parts ...string) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	for _, p := range parts {
		maphash.WriteComparable(&h, len(p))
		h.WriteString(p)
	}
	return h.Sum64()
}

// destinations are where q's data goes, as far as the tools column parsed it.
func (s *Seen) destinations(q *action.Query) (out []uint64) {
	for _, r := range q.Action.Recipients {
		out = append(out, s.hash("to", r.Kind, strings.ToLower(r.Value)))
	}
	for _, u := range q.Action.URLs {
		out = append(out, s.hash("host", u.Host, u.Account))
	}
	return out
}

// Inform states first uses and ages. An action whose arguments nobody understood may go anywhere: whether
// its destination is new is unknown.
func (s *Seen) Inform(_ context.Context, q *action.Query) (action.Part, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := action.UnknownMonitor()
	p.FirstTool, p.FirstDest = action.Yes, action.TriUnknown
	var first map[uint64]int64
	if e, ok := s.agents[s.hash(q.Subject.Tenant, q.Subject.ID)]; ok {
		first = e.Value.(*profile).first
	}
	now := q.Context.Time.UnixMilli
	if at, ok := first[s.hash("tool", q.Resource.Server, q.Resource.Name)]; ok {
		p.FirstTool, p.ToolAgeD = action.No, days(now, at)
	}
	if q.Action.Typed == action.StateKnown {
		p.FirstDest = action.No
	}
	for i, d := range s.destinations(q) {
		at, ok := first[d]
		if !ok {
			p.FirstDest, p.DestAgeD = action.Yes, 0
			break
		}
		if age := days(now, at); i == 0 || age < p.DestAgeD {
			p.DestAgeD = age
		}
	}
	return p, nil
}

func days(now, then int64) int64 { return max(now-then, 0) / (24 * 3600 * 1000) }

// Reserve books nothing: a first use stays one until it is done.
func (s *Seen) Reserve(context.Context, *action.Query) error { return nil }

// Settle learns from an action that was done.
func (s *Seen) Settle(_ context.Context, q *action.Query, st action.Status) {
	if st != action.StatusDone {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.profile(s.hash(q.Subject.Tenant, q.Subject.ID)).first
	for _, k := range append(s.destinations(q), s.hash("tool", q.Resource.Server, q.Resource.Name)) {
		at, known := first[k]
		if now := q.Context.Time.UnixMilli; known && now < at || !known && len(first) < s.cfg.MaxKnown {
			first[k] = now
		}
	}
}

// profile returns the agent's profile, making it if there is none. It needs mu.
func (s *Seen) profile(agent uint64) *profile {
	if e, ok := s.agents[agent]; ok {
		s.order.MoveToFront(e)
		return e.Value.(*profile)
	}
	for len(s.agents) >= s.cfg.MaxAgents {
		old := s.order.Back()
		delete(s.agents, old.Value.(*profile).agent)
		s.order.Remove(old)
	}
	p := &profile{agent: agent, first: map[uint64]int64{}}
	s.agents[agent] = s.order.PushFront(p)
	return p
}
