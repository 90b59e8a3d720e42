// SPDX-License-Identifier: Apache-2.0

package monitor

import "container/list"

// cell is one counter under one key: what was added in each of the last steps+1 steps.
type cell struct {
	key     uint64
	last    int64 // the newest step
	expires int64 // unix ms after which the whole cell is out of its window
	full    bool  // a sum did not fit: never subtract again
	at      [steps + 1]int64
}

// maxCell keeps the sum over all steps of a cell within an int64.
const maxCell = int64(1) << 58

// cells is a bounded set of cells, the least recently touched evicted first. What was evicted while it
// still counted is remembered in a table of fixed size, so that it reads as unknown and not as zero.
type cells struct {
	limit   int
	byKey   map[uint64]*list.Element
	order   *list.List // front is the most recently written
	evicted []int64    // by key modulo its length: unix ms until which such keys are unknown
}

func (t *cells) init(limit int) {
	t.limit, t.byKey, t.order = limit, map[uint64]*list.Element{}, list.New()
	t.evicted = make([]int64, 4096)
}

// value returns the sum over the window that ends at step, which is the step of now, unix ms; false if
// it is not known.
func (t *cells) value(key uint64, step, now int64) (int64, bool) {
	e, ok := t.byKey[key]
	if !ok {
		return 0, t.evicted[key%uint64(len(t.evicted))] <= now
	}
	c := e.Value.(*cell)
	if c.full {
		return 0, step-c.last > steps
	}
	var sum int64
	for s := max(step-steps, c.last-steps, 0); s <= c.last; s++ {
		sum += c.at[s%(steps+1)]
	}
	return sum, true
}

// add adds n, which may be negative, to the step of key's cell. Steps that left the window are ignored. A
// cell is only made for a positive n; expires is then its end.
func (t *cells) add(key uint64, step, n, expires int64) {
	e, ok := t.byKey[key]
	if !ok {
		if n <= 0 {
			return
		}
		e = t.make(key, step)
	}
	c := e.Value.(*cell)
	for c.last < step {
		if step-c.last > steps {
			c.at, c.last, c.full = [steps + 1]int64{}, step, false
			break
		}
		c.last++
		c.at[c.last%(steps+1)] = 0
	}
	c.expires = max(c.expires, expires)
	if step < c.last-steps || c.full {
		return
	}
	slot := &c.at[step%(steps+1)]
	if *slot+n > maxCell {
		c.full = true
		return
	}
	*slot = max(*slot+n, 0)
	if n > 0 {
		t.order.MoveToFront(e)
	}
}

func (t *cells) make(key uint64, step int64) *list.Element {
	for len(t.byKey) >= t.limit {
		old := t.order.Back()
		c := old.Value.(*cell)
		slot := &t.evicted[c.key%uint64(len(t.evicted))]
		*slot = max(*slot, c.expires)
		t.order.Remove(old)
		delete(t.byKey, c.key)
	}
	e := t.order.PushFront(&cell{key: key, last: step})
	t.byKey[key] = e
	return e
}
