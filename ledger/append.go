// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// batch is what one fsync makes durable: whole records of one segment, in the order of their indexes.
type batch struct {
	seg     *segment
	entries []*pending
	bytes   int64         // that it takes of its segment at most
	waiters int           // guarded by Log.mu until it is taken
	lead    chan struct{} // one token: the receiver must commit
	done    chan struct{} // closed by the leader
	err     error         // set before done is closed
	size    uint64        // of the checkpoint that covers it; set before done is closed
}

// pending is one record on its way to the disk, and what it is made on. It is used again once the record's batch is
// written: nothing that outlives the batch points into it.
type pending struct {
	draft       Leaf
	leaf, parts []byte // buffers, empty but for their capacity between two records
	random      []byte // nonces and salts of the parts

	frames  [2][]byte // leaf frame, payload frames
	hash    hash
	index   uint64
	key     uniqueKey
	keyed   bool
	kind    action.Kind
	record  *action.Record // until it has its index; nil if nobody asks for it
	agent   string
	session *session
	seq     int64 // in its session
	shelf   string
	cost    int64
	lazy    bool
	first   bool // of those in its batch who wait: the role of leader is offered to it
}

var papers = sync.Pool{New: func() any { return &pending{leaf: make([]byte, 0, 1536), parts: make([]byte, 0, 4096)} }}

// maxPaper is the capacity of buffers that are kept for a next record.
const maxPaper = 64 << 10

// release lets p be used for another record. The caller is the only one who still knows of it.
func (p *pending) release() {
	if cap(p.leaf) > maxPaper || cap(p.parts) > maxPaper {
		return
	}
	clear(p.draft.Parts)
	*p = pending{draft: Leaf{Parts: p.draft.Parts[:0]}, leaf: p.leaf[:0], parts: p.parts[:0], random: p.random[:0]}
	papers.Put(p)
}

func (p *pending) bytes() int64 { return int64(len(p.frames[0]) + len(p.frames[1])) }

// Append records r and returns once it is as durable as r.Durability demands: "local" or "" when it is
// on stable storage within a signed checkpoint; "lazy" when it has its place in the order, which becomes
// durable with the next local record or within 10 ms, and then the receipt's Size is 0; "witnessed" when
// moreover a quorum of witnesses has cosigned a checkpoint that covers it. enforce.ErrDurability means
// that a level is not to be had; if witnesses were late, the record is in the log all the same. Other errors: ErrDuplicate with the first record's receipt, ErrFull,
// ErrQuota, ErrStopped, ErrClosed, and a malformed record's. ctx ends only the wait for room in the
// queue: a record whose place is taken waits for the disk.
func (l *Log) Append(ctx context.Context, r *action.Record) (action.Receipt, error) {
	lazy, witnessed := false, false
	switch r.Durability {
	case "", action.DurabilityLocal:
	case action.DurabilityLazy:
		lazy = l.running.Load()
	case action.DurabilityWitnessed:
		if witnessed = len(l.wit.list) > 0; !witnessed {
			return action.Receipt{}, fmt.Errorf("ledger: no witness is at hand: %w", enforce.ErrDurability)
		}
	default:
		return action.Receipt{}, fmt.Errorf("ledger: %q: %w", clip(string(r.Durability)), enforce.ErrDurability)
	}
	cost, err := l.cost(r)
	if err != nil {
		return action.Receipt{}, err
	}
	var key uniqueKey
	keyed := kindKey(r.Kind, r.Action)
	if keyed {
		key = newUniqueKey(r.Action, r.Round, r.Kind)
		if first, ok := l.first(key); ok {
			return l.duplicate(ctx, first, witnessed)
		}
	}
	if err := l.acquire(ctx, cost); err != nil {
		return action.Receipt{}, err
	}
	p := papers.Get().(*pending)
	p.kind, p.cost, p.lazy, p.key, p.keyed = r.Kind, cost, lazy, key, keyed
	if l.cfg.Ordered != nil {
		p.record = r
	}
	leaf, err := l.draft(r, p)
	if err != nil {
		p.release()
		l.giveBack(cost)
		return action.Receipt{}, err
	}
	b, index, sum, err := l.enter(p, leaf)
	if err != nil {
		p.release()
		l.giveBack(cost)
		if err == ErrDuplicate {
			return l.duplicate(ctx, index, witnessed)
		}
		return action.Receipt{}, err
	}
	// A lazy record is its batch's from here on.
	receipt := action.Receipt{Origin: l.Origin(), Index: index, Leaf: digest(sum)}
	if lazy {
		wake(l.kick)
		return receipt, nil
	}
	err = l.await(b, p.first)
	p.release()
	if err != nil {
		return action.Receipt{}, err
	}
	receipt.Size = b.size
	if witnessed {
		if err := l.awaitWitnesses(ctx, receipt.Index); err != nil {
			return action.Receipt{}, err
		}
	}
	return receipt, nil
}

// cost estimates the memory that r takes while it waits, and refuses a record beyond the bounds.
func (l *Log) cost(r *action.Record) (int64, error) {
	if r.Tenant != l.cfg.Tenant && r.Tenant != "" {
		return 0, fmt.Errorf("ledger: tenant %q is not %q", clip(r.Tenant), l.cfg.Tenant)
	}
	n := int64(2048)
	seen := 0
	for i := range r.Parts {
		p := &r.Parts[i]
		if !partNames[string(p.Name)] {
			return 0, fmt.Errorf("ledger: part %q is not on its list", clip(string(p.Name)))
		}
		for j := range i {
			if r.Parts[j].Name == p.Name {
				return 0, fmt.Errorf("ledger: part %q twice", p.Name)
			}
		}
		seen += len(p.Data)
		n += int64(len(p.Data)) + 256
	}
	if int64(seen) > l.cfg.RecordBytes {
		return 0, fmt.Errorf("ledger: payload of %d bytes is larger than %d", seen, l.cfg.RecordBytes)
	}
	return n, nil
}

// draft seals the parts of r and returns its leaf without its place in the session's chain.
func (l *Log) draft(r *action.Record, p *pending) (*Leaf, error) {
	leaf := &p.draft
	*leaf = Leaf{
		Format: formatLeaf, Kind: r.Kind, Tenant: l.cfg.Tenant, TimeMs: r.TimeMs,
		Action: r.Action, Round: int64(r.Round), Session: r.Session,
		Door: r.Door, Effect: r.Effect, Phase: r.Phase, Verdict: r.Verdict, Enforced: r.Enforced,
		Status: r.Status, Rules: r.Rules, Codes: r.Codes, Bundle: r.Bundle, Engines: r.Engines,
		Call: r.Call, Binding: r.Binding, Grant: r.Grant, Channel: r.Channel, Grade: r.Grade,
		Separation: r.Separation, Observed: r.Observed, Assurance: int64(r.Assurance), Model: int64(r.Model),
		Durability: r.Durability, Epoch: r.Epoch, Subject: r.Subject, Count: r.Count,
		Parts: leaf.Parts[:0],
	}
	l.keys.identities(leaf, r)
	p.agent = leaf.Agent
	if err := leaf.words(); err != nil {
		return nil, err
	}
	const each = nonceBytes + saltBytes
	p.random = append(p.random, make([]byte, len(r.Parts)*each)...)
	if _, err := io.ReadFull(l.keys.random, p.random); err != nil {
		return nil, fmt.Errorf("ledger: seal: %w", err)
	}
	for i := range r.Parts {
		var ref PartRef
		var err error
		if p.parts, ref, err = l.keys.seal(p.parts, &r.Parts[i], p.random[i*each:][:each]); err != nil {
			return nil, err
		}
		leaf.Parts = append(leaf.Parts, ref)
	}
	p.frames[1] = p.parts
	return leaf, nil
}

// enter gives the leaf its place in its session and in the log. The session's lock makes both orders
// one; it is not held while the disk works, except while a new segment must be made first. It returns the
// leaf's batch, index and hash; on ErrDuplicate the index is the first record's.
func (l *Log) enter(p *pending, leaf *Leaf) (*batch, uint64, hash, error) {
	s := l.session(leaf.Session)
	s.mu.Lock()
	defer s.mu.Unlock()
	leaf.Seq, leaf.Prev = s.seq+1, s.before()
	p.session, p.seq, p.shelf = s, leaf.Seq, leaf.Shelf()
	leaf.LogMs = l.advance()
	dst, at := openFrame(p.leaf, frameLeaf)
	dst, err := leaf.appendTo(dst)
	if err != nil {
		return nil, 0, hash{}, err
	}
	// The last byte of the open frame's head is still the zero that stands before a leaf that is hashed.
	sum, seq := sha256.Sum256(dst[at+frameHeadBytes-1:]), leaf.Seq
	p.hash = sum
	closeFrame(dst, at)
	p.leaf, p.frames[0] = dst, dst
	b, index, err := l.enqueue(p)
	if err == nil {
		s.seq, s.prev = seq, sum // p may be written already, and another's
	}
	return b, index, sum, err
}

// advance returns the log's time in milliseconds and remembers it.
func (l *Log) advance() int64 {
	now := l.cfg.Now().UnixMilli()
	for {
		high := l.high.Load()
		if now <= high {
			return high
		}
		if l.high.CompareAndSwap(high, now) {
			return now
		}
	}
}

func (l *Log) session(id string) *session {
	if s, ok := l.sessions.Load(id); ok {
		return s.(*session)
	}
	s, _ := l.sessions.LoadOrStore(strings.Clone(id), &session{})
	return s.(*session)
}

// enqueue plans p into a segment and a batch, and gives it its index, which it returns. On ErrDuplicate the index
// is the first record's.
func (l *Log) enqueue(p *pending) (*batch, uint64, error) {
	for {
		l.mu.Lock()
		if l.err != nil {
			defer l.mu.Unlock()
			return nil, 0, l.err
		}
		if p.keyed {
			if first, ok := l.unique.get(p.key); ok {
				l.mu.Unlock()
				return nil, first, ErrDuplicate
			}
		}
		if !p.kind.Reserved() && !l.quota.take(p.agent, p.bytes(), l.high.Load()) {
			l.mu.Unlock()
			return nil, 0, ErrQuota
		}
		fits, grow := l.plan(p)
		if fits {
			b, index := l.join(p), p.index
			l.mu.Unlock()
			if grow {
				wake(l.needs)
			}
			return b, index, nil
		}
		l.mu.Unlock()
		if err := l.grow(p.bytes()); err != nil {
			return nil, 0, err
		}
	}
}

// plan reports whether p fits into what is preallocated, moving the tail to the spare segment if need
// be, and whether a new spare is wanted. mu is held.
func (l *Log) plan(p *pending) (fits, grow bool) {
	need := p.bytes() + 2*checkpointBytes // its own, and a checkpoint if it begins a batch
	room := l.tail.room() - need
	switch {
	case l.spare != nil && room >= 0:
		return true, false
	case l.spare != nil:
		if l.spare.room() < need {
			return false, false
		}
		old := l.tail
		l.tail, l.spare = l.spare, nil
		l.retire(old)
		room = l.tail.room() - need
	case room < 0:
		return false, false
	}
	// No spare: the rest of the tail is all there is until one can be made.
	if room < min(l.cfg.ReserveBytes, l.tail.bytes/2) && !p.kind.Reserved() {
		return false, false
	}
	return true, room < l.tail.bytes/2
}

// join adds p to the last waiting batch of the tail, or begins one. mu is held.
func (l *Log) join(p *pending) *batch {
	var b *batch
	if n := len(l.queue); n > 0 && l.queue[n-1].seg == l.tail && l.queue[n-1].bytes < maxBatchBytes {
		b = l.queue[n-1]
	} else {
		b = &batch{seg: l.tail, bytes: checkpointBytes, lead: make(chan struct{}, 1), done: make(chan struct{}),
			entries: make([]*pending, 0, l.usual)}
		if l.tail.fresh() && l.tail.queued == 0 {
			b.bytes += checkpointBytes // the segment's head
		}
		l.queue = append(l.queue, b)
		l.tail.queued += b.bytes
	}
	p.index = l.next
	l.next++
	if p.record != nil {
		l.cfg.Ordered(p.record, p.index)
		p.record = nil
	}
	b.entries = append(b.entries, p)
	b.bytes += p.bytes()
	l.tail.queued += p.bytes()
	if p.keyed {
		l.unique.put(p.key, p.index)
	}
	if !p.lazy {
		p.first = b.waiters == 0
		b.waiters++
	}
	return b
}

// acquire takes n bytes of the queue's bound, waiting while others hold too many.
func (l *Log) acquire(ctx context.Context, n int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.queued > 0 && l.queued+n > l.cfg.QueueBytes {
		if l.err != nil {
			return l.err
		}
		drained := l.drained
		l.mu.Unlock()
		select {
		case <-drained:
		case <-ctx.Done():
		}
		l.mu.Lock()
		if ctx.Err() != nil {
			return fmt.Errorf("ledger: queue is full: %w", ctx.Err())
		}
	}
	if l.err != nil {
		return l.err
	}
	l.queued += n
	return nil
}

func (l *Log) giveBack(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queued -= n
	close(l.drained)
	l.drained = make(chan struct{})
}

// first returns the index of the record with this key.
func (l *Log) first(k uniqueKey) (uint64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unique.get(k)
}

// duplicate returns the receipt of a record that came first, once it is durable.
func (l *Log) duplicate(ctx context.Context, index uint64, witnessed bool) (action.Receipt, error) {
	l.flush()
	size, err := l.durable(index)
	if err == nil && witnessed {
		err = l.awaitWitnesses(ctx, index)
	}
	if err != nil {
		return action.Receipt{}, err
	}
	e, err := l.Read(index)
	if err != nil {
		return action.Receipt{}, err
	}
	return action.Receipt{Origin: l.Origin(), Index: index, Size: size, Leaf: digest(leafHash(e.Raw))}, ErrDuplicate
}

// durable waits until the record at index is committed and returns the log's size.
func (l *Log) durable(index uint64) (uint64, error) {
	for {
		l.mu.Lock()
		size, changed, err := l.size, l.changed, l.err
		l.mu.Unlock()
		switch {
		case size > index:
			return size, nil
		case err != nil:
			return 0, err
		}
		<-changed
	}
}

func digest(h hash) string {
	var text [len("sha256:") + 2*hashBytes]byte
	return string(hex.AppendEncode(append(text[:0], "sha256:"...), h[:]))
}

// wake leaves a token in c, unless one is there.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
