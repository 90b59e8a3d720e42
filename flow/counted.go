// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Lines of key=value, and lists that say how many entries they have and number them, as sentences or as
// reports in Markdown. Texts of strangers stand in such lists without a quote around them, so that nothing
// counts that one of them could have made up: where an entry begins is told by the numbers, which must run
// from one to the total that stands before the first; what an entry has is told by the others, which must
// have the same; and what follows prose in an entry is prose.

// logfmtText reads a record a line, written as key=value with values in quotes where they hold more than a
// word. Every line must be such a record, and all must begin with one key.
func logfmtText(t string) (*node, bool) {
	first, _, _ := strings.Cut(t, "=")
	if first == "" || len(first) > 40 || strings.ContainsFunc(first, func(r rune) bool { return r <= ' ' || strings.ContainsRune("\"'<>/@:?&", r) }) {
		return nil, false
	}
	list := &node{kind: 'l'}
	for line := range strings.Lines(t) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		rec, ok := logfmtLine(line)
		if !ok || rec.keys[0] != first || len(list.items) > maxRows {
			return nil, false
		}
		list.items = append(list.items, rec)
	}
	return named(list), len(list.items) > 0
}

func logfmtLine(line string) (*node, bool) {
	rec := &node{kind: 'm'}
	for line != "" {
		key, rest, ok := strings.Cut(line, "=")
		if !ok || key == "" || len(key) > 40 || strings.ContainsAny(key, " \t\"'<>/@:?&") || rec.member(key) != nil || len(rec.keys) > maxColumns {
			return nil, false
		}
		value := ""
		if strings.HasPrefix(rest, `"`) {
			q, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil, false
			}
			if value, err = strconv.Unquote(q); err != nil {
				return nil, false
			}
			rest = rest[len(q):]
		} else {
			value, _, _ = strings.Cut(rest, " ")
			rest = rest[len(value):]
			if strings.Contains(value, "=") {
				return nil, false
			}
		}
		if rest != "" && rest[0] != ' ' {
			return nil, false
		}
		rec.keys, rec.items = append(rec.keys, key), append(rec.items, cellOf(value))
		line = strings.TrimLeft(rest, " ")
	}
	return rec, len(rec.keys) > 1
}

var (
	totals = regexp.MustCompile(`\d+`)
	marker = regexp.MustCompile(`(^|[\n.:!] ?)([^\d\n.:!]{0,40})1([.):,](?:\s|$))`)
	// worded is how a sentence names a field.
	worded = regexp.MustCompile(`(^|, | and |; )(?:the |its |their )?([\pL_][\pL\pN_ ]{0,30}?) (?:is|are|was|:|=) `)
)

// maxPreface bounds what may stand before the first entry.
const maxPreface = 200

// countedText reads a numbered list whose total stands before it. rest is what of it is prose.
func countedText(t string) (list *node, rest []string, ok bool) {
	entries, ok := entriesOf(t)
	if !ok || len(entries) < 2 { // one entry has no other to agree with
		return nil, nil, false
	}
	recs, ok := linedEntries(entries)
	if !ok {
		recs, ok = wordedEntries(entries)
	}
	if !ok {
		return nil, nil, false
	}
	kept := recs[:0]
	for _, rec := range recs {
		fields := len(rec.keys)
		if cut := rec.cut(); cut != "" {
			if rest = append(rest, cut); fields == 2 && len(rec.keys) == 1 { // a name without its value says nothing
				continue
			}
		}
		kept = append(kept, rec)
		for i := range rec.items {
			rec.items[i] = cellOf(rec.items[i].text)
		}
	}
	return named(&node{kind: 'l', items: kept}), rest, true
}

// entriesOf parts a list at its numbers: one to the total, each once, in order, all written in one way.
func entriesOf(t string) (entries []string, ok bool) {
	at := marker.FindStringSubmatchIndex(t[:min(len(t), maxPreface+64)])
	if at == nil || at[4] > maxPreface {
		return nil, false
	}
	preface := t[:at[4]]
	said := totals.FindAllString(preface, 2)
	if len(said) != 1 || prose(strings.TrimSpace(strings.TrimRight(preface, ".:! \n"))) {
		return nil, false
	}
	total, err := strconv.Atoi(said[0])
	if err != nil || total < 1 || total > maxRows {
		return nil, false
	}
	before, after := t[at[4]:at[5]], t[at[6]:at[7]]
	if strings.TrimSpace(before) == "" && at[3] == at[2] {
		return nil, false
	}
	numbered, err := regexp.Compile(regexp.QuoteMeta(before) + `(\d+)` + regexp.QuoteMeta(strings.TrimRight(after, " \n")))
	if err != nil { // no UTF-8
		return nil, false
	}
	places := numbered.FindAllStringSubmatchIndex(t, total+2)
	if len(places) != total {
		return nil, false
	}
	for i, p := range places {
		if t[p[2]:p[3]] != strconv.Itoa(i+1) {
			return nil, false
		}
		end := len(t)
		if i+1 < total {
			end = places[i+1][0]
		}
		entries = append(entries, strings.TrimSpace(t[p[1]:end]))
	}
	return entries, true
}

// linedEntries read a field a line: "- **key**: value". What is no field goes on with the one before. Empty
// fields may be left out, but most entries must have all.
func linedEntries(entries []string) (recs []*node, ok bool) {
	var most []string
	for _, e := range entries {
		rec := &node{kind: 'm'}
		for line := range strings.Lines(e) {
			bare := strings.TrimLeft(strings.TrimSpace(line), "-*•# \t")
			key, value, ok := pair2(strings.Replace(strings.Replace(bare, "**:", ":", 1), "__:", ":", 1))
			switch {
			case ok && value != "" && (line[0] != ' ' || len(rec.keys) == 0):
				rec.keys, rec.items = append(rec.keys, strings.Trim(key, "*_`")), append(rec.items, &node{kind: 's', text: value})
			case len(rec.keys) == 0:
				return nil, false
			default:
				last := rec.items[len(rec.items)-1]
				last.text += "\n" + strings.TrimSpace(line)
			}
		}
		if len(rec.keys) > len(most) {
			most = rec.keys
		}
		recs = append(recs, rec)
	}
	all := 0
	for _, r := range recs {
		at := -1
		for _, k := range r.keys {
			next := slices.Index(most, k)
			if next <= at { // unknown, twice, or in another order
				return nil, false
			}
			at = next
		}
		if len(r.keys) == len(most) {
			all++
		}
	}
	return recs, all*2 > len(recs)
}

// wordedEntries read "the key is value and the key is value". Fields are those that every entry has once, in
// the same order; whatever else reads like one is part of a value.
func wordedEntries(entries []string) (recs []*node, ok bool) {
	var keys []string
	found := make([][][]int, len(entries))
	for i, e := range entries {
		found[i] = worded.FindAllStringSubmatchIndex(e, 4*maxColumns)
		if len(found[i]) == 0 || found[i][0][0] != 0 {
			return nil, false
		}
		var here []string
		for _, p := range found[i] {
			here = append(here, e[p[4]:p[5]])
		}
		if i == 0 {
			keys = here
		}
		keys = slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return !slices.Contains(here, k) })
	}
	if len(keys) == 0 || len(keys) > maxColumns {
		return nil, false
	}
	for i, e := range entries {
		rec := &node{kind: 'm'}
		from := 0
		for _, p := range found[i] {
			k := e[p[4]:p[5]]
			if !slices.Contains(keys, k) {
				continue
			}
			if len(rec.keys) == len(keys) || keys[len(rec.keys)] != k { // twice, or in another order
				return nil, false
			}
			if n := len(rec.items); n > 0 {
				rec.items[n-1].text = strings.TrimSpace(e[from:p[0]])
			}
			rec.keys, rec.items = append(rec.keys, k), append(rec.items, &node{kind: 's'})
			from = p[1]
		}
		if len(rec.keys) != len(keys) {
			return nil, false
		}
		rec.items[len(rec.items)-1].text = strings.TrimSpace(strings.TrimSuffix(e[from:], "."))
		recs = append(recs, rec)
	}
	return recs, true
}

// cut takes from a record what follows its first prose, and gives it as text.
func (n *node) cut() string {
	for i, v := range n.items {
		if !prose(v.text) {
			continue
		}
		text := v.text
		for j := i + 1; j < len(n.items); j++ {
			text += "\n" + n.keys[j] + ": " + n.items[j].text
		}
		n.keys, n.items = n.keys[:i], n.items[:i]
		return text
	}
	return ""
}
