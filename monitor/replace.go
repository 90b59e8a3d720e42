// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"fmt"
	"slices"

	"github.com/sallyport/sallyport/action"
)

// look is what q is to the rules of now, which it returns: it is done outside of the lock, and stillUnder closes the gap.
func (m *Profiles) look(q *action.Query, denied, known bool) (act, *Rules) {
	a, r := m.key.look(q), m.rules.Load()
	a.Matches = r.matches(q, denied, known)
	return a, r
}

// stillUnder looks again where the rules have changed since look. It needs mu.
func (m *Profiles) stillUnder(r *Rules, a *act, q *action.Query, denied, known bool) {
	if now := m.rules.Load(); now != r {
		a.Matches = now.matches(q, denied, known)
	}
}

// Replaced says what became of chains that sessions had begun when the rules were replaced.
type Replaced struct {
	Carried []string `json:"carried"` // rules of which every step was looked for before: chains under way go on
	Anew    []string `json:"anew"`    // the others: they see what is done from now on
	Ended   []string `json:"ended"`   // rules that are no more
}

// Replacing says what ReplaceRules would do.
func (m *Profiles) Replacing(r *Rules) Replaced { return m.rules.Load().replacedBy(r) }

// ReplaceRules makes r what actions are held against from now on. What sessions did is kept by the selections that their
// actions fell under: a selection that both have goes on, one that is new begins empty. Rules of the same text change nothing.
func (m *Profiles) ReplaceRules(r *Rules) Replaced {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.rules.Load()
	out := old.replacedBy(r)
	if old.digest == r.digest {
		return out
	}
	to := old.bitsIn(r)
	for e := m.trails.Front(); e != nil; e = e.Next() {
		t := e.Value.(*trail)
		for i := range t.Events {
			t.Events[i].Matches = translate(t.Events[i].Matches, to)
		}
	}
	for id, a := range m.open {
		a.Matches = translate(a.Matches, to)
		m.open[id] = a
	}
	m.rules.Store(r)
	return out
}

// bitsIn lists for each selection of r its bit in n; 0 where n has none like it.
func (r *Rules) bitsIn(n *Rules) []uint64 {
	out := make([]uint64, len(r.picks))
	for i := range r.picks {
		if at := n.pickAt(&r.picks[i]); at >= 0 {
			out[i] = 1 << at
		}
	}
	return out
}

// pickAt is the place of a selection that takes the same actions, -1 if there is none.
func (r *Rules) pickAt(p *pick) int {
	text := fmt.Sprint(*p)
	return slices.IndexFunc(r.picks, func(o pick) bool { return fmt.Sprint(o) == text })
}

func translate(m uint64, to []uint64) (out uint64) {
	for i, bit := range to {
		if m&(1<<i) != 0 {
			out |= bit
		}
	}
	return out
}

func (r *Rules) replacedBy(n *Rules) Replaced {
	out := Replaced{Carried: []string{}, Anew: []string{}, Ended: []string{}}
	var known uint64 // selections of n that r has too
	for i := range n.picks {
		if r.pickAt(&n.picks[i]) >= 0 {
			known |= 1 << i
		}
	}
	for _, x := range n.rules {
		if slices.ContainsFunc(x.steps, func(s step) bool { return s.bit&^known != 0 }) || x.per != perSession && r.wide[x.per] == 0 {
			out.Anew = append(out.Anew, x.id)
		} else {
			out.Carried = append(out.Carried, x.id)
		}
	}
	for _, x := range r.rules {
		if !slices.ContainsFunc(n.rules, func(o rule) bool { return o.id == x.id }) {
			out.Ended = append(out.Ended, x.id)
		}
	}
	return out
}
