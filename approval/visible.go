// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of what a person is shown.
const (
	maxLeafBytes  = 16 << 10  // of one rendered string; the middle of a longer one is left out
	maxShownBytes = 128 << 10 // of all rendered arguments; larger ones are refused
	maxMarks      = 3         // combining marks in a row
)

// errUnshowable refuses arguments that nobody could look through.
var errUnshowable = errors.New("the arguments are too large to be shown to a person")

// Visible returns s with every character that a reader would not see, or that would move others, in the
// form ⟨U+202E⟩: controls, bidi marks, tags, fillers, variation selectors, unassigned and private
// characters, white space other than the plain blank, long runs of combining marks, and the bracket ⟨
// itself, so that two different strings never look alike through it. Bytes that are no UTF-8 are shown
// as ⟨x9F⟩.
func Visible(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	marks := 0
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, "⟨x%02X⟩", s[i])
			i, marks = i+1, 0
			continue
		}
		if unicode.Is(unicode.M, r) {
			marks++
		} else {
			marks = 0
		}
		if r == '⟨' || hidden(r) || marks > maxMarks {
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		} else {
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// hidden reports whether a reader would not see r as what it is.
func hidden(r rune) bool {
	switch r {
	case '\u2800', '\u115f', '\u1160', '\u3164', '\uffa0', '\U0001d159', '\ufffc', '\ufffd':
		return true
	}
	return !unicode.IsPrint(r) || unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) ||
		unicode.Is(unicode.Variation_Selector, r)
}

// clip leaves out the middle of a rendered string that is longer than limit, and says how much.
func clip(visible, raw string, limit int) (string, bool) {
	if len(visible) <= limit {
		return visible, false
	}
	head, tail := limit*3/4, len(visible)-limit/4
	for head > 0 && !utf8.RuneStart(visible[head]) {
		head--
	}
	for tail < len(visible) && !utf8.RuneStart(visible[tail]) {
		tail++
	}
	sum := sha256.Sum256([]byte(raw))
	return fmt.Sprintf("%s⟨… cut: %d bytes in all, sha256 %s …⟩%s", visible[:head], len(raw),
		hex.EncodeToString(sum[:8]), visible[tail:]), true
}

// Pretty renders a JSON text for people: one member a line, numbers as they were sent, strings through
// Visible, in the order of the text. complete is false if the middle of a string had to be left out. It
// returns an error if data is no JSON or the whole is larger than a person can be shown.
func Pretty(data []byte) (text string, complete bool, err error) {
	p := printer{dec: jsontext.NewDecoder(bytes.NewReader(data)), complete: true}
	if err := p.value(0); err != nil {
		return "", false, err
	}
	if _, err := p.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return "", false, errors.New("approval: data after the arguments")
	}
	return p.out.String(), p.complete, nil
}

type printer struct {
	dec      *jsontext.Decoder
	out      strings.Builder
	complete bool
}

func (p *printer) value(depth int) error {
	if p.out.Len() > maxShownBytes {
		return errUnshowable
	}
	tok, err := p.dec.ReadToken()
	if err != nil {
		return errors.New("approval: the arguments are not JSON")
	}
	switch tok.Kind() {
	case '{':
		return p.list(depth, '{', '}')
	case '[':
		return p.list(depth, '[', ']')
	case '"':
		p.text(tok.String())
	default:
		p.out.WriteString(tok.String())
	}
	return nil
}

func (p *printer) list(depth int, open, end byte) error {
	p.out.WriteByte(open)
	n := 0
	for ; p.dec.PeekKind() != jsontext.Kind(end); n++ {
		if n > 0 {
			p.out.WriteByte(',')
		}
		p.line(depth + 1)
		if open == '{' {
			tok, err := p.dec.ReadToken()
			if err != nil {
				return errors.New("approval: the arguments are not JSON")
			}
			p.text(tok.String())
			p.out.WriteString(": ")
		}
		if err := p.value(depth + 1); err != nil {
			return err
		}
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return errors.New("approval: the arguments are not JSON")
	}
	if n > 0 {
		p.line(depth)
	}
	p.out.WriteByte(end)
	return nil
}

func (p *printer) line(depth int) {
	p.out.WriteByte('\n')
	for range depth {
		p.out.WriteString("  ")
	}
}

var quoted = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`, "\r", `\r`)

// text writes s in quotes. What is cut is marked outside of any escape, and Visible escapes the bracket,
// so a string cannot pretend to be cut or to end.
func (p *printer) text(s string) {
	v, cut := clip(Visible(quoted.Replace(s)), s, maxLeafBytes)
	p.complete = p.complete && !cut
	p.out.WriteByte('"')
	p.out.WriteString(v)
	p.out.WriteByte('"')
}
