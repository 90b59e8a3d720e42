// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// request is what the user asked for, in all messages of the session. It is never evicted.
type request struct {
	heard  bool
	full   bool // words did not fit
	words  []byte
	typed  map[uint64]bool // typed values
	hosts  map[uint64]bool // hosts named without a path: the user's own or chosen sites
	stems  map[uint64]bool
	names  map[uint64]bool // stems of capitalised words
	quoted map[uint64]bool // texts in quotation marks
	verbs  families
	lead   []lead
	claims []claim
	limits []limit
	all    bool // all, every, each, other, rest: a set is meant
	does   bool // it hands the choice to a text: "follow the instructions", "do the tasks on"
	pages  bool // it speaks of pages, links or sites
}

// lead is a superlative of the request.
type lead struct {
	fields map[uint64]bool // stems of the field names that it may mean; nil means any
	top    bool
}

// measureStems are the stems of all names of fields that superlatives speak of.
var measureStems = func() map[string]bool {
	m := map[string]bool{}
	for _, s := range superlatives {
		for w := range strings.FieldsSeq(s.fields) {
			m[stem(w)] = true
		}
	}
	return m
}()

// superlatives by word: the field names they speak of, and the end of the list they mean.
var superlatives = func() map[string]struct {
	fields string
	top    bool
} {
	type sup = struct {
		fields string
		top    bool
	}
	prices, marks := "price cost amount fee fare total payment rent salary", "rating score star stars review reviews vote votes points popularity rank"
	sizes, dates := "size bytes length width height area amount capacity quantity count weight", "date time timestamp created updated modified sent received at day start end due deadline"
	return map[string]sup{
		"cheapest": {prices, false}, "cheap": {prices, false}, "affordable": {prices, false}, "expensive": {prices, true}, "priciest": {prices, true},
		"best": {marks, true}, "rated": {marks, true}, "top": {marks, true}, "worst": {marks, false}, "popular": {marks, true},
		"largest": {sizes, true}, "biggest": {sizes, true}, "heaviest": {sizes, true}, "longest": {sizes + " duration", true},
		"smallest": {sizes, false}, "lightest": {sizes, false}, "shortest": {sizes + " duration", false},
		"latest": {dates, true}, "newest": {dates, true}, "recent": {dates, true}, "last": {dates, true}, "previous": {dates, true},
		"oldest": {dates + " age", false}, "earliest": {dates, false}, "first": {dates, false}, "soonest": {dates, false}, "next": {dates, false}, "upcoming": {dates, false},
		"highest": {"", true}, "most": {"", true}, "maximum": {"", true}, "lowest": {"", false}, "least": {"", false}, "fewest": {"", false}, "minimum": {"", false},
		"fastest": {"duration time speed", false}, "youngest": {"age date born", true}, "closest": {"distance", false}, "nearest": {"distance", false},
	}
}()

var (
	quantifiers = set(`all every each other others rest everything everyone everybody both any remaining else whole entire except`)
	delegations = stems(`instruction todo fulfil fulfill accordingly guidance procedure checklist`)
	// These count in this form alone: "I want" and "I asked for" hand nothing to anybody, "does what she wants" does.
	delegating = set(`tasks requests requested steps guide according asks asked wants says described`)
	pageWords  = stems(`page webpage website site link url article blog browse visit web online news http`)
)

// hear adds the user's words. What does not fit gives no trust.
func (r *request) hear(f *Flow, limit int, text []byte) {
	r.heard = true
	if room := limit - len(r.words); len(text) > room {
		text, r.full = []byte(clip(string(text), max(room, 0))), true
	}
	if r.typed == nil {
		r.typed, r.hosts, r.stems, r.names = map[uint64]bool{}, map[uint64]bool{}, map[uint64]bool{}, map[uint64]bool{}
		r.quoted = map[uint64]bool{}
		r.words = []byte{' '}
	}
	r.words = append(r.words, '\n', ' ') // no value spans two messages
	text = unglue(text)
	within := "" // the host of the URL before, which names no site by itself
	tokens(string(text), func(kind, canon string) bool {
		r.typed[f.hash(kind, canon)] = true
		r.typed[f.key(kind, canon)] = true
		if kind == "url" {
			within = hostOf(canon)
		}
		if kind == "host" && canon != within || kind == "url" && strings.IndexByte(plainURL(canon), '/') < 0 {
			r.hosts[f.hash("url", plainURL(canon))] = true
		}
		return true
	})
	for w := range words(string(text)) {
		r.words = append(append(r.words, w...), ' ')
		word := string(w)
		if h := f.stemHash(w); h != 0 {
			r.stems[h] = true
		}
		m := stem(word)
		if s, ok := superlatives[word]; ok {
			l := lead{top: s.top}
			if s.fields != "" {
				l.fields = map[uint64]bool{}
				if strings.Contains(s.fields, "date") {
					l.fields[f.hash("only", "date")] = true
				}
				for x := range strings.FieldsSeq(s.fields) {
					l.fields[f.hash("stem", stem(x))] = true
				}
			}
			r.lead = append(r.lead, l)
		}
		r.all = r.all || quantifiers[word]
		r.does = r.does || delegations[m] || delegating[word]
		r.pages = r.pages || pageWords[m]
	}
	r.compute(f, string(text))
	r.verbs |= wishes(string(text))
	r.capitalised(f, string(text))
	r.quotes(f, string(text))
}

// unglue parts sentences that were joined without a space: "see www.example.org.Then go on".
func unglue(text []byte) []byte {
	var out []byte
	for i, c := range text {
		out = append(out, c)
		if c == '.' && i > 0 && i+2 < len(text) && text[i-1] >= 'a' && text[i-1] <= 'z' && text[i+1] >= 'A' && text[i+1] <= 'Z' &&
			text[i+2] >= 'a' && text[i+2] <= 'z' {
			out = append(out, ' ')
		}
	}
	return out
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// capitalised notes the words that are written as names: with a capital within a sentence, or with an
// apostrophe at its head.
func (r *request) capitalised(f *Flow, text string) {
	head := true
	for field := range strings.FieldsSeq(text) {
		core := strings.TrimFunc(field, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) })
		first, _ := utf8.DecodeRuneInString(core)
		if core != "" && unicode.IsUpper(first) && (!head || strings.ContainsAny(core, "'’_.@") || uncommon(core)) {
			for w := range words(core) {
				if h := f.stemHash(w); h != 0 && len(w) > 1 {
					r.names[h] = true
				}
			}
		}
		end := field[len(field)-1]
		head = end == '.' || end == '!' || end == '?' || end == ':'
	}
}

// uncommon reports whether a word at the head of a sentence is none of the words that sentences begin
// with, so that its capital is a name's.
func uncommon(core string) bool {
	w := strings.ToLower(core)
	return !stops[w] && wishWords[stem(w)] == 0 && !fieldWords[w] && !labelNames[w] && !partyNames[w] && !freeNames[w] && !counterNames[w] &&
		!quantifiers[w] && !delegations[stem(w)] && !delegating[w] && !pageWords[stem(w)] && !strings.HasSuffix(w, "ing") && !strings.HasSuffix(w, "ly")
}

// said reports whether the words of canon stand in the request in a row.
func (r *request) said(canon string) bool {
	return bytes.Contains(r.words, []byte(" "+canon+" "))
}

// named reports whether the request says canon as a name: in quotes, or with capitals.
func (r *request) named(f *Flow, canon string) bool {
	if r.quoted[f.hash("text", canon)] {
		return true
	}
	n := 0
	for w := range words(canon) {
		h := f.stemHash(w)
		if h == 0 {
			continue
		}
		if n++; !r.names[h] {
			return false
		}
	}
	return n > 0
}

// quotes notes what stands between quotation marks.
func (r *request) quotes(f *Flow, text string) {
	for _, q := range [][2]string{{"'", "'"}, {"\"", "\""}, {"“", "”"}, {"‘", "’"}, {"`", "`"}, {"#", " "}} {
		rest := text
		for range 64 {
			_, after, ok := strings.Cut(rest, q[0])
			if !ok {
				break
			}
			inner, more, ok := strings.Cut(after, q[1])
			if !ok {
				break
			}
			if rest = more; len(inner) > maxText {
				continue
			}
			if _, canon := classify(leaf{kind: '"', text: inner}); canon != "" {
				r.quoted[f.hash("text", canon)] = true
			}
		}
	}
}

// holds reports whether the request holds exactly this value, or one that says as much: a host that the
// user named holds its pages, a folder what lies in it. Short numbers are no identities: they count only
// as amounts, and behind a word that says that a number is one.
func (r *request) holds(f *Flow, kind, canon string, number bool) bool {
	if !r.heard || canon == "" {
		return false
	}
	switch kind {
	case "flag":
		return false
	case "text":
		if len(canon) > maxText || !r.said(canon) {
			return false
		}
		return strings.IndexByte(canon, ' ') >= 0 || len(canon) >= 3 && !stops[canon]
	case "number":
		if !number && len(canon) < 5 {
			for _, lead := range []string{"id ", "number ", "no ", "nr ", "#"} {
				if r.said(lead + canon) {
					return true
				}
			}
			return false
		}
	case "url", "host":
		u := plainURL(canon)
		host, _, _ := strings.Cut(u, "/")
		host, _, _ = strings.Cut(host, "?")
		if r.hosts[f.hash("url", host)] {
			return true
		}
	case "path":
		for p := canon; len(p) > 1; {
			if r.typed[f.hash("path", p)] {
				return true
			}
			i := strings.LastIndexByte(p, '/')
			if i <= 0 {
				break
			}
			p = p[:i]
		}
	}
	return r.typed[f.key(kind, canon)] || r.typed[f.hash(kind, canon)]
}
