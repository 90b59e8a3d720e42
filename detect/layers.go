// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDepth bounds how often what was decoded is decoded again.
const maxDepth = 3

// view is a text as a reader would see it after one layer is taken off. at maps a byte of text to the
// byte of the text below; nil means that nothing moved.
type view struct {
	text   string
	at     []int32
	layer  string
	hidden int // characters that show nothing but carry text
}

// span maps a span of v back to the text below, whose length is n.
func (v *view) span(start, end, n int) (int, int) {
	if v.at == nil {
		return start, end
	}
	s, e := n, n
	if start < len(v.at) {
		s = int(v.at[start])
	}
	if end < len(v.at) {
		e = int(v.at[end])
	}
	return s, max(s, e)
}

// fold takes off what hides text from a reader or a pattern: zero-width and direction marks, the tag
// block, variation selectors, full-width and mathematical letters, and letters of other scripts that look
// like Latin ones. It returns nil if there is nothing of the kind.
func fold(text string) *view {
	i := 0
	for i < len(text) && text[i] < utf8.RuneSelf {
		i++
	}
	if i == len(text) {
		return nil
	}
	changed := false
	for _, r := range text[i:] {
		if r >= utf8.RuneSelf {
			if _, _, is := plain(r); is {
				changed = true
				break
			}
		}
	}
	if !changed {
		return nil
	}
	v := &view{layer: "folded", at: make([]int32, 0, len(text))}
	var b strings.Builder
	b.Grow(len(text))
	for i, r := range text {
		to, hidden, is := plain(r)
		if hidden {
			if v.hidden == 0 { // what nobody sees begins a text of its own
				b.WriteByte('\n')
				v.at = append(v.at, int32(i))
			}
			v.hidden++
		}
		if !is {
			to = r
		}
		if to != 0 {
			n := b.Len()
			b.WriteRune(to)
			for range b.Len() - n {
				v.at = append(v.at, int32(i))
			}
		}
	}
	v.text = b.String()
	return v
}

// lookalikes are Cyrillic and Greek letters and what they look like.
var lookalikes = func() map[rune]rune {
	m := map[rune]rune{}
	from := []rune("аеорсухіјѕԁһӏАВЕКМНОРСТХІЈЅαοενρτυικχΑΒΕΖΗΙΚΜΝΟΡΤΥΧ")
	to := []rune("aeopcyxijsdhlABEKMHOPCTXIJSaoevptuikxABEZHIKMNOPTYX")
	for i := range from {
		m[from[i]] = to[i]
	}
	return m
}()

// plain returns what r stands for, 0 if it shows nothing; hidden tells text that nobody sees. is is false
// for a character that stands for itself.
func plain(r rune) (to rune, hidden, is bool) {
	switch {
	case r >= 0xE0020 && r <= 0xE007E:
		return r - 0xE0000, true, true
	case r >= 0xE0100 && r <= 0xE01EF:
		return 0, true, true
	case r >= 0xE0000 && r <= 0xE007F, r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069:
		return 0, true, true
	case r >= 0x200B && r <= 0x200F, r == 0x2060, r >= 0x2061 && r <= 0x2064, r == 0xFEFF, r == 0x00AD, r == 0x180E, r == 0x034F,
		r >= 0xFE00 && r <= 0xFE0F:
		return 0, false, true
	case r >= 0xFF01 && r <= 0xFF5E:
		return r - 0xFF01 + '!', false, true
	case r == 0x3000, r == 0x00A0, r >= 0x2000 && r <= 0x200A, r == 0x202F:
		return ' ', false, true
	case r >= 0x1D400 && r <= 0x1D6A3:
		n := (r - 0x1D400) % 52
		if n < 26 {
			return 'A' + n, false, true
		}
		return 'a' + n - 26, false, true
	}
	if to, ok := lookalikes[r]; ok {
		return to, false, true
	}
	return r, false, false
}

// unescape undoes percent, \uXXXX and numeric HTML escapes, or returns nil if there are fewer than three.
func unescape(text string) *view {
	n := strings.Count(text, "%") + strings.Count(text, "\\u") + strings.Count(text, "&#")
	if n < 3 {
		return nil
	}
	v := &view{layer: "escaped", at: make([]int32, 0, len(text))}
	b := make([]byte, 0, len(text))
	found := 0
	for i := 0; i < len(text); {
		r, size := escape(text[i:])
		start := len(b)
		switch {
		case size == 0:
			b = append(b, text[i])
			size = 1
		case r < 0: // a byte of a percent escape
			b = append(b, byte(-r-1))
			found++
		default:
			b = utf8.AppendRune(b, r)
			found++
		}
		for range len(b) - start {
			v.at = append(v.at, int32(i))
		}
		i += size
	}
	if found < 3 || !utf8.Valid(b) {
		return nil
	}
	v.text = string(b)
	return v
}

// escape reads one escape at the head of s: its character, or -1-byte for a percent escape, and its length.
func escape(s string) (rune, int) {
	switch {
	case s[0] == '%' && len(s) > 2:
		if n, ok := number(s[1:3], 16); ok {
			return -1 - n, 3
		}
	case s[0] == '\\' && len(s) > 5 && s[1] == 'u':
		if n, ok := number(s[2:6], 16); ok && utf8.ValidRune(n) {
			return n, 6
		}
	case s[0] == '&' && len(s) > 3 && s[1] == '#':
		end := strings.IndexByte(s[:min(len(s), 12)], ';')
		if end < 3 {
			return 0, 0
		}
		body, radix := s[2:end], rune(10)
		if body[0] == 'x' || body[0] == 'X' {
			body, radix = body[1:], 16
		}
		if n, ok := number(body, radix); ok && utf8.ValidRune(n) {
			return n, end + 1
		}
	}
	return 0, 0
}

func number(s string, radix rune) (rune, bool) {
	if s == "" || len(s) > 6 {
		return 0, false
	}
	var n rune
	for i := range len(s) {
		c := rune(lower(s[i]))
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return 0, false
		}
		if c >= radix {
			return 0, false
		}
		n = n*radix + c
	}
	return n, true
}

// The bounds of encoded runs: shorter ones hold nothing, longer ones that cannot be read are opaque.
const (
	minEncoded = 20
	minOpaque  = 256
)

// decode reads a run of base64 or hexadecimal characters. ok is true if it holds text; opaque if it is long
// and holds other bytes too.
func decode(run string) (text, layer string, ok, opaque bool) {
	run = strings.TrimRight(run, "=")
	if len(run) < minEncoded {
		return "", "", false, false
	}
	m := mixOf(run)
	if m.letters() == 0 || m.digit == 0 && (m.upper == 0 || m.lower == 0) {
		return "", "", false, false
	}
	if b, err := hex.DecodeString(run); err == nil {
		if readable(b) {
			return string(b), "hex", true, false
		}
		text, ok = printable(b)
		return text, "hex", ok, len(run) >= 2*minOpaque
	}
	enc := base64.RawStdEncoding
	if strings.ContainsAny(run, "-_") {
		enc = base64.RawURLEncoding
	}
	b, err := enc.DecodeString(run)
	opaque = len(run) >= minOpaque && entropy(run) > 4.5
	if err != nil {
		return "", "", false, opaque
	}
	if readable(b) {
		return string(b), "base64", true, false
	}
	text, ok = printable(b)
	return text, "base64", ok, opaque
}

// minPrintable is the shortest run of text that is looked for among other bytes.
const minPrintable = 16

// printable returns the runs of text in b, one a line, or false if there are none.
func printable(b []byte) (string, bool) {
	var out []byte
	start := 0
	for i := 0; i <= len(b); i++ {
		if i < len(b) && b[i] >= ' ' && b[i] < 0x7F {
			continue
		}
		if i-start >= minPrintable {
			out = append(append(out, b[start:i]...), '\n')
		}
		start = i + 1
	}
	return string(out), out != nil
}

// readable reports whether b is text that somebody could have written.
func readable(b []byte) bool {
	if !utf8.Valid(b) {
		return false
	}
	good, all := 0, 0
	for _, r := range string(b) {
		all++
		if r >= ' ' && r < 0x7F || r == '\n' || r == '\t' || r == '\r' || r > 0x7F && unicode.IsLetter(r) {
			good++
		}
	}
	return all > 0 && good*20 >= all*19
}
