// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A shelf holds the fields of records as fingerprints: no content. It is not safe for concurrent use.
type shelf struct {
	records  []record
	sources  []source
	where    map[uint64][]place // by the fingerprint of a field's typed value
	called   map[uint64][]int32 // records that say where somebody is, by the words of what they are called
	secrets  map[uint64]bool    // values of secret fields
	fields   int
	full     bool // something did not fit
	maxItems int
}

// place is one field of one record. Only the first places of a value are kept.
type place struct {
	record int32
	class  Class
	paid   bool // a recipient beside an amount
	id     bool
}

// record is what a record can be found by.
type record struct {
	source   int32
	parent   int32 // the record that holds it, or -1
	created  bool  // made by an allowed call of this session
	typed    []uint64
	words    []uint64 // stems of labels and own fields that not most of the listing share
	names    []uint64 // words of parties, counterparties and labels
	senders  []uint64 // words of counterparties
	titles   []uint64 // labels as a whole
	labels   [][]uint64
	extremes []extreme
	place    uint64   // where records like it stand in the result
	keys     []uint64 // labels and ids: what it is known by in other listings
	cells    []cell
	spots    []spot
}

// extreme says that a record leads its listing in a field.
type extreme struct {
	field uint64 // stem of the field's name
	top   bool
}

// source is where records came from.
type source struct {
	name   string   // tool key or the name of the tenant's record
	nouns  []uint64 // stems of the tool's name
	query  queryKind
	named  naming
	tenant bool

	about   uint64 // the only value that the call was about; 0 if there is none
	listing uint64 // where the entries of the listing stand
}

// queryKind says whose words chose a listing.
type queryKind uint8

const (
	queryNone    queryKind = iota // no arguments: everything there is
	queryUser                     // all of them the user's words or linked values
	queryOther                    // the agent's own
	queryTainted                  // some of them a stranger's, or found nowhere
)

// naming says whether the user pointed at a source.
type naming uint8

const (
	namedNot    naming = iota
	namedByText        // chosen by a value of a source that was itself named or linked
	namedDirect
)

const (
	maxPlaces      = 24 // of one value
	maxRecordWords = 48
	maxChildren    = 8
	commonShare    = 60 // percent of a listing from which a word tells nothing apart
)

func newShelf(limit int) *shelf {
	return &shelf{where: map[uint64][]place{}, called: map[uint64][]int32{}, secrets: map[uint64]bool{}, maxItems: limit}
}

// put adds the records of docs. accept says whether a field may count; created marks them as made by the
// session itself.
func (s *shelf) put(f *Flow, src source, docs []*node, declare func(pointer string) Class, accept func(seen) bool, created bool) {
	var found []seen
	w := walker{declare: declare, emit: func(x seen) {
		if accept == nil || accept(x) {
			found = append(found, x)
		}
	}}
	for _, d := range docs {
		w.walk(d, "", "", -1)
	}
	if len(w.parents) == 0 || s.fields+len(found) > s.maxItems {
		s.full = s.full || len(w.parents) > 0
		return
	}
	s.fields += len(found)
	base := len(s.records)
	number := int32(len(s.sources))
	s.sources = append(s.sources, src)
	children := make([]int, len(w.parents))
	for _, p := range w.parents {
		if p >= 0 {
			children[p]++
		}
	}
	for _, p := range w.parents {
		r := record{source: number, parent: -1, created: created}
		if p >= 0 && children[p] <= maxChildren { // what holds many is a container, and says nothing of each
			r.parent = int32(base + p)
		}
		s.records = append(s.records, r)
	}
	money := map[int]bool{}
	for _, x := range found {
		money[x.record] = money[x.record] || moneyField(x.name)
	}
	for _, x := range found {
		s.field(f, base, x, money[x.record])
	}
	s.directory(base)
	s.thin(base)
	s.rank(f, base, found)
	s.measured(f, &w, base, found)
}

// measured keeps the numbers, dates and lengths of lists of records, and what the records are called.
func (s *shelf) measured(f *Flow, w *walker, base int, found []seen) {
	add := func(rec int, field uint64, v float64) {
		if r := &s.records[base+rec]; len(r.cells) < maxCells {
			r.cells = append(r.cells, cell{field, v})
		}
	}
	for _, x := range found {
		last, text := lastWord(x.name), x.value.text
		id := last == "id" || last == "ids" || last == "uuid" || last == "number"
		if x.class != FreeText && (id || x.class == Label) {
			if kind, canon := classify(leaf{kind: leafKind(x.value), text: text}); canon != "" {
				if r := &s.records[base+x.record]; len(r.keys) < maxChildren {
					r.keys = append(r.keys, f.key(kind, canon))
				}
			}
		}
		if x.class == FreeText || id || last == "" {
			continue
		}
		if v, ok := measure(text); ok {
			add(x.record, f.hash("stem", stem(last)), v)
		}
	}
	src := &s.sources[len(s.sources)-1]
	for _, l := range w.lists {
		if last := lastWord(l.name); last != "" {
			add(l.record, f.hash("stem", stem(last)), float64(l.items))
			continue
		}
		for _, n := range src.nouns[:min(len(src.nouns), 4)] {
			add(l.record, n, float64(l.items))
		}
	}
	for i := len(w.parents) - 1; i >= 0; i-- { // what a member holds is the record's own
		s.records[base+i].place = f.hash("place", w.places[i])
		if p := w.parents[i]; p >= 0 && !strings.HasSuffix(w.places[i], "/*") {
			for _, x := range s.records[base+i].cells {
				add(p, x.field, x.value)
			}
		}
	}
	src.listing = f.hash("place", "/*")
}

func moneyField(name string) bool {
	switch lastWord(name) {
	case "amount", "total", "payment", "sum":
		return true
	}
	return false
}

// paidField reports whether a field names to whom money went.
func paidField(name string) bool {
	switch lastWord(name) {
	case "recipient", "to", "payee", "beneficiary", "receiver", "iban", "merchant", "vendor":
		return true
	}
	return false
}

// field adds one field of a record.
func (s *shelf) field(f *Flow, base int, x seen, money bool) {
	r := &s.records[base+x.record]
	if x.class == FreeText {
		return
	}
	kind, canon := classify(leaf{kind: leafKind(x.value), text: x.value.text})
	h := f.key(kind, canon)
	if canon == "" {
		return
	}
	if secretField(x.name) {
		s.secrets[h] = true
	}
	if at := s.where[h]; len(at) < maxPlaces {
		last := lastWord(x.name)
		s.where[h] = append(at, place{record: int32(base + x.record), class: x.class, paid: money && x.class == Party && paidField(x.name),
			id: last == "id" || last == "ids" || last == "uuid" || last == "number" || last == "ref"})
	}
	if len(r.typed) < maxRecordWords && (kind != "number" || len(canon) >= 5) && kind != "flag" {
		r.typed = append(r.typed, h)
	}
	r.spotted(f, x, kind, h)
	var stems []uint64 // an address speaks for nobody by the words in it, but for the name of its owner
	switch kind {
	case "url", "host", "path":
	case "email":
		local, _, _ := strings.Cut(canon, "@")
		stems = f.stemsOf(local, 8)
		if x.class == OwnRecord || x.class == Label {
			r.names = room(r.names, stems)
			return
		}
	default:
		stems = f.stemsOf(x.value.text, 24)
	}
	switch x.class {
	case Party:
		r.names = room(r.names, stems)
	case Counterparty:
		r.names, r.senders = room(r.names, stems), room(r.senders, stems)
	case Label:
		r.titles = room(r.titles, []uint64{f.hash("text", canon)})
		r.names = room(r.names, stems)
		if len(stems) > 0 && len(r.labels) < 4 {
			r.labels = append(r.labels, stems)
		}
		r.words = room(r.words, stems)
	default:
		r.words = room(r.words, stems)
	}
}

func room(have, more []uint64) []uint64 {
	return append(have, more[:min(len(more), max(0, maxRecordWords-len(have)))]...)
}

func leafKind(n *node) byte {
	if n.kind == '0' {
		return '0'
	}
	return '"'
}

// thin drops the words that most records of the listing since base share: they tell nothing apart.
func (s *shelf) thin(base int) {
	recs := s.records[base:]
	if len(recs) < 3 {
		return
	}
	count := map[uint64]int{}
	total := 0
	for i := range recs {
		if len(recs[i].words) == 0 {
			continue
		}
		total++
		slices.Sort(recs[i].words)
		recs[i].words = slices.Compact(recs[i].words)
		for _, w := range recs[i].words {
			count[w]++
		}
	}
	if total < 3 {
		return
	}
	for i := range recs {
		recs[i].words = slices.DeleteFunc(recs[i].words, func(w uint64) bool { return count[w]*100 >= total*commonShare })
	}
}

// rank notes which records lead their listing in a number or a date.
func (s *shelf) rank(f *Flow, base int, found []seen) {
	type entry struct {
		record int
		value  string
		number float64
	}
	by := map[string][]entry{}
	for _, x := range found {
		if x.class != OwnRecord && x.class != Label && x.class != FreeText {
			continue
		}
		name := lastWord(x.name)
		if n, ok := quantity(x.value.text); ok && name != "id" {
			by[name] = append(by[name], entry{record: x.record, number: n})
		} else if t := x.value.text; len(t) >= 10 && len(t) <= 40 && isDate(t[:10]) {
			by[name] = append(by[name], entry{record: x.record, value: t})
		}
	}
	only := onlyDate(found)
	for name, list := range by {
		if len(list) < 2 || len(list) > 4096 {
			continue
		}
		slices.SortStableFunc(list, func(a, b entry) int {
			if c := cmp.Compare(a.number, b.number); c != 0 {
				return c
			}
			return strings.Compare(a.value, b.value)
		})
		h := f.hash("stem", stem(name))
		if name == only {
			h = f.hash("only", "date")
		}
		lead := min(3, max(1, len(list)/3))
		equal := func(a, b entry) bool { return a.number == b.number && a.value == b.value }
		for i, e := range list {
			if i < lead || equal(e, list[0]) {
				s.lead(base+e.record, extreme{h, false})
			}
			if i >= len(list)-lead || equal(e, list[len(list)-1]) {
				s.lead(base+e.record, extreme{h, true})
			}
		}
	}
}

// onlyDate is the name of the one date that the entries of a listing have, where the names of its fields are none
// that we can read: a superlative of time then can mean nothing else. Of a number nobody knows what it counts.
func onlyDate(found []seen) string {
	read, names, only := 0, map[string]bool{}, ""
	for _, x := range found {
		name, t := lastWord(x.name), x.value.text
		if name == "" {
			continue
		}
		date := x.class != FreeText && len(t) >= 10 && len(t) <= 40 && isDate(t[:10])
		was, seen := names[name]
		if !seen && (fieldWords[name] || labelNames[name] || partyNames[name] || freeNames[name] || counterNames[name] || measureStems[stem(name)]) {
			read++
		}
		if seen && was != date {
			date = false
		}
		names[name] = date
	}
	if read*2 >= len(names) {
		return ""
	}
	for name, date := range names {
		if date && only != "" {
			return ""
		} else if date {
			only = name
		}
	}
	return only
}

func (s *shelf) lead(rec int, e extreme) {
	if r := &s.records[rec]; len(r.extremes) < 16 {
		r.extremes = append(r.extremes, e)
	}
}

// quantity is a number with or without a unit around it: "$12.50", "4.2 stars", "Rating: 4.2".
func quantity(t string) (float64, bool) {
	if i := strings.IndexByte(t, '\n'); i >= 0 {
		t = t[:i]
	}
	if _, rest, ok := strings.Cut(t, ": "); ok {
		t = rest
	}
	if len(t) > 24 {
		return 0, false
	}
	for w := range strings.FieldsSeq(t) {
		if n := number(w); n != "" {
			v, err := strconv.ParseFloat(n, 64)
			return v, err == nil
		}
	}
	return 0, false
}

// tenantRecords are the organisation's own records.
type tenantRecords struct {
	mu     sync.RWMutex                 // guards below
	byName map[string]map[string]*shelf // by tenant and name
}

// maxTenantFields bounds the fields of one set of records.
const maxTenantFields = 1 << 18

// Records replaces the set of the tenant's own records of this name. fields gives the classes of fields, or the
// types of their values, by the patterns of Classify or by pointers into the data; a value that is not of its declared type
// vouches for nothing. What fields does not name is classified by name and shape, and prose stays prose.
// No data removes the set. Only fingerprints are kept, in memory: call it again after a restart.
func (f *Flow) Records(tenant, name string, data []byte, fields map[string]string) error {
	if tenant == "" || name == "" {
		return errors.New("flow: records need a tenant and a name")
	}
	var set *shelf
	if len(data) > 0 {
		var err error
		if set, err = f.set(name, data, fields); err != nil {
			return err
		}
	}
	f.own.mu.Lock()
	defer f.own.mu.Unlock()
	if f.own.byName[tenant] == nil {
		f.own.byName[tenant] = map[string]*shelf{}
	}
	if set == nil {
		delete(f.own.byName[tenant], name)
	} else {
		f.own.byName[tenant][name] = set
	}
	return nil
}

// CheckRecords returns the error with which Records would refuse this data, and changes nothing.
func (f *Flow) CheckRecords(name string, data []byte, fields map[string]string) error {
	_, err := f.set(name, data, fields)
	return err
}

// declaredTypes are the types that a field of the organisation's records may be declared to have: the classes
// of values, and what a field of such values vouches for.
var declaredTypes = map[string]struct {
	class Class
	kinds []string
}{
	"email": {Party, []string{"email"}}, "mail": {Party, []string{"email"}}, "url": {Party, []string{"url"}}, "host": {Party, []string{"host"}},
	"iban": {Party, []string{"iban"}}, "phone": {Party, []string{"phone"}}, "path": {OwnRecord, []string{"path"}},
	"date": {OwnRecord, []string{"date"}}, "number": {OwnRecord, []string{"number"}}, "amount": {OwnRecord, []string{"number"}},
	"id": {OwnRecord, []string{"id", "number", "text"}}, "text": {Label, []string{"text"}},
}

func (f *Flow) set(name string, data []byte, fields map[string]string) (*shelf, error) {
	classes, kinds := map[string]Class{}, map[string][]string{}
	for pointer, said := range fields {
		at := patternOf(pointer)
		if t, typed := declaredTypes[said]; typed {
			classes[at], kinds[at] = t.class, t.kinds
		} else if classes[at] = Class(said); !Class(said).Valid() {
			return nil, fmt.Errorf("flow: records %q: field %q: %q is neither a class nor a type of values", name, pointer, said)
		}
	}
	docs := records(data)
	if docs == nil {
		return nil, fmt.Errorf("flow: records %q: %d bytes hold no records that can be read", name, len(data))
	}
	set := newShelf(maxTenantFields)
	ofType := func(x seen) bool {
		want := kinds[x.pointer]
		kind, _ := classify(leaf{kind: leafKind(x.value), text: x.value.text})
		return want == nil || slices.Contains(want, kind)
	}
	set.put(f, source{name: name, tenant: true, query: queryNone}, docs, func(p string) Class { return classes[p] }, ofType, false)
	if set.full {
		return nil, fmt.Errorf("flow: records %q: more than %d fields", name, maxTenantFields)
	}
	return set, nil
}

// of returns the tenant's own records, in the order of their names. They are never changed once they stand.
func (t *tenantRecords) of(tenant string) []*shelf {
	t.mu.RLock()
	defer t.mu.RUnlock()
	sets := t.byName[tenant]
	names := make([]string, 0, len(sets))
	for n := range sets {
		names = append(names, n)
	}
	slices.Sort(names)
	out := make([]*shelf, len(names))
	for i, n := range names {
		out[i] = sets[n]
	}
	return out
}
