// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"errors"
	"sync"
)

// queue holds frames between a reader and a worker, bounded in bytes.
type queue struct {
	limit int

	mu     sync.Mutex
	cond   *sync.Cond
	items  []frame // guarded by mu, as all below
	bytes  int
	closed bool
}

type frame struct {
	kind frameType
	body []byte
}

// frameCost is what a frame counts for beside its body.
const frameCost = 128

var errOverflow = errors.New("mcp: a peer does not read what is sent to it")

func newQueue(limit int) *queue {
	q := &queue{limit: limit}
	q.cond = sync.NewCond(&q.mu)
	return q
}

// push waits for room and reports whether f was taken. A frame larger than the limit waits for an empty
// queue.
func (q *queue) push(f frame) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && len(q.items) > 0 && q.bytes+len(f.body)+frameCost > q.limit {
		q.cond.Wait()
	}
	return q.add(f)
}

// offer is push without waiting: a full queue is errOverflow.
func (q *queue) offer(f frame) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) > 0 && q.bytes+len(f.body)+frameCost > q.limit {
		return errOverflow
	}
	q.add(f)
	return nil
}

func (q *queue) add(f frame) bool {
	if q.closed {
		return false
	}
	q.items = append(q.items, f)
	q.bytes += len(f.body) + frameCost
	q.cond.Broadcast()
	return true
}

// pop waits for a frame. It returns false once the queue is closed and empty.
func (q *queue) pop() (frame, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.items) == 0 && !q.closed {
		q.cond.Wait()
	}
	if len(q.items) == 0 {
		return frame{}, false
	}
	f := q.items[0]
	q.items[0] = frame{}
	q.items = q.items[1:]
	q.bytes -= len(f.body) + frameCost
	q.cond.Broadcast()
	return f, true
}

// close lets pop drain what is there; push takes nothing more.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.cond.Broadcast()
	q.mu.Unlock()
}

// discard closes the queue and throws away what is in it.
func (q *queue) discard() {
	q.mu.Lock()
	q.closed, q.items, q.bytes = true, nil, 0
	q.cond.Broadcast()
	q.mu.Unlock()
}
