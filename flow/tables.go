// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding/csv"
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

// Tables of Markdown and of comma-separated values, and XML, as programs print records in them. Each reader
// takes a whole text or nothing: a row that does not fit its head makes the text prose.

const (
	maxColumns = 64
	maxRows    = 4096
)

// tableText reads one table of Markdown.
func tableText(t string) (*node, bool) {
	if t[0] != '|' {
		return nil, false
	}
	list := &node{kind: 'l'}
	var head []string
	n := 0
	for line := range strings.Lines(t) {
		line = strings.TrimSpace(line)
		cells, ok := cellsOf(line)
		switch {
		case !ok || n > maxRows:
			return nil, false
		case n == 0:
			head = cells
			if !headOf(head) {
				return nil, false
			}
		case len(cells) != len(head):
			return nil, false
		case n == 1:
			for _, c := range cells {
				if strings.Trim(c, ":-") != "" || !strings.Contains(c, "-") {
					return nil, false
				}
			}
		default:
			list.items = append(list.items, rowOf(head, cells))
		}
		n++
	}
	return named(list), len(list.items) > 0
}

// cellsOf parts a row at the bars that are not escaped.
func cellsOf(line string) (cells []string, ok bool) {
	if len(line) < 2 || line[0] != '|' || line[len(line)-1] != '|' {
		return nil, false
	}
	line = line[1:]
	var b strings.Builder
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && i+1 < len(line) && line[i+1] == '|':
			b.WriteByte('|')
			i++
		case c == '|':
			cells = append(cells, strings.TrimSpace(strings.ReplaceAll(b.String(), "<br>", "\n")))
			b.Reset()
		default:
			b.WriteByte(c)
		}
	}
	return cells, b.Len() == 0 && len(cells) > 0 && len(cells) <= maxColumns
}

// headOf reports whether cells can be the names of columns: short, different, at least two.
func headOf(cells []string) bool {
	if len(cells) < 2 || len(cells) > maxColumns {
		return false
	}
	seen := map[string]bool{}
	for _, c := range cells {
		if c == "" || len(c) > 40 || strings.Count(c, " ") > 3 || strings.ContainsAny(c, "\n<>@/:\"'") || numeric(c) || seen[c] {
			return false
		}
		seen[c] = true
	}
	return true
}

func rowOf(head, cells []string) *node {
	rec := &node{kind: 'm'}
	for i, c := range cells {
		rec.keys = append(rec.keys, head[i])
		rec.items = append(rec.items, cellOf(c))
	}
	return rec
}

// cellOf is a cell's value: a nested document, a list of short values, or one value.
func cellOf(c string) *node {
	if strings.HasPrefix(c, "{") || strings.HasPrefix(c, "[") {
		if n, ok := reprValue(c); ok {
			return n
		}
	}
	if !strings.Contains(c, ", ") || number(strings.ReplaceAll(c, ", ", "")) != "" {
		return scalar(c)
	}
	list := &node{kind: 'l'}
	for part := range strings.SplitSeq(c, ", ") {
		if kind, _ := classify(leaf{kind: '"', text: part}); kind != "email" && kind != "id" && kind != "iban" && kind != "phone" && kind != "url" {
			return scalar(c) // a place, a sentence: one value with commas in it
		}
		list.items = append(list.items, scalar(part))
	}
	return list
}

// named turns the rows of a table of two columns, the first of which says what the second is, into one record.
func named(list *node) *node {
	for _, r := range list.items {
		if len(r.keys) != 2 || r.items[0].kind != 's' || r.keys[1] != "value" {
			return list
		}
	}
	one := &node{kind: 'm'}
	for _, r := range list.items {
		one.keys, one.items = append(one.keys, r.items[0].text), append(one.items, r.items[1])
	}
	return one
}

// csvText reads comma- or tab-separated values with a head, every row as long as it. One column is none.
func csvText(t string) (*node, bool) {
	first, _, more := strings.Cut(t, "\n")
	comma := ','
	if strings.Contains(first, "\t") {
		comma = '\t'
	}
	if !more || !strings.ContainsRune(first, comma) || strings.Contains(first, ", ") {
		return nil, false
	}
	r := csv.NewReader(strings.NewReader(t))
	r.Comma = comma
	list := &node{kind: 'l'}
	var head []string
	for {
		cells, err := r.Read()
		switch {
		case errors.Is(err, io.EOF):
			return named(list), len(list.items) > 0
		case err != nil || len(list.items) > maxRows: // a row of another length is an error
			return nil, false
		case head == nil:
			if head = cells; !headOf(head) {
				return nil, false
			}
		default:
			list.items = append(list.items, rowOf(head, cells))
		}
	}
}

// xmlText reads a document of XML: elements with elements make a map, or a list if all have one name.
func xmlText(t string) (*node, bool) {
	if t[0] != '<' || len(t) < 2 || t[1] != '?' && !(t[1]|0x20 >= 'a' && t[1]|0x20 <= 'z') {
		return nil, false
	}
	x := xmlReader{dec: xml.NewDecoder(strings.NewReader(t))}
	x.dec.Entity = nil
	for {
		tok, err := x.dec.Token()
		if err != nil {
			return nil, false
		}
		switch tok := tok.(type) {
		case xml.Directive: // an entity or a document type: no record of a program
			return nil, false
		case xml.CharData:
			if strings.TrimSpace(string(tok)) != "" {
				return nil, false
			}
		case xml.StartElement:
			n, ok := x.element(tok, 0)
			if !ok || n.kind == 's' {
				return nil, false
			}
			return n, x.ended()
		}
	}
}

type xmlReader struct {
	dec   *xml.Decoder
	nodes int
}

// ended reports whether nothing but space and comments follows.
func (x *xmlReader) ended() bool {
	for {
		tok, err := x.dec.Token()
		if errors.Is(err, io.EOF) {
			return true
		}
		if text, ok := tok.(xml.CharData); err != nil || ok && strings.TrimSpace(string(text)) != "" {
			return false
		}
		switch tok.(type) {
		case xml.StartElement, xml.Directive:
			return false
		}
	}
}

// pageTags are elements of pages: what stands in them was written for people.
var pageTags = set(`html body head div p span table tr td th a ul ol li h1 h2 h3 h4 b i em strong br hr img script style pre blockquote svg`)

func (x *xmlReader) element(at xml.StartElement, depth int) (*node, bool) {
	if x.nodes++; x.nodes > maxNodes || depth > maxNestings || pageTags[strings.ToLower(at.Name.Local)] {
		return nil, false
	}
	m := &node{kind: 'm'}
	for _, a := range at.Attr {
		m.keys, m.items = append(m.keys, a.Name.Local), append(m.items, scalar(a.Value))
	}
	attrs, text := len(m.keys), ""
	for {
		tok, err := x.dec.Token()
		if err != nil {
			return nil, false
		}
		switch tok := tok.(type) {
		case xml.CharData:
			text += string(tok)
		case xml.StartElement:
			n, ok := x.element(tok, depth+1)
			if !ok {
				return nil, false
			}
			name := tok.Name.Local
			if v := n.member("name"); v != nil && name == "entry" && n.keys[0] == "name" { // a key that is no name of XML
				name = v.text
				if n.keys, n.items = n.keys[1:], n.items[1:]; len(n.keys) == 1 && n.keys[0] == "" {
					n = n.items[0]
				}
			}
			m.keys, m.items = append(m.keys, name), append(m.items, n)
		case xml.EndElement:
			return m.closed(attrs, text)
		}
	}
}

// closed is what an element is once its end was read: its text, if it holds nothing else; a list, if all it
// holds has one name and there are several, or that name is an item's.
func (m *node) closed(attrs int, text string) (*node, bool) {
	text = strings.TrimSpace(text)
	switch {
	case len(m.keys) == 0:
		return scalar(text), true
	case len(m.keys) == attrs:
		if text != "" {
			m.keys, m.items = append(m.keys, ""), append(m.items, scalar(text))
		}
		return m, true
	case text != "": // mixed: a document for people
		return nil, false
	}
	for _, k := range m.keys {
		if k != m.keys[0] {
			return m, true
		}
	}
	if attrs == 0 && (len(m.keys) > 1 || m.keys[0] == "item" || m.keys[0] == "entry" || m.keys[0] == "row") {
		m.kind, m.keys = 'l', nil
	}
	return m, true
}
