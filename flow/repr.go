// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// repr reads JSON and what Python prints of values: quotes of both kinds, True, None, tuples, sets, and
// calls such as Email(sender='a', id=1), which are maps. It is a reader of shapes, not a validator: it
// gives up on anything else.
type repr struct {
	s     string
	i     int
	nodes int
}

// reprValue reads s as exactly one value.
func reprValue(s string) (*node, bool) {
	r := repr{s: s}
	n, ok := r.value(0)
	if !ok {
		return nil, false
	}
	r.space()
	return n, r.i == len(r.s)
}

func (r *repr) space() {
	for r.i < len(r.s) {
		switch r.s[r.i] {
		case ' ', '\t', '\n', '\r':
			r.i++
		default:
			return
		}
	}
}

func (r *repr) peek() byte {
	if r.i < len(r.s) {
		return r.s[r.i]
	}
	return 0
}

func (r *repr) value(depth int) (*node, bool) {
	if r.nodes++; r.nodes > maxNodes || depth > maxNestings {
		return nil, false
	}
	r.space()
	switch c := r.peek(); {
	case c == '{':
		return r.braces(depth)
	case c == '[':
		return r.list(']', depth)
	case c == '(':
		return r.list(')', depth)
	case c == '"' || c == '\'':
		t, ok := r.quoted()
		return &node{kind: 's', text: t}, ok
	case c == '-' || c >= '0' && c <= '9':
		return r.number()
	case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_':
		return r.word(depth)
	}
	return nil, false
}

// braces reads a map, or a set.
func (r *repr) braces(depth int) (*node, bool) {
	r.i++
	m := &node{kind: 'm'}
	for {
		r.space()
		if r.peek() == '}' {
			r.i++
			return m, true
		}
		k, ok := r.value(depth + 1)
		if !ok {
			return nil, false
		}
		r.space()
		if r.peek() == ':' && m.kind == 'm' && k.kind != 'm' && k.kind != 'l' {
			r.i++
			v, ok := r.value(depth + 1)
			if !ok {
				return nil, false
			}
			m.keys, m.items = append(m.keys, k.text), append(m.items, v)
		} else if len(m.keys) == 0 {
			m.kind = 'l'
			m.items = append(m.items, k)
		} else {
			return nil, false
		}
		if !r.comma('}') {
			return nil, false
		}
	}
}

// comma takes a comma, or sees the end.
func (r *repr) comma(end byte) bool {
	r.space()
	if r.peek() == ',' {
		r.i++
		return true
	}
	return r.peek() == end
}

func (r *repr) list(end byte, depth int) (*node, bool) {
	r.i++
	l := &node{kind: 'l'}
	for {
		r.space()
		if r.peek() == end {
			r.i++
			return l, true
		}
		v, ok := r.value(depth + 1)
		if !ok {
			return nil, false
		}
		l.items = append(l.items, v)
		if !r.comma(end) {
			return nil, false
		}
	}
}

func (r *repr) number() (*node, bool) {
	start := r.i
	for r.i < len(r.s) && strings.IndexByte("+-.0123456789eE_", r.s[r.i]) >= 0 {
		r.i++
	}
	t := strings.ReplaceAll(r.s[start:r.i], "_", "")
	return &node{kind: '0', text: t}, numeric(t)
}

// word reads a constant, or a call.
func (r *repr) word(depth int) (*node, bool) {
	start := r.i
	for r.i < len(r.s) && (r.s[r.i] == '_' || r.s[r.i] == '.' || r.s[r.i]|0x20 >= 'a' && r.s[r.i]|0x20 <= 'z' || r.s[r.i] >= '0' && r.s[r.i] <= '9') {
		r.i++
	}
	w := r.s[start:r.i]
	if r.peek() != '(' {
		switch w {
		case "True", "true", "False", "false":
			return &node{kind: 'b', text: strings.ToLower(w)}, true
		case "None", "null", "nan", "NaN":
			return &node{kind: 'z'}, true
		}
		return nil, false
	}
	r.i++
	call := &node{kind: 'm'}
	var plain []string
	for {
		r.space()
		if r.peek() == ')' {
			r.i++
			break
		}
		if name := r.keyword(); name != "" {
			v, ok := r.value(depth + 1)
			if !ok {
				return nil, false
			}
			call.keys, call.items = append(call.keys, name), append(call.items, v)
		} else {
			v, ok := r.value(depth + 1)
			if !ok {
				return nil, false
			}
			plain = append(plain, v.text)
		}
		if !r.comma(')') {
			return nil, false
		}
	}
	if len(call.keys) == 0 { // datetime(2024, 5, 19), Decimal('10.00')
		if len(plain) == 1 {
			return scalar(plain[0]), true
		}
		return &node{kind: 's', text: datelike(plain)}, true
	}
	return call, true
}

func datelike(parts []string) string {
	if len(parts) < 3 || len(parts[0]) != 4 {
		return strings.Join(parts, " ")
	}
	pad := func(s string) string {
		if len(s) == 1 {
			return "0" + s
		}
		return s
	}
	out := parts[0] + "-" + pad(parts[1]) + "-" + pad(parts[2])
	if len(parts) >= 5 {
		out += " " + pad(parts[3]) + ":" + pad(parts[4])
	}
	return out
}

// keyword takes "name=" if it stands here.
func (r *repr) keyword() string {
	j := r.i
	for j < len(r.s) && (r.s[j] == '_' || r.s[j]|0x20 >= 'a' && r.s[j]|0x20 <= 'z' || j > r.i && r.s[j] >= '0' && r.s[j] <= '9') {
		j++
	}
	if j == r.i || j >= len(r.s) || r.s[j] != '=' {
		return ""
	}
	name := r.s[r.i:j]
	r.i = j + 1
	return name
}

// quoted reads a string of either quote with the escapes of JSON and Python.
func (r *repr) quoted() (string, bool) {
	q := r.s[r.i]
	r.i++
	start, plain := r.i, true
	for j := r.i; j < len(r.s); j++ {
		if r.s[j] == '\\' {
			plain = false
			j++
		} else if r.s[j] == q {
			raw := r.s[start:j]
			r.i = j + 1
			if plain {
				return raw, true
			}
			return unescape(raw), true
		}
	}
	return "", false
}

func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch c := s[i]; c {
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case 'x', 'u', 'U':
			width := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
			if i+width < len(s)+0 && i+1+width <= len(s) {
				if v, err := strconv.ParseUint(s[i+1:i+1+width], 16, 32); err == nil && utf8.ValidRune(rune(v)) {
					b.WriteRune(rune(v))
					i += width
					continue
				}
			}
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
