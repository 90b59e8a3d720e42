// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds how often what was decoded is decoded again.
const maxDepth = 4

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
// like Latin ones. It returns nil if there is nothing of the kind. The view's layer is empty if all of it
// is what typesetting uses: spaces, joiners, selectors of emoji.
func fold(text string) *view {
	if !foldable(text) {
		return nil
	}
	v := &view{at: make([]int32, 0, len(text))}
	var b strings.Builder
	b.Grow(len(text))
	veiled, selectors, thin, flag := 0, 0, 0, 0
	for i, r := range text {
		to, is := r, isItself
		if r >= utf8.RuneSelf {
			to, is = plain(r)
		}
		switch {
		case r == 0x1F3F4: // the flag of a region is spelt in tags
			flag = 7
		case is == isTag && flag > 0:
			flag--
			to = 0
		default:
			flag = 0
		}
		if is == isSelector {
			if selectors++; selectors > 1 { // one picks a form; several in a row are bytes
				to = selected(r)
			}
		} else {
			selectors = 0
		}
		if is == isThin {
			if thin++; thin >= 8 { // as many in a row are no typesetting
				v.hidden++
			}
		} else {
			thin = 0
		}
		if to != 0 && (is == isTag || is == isSelector) {
			if v.hidden == 0 { // what nobody sees begins a text of its own
				b.WriteByte('\n')
				v.at = append(v.at, int32(i))
			}
			v.hidden++
		}
		if is == isLetterlike || is == isMark || is == isThin && within(text, i) {
			veiled++
		}
		if to != 0 {
			n := b.Len()
			b.WriteRune(to)
			for range b.Len() - n {
				v.at = append(v.at, int32(i))
			}
		}
	}
	if v.text = b.String(); v.hidden+veiled >= 3 {
		v.layer = "folded"
	}
	return v
}

// foldable reports whether anything in text does not stand for itself.
func foldable(text string) bool {
	i := 0
	for i < len(text) && text[i] < utf8.RuneSelf {
		i++
	}
	for _, r := range text[i:] {
		if r >= utf8.RuneSelf {
			if _, is := plain(r); is != isItself {
				return true
			}
		}
	}
	return false
}

// within reports whether the character at text[i:] stands between two letters.
func within(text string, i int) bool {
	_, n := utf8.DecodeRuneInString(text[i:])
	return i > 0 && isAlnum(text[i-1]) && i+n < len(text) && (isAlnum(text[i+n]) || text[i+n] >= utf8.RuneSelf)
}

// selected is the byte that a variation selector carries, as text; 0 if it is none that can be read.
func selected(r rune) rune {
	if r >= 0xE0100 {
		r = r - 0xE0100 + 16
	} else {
		r -= 0xFE00
	}
	if r >= ' ' && r < 0x7F || r == '\n' {
		return r
	}
	return 0
}

// lookalikes are letters that look like Latin ones: Cyrillic, Greek, Armenian, Cherokee, small capitals,
// letters of phonetics, script and black-letter ones outside of the mathematical block.
var lookalikes = func() map[rune]rune {
	m := map[rune]rune{}
	for _, p := range [][2]string{
		{"аеорсухіјѕԁһӏԛԝѵгпьтнкмвꙅ", "aeopcyxijsdhlqwvrnbthkmbs"},
		{"АВЕЅІЈКМНОРСТХУԌԚԜҮ", "ABESIJKMHOPCTXYGQWY"},
		{"αοενρτυικχγωηβϲϳ", "aoevptuikxywnbcj"},
		{"ΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹ", "ABEZHIKMNOPTYXC"},
		{"օոսհցյզքւ", "onuhgjqpi"},
		{"ᎪᏴᏟᎠᎬᏀᎻᎥᎫᏦᏞᎷᏢᎡᏚᎢᏙᎳᏃ", "ABCDEGHiJKLMPRSTVWZ"},
		{"ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnoprstuvwyz"},
		{"ɑɡıȷɩʋꞵƅƖ", "agijivbbl"},
		{"ℊℋℐℒℓℕℙℚℛℝℤℬℭℰℱℳℎℯℴⅰⅼⅽⅾⅿ", "gHILlNPQRRZBCEFMheoilcdm"},
		{"ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ", "abcdefghijklmnoprstuvwxyz"},
	} {
		from, to := []rune(p[0]), []rune(p[1])
		for i := range min(len(from), len(to)) {
			m[from[i]] = to[i]
		}
	}
	return m
}()

// What a character is.
const (
	isItself     = iota
	isSpace      // a space of some width
	isThin       // shows nothing
	isMark       // changes the direction of writing
	isSelector   // picks a form of the character before
	isTag        // shows nothing and carries text
	isLetterlike // looks like another letter
)

// plain returns what r stands for, 0 if that is nothing, and what it is.
func plain(r rune) (to rune, is int) {
	switch {
	case r >= 0xE0020 && r <= 0xE007E:
		return r - 0xE0000, isTag
	case r >= 0xE0100 && r <= 0xE01EF, r >= 0xFE00 && r <= 0xFE0F:
		return 0, isSelector
	case r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069:
		return 0, isMark
	case r >= 0x200B && r <= 0x200F, r >= 0x2060 && r <= 0x2065, r >= 0x206A && r <= 0x206F, r == 0xFEFF, r == 0x00AD, r == 0x180E, r == 0x034F,
		r == 0x115F, r == 0x1160, r == 0x3164, r == 0xFFA0, r >= 0xE0000 && r <= 0xE007F:
		return 0, isThin
	case r == 0x3000, r == 0x00A0, r >= 0x2000 && r <= 0x200A, r == 0x202F, r == 0x205F:
		return ' ', isSpace
	case r >= 0xFF01 && r <= 0xFF5E:
		return r - 0xFF01 + '!', isLetterlike
	case r >= 0x1D400 && r <= 0x1D6A3:
		return letter(r - 0x1D400), isLetterlike
	case r >= 0x1D7CE && r <= 0x1D7FF:
		return '0' + (r-0x1D7CE)%10, isLetterlike
	case r >= 0x24B6 && r <= 0x24E9:
		return letter(r - 0x24B6), isLetterlike
	case r >= 0x1F130 && r <= 0x1F149, r >= 0x1F150 && r <= 0x1F169, r >= 0x1F170 && r <= 0x1F189:
		return 'A' + (r-0x1F130)%32, isLetterlike
	}
	if to, ok := lookalikes[r]; ok {
		return to, isLetterlike
	}
	return r, isItself
}

// letter is the nth of an alphabet of capitals and small letters.
func letter(n rune) rune {
	if n %= 52; n < 26 {
		return 'A' + n
	}
	return 'a' + n - 26
}

// unescape undoes percent, \uXXXX, \xXX and numeric HTML escapes, and the plus signs of forms. What it
// returns holds only the words in which something was undone, each with its place; nil if there are none.
func unescape(text string) *view {
	if strings.IndexByte(text, '%') < 0 && strings.IndexByte(text, '\\') < 0 && strings.IndexByte(text, '+') < 0 && strings.IndexByte(text, '&') < 0 {
		return nil
	}
	v := &view{layer: "escaped"}
	var b []byte
	for i := 0; i < len(text); {
		start, signs := i, 0
		for ; i < len(text) && text[i] > ' '; i++ {
			switch text[i] {
			case '%', '\\', '&':
				if _, n := escape(text[i:]); n > 0 {
					signs += 3
				}
			case '+':
				signs++
			}
		}
		if signs >= 3 {
			b = v.undo(text, start, i, b)
		}
		for i < len(text) && text[i] <= ' ' {
			i++
		}
	}
	if len(b) == 0 || !utf8.Valid(b) {
		return nil
	}
	v.text = string(b)
	return v
}

// undo appends text[start:end] without its escapes to b, if it has any.
func (v *view) undo(text string, start, end int, b []byte) []byte {
	before, found := len(b), 0
	if before > 0 { // the words of one line stay together
		sep := byte('\n')
		if last := int(v.at[before-1]); start-last < 16 && strings.IndexByte(text[last:start], '\n') < 0 {
			sep = ' '
		}
		b, v.at = append(b, sep), append(v.at, int32(start))
	}
	for i := start; i < end; {
		r, size := escape(text[i:end])
		n := len(b)
		switch {
		case size == 0 && text[i] == '+' && i > start && spaces(text[i-1]) && (i+1 == end || spaces(text[i+1])):
			b, size = append(b, ' '), 1 // a form's space
			found++
		case size == 0:
			b, size = append(b, text[i]), 1
		case r < 0: // a byte of a percent escape
			b = append(b, byte(-r-1))
			found++
		default:
			b = utf8.AppendRune(b, r)
			found++
		}
		for range len(b) - n {
			v.at = append(v.at, int32(i))
		}
		i += size
	}
	if found == 0 {
		b, v.at = b[:before], v.at[:before]
	}
	return b
}

// spaces reports whether a plus beside c can stand for a space.
func spaces(c byte) bool { return isAlnum(c) || strings.IndexByte("+.,;:!?()<>%&\"'", c) >= 0 }

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
	case s[0] == '\\' && len(s) > 3 && s[1] == 'x':
		if n, ok := number(s[2:4], 16); ok {
			return -1 - n, 4
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

// decode reads a run of base64, base32 or hexadecimal characters, turned around or rotated too. ok is true
// if it holds text; opaque if it is long and holds other bytes too.
func decode(run string) (text, layer string, ok, opaque bool) {
	run = strings.TrimRight(run, "=")
	if len(run) < minEncoded {
		return "", "", false, false
	}
	m := mixOf(run)
	if m.letters() == 0 && len(run) < 2*minEncoded || m.digit == 0 && (m.upper == 0 || m.lower == 0) && m.lower > 0 {
		return "", "", false, false
	}
	first, by := unpack(run)
	opaque = len(run) >= minOpaque && (by == "hex" && len(run) >= 2*minOpaque || by != "hex" && entropy(run) > 4.5)
	if readable(first) {
		return string(first), by, true, false
	}
	if len(run) <= maxTurned {
		b := backwards(run)
		for _, turn := range [3]struct{ run, by string }{{rotate(run), "rot13+"}, {b, "reversed+"}, {rotate(b), "reversed+rot13+"}} {
			if v, by := unpack(turn.run); readable(v) && len(v) > 0 {
				return string(v), turn.by + by, true, false
			}
		}
	}
	text, ok = printable(first)
	return text, by, ok, opaque
}

// maxTurned is the longest run that is also tried turned around: whoever hides instructions needs no more.
const maxTurned = 16 << 10

// unpack decodes run by what its alphabet admits, as far as it can.
func unpack(run string) (b []byte, by string) {
	if strings.ContainsAny(run, "\r\n") {
		run = strings.NewReplacer("\r", "", "\n", "").Replace(run)
	}
	if b, err := hex.DecodeString(run); err == nil {
		return b, "hex"
	}
	if strings.Trim(run, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == "" {
		if b, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(run); err == nil && readable(b) {
			return b, "base32"
		}
	}
	enc := base64.RawStdEncoding
	if strings.ContainsAny(run, "-_") {
		enc = base64.RawURLEncoding
	}
	b, err := enc.DecodeString(run)
	if err != nil {
		return nil, "base64"
	}
	return b, "base64"
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
		if r >= ' ' && r < 0x7F || r == '\n' || r == '\t' || r == '\r' || r > 0x9F && r != utf8.RuneError {
			good++
		}
	}
	return all > 0 && good*20 >= all*19
}
