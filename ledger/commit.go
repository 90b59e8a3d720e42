// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Group commit without a timer and without a goroutine of its own: the first appender that finds no
// leader becomes it, commits its batch, and hands the role to a waiter of the next one, which has grown
// while the disk was busy.

const (
	maxBatchBytes = 8 << 20 // a batch takes no further record above it
	maxScratch    = 4 << 20 // of write buffer kept between batches
	markEvery     = 16      // leaves between two remembered positions
)

// await returns when b is durable, or has failed. The role of leader is offered to the first of those who wait for it.
func (l *Log) await(b *batch, first bool) error {
	l.mu.Lock()
	if !l.leading {
		l.leading = true
		// Every batch before b holds lazy records only: whoever waited for one of them led.
		l.mu.Unlock()
		return l.lead(b)
	}
	l.mu.Unlock()
	if !first {
		<-b.done
		return b.err
	}
	select {
	case <-b.done:
		return b.err
	case <-b.lead:
		return l.lead(b)
	}
}

// lead commits batches in order until b is durable, and then hands over. The caller has the role.
func (l *Log) lead(b *batch) error {
	for {
		l.mu.Lock()
		if len(l.queue) == 0 {
			l.leading = false
			l.notifyDrained()
			l.mu.Unlock()
			return b.err
		}
		front := l.queue[0]
		if isDone(b) && front.waiters > 0 {
			front.lead <- struct{}{}
			l.mu.Unlock()
			return b.err
		}
		l.queue = l.queue[1:]
		err := l.err
		l.mu.Unlock()
		if err == nil || errors.Is(err, ErrClosed) {
			err = l.commit(front)
		}
		// Those who wait for a record release it. Once they know, nobody else may look at it.
		var lazy []*pending
		for _, e := range front.entries {
			if e.lazy {
				lazy = append(lazy, e)
			}
		}
		l.finish(front, err)
		for _, e := range lazy {
			e.release()
		}
	}
}

func isDone(b *batch) bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}

// flush commits lazy records that nobody waits for.
func (l *Log) flush() {
	l.mu.Lock()
	if l.leading || len(l.queue) == 0 {
		l.mu.Unlock()
		return
	}
	l.leading = true
	b := l.queue[len(l.queue)-1]
	l.mu.Unlock()
	_ = l.lead(b) // a failure has stopped the log, and every later Append says so
}

// commit writes b, the root over everything up to it and the signature of that root, and makes them
// durable. Only the leader calls it.
func (l *Log) commit(b *batch) error {
	seg := b.seg
	buf := l.scratch[:0]
	if seg.fresh() {
		h := segmentHead{number: seg.number, first: l.tree.size, bytes: uint64(seg.bytes), root: l.tree.root(), origin: l.Origin()}
		buf = appendFrame(buf, frameSegment, h.encode())
	}
	t := l.tree.clone()
	var marks []mark
	for _, e := range b.entries {
		if e.index%markEvery == 0 {
			marks = append(marks, mark{segment: seg.number, at: seg.written + int64(len(buf))})
		}
		buf = append(append(buf, e.frames[0]...), e.frames[1]...)
		t.add(e.hash)
	}
	root := t.root()
	cp, err := signCheckpoint(l.keys.signer, t.size, root)
	if err != nil {
		return err
	}
	buf = appendFrame(buf, frameCheckpoint, cp.Note)
	if cap(buf) <= maxScratch {
		l.scratch = buf
	} else {
		l.scratch = nil
	}
	if _, err := seg.file.WriteAt(buf, seg.written); err != nil {
		return fmt.Errorf("segment %d: %w", seg.number, err)
	}
	if err := seg.file.Sync(); err != nil {
		return fmt.Errorf("segment %d: %w", seg.number, err)
	}
	// The cell follows the log: a crash between the two leaves it behind, never ahead.
	if err := l.head.set(cp); err != nil {
		return fmt.Errorf("head cell: %w", err)
	}
	l.tree = t
	b.size = t.size
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle(b, cp, marks, int64(len(buf)))
	l.edge = t
	return nil
}

// settle makes a durable batch visible. mu is held.
func (l *Log) settle(b *batch, cp Checkpoint, marks []mark, written int64) {
	if b.seg.fresh() {
		l.segments = append(l.segments, segmentSpan{number: b.seg.number, first: b.size - uint64(len(b.entries)), name: b.seg.name})
	}
	l.last = place{b.seg.number, b.seg.written}
	b.seg.written += written
	l.at = place{b.seg.number, b.seg.written}
	for _, e := range b.entries {
		e.session.durable, e.session.end = e.seq, e.hash
		l.shelve(e.shelf, e.index)
	}
	l.segments[len(l.segments)-1].end = b.seg.written
	l.marks = append(l.marks, marks...)
	l.size, l.newest, l.newestAt = b.size, cp, l.cfg.Now()
	l.stats.appended += uint64(len(b.entries))
	l.stats.batches++
	l.usual = len(b.entries)
	l.stats.bytes += uint64(written)
	close(l.changed)
	l.changed = make(chan struct{})
}

// finish tells those who wait for b. After a failure the log has stopped: what follows in the queue
// builds on leaves that may be lost, and fails alike.
func (l *Log) finish(b *batch, err error) {
	l.mu.Lock()
	if err != nil && (l.err == nil || errors.Is(l.err, ErrClosed)) {
		l.err = fmt.Errorf("%w: %w", ErrStopped, err)
		close(l.changed)
		l.changed = make(chan struct{})
	}
	if err != nil {
		b.err = l.err
	}
	b.seg.queued -= b.bytes
	for _, e := range b.entries {
		l.queued -= e.cost
	}
	l.retire(b.seg)
	l.notifyDrained()
	l.mu.Unlock()
	close(b.done)
}

// retire closes a segment that takes no more: all of it is durable, and readers open it themselves. mu
// is held.
func (l *Log) retire(s *segment) {
	if s != l.tail && s.queued == 0 && l.err == nil {
		_ = s.file.Close()
	}
}

// notifyDrained wakes those who wait for room or for the end of leading. mu is held.
func (l *Log) notifyDrained() {
	close(l.drained)
	l.drained = make(chan struct{})
}

// runFlush commits lazy records and makes the head cell durable.
func (l *Log) runFlush(ctx context.Context) {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-second.C:
			l.head.sync()
		case <-l.kick:
			pause := time.NewTimer(5 * time.Millisecond)
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
			pause.Stop()
			l.flush()
		}
	}
}

// runGrow makes a segment ahead whenever one is wanted.
func (l *Log) runGrow(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.needs:
			_ = l.grow(0) // a full disk shows in Stats and to the appender that needs the room
		}
	}
}
