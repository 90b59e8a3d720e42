// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/sallyport/sallyport/action"
)

// maxSegmentBytes bounds what is read of a segment at once.
const maxSegmentBytes = 2 << 30

// recover reads the whole log and makes it ready for appending. A batch without its checkpoint at the
// very end is an interrupted write that nobody was told of: it is cut. Damage with a signed checkpoint
// anywhere after it is corruption, which is left as it is.
func (l *Log) recover(numbers []uint64) error {
	head, tiles, err := l.guards()
	if err != nil {
		return err
	}
	if l.fromSnapshot(numbers, head, tiles) == nil {
		return nil
	}
	l.forget()
	s := &scanner{verifier: l.keys.epochs[0], later: l.keys.epochs[1:], visit: l.restore}
	return l.recoverFrom(s, numbers, head, tiles)
}

// fromSnapshot is recover that goes on where a snapshot ends. After an error nothing is kept of it.
func (l *Log) fromSnapshot(numbers []uint64, head, tiles Checkpoint) error {
	n, err := l.readSnapshot()
	if err != nil {
		return err
	}
	if l.head.missing || head.Size < n.upto || tiles.Origin != "" && tiles.Size < n.cp.Size || n.at.segment > uint64(len(numbers)) {
		return errSnapshot
	}
	l.adopt(n)
	// What an erasure before the snapshot did not finish, the process that wrote it did not either.
	err = l.Select(context.Background(), 0, []string{string(action.KindErasure)}, func(e Entry) error { return l.finishErasure(e.Leaf) })
	s := &scanner{verifier: l.keys.verifier, visit: l.restore, tree: n.tree, cp: n.cp, at: n.at, last: n.last}
	if err == nil {
		err = l.recoverFrom(s, numbers[n.at.segment-1:], head, tiles)
	}
	if err == nil {
		l.unread = &snapshot{cp: n.cp, segments: slices.Clone(n.segments)}
	}
	return err
}

// recoverFrom scans the segments, the first of them from where s stands.
func (l *Log) recoverFrom(s *scanner, numbers []uint64, head, tiles Checkpoint) error {
	seen := map[uint64]hash{0: (&tree{}).root(), s.cp.Size: s.tree.root()}
	s.sealed = func(cp Checkpoint, at place) error {
		l.segments[len(l.segments)-1].end = at.offset
		if cp.Size == head.Size || cp.Size == tiles.Size {
			seen[cp.Size] = cp.Root
		}
		return nil
	}
	for i, n := range numbers {
		data, err := readFile(l.cfg.disk, segmentName(l.cfg.Wal, n), maxSegmentBytes)
		if err != nil {
			return fmt.Errorf("ledger: open: %w", err)
		}
		done, err := l.recoverSegment(s, numbers, i, data)
		if err != nil {
			return err
		}
		if done {
			break
		}
	}
	if s.cp.Size > 0 {
		if _, err := ParseCheckpoint(s.cp.Note, s.verifier); err != nil {
			return fmt.Errorf("%w: segment %d before byte %d: %w", ErrCorrupt, s.at.segment, s.at.offset, err)
		}
	}
	if l.cfg.ReadOnly && l.head.missing {
		head = Checkpoint{} // a reader without the cell is told by Verify what that leaves open
	} else if l.head.missing && s.tree.size > 0 && !l.cfg.NewHead {
		return fmt.Errorf("%w: head cell %q is missing though the log is not empty", ErrBehind, l.cfg.Head)
	}
	for _, g := range []struct {
		name string
		cp   Checkpoint
	}{{"the head cell", head}, {"the published checkpoint", tiles}} {
		root, ok := seen[g.cp.Size]
		switch {
		case g.cp.Origin == "":
		case l.cfg.recovering && (g.cp.Size > s.tree.size || !ok || root != g.cp.Root):
			l.behind = append(l.behind, g.cp)
		case g.cp.Size > s.tree.size:
			return fmt.Errorf("%w: %s has %d leaves, the log %d", ErrBehind, g.name, g.cp.Size, s.tree.size)
		case !ok || root != g.cp.Root:
			return fmt.Errorf("%w: %s has another root at %d leaves: a fork", ErrBehind, g.name, g.cp.Size)
		}
	}
	if l.cfg.recovering {
		return errors.Join(l.takeKnown(), l.ready(s))
	}
	if err := l.askWitnesses(s.cp); err != nil {
		return err
	}
	return l.ready(s)
}

// guards reads the newest checkpoints that stand outside the segments. A zero Checkpoint guards nothing.
func (l *Log) guards() (head, tiles Checkpoint, err error) {
	cell, err := openHead(l.cfg.disk, l.cfg.Head, l.keys.verifier, l.cfg.ReadOnly)
	if err != nil {
		return head, tiles, err
	}
	l.head, head = cell, cell.known
	if l.cfg.Tiles == "" {
		return head, tiles, nil
	}
	b, err := readFile(l.cfg.disk, filepath.Join(l.cfg.Tiles, "checkpoint"), 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return head, tiles, nil
	}
	if err != nil {
		return head, tiles, fmt.Errorf("ledger: tiles: %w", err)
	}
	// One that we did not sign proves nothing against the log; the publisher replaces it.
	if cp, err := ParseCheckpoint(b, l.keys.verifier); err == nil {
		tiles = cp
	}
	return head, tiles, nil
}

// recoverSegment scans one segment and reports whether the log ends in it.
func (l *Log) recoverSegment(s *scanner, numbers []uint64, i int, data []byte) (done bool, err error) {
	n := numbers[i]
	if firstByte(data) < 0 && l.cfg.ReadOnly && i == len(numbers)-1 {
		return true, nil
	}
	if firstByte(data) < 0 {
		// A segment that was made ahead, or not made to the end. Whatever follows it must be empty too.
		if err := l.nothingAfter(s, numbers[i:], place{n, 0}, errors.New("an empty segment")); err != nil {
			return false, err
		}
		return true, l.dropAfter(numbers[i:])
	}
	read := func(n uint64) ([]byte, error) {
		return readFile(l.cfg.disk, segmentName(l.cfg.Wal, n), maxSegmentBytes)
	}
	if l.cfg.ReadOnly {
		err = s.catchUp(n, data, read)
	}
	if err == nil {
		err = s.segment(n, data)
	}
	for try := 0; try < 3 && err != nil && l.cfg.ReadOnly; try++ {
		// The owner may have been writing while this was read.
		if data, err = read(n); err == nil {
			err = s.segment(n, data)
		}
	}
	var d *damage
	switch {
	case err == nil:
		return false, nil
	case !errors.As(err, &d):
		return false, err
	case errors.Is(err, ErrFormat):
		return false, fmt.Errorf("ledger: %w", err)
	}
	from := min(d.offset, int64(len(data)))
	if f := findCheckpoints(data[from:], l.keys.verifier, s.cp.Size); !f.interrupted(l.head.known.Size) {
		return false, fmt.Errorf("%w: %w; a signed checkpoint follows at byte %d", ErrCorrupt, d, from+f.first)
	}
	if err := l.nothingAfter(s, numbers[i+1:], d.place, d.err); err != nil {
		return false, err
	}
	from = 0
	if s.at.segment == n {
		from = s.at.offset
	}
	if errors.Is(err, errSize) {
		// The segment was durable at its full size before its head was written: bytes are gone, even if zeros.
		return false, fmt.Errorf("%w: %w", ErrCorrupt, d)
	}
	if err := l.cut(n, from, int64(len(data))); err != nil {
		return false, err
	}
	if from == 0 {
		return true, l.dropAfter(numbers[i:])
	}
	return true, l.dropAfter(numbers[i+1:])
}

// nothingAfter errs if a signed checkpoint stands in one of the segments.
func (l *Log) nothingAfter(s *scanner, numbers []uint64, at place, cause error) error {
	for _, n := range numbers {
		data, err := readFile(l.cfg.disk, segmentName(l.cfg.Wal, n), maxSegmentBytes)
		if err != nil {
			return fmt.Errorf("ledger: open: %w", err)
		}
		if f := findCheckpoints(data, l.keys.verifier, s.cp.Size); f.checkpoints > 0 {
			return fmt.Errorf("%w: segment %d at byte %d: %w; a signed checkpoint follows in segment %d at byte %d",
				ErrCorrupt, at.segment, at.offset, cause, n, f.first)
		}
	}
	return nil
}

// dropAfter removes segments that hold nothing acknowledged.
func (l *Log) dropAfter(numbers []uint64) error {
	if l.cfg.ReadOnly {
		return nil
	}
	for i := len(numbers) - 1; i >= 0; i-- {
		if err := l.cfg.disk.Remove(segmentName(l.cfg.Wal, numbers[i])); err != nil {
			return fmt.Errorf("ledger: open: %w", err)
		}
	}
	return nil
}

// cut fills a segment with zeros from an offset to its end.
func (l *Log) cut(number uint64, from, size int64) error {
	if l.cfg.ReadOnly {
		return nil
	}
	f, err := l.cfg.disk.Open(segmentName(l.cfg.Wal, number), openCreate)
	if err != nil {
		return fmt.Errorf("ledger: open: %w", err)
	}
	l.stats.cut += size - from
	if err := errors.Join(zeroFill(f, from, size-from, 0), f.Close()); err != nil {
		return fmt.Errorf("ledger: open: segment %d: %w", number, err)
	}
	return nil
}

// restore takes one leaf of the past into memory.
func (l *Log) restore(e scanned) error {
	leaf, err := DecodeLeaf(e.raw)
	if err != nil {
		return fmt.Errorf("entry %d: %w", e.index, err)
	}
	if l.cfg.ReadOnly {
		l.leaves = append(l.leaves, e.hash)
	}
	s := l.session(leaf.Session)
	s.seq, s.prev = leaf.Seq, e.hash
	s.durable, s.end = leaf.Seq, e.hash
	l.shelve(leaf.Shelf(), e.index)
	if kindKey(leaf.Kind, leaf.Action) {
		l.unique.put(newUniqueKey(leaf.Action, int(leaf.Round), leaf.Kind), e.index)
	}
	if leaf.LogMs > l.high.Load() {
		l.high.Store(leaf.LogMs)
	}
	if n := len(l.segments); n == 0 || l.segments[n-1].number != e.at.segment {
		l.segments = append(l.segments, segmentSpan{number: e.at.segment, first: e.index, name: segmentName(l.cfg.Wal, e.at.segment)})
	}
	if e.index%markEvery == 0 {
		l.marks = append(l.marks, mark{segment: e.at.segment, at: e.at.offset})
	}
	return l.finishErasure(leaf)
}

// ready opens the tail. The last batch is written once more: if the fsync under it had failed in the
// process before, memory and disk may differ, and reading cannot tell.
func (l *Log) ready(s *scanner) error {
	l.tree, l.size, l.next = s.tree, s.tree.size, s.tree.size
	l.newest, l.newestAt = s.cp, l.Now()
	l.edge, l.at, l.last = s.tree, s.at, s.last
	if l.cfg.ReadOnly {
		return nil
	}
	if n := len(l.segments); n > 0 {
		sp := l.segments[n-1]
		f, err := l.cfg.disk.Open(sp.name, openCreate)
		if err != nil {
			return fmt.Errorf("ledger: open: %w", err)
		}
		size, err := f.Size()
		if err != nil {
			return errors.Join(err, f.Close())
		}
		l.tail = &segment{number: sp.number, name: sp.name, file: f, bytes: size, written: sp.end}
		b := make([]byte, s.at.offset-s.last.offset)
		if _, err := f.ReadAt(b, s.last.offset); err != nil {
			return fmt.Errorf("ledger: open: %w", err)
		}
		if _, err := f.WriteAt(b, s.last.offset); err != nil {
			return fmt.Errorf("ledger: open: %w", err)
		}
		if err := f.Sync(); err != nil {
			return fmt.Errorf("ledger: open: %w", err)
		}
	}
	if l.tail == nil {
		var err error
		if l.tail, err = l.newSegment(1, min(l.cfg.SegmentBytes, firstSegmentBytes), 0); err != nil {
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
		root := l.tree.root()
		if l.newest, err = signCheckpoint(l.keys.signer, 0, root); err != nil {
			return err
		}
	}
	if l.cfg.recovering {
		return nil // the cell still guards the epoch that is behind
	}
	if err := l.head.set(l.newest); err != nil {
		return fmt.Errorf("ledger: head cell: %w", err)
	}
	l.head.sync()
	return nil
}
