// SPDX-License-Identifier: Apache-2.0

package sql

import (
	"strings"
	"unicode/utf8"
)

type kind byte

const (
	word   kind = iota // an unquoted name or keyword; text is in lower case
	quoted             // a quoted name; text is what stands between the quotes
	text               // a literal: string, number, parameter
	op                 // an operator
	punct              // one of ( ) [ ] , ; .
)

type token struct {
	kind kind
	text string
}

func (t token) is(s string) bool {
	return (t.kind == word || t.kind == punct || t.kind == op) && t.text == s
}

const opChars = "+-*/<>=~!@#%^&|?:"

// A lexer splits a text as the server of its dialect does. What two servers, or one server under two
// settings, would split differently is refused: a reading that depends on a setting proves nothing.
type lexer struct {
	d    Dialect
	s    string
	i    int
	out  []token
	why  string // of a refusal
	last int    // end of the last string literal; -1 if another token came since
}

func lex(d Dialect, s string) ([]token, string) {
	switch {
	case len(s) > MaxBytes:
		return nil, "too long"
	case !utf8.ValidString(s), strings.IndexByte(s, 0) >= 0:
		return nil, "not valid text"
	}
	l := lexer{d: d, s: s, last: -1}
	for l.why == "" && l.i < len(l.s) {
		l.next()
		if len(l.out) > maxTokens {
			l.why = "too many words"
		}
	}
	return l.out, l.why
}

func (l *lexer) at(n int) byte {
	if l.i+n < len(l.s) {
		return l.s[l.i+n]
	}
	return 0
}

func (l *lexer) has(p string) bool { return strings.HasPrefix(l.s[l.i:], p) }

func (l *lexer) refuse(why string) {
	if l.why == "" {
		l.why = why
	}
}

func (l *lexer) emit(k kind, s string) {
	l.out = append(l.out, token{k, s})
	l.last = -1
}

func (l *lexer) next() {
	c := l.s[l.i]
	switch {
	case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f':
		l.i++
	case l.has("--"):
		l.lineComment()
	case l.has("/*"):
		l.blockComment()
	case c == '\'':
		l.str()
	case c == '"':
		l.name('"')
	case c == '`' && l.d == MySQL:
		l.name('`')
	case letter(c):
		l.word()
	case digit(c) || c == '.' && digit(l.at(1)):
		l.number()
	case c == '$':
		l.dollar()
	case (c == '[' || c == ']') && l.d != Postgres:
		l.refuse("brackets quote names in some dialects")
	case strings.IndexByte("()[],;.", c) >= 0:
		l.i++
		l.emit(punct, string(c))
	case c == '#' && l.d != Postgres:
		l.refuse("# begins a comment in some dialects")
	case strings.IndexByte(opChars, c) >= 0:
		l.operator()
	default:
		l.refuse("a character that begins nothing: " + string(rune(c)))
	}
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c >= 0x80 }
func digit(c byte) bool  { return c >= '0' && c <= '9' }

func (l *lexer) lineComment() {
	if c := l.at(2); l.d != Postgres && c != ' ' && c != '\t' && c != '\n' && c != 0 {
		l.refuse("-- without a space is no comment in some dialects")
		return
	}
	n := strings.IndexAny(l.s[l.i:], "\r\n")
	if n < 0 {
		n = len(l.s) - l.i
	}
	l.i += n
}

func (l *lexer) blockComment() {
	if l.d != Postgres && (l.at(2) == '!' || l.at(2) == 'M') {
		l.refuse("a comment that some servers execute")
		return
	}
	depth := 1
	for l.i += 2; depth > 0; {
		switch {
		case l.i >= len(l.s):
			l.refuse("a comment without an end")
			return
		case l.has("*/"):
			depth--
			l.i += 2
		case l.has("/*"):
			if l.d != Postgres {
				l.refuse("a comment within a comment")
				return
			}
			depth++
			l.i += 2
		default:
			l.i++
		}
	}
}

// str reads '...'. A backslash before a quote ends the string under one setting and not under another.
// Two strings side by side are one to the server, under the rules of the first.
func (l *lexer) str() {
	if l.last >= 0 {
		l.refuse("a string that goes on after a break")
		return
	}
	end, escaped := l.body(l.i+1, '\'')
	if end < 0 || escaped {
		l.refuse("a string whose end depends on settings, or has none")
		return
	}
	l.emit(text, l.s[l.i+1:end])
	l.i, l.last = end+1, end
}

// body finds the closing quote from i on, where two in a row are one in the text. escaped reports a backslash
// before a quote.
func (l *lexer) body(i int, quote byte) (end int, escaped bool) {
	for ; i < len(l.s); i++ {
		if l.s[i] != quote {
			continue
		}
		escaped = escaped || l.s[i-1] == '\\'
		if i+1 < len(l.s) && l.s[i+1] == quote {
			i++
			continue
		}
		return i, escaped
	}
	return -1, escaped
}

// escapes reads E'...', where a backslash always escapes.
func (l *lexer) escapes() {
	for i := l.i + 2; i < len(l.s); i++ {
		switch {
		case l.s[i] == '\\':
			i++
		case l.s[i] == '\'' && i+1 < len(l.s) && l.s[i+1] == '\'':
			i++
		case l.s[i] == '\'':
			l.emit(text, "")
			l.i, l.last = i+1, i
			return
		}
	}
	l.refuse("a string without an end")
}

func (l *lexer) name(quote byte) {
	end, escaped := l.body(l.i+1, quote)
	if end < 0 || escaped || end == l.i+1 {
		l.refuse("a quoted name without an end")
		return
	}
	s := strings.ReplaceAll(l.s[l.i+1:end], string([]byte{quote, quote}), string(quote))
	l.i = end + 1
	l.emit(quoted, s)
}

func (l *lexer) word() {
	next := l.at(1)
	switch c := l.s[l.i] | 0x20; {
	case c == 'e' && next == '\'':
		if l.d != Postgres {
			l.refuse("an escape string")
			return
		}
		l.escapes()
		return
	case (c == 'b' || c == 'x' || c == 'n') && next == '\'':
		l.i++
		l.str()
		return
	case c == 'u' && next == '&' && (l.at(2) == '\'' || l.at(2) == '"'):
		l.refuse("a name or string in Unicode escapes")
		return
	}
	i := l.i
	for i < len(l.s) && (letter(l.s[i]) || digit(l.s[i]) || l.s[i] == '$') {
		i++
	}
	w := l.s[l.i:i]
	if strings.IndexByte(w, '$') >= 0 && l.d != Postgres {
		l.refuse("a dollar sign within a name")
		return
	}
	if i < len(l.s) && l.s[i] == '\'' && l.d != Postgres {
		l.refuse("a string with a prefix")
		return
	}
	l.i = i
	l.emit(word, lower(w))
}

// lower folds ASCII only, as keywords are folded.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// number reads digits, one dot and an exponent. What follows directly must not be part of a name.
func (l *lexer) number() {
	i := l.i
	for i < len(l.s) && digit(l.s[i]) {
		i++
	}
	if i < len(l.s) && l.s[i] == '.' {
		for i++; i < len(l.s) && digit(l.s[i]); i++ {
		}
	}
	if i < len(l.s) && l.s[i]|0x20 == 'e' {
		j := i + 1
		if j < len(l.s) && (l.s[j] == '+' || l.s[j] == '-') {
			j++
		}
		if j < len(l.s) && digit(l.s[j]) {
			for i = j; i < len(l.s) && digit(l.s[i]); i++ {
			}
		}
	}
	if i < len(l.s) && (letter(l.s[i]) || l.s[i] == '.' || l.s[i] == '$' || l.s[i] == '\'') {
		l.refuse("a number with something behind it")
		return
	}
	l.emit(text, l.s[l.i:i])
	l.i = i
}

// dollar reads $1 and $tag$...$tag$.
func (l *lexer) dollar() {
	i := l.i + 1
	for i < len(l.s) && digit(l.s[i]) {
		i++
	}
	if i > l.i+1 {
		if l.d == MySQL || i < len(l.s) && (letter(l.s[i]) || l.s[i] == '$') {
			l.refuse("a parameter with something behind it")
			return
		}
		l.emit(text, l.s[l.i:i])
		l.i = i
		return
	}
	for i < len(l.s) && (letter(l.s[i]) || digit(l.s[i])) {
		i++
	}
	if l.d != Postgres || i >= len(l.s) || l.s[i] != '$' {
		l.refuse("a dollar sign that quotes in some dialects")
		return
	}
	tag := l.s[l.i : i+1]
	n := strings.Index(l.s[i+1:], tag)
	if n < 0 {
		l.refuse("a string without an end")
		return
	}
	l.emit(text, "")
	l.i = i + 1 + n + len(tag)
}

// operator reads the longest run of operator characters that is before a comment.
func (l *lexer) operator() {
	i := l.i
	for i < len(l.s) && strings.IndexByte(opChars, l.s[i]) >= 0 {
		if i > l.i && (strings.HasPrefix(l.s[i:], "--") || strings.HasPrefix(l.s[i:], "/*")) {
			break
		}
		i++
	}
	s := l.s[l.i:i]
	colon := strings.IndexByte(s, ':') >= 0
	switch {
	case colon && s != "::":
		l.refuse("a colon that a client may fill in")
	case s == "@" || s == "@@" && l.d != Postgres:
		l.refuse("a variable")
	case strings.IndexByte(s, '#') >= 0 && l.d != Postgres:
		l.refuse("# begins a comment in some dialects")
	}
	l.i = i
	l.emit(op, s)
}
