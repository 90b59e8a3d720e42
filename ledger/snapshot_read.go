// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
)

// decodeSnapshot is the inverse of encode but for the checkpoint, of which only the note is set, and the
// names of segments. It takes memory in proportion to the bytes it is given.
func decodeSnapshot(body []byte) (*snapshot, error) {
	r := snapshotReader{b: body}
	n := &snapshot{shelves: map[string]*shelf{}}
	n.cp.Note = bytes.Clone(r.text())
	n.tree.size = r.number()
	for range r.count(hashBytes) {
		n.tree.nodes = append(n.tree.nodes, hash(r.take(hashBytes)))
	}
	n.at, n.last = place{r.number(), r.offset()}, place{r.number(), r.offset()}
	n.upto, n.high = r.number(), r.offset()
	for range r.count(3) {
		n.segments = append(n.segments, segmentSpan{number: r.number(), first: r.number(), end: r.offset()})
	}
	var m mark
	n.marks = make([]mark, 0, r.peek(2))
	for range r.count(2) {
		if d := r.number(); d > 0 {
			m = mark{segment: m.segment + d}
		}
		m.at += r.offset()
		n.marks = append(n.marks, m)
	}
	for range r.count(3) {
		name := string(r.text())
		s := &shelf{n: r.number(), last: r.number()}
		s.deltas = bytes.Clone(r.text())
		if _, ok := s.indexes(nil); !ok {
			r.fail()
		}
		n.shelves[name] = s
	}
	n.now, n.old = r.keys(), r.keys()
	n.sessions = make([]sessionEnd, 0, r.peek(2+hashBytes))
	for range r.count(2 + hashBytes) {
		n.sessions = append(n.sessions, sessionEnd{id: string(r.text()), seq: r.offset(), hash: hash(r.take(hashBytes))})
	}
	if r.failed || len(r.b) > 0 || !n.coherent() {
		return nil, errSnapshot
	}
	return n, nil
}

// coherent reports whether the parts can belong together, so that nothing that reads them later can go
// beyond their ends.
func (n *snapshot) coherent() bool {
	if len(n.tree.nodes) != bits.OnesCount64(n.tree.size) || n.tree.size == 0 || len(n.segments) == 0 {
		return false
	}
	for i, s := range n.segments {
		if s.number != uint64(i)+1 || s.first > n.tree.size {
			return false
		}
	}
	tail := n.segments[len(n.segments)-1]
	if uint64(len(n.marks)) != (n.tree.size+markEvery-1)/markEvery || n.at != (place{tail.number, tail.end}) || n.last.segment != tail.number || n.last.offset > n.at.offset {
		return false
	}
	for _, m := range n.marks {
		if m.segment == 0 || m.segment > tail.number {
			return false
		}
	}
	for _, s := range n.shelves {
		if s.n > 0 && s.last >= n.tree.size {
			return false
		}
	}
	return n.upto >= n.tree.size
}

// snapshotReader reads the parts of a body. After the first failure everything reads as zero.
type snapshotReader struct {
	b      []byte
	failed bool
}

func (r *snapshotReader) fail() { r.b, r.failed = nil, true }

func (r *snapshotReader) number() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// offset is a number that fits an int64.
func (r *snapshotReader) offset() int64 {
	v := r.number()
	if v > math.MaxInt64/2 {
		r.fail()
		return 0
	}
	return int64(v)
}

// count is the number of elements that follow, each of at least so many bytes.
func (r *snapshotReader) count(bytes int) int {
	v := r.number()
	if v > uint64(len(r.b)/bytes) {
		r.fail()
		return 0
	}
	return int(v)
}

// peek is count without going on.
func (r *snapshotReader) peek(bytes int) int {
	ahead := *r
	return ahead.count(bytes)
}

// take returns n bytes; zeros after a failure.
func (r *snapshotReader) take(n int) []byte {
	if len(r.b) < n {
		r.fail()
		return make([]byte, n)
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *snapshotReader) text() []byte { return r.take(r.count(1)) }

func (r *snapshotReader) keys() []uniqueEntry {
	const entry = 16 + 8
	out := make([]uniqueEntry, 0, r.peek(entry))
	for range r.count(entry) {
		out = append(out, uniqueEntry{uniqueKey(r.take(16)), binary.BigEndian.Uint64(r.take(8))})
	}
	return out
}
