// SPDX-License-Identifier: Apache-2.0

package detect

// matcher finds many literals in one pass, ASCII case ignored (Aho and Corasick, CACM 18(6), 1975). It is
// built once and read-only after that.
type matcher struct {
	class  [256]uint8 // byte to column; 0 is every byte that no literal holds
	width  int
	next   []uint16   // state x class
	ends   [][]uint16 // by state: literals that end there
	length []int      // by literal
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func newMatcher(literals []string) *matcher {
	m := &matcher{width: 1}
	for _, l := range literals {
		m.length = append(m.length, len(l))
		for i := range len(l) {
			c := lower(l[i])
			if m.class[c] == 0 {
				m.class[c] = uint8(m.width)
				m.width++
			}
		}
	}
	for c := byte('A'); c <= 'Z'; c++ {
		m.class[c] = m.class[lower(c)]
	}
	state := func() uint16 {
		m.next = append(m.next, make([]uint16, m.width)...)
		m.ends = append(m.ends, nil)
		return uint16(len(m.ends) - 1)
	}
	state()
	for id, l := range literals {
		at := uint16(0)
		for i := range len(l) {
			cell := int(at)*m.width + int(m.class[l[i]])
			if m.next[cell] == 0 {
				n := state()
				m.next[cell] = n
			}
			at = m.next[cell]
		}
		m.ends[at] = append(m.ends[at], uint16(id))
	}
	m.link()
	return m
}

// link turns the trie into an automaton, breadth first.
func (m *matcher) link() {
	fail := make([]uint16, len(m.ends))
	var queue []uint16
	for c := range m.width {
		if s := m.next[c]; s != 0 {
			queue = append(queue, s)
		}
	}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		for c := range m.width {
			cell := int(s)*m.width + c
			f := m.next[int(fail[s])*m.width+c]
			if n := m.next[cell]; n == 0 {
				m.next[cell] = f
			} else {
				fail[n] = f
				m.ends[n] = append(m.ends[n], m.ends[f]...)
				queue = append(queue, n)
			}
		}
	}
}

// each calls fn with every literal that ends at text[:end].
func (m *matcher) each(text string, fn func(literal uint16, end int)) {
	at := 0
	for i := 0; i < len(text); i++ {
		at = int(m.next[at*m.width+int(m.class[text[i]])])
		if ends := m.ends[at]; ends != nil {
			for _, l := range ends {
				fn(l, i+1)
			}
		}
	}
}
