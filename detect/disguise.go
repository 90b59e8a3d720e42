// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"strings"
	"unicode/utf8"

	"github.com/sallyport/sallyport/detect/learn"
)

// guise is what one pass over the words of a text tells of how it might be disguised.
type guise struct {
	words, known      int
	rotated, reversed int
	both              int
	mixed             int // words of letters and digits, or with signs that stand for letters
	single, pairs     int // longest run of words of one letter, and of two
}

// look passes over the words of t, and has r read them as m weighs them (nil: nobody), but for those that
// are cited: they are spoken about, not spoken.
func look(t string, m *learn.Model, r *learn.Reader, cited [][2]int) (g guise) {
	lastRotated, lastReversed, lastBoth, single, pairs, spelt, even := uint32(0), uint32(0), uint32(0), 0, 0, 0, 0
	for i := 0; i < len(t); {
		if folded[t[i]] == 0 {
			i++
			continue
		}
		start, h, stem := i, learn.Seed, learn.Seed
		digit, letter := false, false
		for ; i < len(t); i++ {
			f := folded[t[i]]
			if f == 0 {
				break
			}
			if h = learn.Step(h, f); i-start == 4 {
				stem = h
			}
			if f == '0' {
				digit = true
			} else {
				letter = true
			}
		}
		g.words++
		n := i - start
		switch {
		case n == 1:
			single++
			even = 0
		case n == 2 && t[start] < 0x80:
			pairs++
			even++
			single = 0
		default:
			single, pairs, spelt, even = 0, 0, 0, 0
		}
		if letter && n <= 2 {
			spelt++
		}
		if spelt >= 2 || max(single, even) >= 48 { // a row of numbers is no text whose letters stand apart
			g.single, g.pairs = max(g.single, single), max(g.pairs, pairs)
		}
		if digit && letter || joins(t, i) {
			g.mixed++
		} else if k := lookup(h); k != 0 {
			switch {
			case k&isKnown != 0:
				g.known++
			case k&isRotated != 0 && h != lastRotated:
				g.rotated, lastRotated = g.rotated+1, h
			case k&isReversed != 0 && h != lastReversed:
				g.reversed, lastReversed = g.reversed+1, h
			case k&isBoth != 0 && h != lastBoth:
				g.both, lastBoth = g.both+1, h
			}
		}
		for len(cited) > 0 && cited[0][1] <= start {
			cited = cited[1:]
		}
		if m != nil && (len(cited) == 0 || start < cited[0][0]) {
			m.Word(r, t, start, i, h, stem)
		}
	}
	if m != nil {
		r.End(len(t))
	}
	return g
}

// joins reports whether the sign at t[i:] stands within a word.
func joins(t string, i int) bool {
	return i+1 < len(t) && (t[i] == '@' || t[i] == '$' || t[i] == '!') && isLetter(t[i+1])
}

// turned is a text that was disguised, as it reads. back maps a span of it to the text below.
type turned struct {
	text  string
	layer string
	back  func(start, end int) (int, int)
	prose bool // letters were guessed: look for instructions only
}

func whole(start, end int) (int, int) { return start, end }

// enough reports whether n words that are known turned around give reason to turn the text: some happen to
// be.
func enough(n int, g guise) bool {
	return n >= 2 && n*8 >= g.words-g.known || n >= 6 && n*20 >= g.words-g.known
}

// disguised returns the readings of t that its words give reason to try.
func disguised(t string, g guise) (out []turned) {
	if enough(g.rotated, g) {
		out = append(out, turned{rotate(t), "rot13", whole, false})
	}
	if enough(g.reversed, g) {
		out = append(out, turned{backwards(t), "reversed", func(s, e int) (int, int) { return len(t) - e, len(t) - s }, false})
		out = append(out, turned{eachBackwards(t), "reversed", whole, false})
	}
	if g.both >= 3 && enough(g.both, g) && len(t) <= maxTurned {
		out = append(out, turned{backwards(rotate(t)), "reversed+rot13", func(s, e int) (int, int) { return len(t) - e, len(t) - s }, false})
	}
	if g.single >= 8 || g.pairs >= 8 {
		for _, gaps := range [2]bool{true, false} {
			if v := unspace(t, g.pairs >= 8, gaps); v != nil && (len(out) == 0 || v.text != out[len(out)-1].text) {
				out = append(out, turned{v.text, "spaced", func(s, e int) (int, int) { return v.span(s, e, len(t)) }, false})
			}
		}
	}
	var signs leets
	if g.mixed >= 2 {
		signs = readSigns(t)
	}
	out = append(out, twice(t, g, &signs)...)
	if signs.plain >= 2 {
		if text, ok := unleet(t); ok {
			out = append(out, turned{text, "leet", whole, true})
		}
	}
	return out
}

// twice returns the readings of t that are turned around and disguised in another way below that, so that
// no word of t shows it as it stands: escapes, and signs for letters.
func twice(t string, g guise, signs *leets) (out []turned) {
	if g.known*4 >= g.words || len(t) > maxTurned {
		return nil
	}
	rotated, reversed := turnedEscapes(t)
	if max(rotated, reversed) < 4 && max(signs.rotated, signs.reversed, signs.both) < 2 {
		return nil
	}
	back := func(s, e int) (int, int) { return len(t) - e, len(t) - s }
	for _, c := range [3]struct {
		turn           func() string
		escapes, signs int
		turned
	}{
		{func() string { return rotate(t) }, rotated, signs.rotated, turned{layer: "rot13", back: whole}},
		{func() string { return backwards(t) }, reversed, signs.reversed, turned{layer: "reversed", back: back}},
		{func() string { return backwards(rotate(t)) }, reversed, signs.both, turned{layer: "reversed+rot13", back: back}},
	} {
		if c.escapes < 4 && c.signs < 2 {
			continue
		}
		c.text = c.turn()
		if c.escapes >= 4 {
			if v := unescape(c.text); v != nil && look(v.text, nil, nil, nil).known >= 3 {
				out = append(out, c.turned)
				continue
			}
		}
		if c.signs >= 2 {
			c.prose = true
			out = append(out, c.turned)
		}
	}
	return out
}

// turnedEscapes counts what would be an escape if the letters of t were rotated, and if t were read backwards, its letters
// rotated or not.
func turnedEscapes(t string) (rotated, reversed int) {
	at := func(i int) byte {
		if i < 0 || i >= len(t) {
			return 0
		}
		return t[i]
	}
	digit := func(c byte) bool { return isHex(c) || lower(c) >= 'n' && lower(c) <= 's' }
	for i := 0; i < len(t); i++ {
		switch t[i] {
		case '%':
			if digit(at(i+1)) && digit(at(i+2)) {
				rotated++
			}
			if digit(at(i-1)) && digit(at(i-2)) {
				reversed++
			}
		case '\\':
			if c := lower(at(i + 1)); c == 'k' || c == 'h' {
				rotated++
			}
			if c := lower(at(i - 1)); c == 'x' || c == 'u' || c == 'k' || c == 'h' {
				reversed++
			}
		case '&':
			if at(i+1) == '#' {
				rotated++
			}
			if at(i-1) == '#' {
				reversed++
			}
		}
	}
	return rotated, reversed
}

// leets counts words that become known if signs in them are read as letters, and the letters as they stand, rotated,
// backwards, or both.
type leets struct{ plain, rotated, reversed, both int }

// readSigns passes over t once and changes nothing.
func readSigns(t string) (n leets) {
	for i := 0; i < len(t); {
		if byteKinds[t[i]]&(byteLetter|byteLeet) == 0 {
			i++
			continue
		}
		start, signs := i, 0
		for ; i < len(t); i++ {
			if k := byteKinds[t[i]]; k&byteLetter == 0 {
				if k&byteLeet == 0 {
					break
				}
				signs++
			}
		}
		end := i
		for end > start+1 && t[end-1] == '!' {
			end, signs = end-1, signs-1
		}
		if size := end - start; signs == 0 || size < 3 || size > 24 || signs == size && size == 3 {
			continue
		}
		for _, one := range [2]byte{'i', 'l'} {
			if n.count(t[start:end], one) || strings.IndexByte(t[start:end], '1') < 0 {
				break
			}
		}
	}
	return n
}

// count reads one word; one is what a one stands for.
func (n *leets) count(w string, one byte) bool {
	as, rot, back, both := learn.Seed, learn.Seed, learn.Seed, learn.Seed
	for i := range len(w) {
		as, rot = learn.Step(as, unsign(w[i], one, false)), learn.Step(rot, unsign(w[i], one, true))
		c := w[len(w)-1-i]
		back, both = learn.Step(back, unsign(c, one, false)), learn.Step(both, unsign(c, one, true))
	}
	found := false
	for _, x := range [4]struct {
		hash uint32
		n    *int
	}{{as, &n.plain}, {rot, &n.rotated}, {back, &n.reversed}, {both, &n.both}} {
		if k := lookup(x.hash); k&isKnown != 0 || x.n == &n.plain && k != 0 {
			*x.n++
			found = true
		}
	}
	return found
}

// unsign is the letter that c stands for, in lower case.
func unsign(c, one byte, rotated bool) byte {
	switch {
	case c == '1':
		return one
	case !isLetter(c):
		return leet[c]
	}
	if c = lower(c); rotated {
		return 'a' + (c-'a'+13)%26
	}
	return c
}

// eachBackwards turns each word around and leaves it in its place.
func eachBackwards(t string) string {
	var b strings.Builder
	b.Grow(len(t))
	for i := 0; i < len(t); {
		j := i
		for j < len(t) && folded[t[j]] != 0 {
			j++
		}
		b.WriteString(backwards(t[i:j]))
		for i = j; i < len(t) && folded[t[i]] == 0; i++ {
			b.WriteByte(t[i])
		}
	}
	return b.String()
}

// leet is what a sign stands for. A one may be an i or an l.
var leet = [256]byte{'0': 'o', '1': 'i', '2': 'z', '3': 'e', '4': 'a', '5': 's', '6': 'g', '7': 't', '8': 'b', '9': 'g', '@': 'a', '$': 's', '!': 'i', '|': 'l', '+': 't'}

// unleet returns t with signs read as letters, byte for byte, if that makes words of it.
func unleet(t string) (string, bool) {
	b := []byte(t)
	made := 0
	for i := 0; i < len(b); {
		j, signs, letters := i, 0, 0
		for ; j < len(b) && (isLetter(b[j]) || leet[b[j]] != 0); j++ {
			if isLetter(b[j]) {
				letters++
			} else {
				signs++
			}
		}
		if j == i {
			i++
			continue
		}
		word := b[i:j]
		end := len(word)
		for end > 1 && word[end-1] == '!' { // an exclamation mark
			end, signs = end-1, signs-1
		}
		if word = word[:end]; signs > 0 && len(word) <= 24 {
			made += read1337(word, letters)
		}
		i = j
	}
	return string(b), made >= 2
}

// read1337 rewrites word if it has letters or becomes a known word, and returns 1 if it became one.
func read1337(word []byte, letters int) int {
	var try [2][24]byte
	for k, one := range [2]byte{'i', 'l'} {
		for i, c := range word {
			switch {
			case isLetter(c):
				try[k][i] = lower(c)
			case c == '1':
				try[k][i] = one
			default:
				try[k][i] = leet[c]
			}
		}
	}
	for k := range try {
		w := string(try[k][:len(word)])
		if is := lookup(learn.Hash(w)); len(w) > 1 && is&isKnown != 0 || len(w) > 2 && is != 0 {
			copy(word, w)
			if len(w) > 3 || len(w) == 3 && letters > 0 { // 15 is not "is"
				return 1
			}
			return 0
		}
	}
	if letters > 0 {
		copy(word, try[0][:len(word)])
	}
	return 0
}

// unspace joins characters (pairs: and pairs of them) that stand apart by one sign. With gaps, a wider gap
// ends a word; without, and where no gap is wider, words are told by the lexicon. What it returns holds only
// what was joined, with its places; nil if that is nothing.
func unspace(t string, pairs, gaps bool) *view {
	v := &view{layer: "spaced"}
	var b []byte
	put := func(s string, at int) {
		for range len(s) {
			v.at = append(v.at, int32(at))
		}
		b = append(b, s...)
	}
	unit := func(i int) int { // length of the unit at i, or 0
		if i >= len(t) || isGap(t[i]) {
			return 0
		}
		_, n := utf8.DecodeRuneInString(t[i:])
		if pairs && isAlnum(t[i]) && i+1 < len(t) && isAlnum(t[i+1]) {
			n = 2
		}
		if i+n == len(t) || isGap(t[i+n]) {
			return n
		}
		return 0
	}
	for i := 0; i < len(t); {
		n, count, j := unit(i), 0, i
		for k := unit(j); k > 0 && (i == 0 || folded[t[i-1]] == 0); k = unit(j) {
			count++
			if j += k; j < len(t) {
				j++
			}
			for j < len(t) && isGap(t[j]) && j-i < 1<<20 && unit(j) == 0 && unitAfter(t, j, unit) {
				j++
			}
		}
		if n == 0 || count < 6 {
			_, size := utf8.DecodeRuneInString(t[i:])
			i += size
			continue
		}
		if len(b) > 0 {
			put("\n", i)
		}
		i = joined(t, i, j, gaps, unit, put)
	}
	if len(b) < 6 {
		return nil
	}
	v.text = string(b)
	return v
}

// unitAfter reports whether a unit follows the gap at j within four signs.
func unitAfter(t string, j int, unit func(int) int) bool {
	for k := j; k < min(len(t), j+4); k++ {
		if unit(k) > 0 {
			return true
		}
		if !isGap(t[k]) {
			return false
		}
	}
	return false
}

// joined writes the units of t[i:end] and returns where it stopped.
func joined(t string, i, end int, gaps bool, unit func(int) int, put func(string, int)) int {
	var run []byte
	var at []int
	wide := false
	for i < end {
		n := unit(i)
		if n == 0 { // a wider gap
			if wide = gaps; gaps {
				run, at = append(run, ' '), append(at, i)
			}
			for i < end && unit(i) == 0 {
				i++
			}
			continue
		}
		for x := range n {
			run, at = append(run, t[i+x]), append(at, i+x)
		}
		if i += n; i < end {
			i++
		}
	}
	if !wide && len(run) <= maxTurned {
		back := backwards(string(run))
		for _, s := range [4]string{string(run), rotate(string(run)), back, rotate(back)} {
			if segmented([]byte(s), nil) {
				segmented([]byte(s), func(from, to int) { put(" "+s[from:to], at[from]) })
				return i
			}
		}
	}
	for k := range run {
		put(string(run[k:k+1]), at[k])
	}
	return i
}

// segmented tells fn the words that run is made of, and reports whether they are most of it.
func segmented(run []byte, fn func(from, to int)) bool {
	known, stray := 0, 0
	for k := 0; k < len(run); {
		n := longest(run[k:])
		end := k + n
		if n > 1 {
			known += n
		} else { // what is no word stays together
			for end < len(run) && longest(run[end:]) <= 2 {
				end++
			}
			stray += end - k
		}
		if fn != nil {
			fn(k, end)
		}
		k = end
	}
	return known >= 10 && known > 2*stray
}

// longest returns the length of the longest known word at the head of s, at least 1.
func longest(s []byte) int {
	h, best := learn.Seed, 1
	for n := range min(14, len(s)) {
		f := folded[s[n]]
		if f == 0 {
			break
		}
		if h = learn.Step(h, f); n > 0 && lookup(h)&isKnown != 0 {
			best = n + 1
		}
	}
	return best
}
