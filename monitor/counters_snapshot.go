// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// maxEndings bounds the actions that may end while a snapshot is under way.
const maxEndings = 1 << 20

// The ways in which an action can be over for the counters. One action can go both.
const (
	endSettled byte = 1 << iota
	endDenied
)

// endings are the actions that were over between the moment that a snapshot is of and the moment that it
// was taken at: a replay from the former must not count them twice.
type endings struct {
	how  map[string]byte
	full bool
}

func (e *endings) note(id string, how byte) {
	if e == nil || e.full {
		return
	}
	if e.full = len(e.how) >= maxEndings; !e.full {
		e.how[id] |= how
	}
}

func (e *endings) has(id string, how byte) bool { return e != nil && e.how[id]&how != 0 }

// Begin begins a snapshot. The caller reads the number of records in the ledger next, waits until what
// those records tell has come to the counters, and calls Snapshot.
func (m *Counters) Begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = &endings{how: map[string]byte{}}
}

// Snapshot returns what the counters hold, for Load in a process that then is fed the records from the
// number on that was read after Begin. It returns ErrSnapshot if Begin was not called or too much has
// happened since. It is not sealed.
func (m *Counters) Snapshot() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ended := m.ended
	m.ended = nil
	if ended == nil || ended.full || !m.ready {
		return nil, ErrSnapshot
	}
	var b bytes.Buffer
	put := func(v ...any) {
		for _, v := range v {
			_ = binary.Write(&b, binary.LittleEndian, v) // a buffer takes everything of fixed size
		}
	}
	put([]uint64{m.digest, uint64(m.latest), uint64(len(m.cells.byKey)), uint64(len(m.open)), uint64(len(ended.how))}, m.cells.evicted)
	for e := m.cells.order.Back(); e != nil; e = e.Prev() {
		c := e.Value.(*cell)
		put(c.key, []int64{c.last, c.expires}, c.full, c.at)
	}
	for _, id := range slices.Sorted(maps.Keys(m.open)) {
		put(uint64(len(id)), []byte(id), uint64(len(m.open[id])))
		for _, o := range m.open[id] {
			put([]uint64{uint64(o.counter), o.key, uint64(o.step), uint64(o.amount)})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(ended.how)) {
		put(uint64(len(id)), []byte(id), ended.how[id])
	}
	return b.Bytes(), nil
}

// Load puts a snapshot in the place of what the counters hold, before Ready. It returns ErrSnapshot, and
// changes nothing, for one of other counters, or a damaged one.
func (m *Counters) Load(data []byte) error {
	r := reader{from: bytes.NewReader(data)}
	h := r.numbers(5)
	var t cells
	t.init(m.maxKeys)
	r.get(t.evicted)
	if r.err != nil || h[0] != m.digest || h[2] > uint64(m.maxKeys) {
		return fmt.Errorf("%w: it is of other counters", ErrSnapshot)
	}
	for range r.upTo(h[2]) {
		c := &cell{}
		times := make([]int64, 2)
		r.get(&c.key)
		r.get(times)
		r.get(&c.full)
		r.get(&c.at)
		c.last, c.expires = times[0], times[1]
		t.byKey[c.key] = t.order.PushFront(c)
	}
	id := func() string {
		b := make([]byte, r.upTo(r.numbers(1)[0]))
		r.get(b)
		return string(b)
	}
	open := map[string][]booking{}
	for range r.upTo(h[3]) {
		name := id()
		books := []booking{}
		for range r.upTo(r.numbers(1)[0]) {
			n := r.numbers(4)
			if n[0] >= uint64(len(m.counters)) {
				return ErrSnapshot
			}
			books = append(books, booking{counter: int(n[0]), key: n[1], step: int64(n[2]), amount: int64(n[3])})
		}
		open[name] = books
	}
	ended := &endings{how: map[string]byte{}}
	for range r.upTo(h[4]) {
		name, how := id(), byte(0)
		r.get(&how)
		ended.how[name] = how
	}
	if r.err != nil || r.from.Len() != 0 {
		return fmt.Errorf("%w: it ends early or late", ErrSnapshot)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.latest, m.cells, m.open, m.ended = int64(h[1]), t, open, ended
	return nil
}

// Open returns the ids of actions whose reservations are open.
func (m *Counters) Open() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.open))
}

// Open returns the ids of actions that have not ended.
func (m *Profiles) Open() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.open))
}
