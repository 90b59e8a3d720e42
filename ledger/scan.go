// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
)

// scanner reads segments in order and re-derives the tree. What it visits stands under a checkpoint
// whose root is the derived one.
type scanner struct {
	verifier note.Verifier   // of the epoch that the scan has come to
	later    []note.Verifier // of the epochs after it
	tree     tree
	cp       Checkpoint // the last one that holds; the zero value before the first
	at       place      // where the last batch ends
	last     place      // where the last batch begins
	visit    func(e scanned) error
	sealed   func(cp Checkpoint, end place) error // called after each checkpoint; may be nil
	ahead    *ahead                               // what is known of the frames of the segment beforehand; may be nil
}

// place is a position in a segment.
type place struct {
	segment uint64
	offset  int64
}

// scanned is one leaf with its payload frames; its slices are valid during visit only.
type scanned struct {
	index    uint64
	hash     hash
	at       place
	raw      []byte
	payloads []frame
	checked  *checked // nil if nobody looked ahead
}

// errRoot means that a frame is whole and yet no checkpoint of what stands before it.
var errRoot = errors.New("wrong checkpoint")

var errTail = errors.New("a batch without its checkpoint")

var errSize = errors.New("the file has another size")

// damage says where a segment stops making sense.
type damage struct {
	place
	index uint64 // of the next leaf
	torn  bool   // what stands there begins like a frame of ours: a write may have been interrupted
	err   error
}

func (d *damage) Error() string {
	return fmt.Sprintf("segment %d at byte %d: %s", d.segment, d.offset, d.err)
}
func (d *damage) Unwrap() error { return d.err }

// segment scans the file of segment number, going on where an earlier scan of it stopped. It returns a *damage for what is not what the writer
// leaves behind, including the rest of an interrupted write, and ends at the zeros otherwise.
func (s *scanner) segment(number uint64, data []byte) error {
	var batch []scanned
	next := s.tree.clone()
	fault := func(at int64, err error) error {
		return &damage{place{number, at}, next.size, errors.Is(err, errTail) || errors.Is(err, errFrameBad) && frameLike(data[at:]), err}
	}
	at := int64(0)
	if s.at.segment == number {
		at = s.at.offset
	}
	from := at
	for at < int64(len(data)) {
		f, known, err := s.frame(data, at)
		if err == errFrameEnd {
			break
		}
		if err != nil {
			return fault(at, err)
		}
		switch {
		case at == 0:
			if err := s.header(number, f, int64(len(data))); err != nil {
				return fault(0, err)
			}
		case f.kind == frameLeaf:
			e := scanned{index: next.size, at: place{number, at}, raw: f.body, checked: known}
			if known != nil {
				e.hash = known.hash
			} else {
				e.hash = leafHash(f.body)
			}
			next.add(e.hash)
			if n := len(batch); n < cap(batch) {
				e.payloads = batch[:n+1][n].payloads[:0] // of a batch before, which is done with
			}
			batch = append(batch, e)
		case f.kind == framePayload && len(batch) > 0:
			e := &batch[len(batch)-1]
			e.payloads = append(e.payloads, f)
		case f.kind == frameCheckpoint && len(batch) > 0:
			if err := s.seal(f, next, batch, place{number, from}, place{number, at + int64(f.bytes)}); err != nil {
				if errors.Is(err, errRoot) {
					err = fault(at, err)
				}
				return err
			}
			next, batch, from = s.tree.clone(), batch[:0], at+int64(f.bytes)
		default:
			return fault(at, fmt.Errorf("frame kind %d out of place", f.kind))
		}
		at += int64(f.bytes)
	}
	if at > from || len(batch) > 0 {
		return fault(from, errTail)
	}
	if rest := firstByte(data[at:]); rest >= 0 {
		return fault(at+int64(rest), errors.New("bytes after the end"))
	}
	return nil
}

// frame parses the frame at an offset, or takes what is known of it beforehand.
func (s *scanner) frame(data []byte, at int64) (frame, *checked, error) {
	if s.ahead != nil {
		if f, known, ok := s.ahead.frame(at); ok {
			return f, known, nil
		}
	}
	f, err := parseFrame(data[at:])
	return f, nil, err
}

// seal ends a batch with its checkpoint f, and visits its leaves if the checkpoint's root is theirs.
func (s *scanner) seal(f frame, next tree, batch []scanned, from, end place) error {
	cp, err := ParseCheckpoint(f.body, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", errRoot, err)
	}
	if len(s.later) > 0 && cp.Origin == s.later[0].Name() && len(batch) == 1 {
		// The first record of an epoch stands alone under the new key's checkpoint.
		leaf, err := DecodeLeaf(batch[0].raw)
		if err != nil {
			return fmt.Errorf("%w: %w", errRoot, err)
		}
		g := epochOpened(batch[0].index, leaf, s.verifier)
		if g == nil || !g.Signed || g.Origin != cp.Origin || g.Restored.Root != digest(s.tree.root()) {
			return fmt.Errorf("%w: epoch %q is not opened by the key before it", errRoot, clip(cp.Origin))
		}
		s.verifier, s.later = s.later[0], s.later[1:]
	}
	if cp.Size != next.size || cp.Root != next.root() || cp.Origin != s.verifier.Name() {
		return fmt.Errorf("%w: checkpoint %d differs from the leaves before it", errRoot, cp.Size)
	}
	for _, e := range batch {
		if err := s.visit(e); err != nil {
			return err
		}
	}
	s.tree, s.cp, s.last, s.at = next, cp, from, end
	if s.sealed != nil {
		return s.sealed(cp, end)
	}
	return nil
}

// catchUp scans the rest of the segment before number if data, that segment's successor, begins later
// than the scan has come: the owner went on writing between the two readings.
func (s *scanner) catchUp(number uint64, data []byte, read func(number uint64) ([]byte, error)) error {
	f, err := parseFrame(data)
	if err != nil || f.kind != frameSegment {
		return nil // segment says what is wrong
	}
	if h, err := decodeSegmentHead(f.body); err != nil || h.first <= s.tree.size || number < 2 {
		return nil
	}
	before, err := read(number - 1)
	if err != nil {
		return err
	}
	return s.segment(number-1, before)
}

func (s *scanner) header(number uint64, f frame, size int64) error {
	if f.kind != frameSegment {
		return fmt.Errorf("frame kind %d out of place", f.kind)
	}
	h, err := decodeSegmentHead(f.body)
	switch {
	case err != nil:
		return err
	case h.number != number || h.first != s.tree.size || h.root != s.tree.root() || h.origin != s.verifier.Name():
		return fmt.Errorf("head of segment %d, first leaf %d, of %q", h.number, h.first, clip(h.origin))
	case h.bytes != uint64(size):
		return fmt.Errorf("%w: %d bytes, made with %d", errSize, size, h.bytes)
	}
	return nil
}

// follow is what stands after damage.
type follow struct {
	checkpoints int    // signed ones above the size in question
	first       int64  // offset of the first
	size        uint64 // of the last
}

// interrupted reports whether damage before f is the rest of a write that nobody was told of, when
// acknowledged is the head cell's size. One batch is in flight at a time: a power failure may leave its
// checkpoint without a sector before it, but no second checkpoint, and none that the cell knows.
func (f follow) interrupted(acknowledged uint64) bool {
	return f.checkpoints == 0 || f.checkpoints == 1 && f.size > acknowledged
}

// findCheckpoints looks in data, frame or not, for checkpoints by v above size.
func findCheckpoints(data []byte, v note.Verifier, size uint64) follow {
	pattern := []byte(v.Name() + "\n")
	var out follow
	for at := 0; ; at += len(pattern) {
		i := bytes.Index(data[at:], pattern)
		if i < 0 {
			return out
		}
		if at += i; at < frameHeadBytes {
			continue
		}
		f, err := parseFrame(data[at-frameHeadBytes:])
		if err != nil || f.kind != frameCheckpoint {
			continue
		}
		if cp, err := ParseCheckpoint(f.body, v); err == nil && cp.Size > size {
			if out.checkpoints == 0 {
				out.first = int64(at - frameHeadBytes)
			}
			out.checkpoints++
			out.size = max(out.size, cp.Size)
		}
		if out.checkpoints > 1 {
			return out // enough to know
		}
	}
}

// firstByte returns the offset of the first byte that is not zero, or -1.
func firstByte(b []byte) int {
	const step = 4096
	var zeros [step]byte
	for at := 0; at < len(b); at += step {
		part := b[at:min(at+step, len(b))]
		if bytes.Equal(part, zeros[:len(part)]) {
			continue
		}
		for i, c := range part {
			if c != 0 {
				return at + i
			}
		}
	}
	return -1
}
