// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// node is one value of a document, whatever notation it was written in. Numbers, dates and true are
// scalars with their text.
type node struct {
	kind  byte // 's' text, '0' number, 'b' true or false, 'z' null, 'l' list, 'm' map
	text  string
	keys  []string // of a map, beside items
	items []*node
	row   bool // a map that was a list, whose columns stood elsewhere
}

// The bounds of a parsed document. What lies beyond them is not parsed at all, and then vouches for nothing.
const (
	maxNodes     = 1 << 15
	maxNestings  = 24
	maxShapeText = 1 << 20
)

// reader reads what a tool returned: JSON, the text blocks of an MCP result, or text in one of the
// notations that programs print records in.
type reader struct {
	tables bool     // tables count: people write them too, so not in a text that somebody pointed at
	rest   []string // what stands behind the records, and is prose
}

// document returns the documents of content; nil means prose.
func (r *reader) document(content jsontext.Value) []*node {
	if len(content) > maxShapeText {
		return nil
	}
	root, ok := reprValue(string(content))
	if !ok {
		return nil
	}
	return r.unpacked(root, 0)
}

// maxWrappers bounds envelopes within envelopes.
const maxWrappers = 4

// unpacked takes the documents out of what wraps them: envelopes of SDKs, text blocks, and text that holds
// either again.
func (r *reader) unpacked(n *node, depth int) (docs []*node) {
	for ; depth < maxWrappers; depth++ {
		inner, wrapped := unwrap(n)
		if !wrapped {
			break
		}
		n = inner
	}
	if n.kind == 'l' && len(n.items) > 0 && block(n.items[0]) != nil {
		for _, b := range n.items {
			if t := block(b); t != nil && depth < maxWrappers {
				d := r.written(t.text, depth+1)
				if docs = append(docs, d...); d == nil {
					r.rest = append(r.rest, t.text)
				}
			}
		}
		return docs
	}
	if n.kind == 's' {
		return r.written(n.text, depth+1)
	}
	tabulate(n)
	return []*node{n}
}

// unwrap takes the one interesting member out of an envelope.
func unwrap(n *node) (*node, bool) {
	if n.kind != 'm' {
		return n, false
	}
	if s := n.member("structuredContent"); s != nil && s.kind == 'm' {
		return s, true
	}
	if c := n.member("content"); c != nil && c.kind == 'l' && len(c.items) > 0 && block(c.items[0]) != nil {
		return c, true
	}
	if len(n.keys) == 1 {
		switch n.keys[0] {
		case "result", "results", "output", "data", "response":
			return n.items[0], true
		}
	}
	return n, false
}

// block is the text of a content block.
func block(n *node) *node {
	if n.kind != 'm' {
		return nil
	}
	t, text := n.member("type"), n.member("text")
	if t == nil || t.text != "text" || text == nil || text.kind != 's' {
		return nil
	}
	return text
}

func (n *node) member(key string) *node {
	for i, k := range n.keys {
		if k == key {
			return n.items[i]
		}
	}
	return nil
}

// written reads text that a program printed.
func (r *reader) written(text string, depth int) []*node {
	t := strings.TrimSpace(text)
	if t == "" || len(t) > maxShapeText {
		return nil
	}
	if n, ok := reprValue(t); ok && n.kind != 's' {
		return r.unpacked(n, depth)
	}
	if n, ok := blockText(t); ok {
		return []*node{n}
	}
	if docs := reprLines(t); docs != nil {
		return docs
	}
	if n, ok := xmlText(t); ok {
		return []*node{n}
	}
	if n, ok := tableText(t); ok {
		return r.table(n)
	}
	if n, ok := alignedText(text); ok { // with the space before its head
		return r.table(n)
	}
	if n, ok := csvText(t); ok {
		return r.table(n)
	}
	if n, ok := logfmtText(t); ok {
		return r.table(n)
	}
	if n, rest, ok := countedText(t); ok && r.tables {
		r.rest = append(r.rest, rest...)
		return []*node{n}
	}
	n, rest := lineList(t)
	if n == nil {
		return nil
	}
	if rest != "" {
		r.rest = append(r.rest, rest)
	}
	return []*node{n}
}

func (r *reader) table(n *node) []*node {
	if !r.tables {
		return nil
	}
	return []*node{n}
}

// reprLines reads one value per line, as logs and repr lists have them.
func reprLines(t string) []*node {
	var docs []*node
	for line := range strings.Lines(t) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		n, ok := reprValue(line)
		if !ok || n.kind != 'm' && n.kind != 'l' || len(docs) > 4096 {
			return nil
		}
		docs = append(docs, n)
	}
	return docs
}

// lineList reads lines: "Key: value" pairs make a record until a key returns, other short lines are names.
// It ends at the first line that is prose: whoever wrote that may have written what follows, which is the rest.
func lineList(t string) (list *node, rest string) {
	list = &node{kind: 'l'}
	var rec *node
	title, lines := "", 0
	at := 0
	for raw := range strings.Lines(t) {
		from := at
		at += len(raw)
		line := strings.TrimSpace(raw)
		line = strings.TrimSpace(strings.TrimLeft(strings.TrimLeft(line, "-*•"), " \t"))
		if line == "" {
			rec = nil
			continue
		}
		if lines++; lines > 4096 {
			return nil, ""
		}
		if pairs := pairsOf(line); len(pairs) > 1 {
			one := &node{kind: 'm'}
			for _, p := range pairs {
				one.keys, one.items = append(one.keys, p[0]), append(one.items, scalar(p[1]))
			}
			list.items, rec = append(list.items, one), nil
			continue
		}
		if prose(line) {
			rest = t[from:]
			break
		}
		key, value, ok := pair2(line)
		switch {
		case ok && value == "":
			title, rec = key, nil
		case ok:
			if rec == nil || rec.member(key) != nil {
				rec = &node{kind: 'm'}
				list.items = append(list.items, rec)
			}
			rec.keys, rec.items = append(rec.keys, key), append(rec.items, scalar(value))
			title = key
		case rec != nil && len(rec.keys) == 1: // "Names: first", then a name a line
			list.items = append(list.items, &node{kind: 'm', keys: []string{title}, items: []*node{scalar(line)}})
		default:
			list.items = append(list.items, scalar(line))
			rec = nil
		}
	}
	if len(list.items) == 0 {
		return nil, ""
	}
	return list, rest
}

// pair2 takes "Key: value" apart. A key is a few words.
func pair2(line string) (key, value string, ok bool) {
	key, value, ok = strings.Cut(line, ":")
	if !ok || value != "" && value[0] != ' ' || len(key) > 40 || strings.Count(key, " ") > 3 || strings.ContainsAny(key, "<>\"'/@") {
		return "", "", false
	}
	return strings.TrimSpace(key), strings.TrimSpace(value), key != ""
}

// pairsOf takes "Key: value, Key: value" apart; fewer than two are none.
func pairsOf(line string) (out [][2]string) {
	if len(line) > 1000 || strings.Count(line, ": ") < 2 {
		return nil
	}
	for part := range strings.SplitSeq(line, ", ") {
		k, v, ok := pair2(part)
		if !ok || v == "" {
			if len(out) > 0 && len(part) < 60 && !strings.Contains(part, ":") {
				out[len(out)-1][1] += ", " + part
				continue
			}
			return nil
		}
		out = append(out, [2]string{k, v})
	}
	if len(out) < 2 {
		return nil
	}
	return out
}

func scalar(t string) *node {
	t = strings.TrimSpace(t)
	switch strings.ToLower(t) {
	case "", "null", "none", "~":
		return &node{kind: 'z'}
	case "true", "false":
		return &node{kind: 'b', text: strings.ToLower(t)}
	}
	if numeric(t) {
		return &node{kind: '0', text: t}
	}
	return &node{kind: 's', text: t}
}

func numeric(t string) bool {
	digits := 0
	for i := range len(t) {
		switch c := t[i]; {
		case c >= '0' && c <= '9':
			digits++
		case c == '.' || (c == '-' || c == '+') && i == 0 || (c == 'e' || c == 'E') && digits > 0:
		default:
			return false
		}
	}
	return digits > 0 && digits <= 30
}

// prose reports whether text was written for people: long, more than a line or a dozen words, sentences,
// or an address within other words.
func prose(t string) bool {
	if t == "" {
		return false
	}
	if len(t) > 100 || strings.ContainsAny(t, "\n<>") {
		return true
	}
	if strings.Count(t, " ") >= 12 || sentences(t) {
		return true
	}
	if i := strings.IndexByte(t, ' '); i < 0 {
		return false
	}
	found := false
	tokens(t, func(kind, _ string) bool {
		found = kind == "email" || kind == "url" || kind == "host" || kind == "iban"
		return !found
	})
	if !found {
		return false
	}
	kind, _ := classify(leaf{kind: '"', text: t})
	return kind == "text"
}

// sentences reports whether t holds an end of sentence with more behind it, or begins one and ends it.
func sentences(t string) bool {
	for i := 1; i+2 < len(t); i++ {
		if (t[i] == '.' || t[i] == '!' || t[i] == '?') && t[i+1] == ' ' && i >= 4 && t[i-1] >= 'a' && t[i-1] <= 'z' &&
			t[i-2] >= 'a' && t[i-2] <= 'z' && t[i-3] >= 'a' && t[i-3] <= 'z' && t[i+2] >= 'A' && t[i+2] <= 'Z' {
			return true
		}
	}
	last := t[len(t)-1]
	return (last == '.' || last == '!' || last == '?') && strings.Count(t, " ") >= 3
}
