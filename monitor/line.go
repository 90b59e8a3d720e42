// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"sync"

	"github.com/sallyport/sallyport/action"
)

// line is the order in which the log holds what profiles learn from. Actions that overlap end in one order in the
// log and are told in another; what is learnt waits here for what stands before it in the log, so that a replay
// learns the same. The log names each place while it gives it out, so line takes no lock but its own.
type line struct {
	mu    sync.Mutex
	open  map[string]struct{} // actions that were reserved and have no place yet
	queue []place
}

// place is one record that says how an action ended.
type place struct {
	id     string
	index  uint64
	denied bool // of a decision, else of an outcome
	ready  bool // what follows from it may be learnt
	act    act  // of a refused one
	status action.Status
}

// maxPlaces bounds the line. One that is never told of (nobody forgets, but nobody is perfect) is then given up.
const maxPlaces = 1 << 14

// Ordered is told of every record at the moment when the log gives it its index. It returns at once and may be
// called under the log's own lock.
func (m *Profiles) Ordered(r *action.Record, index uint64) {
	refused := r.Kind == action.KindDecision && r.Status == action.StatusRefused && r.Phase == action.Before && holds(r, action.PartInputBefore)
	ended := r.Kind == action.KindOutcome || r.Kind == action.KindUnknown || r.Kind == action.KindLate
	if !refused && !ended {
		return
	}
	l := &m.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.open[r.Action]; ended && !known {
		return
	}
	if ended {
		delete(l.open, r.Action)
	}
	if len(l.queue) >= maxPlaces {
		l.queue = l.queue[1:]
	}
	l.queue = append(l.queue, place{id: r.Action, index: index, denied: refused})
}

func holds(r *action.Record, part action.PartName) bool {
	for i := range r.Parts {
		if r.Parts[i].Name == part {
			return true
		}
	}
	return false
}

// reserved notes that id will end with a record.
func (l *line) reserved(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[id] = struct{}{}
}

// arrive says that what the place of id was given for has come: with a for a refusal, with status for an end. It is
// false if there is no such place: then no record tells of it.
func (l *line) arrive(id string, denied bool, a *act, status action.Status) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, id)
	for i := range l.queue {
		if p := &l.queue[i]; p.id == id && p.denied == denied && !p.ready {
			p.ready, p.status = true, status
			if a != nil {
				p.act = *a
			}
			return true
		}
	}
	return false
}

// next takes the foremost place, if its turn has come.
func (l *line) next() (p place, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 || !l.queue[0].ready {
		return p, false
	}
	p = l.queue[0]
	if l.queue = l.queue[1:]; len(l.queue) == 0 {
		l.queue = nil
	}
	return p, true
}

// covered is the number of records of which everything was learnt, if the log has size of them.
func (l *line) covered(size uint64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) > 0 {
		return min(size, l.queue[0].index)
	}
	return size
}

// advance learns what has its turn. It needs mu.
func (m *Profiles) advance() {
	for p, ok := m.line.next(); ok; p, ok = m.line.next() {
		if p.denied {
			m.refuse(&p.act)
		} else {
			m.end(p.id, p.status)
		}
	}
}

// Settle learns from an action that was done. One that failed or that nobody knows the end of still
// counts as risk.
func (m *Profiles) Settle(_ context.Context, q *action.Query, s action.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.cfg.InOrder || !m.ready {
		m.end(q.ID, s)
		return
	}
	if !m.line.arrive(q.ID, false, nil, s) {
		delete(m.open, q.ID) // no record tells of it, so no replay would learn it either
	}
	m.advance()
}

// Denied counts a refused action: as risk and among the refusals, never as usual.
func (m *Profiles) Denied(q *action.Query) {
	a, under := m.look(q, true, true)
	m.mu.Lock()
	m.stillUnder(under, &a, q, true, true)
	live := m.ready
	switch {
	case !m.cfg.InOrder || !live:
		m.refuse(&a)
	case m.line.arrive(q.ID, true, &a, ""):
		m.advance()
	}
	m.mu.Unlock()
	if live {
		m.Asked(q)
	}
}

// refuse counts a refused action. It needs mu.
func (m *Profiles) refuse(a *act) {
	m.worry(a, 0.5)
	m.profile(a).refuse(true)
	m.note(a)
}
