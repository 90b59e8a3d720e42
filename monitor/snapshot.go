// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"bytes"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// snapshotHead begins every snapshot; the seal of the rest follows it on the same line.
const snapshotHead = "sallyport monitor 2 "

// ErrSnapshot means that a snapshot is of another format, damaged, or not ours. Without it the profiles
// are learnt again from the ledger.
var ErrSnapshot = errors.New("monitor: the snapshot is of another format, damaged, or sealed by somebody else")

// Snapshot returns everything the profiles know, sealed. Size is asked for the number of records in the
// ledger while nothing can change here: what was learnt from records up to there, or to the first whose
// turn has not come, is in the snapshot, and which of them were still open stands beside it, so that Load
// and a replay of the rest give the same profiles again.
func (m *Profiles) Snapshot(size func() uint64, seal func(body []byte) string) []byte {
	var b bytes.Buffer
	put := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) } // a buffer takes everything of fixed size
	m.mu.Lock()
	n := size() // before covered: what the log takes meanwhile is not covered
	put([]uint64{m.line.covered(n), m.rules.Load().digest, uint64(len(m.agents)), uint64(len(m.latest)), uint64(len(m.groups)), uint64(len(m.sessions)), uint64(len(m.open))})
	for e := m.order.Back(); e != nil; e = e.Prev() {
		put(e.Value.(*profile))
	}
	for _, base := range slices.Sorted(maps.Keys(m.latest)) {
		put([]uint64{base, m.latest[base]})
	}
	for _, key := range slices.Sorted(maps.Keys(m.groups)) {
		g := m.groups[key]
		put([]uint64{key, uint64(g.agents), uint64(len(g.tools))})
		put(&g.profile)
		for _, t := range slices.Sorted(maps.Keys(g.tools)) {
			put([]uint64{t, uint64(g.tools[t])})
		}
	}
	for e := m.trails.Back(); e != nil; e = e.Prev() {
		put(e.Value.(*trail))
	}
	for _, id := range slices.Sorted(maps.Keys(m.open)) {
		a := m.open[id]
		put(uint64(len(id)))
		b.WriteString(id)
		put(&a)
	}
	m.mu.Unlock()
	return slices.Concat([]byte(snapshotHead+seal(b.Bytes())+"\n"), b.Bytes())
}

// Load puts a snapshot in the place of what the profiles know, and returns the number of ledger records
// that it covers. It returns ErrSnapshot, and changes nothing, for one that cannot be used. What rules saw
// in sessions is left out if the rules have changed. A snapshot that covers more than most records is of
// another log, or of one that was put back.
func (m *Profiles) Load(data []byte, most uint64, seal func(body []byte) string) (size uint64, err error) {
	head, body, ok := bytes.Cut(data, []byte("\n"))
	told, ours := bytes.CutPrefix(head, []byte(snapshotHead))
	if !ok || !ours || subtle.ConstantTimeCompare(told, []byte(seal(body))) != 1 {
		return 0, ErrSnapshot
	}
	n := &Profiles{cfg: m.cfg}
	n.reset()
	r := reader{from: bytes.NewReader(body)}
	h := r.numbers(7)
	for range r.upTo(h[2]) {
		p := &profile{}
		r.get(p)
		n.agents[p.Key] = n.order.PushFront(p)
	}
	for range r.upTo(h[3]) {
		l := r.numbers(2)
		n.latest[l[0]] = l[1]
	}
	for range r.upTo(h[4]) {
		f := r.numbers(3)
		g := &group{agents: int64(f[1]), tools: map[uint64]int64{}}
		r.get(&g.profile)
		for range r.upTo(f[2]) {
			t := r.numbers(2)
			g.tools[t[0]] = int64(t[1])
		}
		n.groups[f[0]] = g
	}
	for range r.upTo(h[5]) {
		t := &trail{}
		r.get(t)
		if h[1] != m.rules.Load().digest {
			t.Events, t.Next = [trailEvents]event{}, 0
		}
		n.sessions[t.Key] = n.trails.PushFront(t)
	}
	for range r.upTo(h[6]) {
		id, a := make([]byte, r.upTo(r.numbers(1)[0])), act{}
		r.get(id)
		r.get(&a)
		n.open[string(id)] = a
	}
	if r.err != nil || r.from.Len() != 0 {
		return 0, fmt.Errorf("%w: it ends early or late", ErrSnapshot)
	}
	if h[0] > most {
		return 0, fmt.Errorf("%w: it covers %d records of %d", ErrSnapshot, h[0], most)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.agents, m.order, m.latest, m.groups = n.agents, n.order, n.latest, n.groups
	m.sessions, m.trails, m.open = n.sessions, n.trails, n.open
	m.line.mu.Lock()
	defer m.line.mu.Unlock()
	m.line.open, m.line.queue = map[string]struct{}{}, nil
	for id := range m.open {
		m.line.open[id] = struct{}{}
	}
	return h[0], nil
}

// reader reads values of fixed size and remembers the first error.
type reader struct {
	from *bytes.Reader
	err  error
}

func (r *reader) get(v any) {
	if r.err == nil {
		r.err = binary.Read(r.from, binary.LittleEndian, v)
	}
}

func (r *reader) numbers(n int) []uint64 {
	v := make([]uint64, n)
	r.get(v)
	return v
}

// upTo bounds a count by what is left to read.
func (r *reader) upTo(n uint64) int {
	if r.err != nil || n > uint64(r.from.Len()) {
		r.err = errors.Join(r.err, ErrSnapshot)
		return 0
	}
	return int(n)
}
