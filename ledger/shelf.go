// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/sallyport/sallyport/action"
)

// ShelfGranted is the shelf of records, other than approvals, that name a grant.
const ShelfGranted = "granted"

// Shelf names the list on which Select finds the entry of l again: its kind, for kinds of which there are
// few; ShelfGranted; or "" for the many. Context records stand on theirs if they carry a code. Snapshots hold
// these lists: a change here needs another number in snapshotHead.
func (l *Leaf) Shelf() string {
	switch l.Kind {
	case action.KindApproval, action.KindKey, action.KindKill, action.KindPolicy, action.KindTool, action.KindAttestation,
		action.KindAlert, action.KindErasure, action.KindAnchor:
		return string(l.Kind)
	case action.KindContext:
		if len(l.Codes) > 0 {
			return string(l.Kind)
		}
	}
	if l.Grant != "" {
		return ShelfGranted
	}
	return ""
}

// shelf is an ascending list of indexes. Its bytes are only ever appended to.
type shelf struct {
	last   uint64
	n      uint64
	deltas []byte // uvarints: the first index, then differences
}

func (s *shelf) put(index uint64) {
	s.deltas = binary.AppendUvarint(s.deltas, index-s.last)
	s.last = index
	s.n++
}

// indexes appends those on the shelf to dst. It returns false if the bytes are not what put wrote.
func (s *shelf) indexes(dst []uint64) ([]uint64, bool) {
	b, at := s.deltas, uint64(0)
	for i := range s.n {
		d, n := binary.Uvarint(b)
		if n <= 0 || i > 0 && d == 0 || at+d < at {
			return dst, false
		}
		at, b = at+d, b[n:]
		dst = append(dst, at)
	}
	return dst, len(b) == 0 && at == s.last
}

// shelve puts an entry on a shelf. mu is held, or the log is not shared yet.
func (l *Log) shelve(name string, index uint64) {
	if name == "" {
		return
	}
	s := l.shelves[name]
	if s == nil {
		s = &shelf{}
		l.shelves[name] = s
	}
	s.put(index)
}

// Select calls fn with every entry from index from on that stands on one of the shelves now, in order. It
// reads these entries only.
func (l *Log) Select(ctx context.Context, from uint64, shelves []string, fn func(Entry) error) error {
	var wanted []uint64
	l.mu.Lock()
	for _, name := range shelves {
		if s := l.shelves[name]; s != nil && s.n > 0 && s.last >= from {
			wanted, _ = s.indexes(wanted)
		}
	}
	l.mu.Unlock()
	slices.Sort(wanted)
	c := cursor{log: l, ahead: sparseBytes}
	defer c.close()
	for i, index := range slices.Compact(wanted) {
		if i%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if index < from {
			continue
		}
		e, err := c.read(index)
		if err != nil {
			return err
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// Find returns the index of the record of (action, round, kind), if it is among those remembered.
func (l *Log) Find(id string, round int, k action.Kind) (uint64, bool) {
	return l.first(newUniqueKey(id, round, k))
}
