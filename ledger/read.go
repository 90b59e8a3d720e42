// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"sort"

	"github.com/sallyport/sallyport/action"
)

// Entry is one durable record of the log.
type Entry struct {
	Index uint64
	Leaf  *Leaf
	Raw   []byte // the leaf's bytes, over which the tree stands
	// Open returns the plaintext of a sealed part after checking it against the leaf's commitment. It
	// returns ErrErased if the key was destroyed and ErrNotFound if there is no such part. It may be
	// called later and concurrently.
	Open func(part action.PartName) ([]byte, error)

	open func(part action.PartName) (salt, data []byte, err error)
}

// Follow calls fn with every entry from index from on, in order: first those that stand in the log, then
// each new one once it is durable. It returns when ctx ends (with its error), fn errs (with that), or
// the log stops. A slow fn falls behind without slowing the log.
func (l *Log) Follow(ctx context.Context, from uint64, fn func(Entry) error) error {
	c := cursor{log: l}
	defer c.close()
	for at := from; ; at++ {
		if err := l.reached(ctx, at); err != nil {
			return err
		}
		e, err := c.read(at)
		if err != nil {
			return err
		}
		if err := fn(e); err != nil {
			return err
		}
	}
}

// Records calls fn with every entry that stands in the log now, in order.
func (l *Log) Records(ctx context.Context, fn func(Entry) error) error {
	return l.RecordsFrom(ctx, 0, fn)
}

// RecordsFrom is Records from an index on.
func (l *Log) RecordsFrom(ctx context.Context, from uint64, fn func(Entry) error) error {
	c := cursor{log: l}
	defer c.close()
	size := l.Checkpoint().Size
	for at := from; at < size; at++ {
		if at%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		e, err := c.read(at)
		if err != nil {
			return err
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// Read returns the entry at index, or ErrNotFound.
func (l *Log) Read(index uint64) (Entry, error) {
	c := cursor{log: l, ahead: singleBytes}
	defer c.close()
	return c.read(index)
}

// Payload returns the plaintext of a part of the entry at index; its errors are Entry.Open's.
func (l *Log) Payload(_ context.Context, index uint64, part action.PartName) ([]byte, error) {
	e, err := l.Read(index)
	if err != nil {
		return nil, err
	}
	return e.Open(part)
}

// reached waits until the log holds the entry at index.
func (l *Log) reached(ctx context.Context, index uint64) error {
	for {
		l.mu.Lock()
		size, changed, err := l.size, l.changed, l.err
		l.mu.Unlock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if size > index {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// cursor reads entries, best in order. It is not safe for concurrent use.
type cursor struct {
	log  *Log
	span segmentSpan
	file file
	next uint64 // index of the leaf that stands at or after at
	at   int64
	buf  []byte // bytes of the file from bufAt on; only committed ones
	from int64

	ahead int // bytes that are read at once; 0 means cursorBytes
}

const (
	cursorBytes = 256 << 10
	sparseBytes = 16 << 10 // where entries far apart are wanted
	singleBytes = 4 << 10  // where one is
)

func (c *cursor) close() {
	if c.file != nil {
		_ = c.file.Close()
		c.file = nil
	}
}

// leaf returns the bytes of the leaf at index, which must be durable. They are valid until the next call.
func (c *cursor) leaf(index uint64) ([]byte, error) {
	if c.file == nil || index < c.next || index >= c.next+markEvery {
		if err := c.seek(index); err != nil {
			return nil, err
		}
	}
	for {
		f, err := c.frame()
		if err != nil {
			return nil, err
		}
		if f.kind != frameLeaf {
			continue
		}
		if c.next++; c.next > index {
			return f.body, nil
		}
	}
}

// read returns the entry at index, which must be durable.
func (c *cursor) read(index uint64) (Entry, error) {
	raw, err := c.leaf(index)
	if err != nil {
		return Entry{}, err
	}
	raw = append([]byte(nil), raw...)
	leaf, err := DecodeLeaf(raw)
	if err != nil {
		return Entry{}, fmt.Errorf("ledger: entry %d: %w", index, err)
	}
	e := Entry{Index: index, Leaf: leaf, Raw: raw}
	at, name, near, log := c.at, c.span.name, c.file, c.log
	e.open = func(part action.PartName) ([]byte, []byte, error) {
		f := &lender{disk: log.cfg.disk, name: name, lent: near}
		defer f.close()
		return log.openPart(f, at, index, leaf, part)
	}
	e.Open = func(part action.PartName) ([]byte, error) {
		_, data, err := e.open(part)
		return data, err
	}
	return e, nil
}

// seek goes to the last marked leaf at or before index.
func (c *cursor) seek(index uint64) error {
	l := c.log
	l.mu.Lock()
	if index >= l.size {
		l.mu.Unlock()
		return fmt.Errorf("%w: %d of %d", ErrNotFound, index, l.size)
	}
	m := l.marks[index/markEvery]
	i := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].number >= m.segment })
	span := l.segments[i]
	l.mu.Unlock()
	c.next, c.at = index/markEvery*markEvery, m.at
	return c.use(span)
}

func (c *cursor) use(span segmentSpan) error {
	c.buf, c.from = c.buf[:0], 0
	if c.file != nil && c.span.number == span.number {
		c.span = span
		return nil
	}
	c.close()
	f, err := c.log.cfg.disk.Open(span.name, os.O_RDONLY)
	if err != nil {
		return fmt.Errorf("ledger: read: %w", err)
	}
	c.file, c.span = f, span
	return nil
}

// frame returns the next frame, going on in the next segment at the end of one. Of payload frames only
// the head is read.
func (c *cursor) frame() (frame, error) {
	if c.at >= c.span.end {
		if err := c.advance(); err != nil {
			return frame{}, err
		}
	}
	head, err := c.bytes(c.at, frameHeadBytes)
	if err != nil {
		return frame{}, err
	}
	n, err := frameLength(head, c.span.end-c.at)
	if err != nil {
		return frame{}, fmt.Errorf("%w: segment %d at byte %d: %w", ErrCorrupt, c.span.number, c.at, err)
	}
	if head[4] == framePayload {
		c.at += int64(n)
		return frame{kind: framePayload, bytes: n}, nil
	}
	b, err := c.bytes(c.at, n)
	if err != nil {
		return frame{}, err
	}
	f, err := parseFrame(b)
	if err != nil {
		return frame{}, fmt.Errorf("%w: segment %d at byte %d: %w", ErrCorrupt, c.span.number, c.at, err)
	}
	c.at += int64(n)
	return f, nil
}

// advance learns how far the segment goes now, or opens the next one.
func (c *cursor) advance() error {
	l := c.log
	l.mu.Lock()
	i := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].number >= c.span.number })
	span := l.segments[i]
	if span.end <= c.at {
		if i == len(l.segments)-1 {
			l.mu.Unlock()
			return fmt.Errorf("%w: %d", ErrNotFound, c.next)
		}
		span = l.segments[i+1]
	}
	l.mu.Unlock()
	if span.number != c.span.number {
		c.at = 0
	}
	return c.use(span)
}

// bytes returns n bytes of the segment at offset at, valid until the next call.
func (c *cursor) bytes(at int64, n int) ([]byte, error) {
	if at >= c.from && at+int64(n) <= c.from+int64(len(c.buf)) {
		return c.buf[at-c.from:][:n], nil
	}
	ahead := c.ahead
	if ahead == 0 {
		ahead = cursorBytes
	}
	want := int(min(int64(max(n, ahead)), c.span.end-at))
	if want < n {
		return nil, fmt.Errorf("%w: segment %d ends within a frame at byte %d", ErrCorrupt, c.span.number, at)
	}
	if cap(c.buf) < want {
		c.buf = make([]byte, want)
	}
	c.buf, c.from = c.buf[:want], at
	if _, err := c.file.ReadAt(c.buf, at); err != nil {
		return nil, fmt.Errorf("ledger: read: %w", err)
	}
	return c.buf[:n], nil
}

// lender reads a file through one that a cursor has open, as long as it has, and opens the file itself after that.
type lender struct {
	disk disk
	name string
	lent file // of the cursor, which may close it at any time
	own  file
}

func (f *lender) ReadAt(b []byte, at int64) (int, error) {
	if f.lent != nil {
		if n, err := f.lent.ReadAt(b, at); err == nil {
			return n, nil
		}
		f.lent = nil
	}
	if f.own == nil {
		own, err := f.disk.Open(f.name, os.O_RDONLY)
		if err != nil {
			return 0, err
		}
		f.own = own
	}
	return f.own.ReadAt(b, at)
}

func (f *lender) close() {
	if f.own != nil {
		_ = f.own.Close()
	}
}

// openPart finds and unseals a part among the payload frames that begin at offset at.
func (l *Log) openPart(f io.ReaderAt, at int64, index uint64, leaf *Leaf, part action.PartName) (salt, data []byte, err error) {
	ref := leaf.part(part)
	if ref == nil {
		return nil, nil, fmt.Errorf("%w: entry %d has no part %q", ErrNotFound, index, clip(string(part)))
	}
	for range leaf.Parts {
		var head [frameHeadBytes]byte
		if _, err := f.ReadAt(head[:], at); err != nil {
			return nil, nil, fmt.Errorf("ledger: entry %d: %w", index, err)
		}
		n, err := frameLength(head[:], maxFrameBytes)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: entry %d: part: %w", ErrCorrupt, index, err)
		}
		b := make([]byte, n)
		if _, err := f.ReadAt(b, at); err != nil {
			return nil, nil, fmt.Errorf("ledger: entry %d: %w", index, err)
		}
		at += int64(n)
		fr, err := parseFrame(b)
		if err != nil || fr.kind != framePayload {
			return nil, nil, fmt.Errorf("%w: entry %d: part: %w", ErrCorrupt, index, err)
		}
		p, err := decodePayload(fr.body)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: entry %d: %w", ErrCorrupt, index, err)
		}
		if p.part != string(part) {
			continue
		}
		return l.checkPart(fr.body, p, ref, index)
	}
	return nil, nil, fmt.Errorf("%w: entry %d: part %q is not there", ErrCorrupt, index, part)
}

func (l *Log) checkPart(body []byte, p payloadFrame, ref *PartRef, index uint64) (salt, data []byte, err error) {
	sum := sha256.Sum256(body)
	if digestText(&sum) != ref.Sealed || p.kid != ref.Kid {
		return nil, nil, fmt.Errorf("%w: entry %d: part %q differs from the leaf", ErrCorrupt, index, ref.Name)
	}
	salt, data, err = l.keys.unseal(nil, p, l.cfg.Tenant)
	if err != nil {
		return nil, nil, fmt.Errorf("entry %d: part %q: %w", index, ref.Name, err)
	}
	if !commits(ref, salt, data) {
		return nil, nil, fmt.Errorf("%w: entry %d: part %q does not match its commitment", ErrCorrupt, index, ref.Name)
	}
	return salt, data, nil
}

// History calls fn with every record that stands in the log now, oldest first, as far as a leaf can give
// it back: Agent, User, Actor, Server and Tool are empty, because a leaf holds pseudonyms that must not
// be taken for identities and recorded again; Parts holds names only, for Payload.
func (l *Log) History(ctx context.Context, fn func(index uint64, r *action.Record) error) error {
	return l.HistoryFrom(ctx, 0, fn)
}

// HistoryFrom is History from an index on.
func (l *Log) HistoryFrom(ctx context.Context, from uint64, fn func(index uint64, r *action.Record) error) error {
	return l.RecordsFrom(ctx, from, func(e Entry) error { return fn(e.Index, e.Leaf.record()) })
}

func (l *Leaf) record() *action.Record {
	r := &action.Record{
		Kind: l.Kind, Tenant: l.Tenant, TimeMs: l.TimeMs, Action: l.Action, Round: int(l.Round), Session: l.Session,
		Door: l.Door, Effect: l.Effect, Phase: l.Phase, Verdict: l.Verdict, Enforced: l.Enforced, Status: l.Status,
		Rules: l.Rules, Codes: l.Codes, Bundle: l.Bundle, Engines: l.Engines, Call: l.Call, Binding: l.Binding,
		Grant: l.Grant, Channel: l.Channel, Grade: l.Grade, Separation: l.Separation, Observed: l.Observed,
		Assurance: int(l.Assurance), Model: int(l.Model), Durability: l.Durability, Epoch: l.Epoch,
		Subject: l.Subject, Count: l.Count,
	}
	for _, p := range l.Parts {
		r.Parts = append(r.Parts, action.PayloadPart{Name: p.Name})
	}
	return r
}
