// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport/sallyport/action"
)

// Strangers may hide a value: encoded, backwards, in two halves, with spaces between its letters. What of that
// is found only adds an origin, so that people see where a value comes from. What is encoded is undone when
// a text is read, a few times over; what any reader undoes letter by letter is tried on the value.

const (
	maxDecoded  = 64 << 10 // bytes that are decoded of one result
	maxDecodes  = 256      // encoded words of one result
	maxLayers   = 3        // of an encoding within another
	leastHidden = 6        // letters of a value that is looked for backwards or in parts
	mostHidden  = 72       // letters of one that is
	maxTraced   = 8        // values of one action that are
)

// hidden indexes what a stranger's text holds in an encoding. It never counts as named.
func (in *intake) hidden(text string) {
	if !in.untrusted {
		return
	}
	left := decoding{bytes: maxDecoded, words: maxDecodes}
	left.each(text, 0, func(plain string) {
		const flag = inText | inDecoded
		if kind, canon := classify(leaf{kind: '"', text: plain}); canon != "" {
			in.add(in.f.key(kind, canon), flag)
		}
		tokens(plain, func(kind, canon string) bool {
			in.add(in.f.key(kind, canon), flag)
			return true
		})
	})
}

// decoding is what may still be decoded.
type decoding struct{ bytes, words int }

// each calls fn with what the words of a text say when they are decoded.
func (d *decoding) each(text string, layer int, fn func(plain string)) {
	if layer >= maxLayers {
		return
	}
	found := func(plain string) {
		if d.bytes -= len(plain); d.bytes >= 0 {
			fn(plain)
			d.each(plain, layer+1, fn)
		}
	}
	if layer == 0 {
		if joined := unspace(text); joined != "" {
			found(joined)
		}
	}
	for field := range strings.FieldsFuncSeq(text, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune("\"'`<>|;,()[]{}", r) }) {
		if len(field) < 8 || len(field) > 8192 || bareWord(field) {
			continue
		}
		if d.words--; d.words < 0 || d.bytes < 0 {
			return
		}
		if plain, ok := decoded(strings.Trim(field, ".:!?*")); ok {
			found(plain)
		}
	}
}

// bareWord reports whether a word is of lower-case letters alone: prose is made of them.
func bareWord(w string) bool {
	for i := range len(w) {
		if c := w[i]; c < 'a' || c > 'z' {
			return false
		}
	}
	return true
}

// decoded undoes one encoding, if what comes out is text.
func decoded(w string) (string, bool) {
	if strings.IndexByte(w, '%') >= 0 {
		if plain, err := url.PathUnescape(w); err == nil && plain != w && legible(plain) {
			return plain, true
		}
	}
	if b, err := hex.DecodeString(w); err == nil && len(b) >= 4 && legible(string(b)) {
		return string(b), true
	}
	bare := strings.TrimRight(w, "=")
	for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		if b, err := e.DecodeString(bare); err == nil && legible(string(b)) {
			return string(b), true
		}
	}
	return "", false
}

func legible(s string) bool {
	if len(s) < 4 || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) && r != '\n' && r != '\t' && r != '\r' {
			return false
		}
	}
	return true
}

// unspace joins runs of at least leastHidden single letters. "" means that there are none.
func unspace(text string) string {
	var out, run strings.Builder
	n := 0
	flush := func() {
		if n >= leastHidden {
			out.WriteString(run.String() + " ")
		}
		run.Reset()
		n = 0
	}
	for field := range strings.FieldsSeq(text) {
		if utf8.RuneCountInString(field) != 1 {
			flush()
			continue
		}
		run.WriteString(field)
		n++
	}
	flush()
	return strings.TrimSpace(out.String())
}

// disguised looks for a value that stands nowhere in the ways in which strangers may have hidden it. "" means
// that it was not found; it says nothing of how trusted the value is otherwise.
func (a *asking) disguised(kind, text string) (m mention, match string) {
	s := a.s
	text = strings.TrimSpace(text)
	if n := len(text); n < leastHidden || n > mostHidden || kind == "flag" || kind == "date" || len(s.index) == 0 || strings.IndexByte(text, ' ') >= 0 && kind == "text" {
		return m, ""
	}
	for _, other := range []string{backwards(text), rotated(text), rotated(backwards(text))} {
		if m, ok := a.stands(other); ok && !strings.EqualFold(other, text) {
			return m, "decoded"
		}
	}
	if kind == "text" || kind == "number" && len(text) < 8 {
		return m, ""
	}
	if m, ok := a.wordsOf(text); ok { // a part of a longer value
		return m, "partial"
	}
	for i := 3; i <= len(text)-3; i++ {
		if !utf8.RuneStart(text[i]) {
			continue
		}
		if m, ok := a.stands(text[:i]); ok {
			if _, ok := a.stands(text[i:]); ok {
				return m, "composed"
			}
		}
	}
	return m, ""
}

// stands reports whether strangers' text holds a token, or its words in a row.
func (a *asking) stands(text string) (mention, bool) {
	if kind, canon := classify(leaf{kind: '"', text: strings.Trim(text, ".:/@")}); canon != "" {
		if m, ok := a.s.index[a.f.key(kind, canon)]; ok && m.flags != inField {
			return m, true
		}
	}
	return a.wordsOf(text)
}

func (a *asking) wordsOf(text string) (m mention, ok bool) {
	last := uint64(0)
	for w := range words(text) {
		h := a.f.word(w)
		at := h
		if last != 0 {
			at = pair(last, h)
		}
		if m, ok = a.s.index[at]; !ok || m.flags == inField {
			return mention{}, false
		}
		last = h
	}
	return m, last != 0
}

func backwards(t string) string {
	r := []rune(t)
	for i, j := 0, len(r)-1; i < j; i, j = i+1, j-1 {
		r[i], r[j] = r[j], r[i]
	}
	return string(r)
}

func rotated(t string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z':
			return 'a' + (c-'a'+13)%26
		case c >= 'A' && c <= 'Z':
			return 'A' + (c-'A'+13)%26
		}
		return c
	}, t)
}

// trace adds the origin of a value that strangers hid. The value's grade stays what it is without it: that
// parts of it stand somewhere proves nothing.
func (a *asking) trace(v *action.Value, l leaf) {
	if a.traced++; a.traced > maxTraced {
		return
	}
	if m, match := a.disguised(v.Kind, l.text); match != "" {
		v.Evidence = append(v.Evidence, action.Evidence{Origin: action.OriginUntrusted, Source: a.s.toolName(m.tool), Match: match})
	}
}
