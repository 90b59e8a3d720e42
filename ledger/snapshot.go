// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// A snapshot is what Open would know after it had read the log up to some checkpoint: the edge of the
// tree, the ends of sessions, remembered keys, positions. It is signed, and of no authority: Open goes on
// from it only where segments, head cell and published tiles bear it out, and reads the whole log
// otherwise. What it skips is read again behind, by Run.
//
// The file is the line "sallyport snapshot 1", a line with the signature in base64, and the body.

const (
	snapshotHead     = "sallyport snapshot 1\n"
	maxSnapshotBytes = 1 << 30
	leastNews        = 256 // records since the last snapshot that are worth one at Close
)

// errSnapshot means that a snapshot is of no use. The log is read from its beginning then.
var errSnapshot = errors.New("ledger: the snapshot does not fit the log")

// snapshot is the state at a checkpoint.
type snapshot struct {
	tree     tree
	cp       Checkpoint
	at, last place  // as in scanner
	upto     uint64 // leaves of the log when the last session was read: a log with fewer is another one
	high     int64
	segments []segmentSpan
	marks    []mark
	shelves  map[string]*shelf
	now, old []uniqueEntry // old is sorted
	sessions []sessionEnd
}

type sessionEnd struct {
	id   string
	seq  int64
	hash hash
}

// capture takes the state at the newest checkpoint. It holds mu for short moments only: what grows with
// the log is only ever appended to.
func (l *Log) capture() *snapshot {
	l.mu.Lock()
	n := &snapshot{tree: l.edge, cp: l.newest, at: l.at, last: l.last, high: l.high.Load(),
		segments: slices.Clone(l.segments), marks: l.marks, shelves: make(map[string]*shelf, len(l.shelves)),
		now: l.unique.now.entries, old: l.unique.old.entries}
	for name, s := range l.shelves {
		kept := *s
		n.shelves[name] = &kept
	}
	l.mu.Unlock()
	type named struct {
		id string
		*session
	}
	var all []named
	l.sessions.Range(func(id, s any) bool {
		all = append(all, named{id.(string), s.(*session)})
		return true
	})
	n.sessions = make([]sessionEnd, 0, len(all))
	for part := range slices.Chunk(all, 256) {
		l.mu.Lock()
		for _, s := range part {
			if s.durable > 0 {
				n.sessions = append(n.sessions, sessionEnd{s.id, s.durable, s.end})
			}
		}
		l.mu.Unlock()
	}
	l.mu.Lock()
	n.upto = l.size
	l.mu.Unlock()
	// What waited for the disk when the keys were taken is not in the log yet.
	waiting := func(e uniqueEntry) bool { return e.index >= n.cp.Size }
	for len(n.now) > 0 && waiting(n.now[len(n.now)-1]) {
		n.now = n.now[:len(n.now)-1]
	}
	n.old = slices.DeleteFunc(slices.Clone(n.old), waiting)
	slices.SortFunc(n.old, func(a, b uniqueEntry) int { return bytes.Compare(a.key[:], b.key[:]) })
	return n
}

// Snapshot writes the state down, so that the next Open reads only what comes after it. It is for one
// caller at a time.
func (l *Log) Snapshot(ctx context.Context) error {
	if l.cfg.ReadOnly || l.cfg.Snapshot == "" {
		return nil
	}
	n := l.capture()
	if n.cp.Size == 0 {
		return nil
	}
	// The guards that Open compares with must not be older than the snapshot.
	if l.cfg.Tiles != "" {
		if err := l.Publish(ctx); err != nil {
			return fmt.Errorf("ledger: snapshot: %w", err)
		}
	}
	l.head.sync()
	body := n.encode()
	signature, err := l.keys.signer.Sign(snapshotText(l.Origin(), body))
	if err == nil {
		file := append([]byte(snapshotHead), base64.StdEncoding.EncodeToString(signature)+"\n"...)
		err = writeFile(l.cfg.disk, l.cfg.Snapshot, append(file, body...), true)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.snapshotError = ""
	if err != nil {
		l.stats.snapshotError = err.Error()
		return fmt.Errorf("ledger: snapshot: %w", err)
	}
	l.stats.snapshot = n.cp.Size
	return nil
}

// snapshotText is what is signed. Its first line keeps it apart from every checkpoint.
func snapshotText(origin string, body []byte) []byte {
	return fmt.Appendf(nil, "%s%s\n%x\n", snapshotHead, origin, sha256.Sum256(body))
}

// runSnapshot writes a snapshot whenever SnapshotEvery records have come.
func (l *Log) runSnapshot(ctx context.Context) {
	if l.cfg.Snapshot == "" {
		return
	}
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if l.news() >= l.cfg.SnapshotEvery {
				_ = l.Snapshot(ctx) // Stats shows why there is none
			}
		}
	}
}

// news returns how many records the snapshot lacks.
func (l *Log) news() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.size - min(l.size, l.stats.snapshot))
}

// readSnapshot returns the snapshot, or an error if there is none that these keys signed.
func (l *Log) readSnapshot() (*snapshot, error) {
	if l.cfg.Snapshot == "" || l.cfg.ReadOnly || l.cfg.recovering {
		return nil, fs.ErrNotExist
	}
	b, err := readFile(l.cfg.disk, l.cfg.Snapshot, maxSnapshotBytes)
	if err != nil {
		return nil, err
	}
	rest, ok := bytes.CutPrefix(b, []byte(snapshotHead))
	line, body, cut := bytes.Cut(rest, []byte("\n"))
	signature, err := base64.StdEncoding.DecodeString(string(line))
	if !ok || !cut || err != nil || !l.keys.verifier.Verify(snapshotText(l.Origin(), body), signature) {
		return nil, errSnapshot
	}
	n, err := decodeSnapshot(body)
	if err != nil {
		return nil, err
	}
	if n.cp, err = ParseCheckpoint(n.cp.Note, l.keys.verifier); err != nil || n.cp.Size != n.tree.size || n.cp.Root != n.tree.root() {
		return nil, errSnapshot
	}
	for i := range n.segments {
		n.segments[i].name = segmentName(l.cfg.Wal, n.segments[i].number)
	}
	return n, l.bearsOut(n)
}

// bearsOut errs unless the files of the segments are as long as they were made and begin as they did, and
// the last batch before the snapshot's checkpoint is there: segments that were put back end earlier.
func (l *Log) bearsOut(n *snapshot) error {
	for _, sp := range n.segments {
		f, err := l.cfg.disk.Open(sp.name, 0)
		if err != nil {
			return err
		}
		size, err := f.Size()
		head := make([]byte, min(size, 4*checkpointBytes))
		if err == nil {
			_, err = f.ReadAt(head, 0)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		fr, err := parseFrame(head)
		if err != nil || fr.kind != frameSegment {
			return errSnapshot
		}
		h, err := decodeSegmentHead(fr.body)
		if err != nil || h.number != sp.number || h.first != sp.first || h.bytes != uint64(size) || sp.end > size {
			return errSnapshot
		}
	}
	f, err := l.cfg.disk.Open(segmentName(l.cfg.Wal, n.at.segment), 0)
	if err != nil {
		return err
	}
	b := make([]byte, n.at.offset-n.last.offset)
	_, err = f.ReadAt(b, n.last.offset)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	var last frame
	for len(b) > 0 {
		if last, err = parseFrame(b); err != nil {
			return errSnapshot
		}
		b = b[last.bytes:]
	}
	if last.kind != frameCheckpoint || !bytes.Equal(last.body, n.cp.Note) {
		return errSnapshot
	}
	return nil
}

// adopt takes the snapshot's state in the place of the log's.
func (l *Log) adopt(n *snapshot) {
	l.segments, l.marks, l.shelves = n.segments, n.marks, n.shelves
	l.high.Store(n.high)
	l.size, l.stats.snapshot = n.cp.Size, n.cp.Size
	now := generation{places: make(map[uniqueKey]uint32, len(n.now)), entries: n.now}
	for i, e := range n.now {
		now.places[e.key] = uint32(i)
	}
	l.unique.now, l.unique.old = now, generation{entries: n.old}
	for _, e := range n.sessions {
		l.sessions.Store(e.id, &session{seq: e.seq, prev: e.hash, durable: e.seq, end: e.hash})
	}
}

// forget undoes adopt and what was read after it.
func (l *Log) forget() {
	l.segments, l.marks, l.shelves, l.leaves = nil, nil, map[string]*shelf{}, nil
	l.high.Store(0)
	l.sessions.Clear()
	l.unique = newUniqueSet(l.cfg.UniqueKeys)
	l.size, l.stats.snapshot = 0, 0
}

func (n *snapshot) encode() []byte {
	b := make([]byte, 0, 4096+24*(len(n.now)+len(n.old))+96*len(n.sessions)+4*len(n.marks))
	text := func(s []byte) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	numbers := func(v ...uint64) {
		for _, v := range v {
			b = binary.AppendUvarint(b, v)
		}
	}
	text(n.cp.Note)
	numbers(n.tree.size, uint64(len(n.tree.nodes)))
	for _, h := range n.tree.nodes {
		b = append(b, h[:]...)
	}
	numbers(n.at.segment, uint64(n.at.offset), n.last.segment, uint64(n.last.offset), n.upto, uint64(n.high), uint64(len(n.segments)))
	for _, s := range n.segments {
		numbers(s.number, s.first, uint64(s.end))
	}
	numbers(uint64(len(n.marks)))
	var before mark
	for _, m := range n.marks {
		if m.segment != before.segment {
			before.at = 0
		}
		numbers(m.segment-before.segment, uint64(m.at-before.at))
		before = m
	}
	numbers(uint64(len(n.shelves)))
	for name, s := range n.shelves {
		text([]byte(name))
		numbers(s.n, s.last)
		text(s.deltas)
	}
	for _, keys := range [][]uniqueEntry{n.now, n.old} {
		numbers(uint64(len(keys)))
		for _, e := range keys {
			b = binary.BigEndian.AppendUint64(append(b, e.key[:]...), e.index)
		}
	}
	numbers(uint64(len(n.sessions)))
	for _, s := range n.sessions {
		text([]byte(s.id))
		numbers(uint64(s.seq))
		b = append(b, s.hash[:]...)
	}
	return b
}
