// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"math"
	"slices"
)

// A choice may be the answer of a computation that the user's words name: the cheapest hotel with a rating of
// at least four, the channel with the most users. It is worked out here over the numbers and dates of records
// that this session has listed, and stated only where it holds beyond doubt: in every listing that the
// user's words chose and that knows the measure, over all of its entries, with one answer. Prose has no
// part in it, nor a listing that the agent or a stranger's words chose.

// cell is a number of a record, by the stem of its field's name.
type cell struct {
	field uint64
	value float64
}

const (
	maxCells   = 12               // of one record
	maxGrouped = 4096             // entries of a listing that is computed over
	maxWork    = 1 << 21          // cells that are looked at for one request
	conflict   = -math.MaxFloat64 // what two records say differently
)

// group are the entries of one listing: records at the same place of one result.
type group struct {
	source  int32
	chosen  bool // by the agent: it tells of its entries, and not which there are
	records []int32
}

// answers are the records that the request's computations lead to. They are worked out anew once there are
// more records or words.
type answers struct {
	done    bool
	records int
	words   int
	of      map[int32]bool
}

// answered reports whether the request's words single out the record i of the session's own shelf.
func (s *session) answered(i int32) bool {
	a := &s.found
	if len(s.request.claims)+len(s.request.limits) == 0 {
		return false
	}
	if !a.done || a.records != len(s.shelf.records) || a.words != len(s.request.words) {
		*a = answers{done: true, records: len(s.shelf.records), words: len(s.request.words), of: s.compute()}
	}
	return a.of[i]
}

// computed reports whether a value stands in a record that a computation of the request leads to.
func (a *asking) computed(h uint64) bool {
	return slices.ContainsFunc(a.s.shelf.where[h], func(p place) bool { return a.s.answered(p.record) })
}

// table is what listings say of entities, by column and entity.
type table map[uint64]map[uint64]float64

func (t table) put(field, entity uint64, v float64) {
	m := t[field]
	if m == nil {
		m = map[uint64]float64{}
		t[field] = m
	}
	if was, ok := m[entity]; ok && was != v {
		v = conflict
	}
	m[entity] = v
}

// computing is one evaluation.
type computing struct {
	s      *session
	joined table
	groups []group
	work   int
}

func (s *session) compute() map[int32]bool {
	c := computing{s: s, joined: table{}}
	c.collect()
	out := map[int32]bool{}
	claims := s.request.claims
	if len(claims) == 0 { // "those over 100 euros"
		claims = []claim{{}}
	}
	for i := range claims {
		c.claim(&claims[i], out)
	}
	return out
}

// collect makes groups and columns of what was listed.
func (c *computing) collect() {
	sh := c.s.shelf
	at := map[[2]uint64]int{}
	for i := range sh.records {
		r := &sh.records[i]
		src := &sh.sources[r.source]
		if r.created || src.query == queryTainted {
			continue
		}
		k := [2]uint64{uint64(r.source), r.place}
		n, ok := at[k]
		if !ok {
			n = len(c.groups)
			at[k] = n
			c.groups = append(c.groups, group{source: r.source, chosen: src.query == queryOther})
		}
		c.groups[n].records = append(c.groups[n].records, int32(i))
		for _, key := range r.keys {
			for _, x := range r.cells {
				c.joined.put(x.field, key, x.value)
			}
		}
	}
	for _, g := range c.groups {
		src := &sh.sources[g.source]
		if src.about == 0 {
			continue
		}
		if len(g.records) == 1 {
			for _, x := range sh.records[g.records[0]].cells {
				c.joined.put(x.field, src.about, x.value)
			}
		}
		if src.listing == sh.records[g.records[0]].place {
			for _, n := range src.nouns { // "the users of this channel": how many there are
				c.joined.put(n, src.about, float64(len(g.records)))
			}
		}
	}
}

// value is what a record says of a column: itself, or another listing of the same entity.
func (c *computing) value(r *record, field uint64) (float64, bool) {
	c.work++
	v, found := 0.0, false
	for _, x := range r.cells {
		if x.field == field {
			if found && x.value != v {
				return 0, false
			}
			v, found = x.value, true
		}
	}
	if found {
		return v, true
	}
	for _, key := range r.keys {
		if x, ok := c.joined[field][key]; ok {
			if x == conflict || found && x != v {
				return 0, false
			}
			v, found = x, true
		}
	}
	return v, found
}

// column finds the first column of those that the words may mean which entries know, and their values. whole
// is false if an entry does not know it, or if two columns may be meant; known is false if none does.
func (c *computing) column(recs []int32, columns []column) (values []float64, known, whole bool) {
	for _, col := range columns {
		n := 0
		for k, field := range col {
			if slices.Contains(col[:k], field) {
				continue
			}
			here := make([]float64, len(recs))
			have := 0
			for i, r := range recs {
				v, ok := c.value(&c.s.shelf.records[r], field)
				if ok {
					have++
				}
				here[i] = v
			}
			if have == 0 {
				continue
			}
			if n++; have < len(recs) || n > 1 && !slices.Equal(values, here) {
				return nil, true, false
			}
			values = here
		}
		if n > 0 {
			return values, true, true
		}
	}
	return nil, false, false
}

// claim adds the records that a claim leads to, in all listings that know its measure.
func (c *computing) claim(cl *claim, out map[int32]bool) {
	sh := c.s.shelf
	won, lost := map[int32]bool{}, map[uint64]bool{}
	for _, g := range c.groups {
		if g.chosen || len(g.records) < 2 || len(g.records) > maxGrouped || c.work > maxWork {
			continue
		}
		winners, relevant := c.best(g, cl)
		if !relevant {
			continue
		}
		first := map[int32]bool{}
		for _, i := range winners {
			first[i], won[i] = true, true
		}
		for _, i := range g.records {
			if first[i] {
				continue
			}
			for _, k := range sh.records[i].keys {
				lost[k] = true
			}
		}
	}
	keys := map[uint64]bool{}
	for i := range won {
		r := &sh.records[i]
		if slices.ContainsFunc(r.keys, func(k uint64) bool { return lost[k] }) {
			continue
		}
		out[i] = true
		for _, k := range r.keys {
			keys[k] = true
		}
	}
	if len(keys) == 0 {
		return
	}
	for i := range sh.records { // the same thing in another listing
		r := &sh.records[i]
		if !r.created && slices.ContainsFunc(r.keys, func(k uint64) bool { return keys[k] }) && !slices.ContainsFunc(r.keys, func(k uint64) bool { return lost[k] }) {
			out[int32(i)] = true
		}
	}
}

// best are the entries of a listing that a claim leads to. relevant says that the listing knows the measure:
// if there is no answer then, it speaks against all of its entries.
func (c *computing) best(g group, cl *claim) (winners []int32, relevant bool) {
	recs := g.records
	limited := false
	for i := range c.s.request.limits {
		l := &c.s.request.limits[i]
		values, known, whole := c.column(recs, l.columns)
		if !known {
			if cl.nth == 0 {
				continue
			}
			return nil, c.knows(recs, cl.columns)
		}
		if !whole {
			return nil, true
		}
		limited = true
		var kept []int32
		for j, r := range recs {
			if l.keeps(values[j]) {
				kept = append(kept, r)
			}
		}
		if recs = kept; len(recs) == 0 {
			return nil, true
		}
	}
	if cl.nth == 0 {
		if limited && (len(recs) == 1 || c.s.request.all) {
			return recs, true
		}
		return nil, limited
	}
	values, known, whole := c.column(recs, cl.columns)
	if !known || !whole {
		return nil, known
	}
	return cl.leaders(recs, values), true
}

func (c *computing) knows(recs []int32, columns []column) bool {
	_, known, _ := c.column(recs, columns)
	return known
}

func (l *limit) keeps(v float64) bool {
	switch l.op {
	case '<':
		return v < l.bound
	case 'l':
		return v <= l.bound
	case 'g':
		return v >= l.bound
	}
	return v > l.bound
}

// leaders are the entries at the place that the claim names. Entries that are as good as one another leave
// none.
func (cl *claim) leaders(recs []int32, values []float64) []int32 {
	order := make([]int, len(recs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case values[a] == values[b]:
			return 0
		case (values[a] > values[b]) == cl.top:
			return -1
		}
		return 1
	})
	from, to := cl.nth-1, cl.nth-1+cl.many
	if to > len(order) || from > 0 && values[order[from-1]] == values[order[from]] || to < len(order) && values[order[to-1]] == values[order[to]] {
		return nil
	}
	var out []int32
	for _, i := range order[from:to] {
		out = append(out, recs[i])
	}
	return out
}
