// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Class is what a field of a record may vouch for.
type Class string

// The classes of fields, least trusted first.
const (
	FreeText     Class = "free_text"    // prose: vouches for nothing
	Counterparty Class = "counterparty" // who sent or wrote it: vouches for nothing unless the user named him
	Label        Class = "label"        // a name or title: links, and vouches for nothing beyond the record
	Party        Class = "party"        // whom the record's own side deals with
	OwnRecord    Class = "own_record"   // ids, dates, numbers, short words
)

// Valid reports whether c is one of the classes.
func (c Class) Valid() bool {
	return c == FreeText || c == Counterparty || c == Label || c == Party || c == OwnRecord
}

// The names that fields of records have, by their last word. Field names are a matter of convention, not
// of one server; what is on no list is judged by the shape of its value.
var (
	freeNames = set(`body bodies content contents text description message messages comment comments review reviews note notes
		html markdown summary feedback bio about detail details instructions caption abstract snippet excerpt readme answer
		question prompt log logs output transcript remark remarks reason story post reply biography diff patch excerpt preview`)
	counterNames = set(`sender from author owner creator reviewer poster commenter requester submitter uploader writer reporter
		by caller initiator originator`)
	partyNames = set(`recipient recipients to cc bcc participant participants attendee attendees member members email emails mail
		payee iban account phone mobile telephone fax contact contacts beneficiary assignee assignees invitee invitees guest
		guests user users shared collaborators collaborator client customer manager doctor patient supplier vendor
		employee colleague friend address wallet receiver addressee`)
	labelNames = set(`title subject name names filename file brand category tag tags label labels product topic repo repository
		project channel channels city country hotel hotels company restaurant restaurants theme genre series album song book
		movie event ingredient device room team group groups department heading headline slug username login handle key`)
	secretFields = set(`password passwd passphrase passport pin ssn secret cvv cvc credential credentials token apikey`)
	fieldWords   = set(`id number date time type status state first last full street zip code price amount total rating score
		quantity count size balance currency unit url link created updated start end day year month age gender iban
		language permission role description`)
)

// fieldClass judges a field by its name, then by the shape of its value. rec says whether prose stands
// beside it, which makes a "user" the one who wrote it.
func fieldClass(name string, v *node, withProse bool) Class {
	ws := nameWords(name)
	last, whole := "", strings.Join(ws, " ")
	if len(ws) > 0 {
		last = ws[len(ws)-1]
	}
	if v.kind == 's' && prose(v.text) {
		return FreeText
	}
	switch {
	case freeNames[last] && v.kind == 's' && last != "post" && last != "address":
		return FreeText
	case last == "id" || last == "ids" || last == "uuid" || last == "number" && !partyNames[ws[0]] && ws[0] != "bank":
		return OwnRecord
	case counterNames[last] || whole == "reply to" || last == "user" && withProse:
		return Counterparty
	case last == "account" || last == "number" || partyNames[last]:
		return Party
	case labelNames[last]:
		return Label
	}
	if v.kind == 's' {
		switch kind, _ := classify(leaf{kind: '"', text: v.text}); kind {
		case "email", "iban", "phone":
			return Party
		}
	}
	return OwnRecord
}

// senderOf is the index of the member of a record with prose that is its only mail address, under a name that
// says nothing: who wrote the prose. It is -1 if there is none. Lists of addresses are of those who read it.
func (n *node) senderOf() int {
	at := -1
	for i, v := range n.items {
		if v.kind != 's' {
			continue
		}
		if kind, _ := classify(leaf{kind: '"', text: v.text}); kind != "email" {
			continue
		}
		if last := lastWord(n.keys[i]); at >= 0 || partyNames[last] || counterNames[last] || labelNames[last] {
			return -1
		}
		at = i
	}
	return at
}

// secretField reports whether a field holds what nobody sends on.
func secretField(name string) bool {
	ws := nameWords(name)
	for i, w := range ws {
		if secretFields[w] || w == "card" && i > 0 && (ws[i-1] == "credit" || ws[i-1] == "debit") {
			return true
		}
		if w == "key" && i > 0 && (ws[i-1] == "api" || ws[i-1] == "private" || ws[i-1] == "secret" || ws[i-1] == "ssh") {
			return true
		}
	}
	return false
}

// valueLike reports whether the keys of a map look like values (names of hotels, addresses of pages), not
// like names of fields.
func valueLike(n *node) bool {
	if alike(n) {
		return true
	}
	like := 0
	for _, k := range n.keys {
		ws := nameWords(k)
		last := ""
		if len(ws) > 0 {
			last = ws[len(ws)-1]
		}
		if len(ws) == 0 || strings.ContainsAny(k, "@/.") {
			like++
			continue
		}
		if fieldWords[last] || freeNames[last] || counterNames[last] || partyNames[last] || labelNames[last] || secretFields[last] || last == "card" {
			continue
		}
		if k != strings.ToLower(k) && !strings.Contains(k, "_") || strings.ContainsAny(k, " ") || strings.ContainsAny(k, "0123456789") {
			like++
		}
	}
	return like*2 > len(n.keys)
}

// alike reports whether all values are maps with mostly the same members: a table by its keys.
func alike(n *node) bool {
	if len(n.items) < 2 {
		return false
	}
	first := n.items[0]
	for _, x := range n.items {
		if x.kind != 'm' || first.kind != 'm' {
			return false
		}
		same := 0
		for _, k := range x.keys {
			if first.member(k) != nil {
				same++
			}
		}
		if same*2 < max(len(x.keys), len(first.keys)) || same == 0 {
			return false
		}
	}
	return true
}

// A seen is one field found by the walk over a document.
type seen struct {
	record  int
	pointer string // pattern: "*" for list indices and for keys that are values
	name    string
	class   Class
	value   *node
}

// walker finds the records of a document.
type walker struct {
	emit    func(seen)
	declare func(pointer string) Class // "" leaves it to the classifier
	parents []int                      // by record: the one that holds it, or -1
	places  []string                   // by record: the pattern of its pointer
	lists   []counted
	fields  int
	cells   string // the pattern of all cells of a row, while its members are added
}

// counted is how many a list within a record holds.
type counted struct {
	record int
	name   string
	items  int
}

func (w *walker) record(parent int, at string) int {
	w.parents, w.places = append(w.parents, parent), append(w.places, at)
	return len(w.parents) - 1
}

// walk visits n, which stands under key at pointer in the record parent.
func (w *walker) walk(n *node, pointer, key string, parent int) {
	switch n.kind {
	case 'l':
		for _, x := range n.items {
			if x.kind == 'm' && !alike(x) { // what stands in a list is a record, whatever its keys look like
				w.members(x, pointer+"/*", w.record(parent, pointer+"/*"))
			} else if x.kind == 'm' || x.kind == 'l' {
				w.walk(x, pointer+"/*", key, parent)
			} else {
				w.field(w.record(parent, pointer+"/*"), pointer+"/*", key, itemClass(key, x), x)
			}
		}
	case 'm':
		w.object(n, pointer, key, parent)
	default:
		w.field(w.record(parent, pointer), pointer, key, fieldClass(key, n, false), n)
	}
}

// itemClass judges an element of a list by the name of the list; without one it is a name.
func itemClass(key string, v *node) Class {
	if key == "" {
		if v.kind == 's' && prose(v.text) {
			return FreeText
		}
		return Label
	}
	return fieldClass(key, v, false)
}

func (w *walker) object(n *node, pointer, key string, parent int) {
	if len(n.keys) > 0 && valueLike(n) {
		for i, k := range n.keys {
			v := n.items[i]
			rec := w.record(parent, pointer+"/*")
			w.field(rec, pointer+"/*", "", Label, &node{kind: 's', text: k})
			if v.kind == 's' && strings.ContainsAny(k, "./") && (prose(v.text) || len(v.text) > 60) {
				continue // an address onto a page: a store of strangers' content
			}
			switch v.kind {
			case 'm':
				w.members(v, pointer+"/*", rec)
			case 'l':
				w.values(v, pointer+"/*/*", key, rec, false)
			default:
				w.field(rec, pointer+"/*", key, fieldClass(key, v, false), v)
			}
		}
		return
	}
	w.members(n, pointer, w.record(parent, pointer))
}

// members adds the members of a map to a record; what is nested makes records within it.
func (w *walker) members(n *node, pointer string, rec int) {
	withProse := false
	for i, k := range n.keys {
		v := n.items[i]
		withProse = withProse || v.kind == 's' && (prose(v.text) || freeNames[lastWord(k)])
	}
	sender := -1
	if withProse {
		sender = n.senderOf()
	}
	if was := w.cells; n.row {
		w.cells = pointer + "/*"
		defer func() { w.cells = was }()
	}
	for i, k := range n.keys {
		v, at := n.items[i], pointer+"/"+k
		if n.rest(k, v) {
			w.members(v, at, rec)
			continue
		}
		if i == sender {
			w.field(rec, at, k, Counterparty, v)
			continue
		}
		switch v.kind {
		case 'm':
			w.walk(v, at, k, rec)
		case 'l':
			w.values(v, at+"/*", k, rec, withProse)
		default:
			w.field(rec, at, k, fieldClass(k, v, withProse), v)
		}
	}
}

// values adds the scalars of a list to a record.
func (w *walker) values(l *node, at, key string, rec int, withProse bool) {
	w.lists = append(w.lists, counted{rec, key, len(l.items)})
	for _, x := range l.items {
		if x.kind == 'm' || x.kind == 'l' {
			w.walk(x, at, key, rec)
		} else {
			w.field(rec, at, key, fieldClass(key, x, withProse), x)
		}
	}
}

func lastWord(name string) string {
	ws := nameWords(name)
	if len(ws) == 0 {
		return ""
	}
	return ws[len(ws)-1]
}

func (w *walker) field(rec int, pointer, name string, c Class, v *node) {
	if w.fields++; v.kind == 'z' || v.kind == 'b' || w.fields > maxNodes {
		return
	}
	if w.declare != nil {
		if d := w.declared(pointer); d != "" && (c != FreeText || v.kind != 's' || !prose(v.text)) {
			c = d // prose stays prose, whatever was declared of its field
		}
	}
	w.emit(seen{record: rec, pointer: pointer, name: name, class: c, value: v})
}

// declared is what is declared of a field. A cell may be declared by its column, or with all of its row.
func (w *walker) declared(pointer string) Class {
	d := w.declare(pointer)
	if w.cells == "" {
		return d
	}
	if all := w.declare(w.cells); d == "" || all == FreeText {
		return all
	}
	return d
}

// Classify proposes what the fields of a document of records may vouch for, by the patterns of their
// pointers ("*" stands for any index and for a key that is itself a value). Where values of one pattern
// differ, most of them decide; prose among them is told apart when it is read. It errs on what is no
// document of records.
func Classify(data []byte) (map[string]Class, error) {
	docs := records(data)
	if docs == nil {
		return nil, fmt.Errorf("flow: %d bytes hold no records that can be read", len(data))
	}
	votes := map[string]map[Class]int{}
	w := walker{emit: func(s seen) {
		if votes[s.pointer] == nil {
			votes[s.pointer] = map[Class]int{}
		}
		votes[s.pointer][s.class]++
	}}
	for _, d := range docs {
		w.walk(d, "", "", -1)
	}
	out := map[string]Class{}
	for pointer, by := range votes {
		best := FreeText
		for _, c := range []Class{Counterparty, Label, Party, OwnRecord} { // a tie goes to the least trusted
			if by[c] > by[best] {
				best = c
			}
		}
		out[pointer] = best
	}
	return out, nil
}

// records reads a document of records, written as JSON or as text.
func records(data []byte) []*node {
	r := reader{tables: true}
	docs := r.document(jsontext.Value(data))
	if docs == nil {
		docs = r.written(string(data), 0)
	}
	return docs
}
