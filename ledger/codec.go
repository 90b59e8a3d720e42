// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"errors"
	"strconv"

	"github.com/sallyport/sallyport/action"
)

// codec writes (dec false) or reads (dec true) canonical JSON whose members come in a fixed order and
// are left out when they are zero. Reading accepts only what writing produces.
type codec struct {
	buf   []byte // written so far
	in    string // what is read; the strings that were read are slices of it
	at    int    // read position
	dec   bool
	comma bool // the open object has a member already
	err   error
}

func (c *codec) fail(what string) {
	if c.err == nil {
		if c.dec {
			what += " at byte " + strconv.Itoa(c.at)
		}
		c.err = errors.New(what)
	}
}

// expect reads, or writes, exactly s.
func (c *codec) expect(s string) {
	switch {
	case c.err != nil:
	case !c.dec:
		c.buf = append(c.buf, s...)
	case !c.take(s):
		c.fail("expected " + strconv.Quote(s))
	}
}

// take consumes s if it comes next.
func (c *codec) take(s string) bool {
	if len(c.in)-c.at < len(s) || c.in[c.at:c.at+len(s)] != s {
		return false
	}
	c.at += len(s)
	return true
}

func (c *codec) open() {
	c.expect("{")
	c.comma = false
}

// shut closes an object. One that must not be empty, but is, is not canonical.
func (c *codec) shut(empty bool) {
	if empty {
		c.fail("empty object")
	}
	c.expect("}")
	c.comma = true
}

// key begins a member and reports whether it is there. The name comes as it stands in JSON, with its quotes and colon.
func (c *codec) key(name string, zero bool) bool {
	if c.err != nil {
		return false
	}
	if !c.dec {
		if zero {
			return false
		}
		if c.comma {
			c.buf = append(c.buf, ',')
		}
		c.buf = append(c.buf, name...)
		c.comma = true
		return true
	}
	at := c.at
	if c.comma {
		if at >= len(c.in) || c.in[at] != ',' {
			return false
		}
		at++
	}
	// Most members of a leaf are not there: the quote behind the name tells that soonest.
	end := at + len(name)
	if end > len(c.in) || c.in[end-2] != '"' || c.in[at:end] != name {
		return false
	}
	c.at = end
	c.comma = true
	return true
}

// plain reports whether b may stand in a leaf's string.
func plain(b byte) bool { return b >= 0x20 && b < 0x7f && b != '"' && b != '\\' }

// plainLength returns how many bytes at the beginning of s may stand in a leaf's string. It looks at eight at
// a time: of the words below, those whose high bits are zero tell exactly whether one of their bytes is below
// a bound or equal to a value.
func plainLength(s string) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; n+8 <= len(s); n += 8 {
		w := s[n : n+8]
		x := uint64(w[0]) | uint64(w[1])<<8 | uint64(w[2])<<16 | uint64(w[3])<<24 |
			uint64(w[4])<<32 | uint64(w[5])<<40 | uint64(w[6])<<48 | uint64(w[7])<<56
		if (x|(x-' '*ones)|((x^'"'*ones)-ones)|((x^'\\'*ones)-ones)|((x^0x7f*ones)-ones))&highs != 0 {
			break
		}
	}
	for n < len(s) && plain(s[n]) {
		n++
	}
	return n
}

func (c *codec) str(s string) string {
	if c.err != nil {
		return ""
	}
	if !c.dec {
		if n := plainLength(s); n < len(s) {
			c.fail("a string holds byte " + strconv.Itoa(int(s[n])))
			return s
		}
		c.buf = append(c.buf, '"')
		c.buf = append(c.buf, s...)
		c.buf = append(c.buf, '"')
		return s
	}
	c.expect(`"`)
	if c.err != nil {
		return ""
	}
	from := c.at
	c.at += plainLength(c.in[from:])
	s = c.in[from:c.at]
	c.expect(`"`)
	return s
}

func text[T ~string](c *codec, name string, p *T) {
	if !c.key(name, *p == "") {
		return
	}
	*p = T(c.str(string(*p)))
	if c.dec && *p == "" {
		c.fail("empty string")
	}
}

func number(c *codec, name string, p *int64) {
	if !c.key(name, *p == 0) {
		return
	}
	if !c.dec {
		if *p > action.MaxNumber || *p < -action.MaxNumber {
			c.fail(name + " number is beyond 2^53-1")
		}
		c.buf = strconv.AppendInt(c.buf, *p, 10)
		return
	}
	from := c.at
	for c.at < len(c.in) && (c.in[c.at] == '-' || c.in[c.at] >= '0' && c.in[c.at] <= '9') && c.at-from < 18 {
		c.at++
	}
	s := c.in[from:c.at]
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n == 0 || n > action.MaxNumber || n < -action.MaxNumber || strconv.FormatInt(n, 10) != s {
		c.fail("number is not canonical")
	}
	*p = n
}

func boolean(c *codec, name string, p *bool) {
	if c.key(name, !*p) {
		c.expect("true")
		*p = c.err == nil
	}
}

// elements visits the elements of a list that is not empty.
func elements[T any](c *codec, name string, p *[]T, each func(*T)) {
	if !c.key(name, len(*p) == 0) {
		return
	}
	c.expect("[")
	if c.dec {
		*p = make([]T, 0, 2) // most have one or two
	}
	for i := 0; c.err == nil; i++ {
		if c.dec {
			*p = append(*p, *new(T))
		}
		each(&(*p)[i])
		if c.dec && c.take("]") || !c.dec && i == len(*p)-1 {
			break
		}
		c.expect(",")
	}
	if !c.dec {
		c.expect("]")
	}
	c.comma = true
}

func texts(c *codec, name string, p *[]string) {
	elements(c, name, p, func(s *string) { *s = c.str(*s) })
}

func list[T comparable](c *codec, name string, p *[]T, each func(*T)) {
	elements(c, name, p, func(v *T) {
		c.open()
		each(v)
		c.shut(*v == *new(T))
	})
}
