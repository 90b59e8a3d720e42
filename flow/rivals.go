// SPDX-License-Identifier: Apache-2.0

package flow

import "slices"

// A name leads to what one record says of it. Where another record under the same name says another address,
// account or number of the same kind, the name says nothing of which is meant, and leads to neither: whoever
// can add a record cannot put himself in the place of somebody who is known.

// A spot is where somebody can be reached or paid, by its kind.
type spot struct{ kind, value uint64 }

const (
	maxSpots  = 8  // of one record
	maxCalled = 64 // records of one name; of more a name says nothing
)

// spotted notes a field that says where somebody is.
func (r *record) spotted(f *Flow, x seen, kind string, h uint64) {
	if x.class == Counterparty || len(r.spots) == maxSpots {
		return
	}
	switch kind {
	case "email", "iban", "phone":
	case "url", "host":
		kind = "url"
	default:
		if x.class != Party {
			return
		}
		kind = lastWord(x.name)
	}
	r.spots = append(r.spots, spot{f.hash("spot", kind), h})
}

// directory makes the records since base that say where somebody is findable by what they are called.
func (s *shelf) directory(base int) {
	for i := base; i < len(s.records); i++ {
		r := &s.records[i]
		if len(r.spots) == 0 {
			continue
		}
		for _, label := range r.labels {
			for _, w := range label {
				if at := s.called[w]; len(at) <= maxCalled && !slices.Contains(at, int32(i)) {
					s.called[w] = append(at, int32(i))
				}
			}
		}
	}
}

// only is the record's one value of a kind; false if it has none or several.
func (r *record) only(kind uint64) (value uint64, ok bool) {
	for _, x := range r.spots {
		if x.kind != kind {
			continue
		}
		if ok && x.value != value {
			return 0, false
		}
		value, ok = x.value, true
	}
	return value, ok
}

// called reports whether the words stand in what a record is called.
func (r *record) called(words []uint64) bool {
	for _, w := range words {
		if !slices.ContainsFunc(r.labels, func(label []uint64) bool { return slices.Contains(label, w) }) {
			return false
		}
	}
	return true
}

// rivalled reports whether another record has another value where r has h, under all the names that lead
// from the request to r.
func (s *session) rivalled(shelves []*shelf, r *record, h uint64) bool {
	at := slices.IndexFunc(r.spots, func(x spot) bool { return x.value == h })
	if at < 0 {
		return false
	}
	kind := r.spots[at].kind
	if _, ok := r.only(kind); !ok {
		return false
	}
	var names []uint64
	for _, label := range r.labels {
		for _, w := range label {
			if s.request.names[w] || s.request.stems[w] {
				names = append(names, w)
			}
		}
	}
	if len(names) == 0 {
		return false
	}
	for _, sh := range shelves {
		at := sh.called[names[0]]
		for _, w := range names[1:] { // the rarest name has all whom the names have in common
			if list := sh.called[w]; len(list) < len(at) {
				at = list
			}
		}
		if len(at) > maxCalled {
			return true
		}
		for _, i := range at {
			o := &sh.records[i]
			if v, ok := o.only(kind); ok && v != h && o.called(names) {
				return true
			}
		}
	}
	return false
}
