// SPDX-License-Identifier: Apache-2.0

package flow

import "strings"

// blocks reads the YAML that serialisers write: block sequences and mappings, quoted, folded and literal
// scalars. It knows no anchors, tags or comments, and gives up where text is anything else.
type blocks struct {
	lines []bline
	i     int
	nodes int
}

type bline struct {
	indent int
	text   string // without indentation; "" for an empty line
}

func blockText(t string) (*node, bool) {
	p := blocks{}
	for line := range strings.SplitSeq(strings.TrimSuffix(t, "\n"), "\n") {
		line = strings.TrimRight(line, "\r")
		text := strings.TrimLeft(line, " ")
		if strings.HasPrefix(text, "\t") || len(p.lines) > 1<<16 {
			return nil, false
		}
		p.lines = append(p.lines, bline{len(line) - len(text), text})
	}
	first := p.lines[0]
	if _, _, ok := keyOf(first.text); !ok && !item(first.text) {
		return nil, false
	}
	n, ok := p.value(first.indent, 0)
	if !ok {
		return nil, false
	}
	p.blank()
	return n, p.i == len(p.lines)
}

func item(t string) bool { return t == "-" || strings.HasPrefix(t, "- ") }

// keyOf takes "key: rest" apart.
func keyOf(t string) (key, rest string, ok bool) {
	if t == "" || strings.IndexByte("[{#&*!|>%@`,", t[0]) >= 0 || item(t) {
		return "", "", false
	}
	if t[0] == '"' || t[0] == '\'' {
		r := repr{s: t}
		k, ok := r.quoted()
		if !ok || r.peek() != ':' {
			return "", "", false
		}
		rest = t[r.i+1:]
		return k, strings.TrimSpace(rest), rest == "" || rest[0] == ' '
	}
	i := strings.Index(t, ": ")
	if i < 0 {
		if !strings.HasSuffix(t, ":") {
			return "", "", false
		}
		i = len(t) - 1
	}
	key = t[:i]
	if len(key) > 100 || strings.Count(key, " ") > 5 {
		return "", "", false
	}
	return key, strings.TrimSpace(t[i+1:]), true
}

func (p *blocks) blank() {
	for p.i < len(p.lines) && p.lines[p.i].text == "" {
		p.i++
	}
}

// value reads the block that begins at the current line, which has the indentation given.
func (p *blocks) value(indent, depth int) (*node, bool) {
	if p.nodes++; depth > maxNestings || p.nodes > maxNodes {
		return nil, false
	}
	p.blank()
	if p.i == len(p.lines) || p.lines[p.i].indent != indent {
		return nil, false
	}
	if item(p.lines[p.i].text) {
		return p.sequence(indent, depth)
	}
	return p.mapping(indent, depth)
}

func (p *blocks) sequence(indent, depth int) (*node, bool) {
	l := &node{kind: 'l'}
	for {
		p.blank()
		if p.i == len(p.lines) || p.lines[p.i].indent != indent || !item(p.lines[p.i].text) {
			return l, true
		}
		if p.nodes++; p.nodes > maxNodes {
			return nil, false
		}
		rest := strings.TrimPrefix(p.lines[p.i].text, "-")
		text := strings.TrimLeft(rest, " ")
		at := indent + 1 + len(rest) - len(text)
		var n *node
		ok := true
		_, _, isKey := keyOf(text)
		switch {
		case text == "":
			p.i++
			p.blank()
			if p.i < len(p.lines) && p.lines[p.i].indent > indent {
				n, ok = p.value(p.lines[p.i].indent, depth+1)
			} else {
				n = &node{kind: 'z'}
			}
		case isKey || item(text):
			p.lines[p.i] = bline{at, text}
			n, ok = p.value(at, depth+1)
		default:
			n, ok = p.scalar(text, indent)
		}
		if !ok {
			return nil, false
		}
		l.items = append(l.items, n)
	}
}

func (p *blocks) mapping(indent, depth int) (*node, bool) {
	m := &node{kind: 'm'}
	for {
		p.blank()
		if p.i == len(p.lines) || p.lines[p.i].indent < indent {
			return m, true
		}
		key, rest, ok := keyOf(p.lines[p.i].text)
		if !ok || p.lines[p.i].indent != indent || len(m.keys) < 64 && m.member(key) != nil {
			return nil, false
		}
		if p.nodes++; p.nodes > maxNodes {
			return nil, false
		}
		var n *node
		if rest != "" {
			n, ok = p.scalar(rest, indent)
		} else {
			p.i++
			p.blank()
			switch {
			case p.i < len(p.lines) && p.lines[p.i].indent > indent:
				n, ok = p.value(p.lines[p.i].indent, depth+1)
			case p.i < len(p.lines) && p.lines[p.i].indent == indent && item(p.lines[p.i].text):
				n, ok = p.sequence(indent, depth+1)
			default:
				n, ok = &node{kind: 'z'}, true
			}
		}
		if !ok {
			return nil, false
		}
		m.keys, m.items = append(m.keys, key), append(m.items, n)
	}
}

// scalar reads the value that begins with text on the current line; what is indented deeper than the
// parent goes on with it.
func (p *blocks) scalar(text string, parent int) (*node, bool) {
	var b strings.Builder
	switch {
	case text[0] == '|' || text[0] == '>':
		p.i++
		for p.i < len(p.lines) && (p.lines[p.i].text == "" || p.lines[p.i].indent > parent) {
			b.WriteString(p.lines[p.i].text)
			b.WriteByte('\n')
			p.i++
		}
		return &node{kind: 's', text: b.String()}, true
	case text[0] == '"' || text[0] == '\'':
		return p.quoted(text, text[0])
	}
	b.WriteString(text)
	p.i++
	for p.i < len(p.lines) && (p.lines[p.i].text == "" || p.lines[p.i].indent > parent) {
		b.WriteByte(' ')
		b.WriteString(p.lines[p.i].text)
		p.i++
	}
	t := strings.TrimSpace(b.String())
	if t[0] == '[' || t[0] == '{' {
		if n, ok := reprValue(t); ok {
			return n, true
		}
	}
	if strings.Contains(t, ": ") {
		return nil, false
	}
	return scalar(t), true
}

// quoted reads a scalar in quotes, over as many lines as it takes. An empty line is a line break.
func (p *blocks) quoted(text string, q byte) (*node, bool) {
	var b strings.Builder
	text = text[1:]
	for {
		if end := closing(text, q); end >= 0 {
			if strings.TrimSpace(text[end+1:]) != "" {
				return nil, false
			}
			b.WriteString(text[:end])
			p.i++
			t := b.String()
			if q == '"' {
				t = unescape(t)
			} else {
				t = strings.ReplaceAll(t, "''", "'")
			}
			return &node{kind: 's', text: t}, true
		}
		folded, _ := strings.CutSuffix(text, "\\")
		b.WriteString(folded)
		p.i++
		if p.i == len(p.lines) {
			return nil, false
		}
		if p.lines[p.i].text == "" {
			b.WriteByte('\n')
		} else if folded == text {
			b.WriteByte(' ')
		}
		text = p.lines[p.i].text
	}
}

// closing is the index of the quote that ends a scalar, or -1.
func closing(t string, q byte) int {
	for i := 0; i < len(t); i++ {
		switch {
		case q == '"' && t[i] == '\\':
			i++
		case t[i] == q && q == '\'' && i+1 < len(t) && t[i+1] == q:
			i++
		case t[i] == q:
			return i
		}
	}
	return -1
}
