// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport/sallyport/action"
)

// classify returns the canonical type and form of a leaf: "email", "url", "host", "iban", "path", "date",
// "phone", "number", "id", "flag" or "text". Two values are the same only if both are equal.
func classify(l leaf) (kind, canon string) {
	switch l.kind {
	case 't', 'f':
		return "flag", l.text
	case '0':
		return "number", number(l.text)
	}
	t := strings.TrimSpace(l.text)
	if t == "" {
		return "text", ""
	}
	if kind, canon = token(t); kind != "text" {
		return kind, canon
	}
	if len(t) > maxText {
		return "text", "" // prose: only what stands in it counts
	}
	b := make([]byte, 0, len(t))
	for w := range words(t) {
		if len(b) > 0 {
			b = append(b, ' ')
		}
		b = append(b, w...)
	}
	return "text", string(b)
}

// maxText is the longest text that is compared as a whole.
const maxText = 256

// bare reports whether t can only be a word: every typed token has a digit or one of "@./:~".
func bare(t string) bool {
	for i := range len(t) {
		if c := t[i]; c >= '.' && c <= ':' || c == '@' || c == '~' || c == '\\' {
			return false
		}
	}
	return true
}

// token is the type and canonical form of one token without surrounding space or punctuation.
func token(t string) (kind, canon string) {
	if t == "" || len(t) > 2048 || bare(t) {
		return "text", strings.ToLower(t)
	}
	if maybeIBAN(t) {
		if c := compact(t); isIBAN(c) {
			return "iban", c
		}
	}
	if strings.IndexFunc(t, unicode.IsSpace) >= 0 {
		return "text", strings.ToLower(t)
	}
	low := strings.ToLower(t)
	if i := strings.Index(low, "://"); i > 0 && i < 16 {
		return "url", urlForm(t)
	}
	if host, _, ok := strings.Cut(low, "/"); ok && isHost(host) && !strings.HasPrefix(low, ".") {
		return "url", urlForm("https://" + t)
	}
	if local, domain, ok := strings.Cut(low, "@"); ok && local != "" && isHost(domain) {
		return "email", low
	}
	if isDate(low) {
		return "date", low
	}
	if n := number(t); n != "" {
		if strings.HasPrefix(t, "+") && len(n) >= 8 {
			return "phone", n
		}
		return "number", n
	}
	if isHost(low) {
		return "host", low
	}
	if strings.HasPrefix(t, "/") || strings.HasPrefix(t, "./") || strings.HasPrefix(t, "~/") || strings.Count(t, "/") > 0 {
		return "path", strings.TrimSuffix(strings.TrimPrefix(t, "./"), "/")
	}
	if strings.ContainsFunc(t, unicode.IsDigit) && len(t) >= 4 {
		return "id", low
	}
	return "text", low
}

// urlForm lowers scheme and host and drops a trailing slash; the rest is case-sensitive.
func urlForm(t string) string {
	scheme, rest, _ := strings.Cut(t, "://")
	host, path := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	return strings.ToLower(scheme) + "://" + strings.ToLower(host) + strings.TrimSuffix(path, "/")
}

// hostOf is the host of a canonical URL, without user and port.
func hostOf(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[:i]
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = rest[i+1:]
	}
	host, _, _ := strings.Cut(rest, ":")
	return host
}

func isHost(s string) bool {
	if len(s) > 253 || strings.IndexByte(s, '.') < 0 {
		return false
	}
	last := ""
	for l := range strings.SplitSeq(s, ".") {
		last = l
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
		for _, r := range l {
			if !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' && r != '_' {
				return false
			}
		}
	}
	return len(last) >= 2 && !strings.ContainsFunc(last, unicode.IsDigit)
}

func isDate(s string) bool {
	if len(s) != 10 || s[4] != '-' || s[7] != '-' {
		return false
	}
	for i, c := range []byte(s) {
		if i != 4 && i != 7 && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// number is the plain decimal form of a number that may carry a currency sign, thousands commas, or the
// punctuation of a telephone number; "" if it is none.
func number(t string) string {
	t = strings.TrimLeft(t, "$€£¥+")
	t = strings.TrimRight(t, "$€£¥%")
	var b strings.Builder
	dot := false
	for i, r := range t {
		switch {
		case r >= '0' && r <= '9':
			b.WriteRune(r)
		case r == '.' && !dot:
			dot = true
			b.WriteRune(r)
		case r == '-' && i == 0:
			b.WriteRune(r)
		case r == ',' || r == '-' || r == '(' || r == ')':
		default:
			return ""
		}
	}
	s := b.String()
	if dot {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	s, neg := strings.CutPrefix(s, "-")
	if s = strings.TrimLeft(s, "0"); s == "" || s[0] == '.' {
		s = "0" + s
	}
	if !strings.ContainsAny(t, "0123456789") {
		return ""
	}
	if neg {
		return "-" + s
	}
	return s
}

// compact drops spaces and raises case, for account numbers written in groups.
func compact(t string) string {
	if len(t) > 64 {
		return ""
	}
	return strings.ToUpper(strings.ReplaceAll(t, " ", ""))
}

// maybeIBAN is a cheap look at the head of an account number.
func maybeIBAN(t string) bool {
	letter := func(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
	return len(t) >= 15 && letter(t[0]) && letter(t[1]) && t[2] >= '0' && t[2] <= '9'
}

// isIBAN checks shape and check digits (ISO 13616, modulo 97).
func isIBAN(s string) bool {
	if len(s) < 15 || len(s) > 34 {
		return false
	}
	for i, c := range []byte(s) {
		letter, digit := c >= 'A' && c <= 'Z', c >= '0' && c <= '9'
		if !letter && !digit || i < 2 && !letter || (i == 2 || i == 3) && !digit {
			return false
		}
	}
	m := 0
	for _, c := range []byte(s[4:] + s[:4]) {
		if c >= 'A' {
			m = (m*100 + int(c-'A') + 10) % 97
		} else {
			m = (m*10 + int(c-'0')) % 97
		}
	}
	return m == 1
}

// separators are the ASCII characters that end a token.
var separators = func() (t [utf8.RuneSelf]bool) {
	for c := range ' ' + 1 {
		t[c] = true
	}
	for _, c := range "\"'`<>|;,()[]{}" {
		t[c] = true
	}
	return t
}()

// separates reports whether r ends a token.
func separates(r rune) bool {
	if r < utf8.RuneSelf {
		return separators[r]
	}
	return unicode.IsSpace(r)
}

// tokens calls fn with each typed token of text, and with the host of each URL, until fn returns false.
// Words are left out. The domain of a mail address is no value of its own: colleagues share it.
func tokens(text string, fn func(kind, canon string) bool) {
	for field := range strings.FieldsFuncSeq(text, separates) {
		if bare(field) {
			continue
		}
		t := strings.Trim(field, ".:!?*_#=&\\")
		if k, v, ok := strings.Cut(t, "="); ok && !strings.Contains(k, "://") {
			t = v
		}
		t = strings.TrimPrefix(t, "mailto:")
		kind, canon := token(t)
		if kind == "text" {
			continue
		}
		if !fn(kind, canon) || kind == "url" && !fn("host", hostOf(canon)) {
			return
		}
	}
}

// words yields the words of text in lower case: runs of letters and digits. A word is only valid until
// the next one.
func words(text string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		var buf [maxWord]byte
		b := buf[:0]
		for i := 0; i <= len(text); {
			r, size := rune(' '), 1
			if i < len(text) {
				r, size = rune(text[i]), 1
				if r >= utf8.RuneSelf {
					r, size = utf8.DecodeRuneInString(text[i:])
				}
			}
			i += size
			switch {
			case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
				b = append(b, byte(r))
			case r >= 'A' && r <= 'Z':
				b = append(b, byte(r)+'a'-'A')
			case r >= utf8.RuneSelf && r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r)):
				b = utf8.AppendRune(b, unicode.ToLower(r))
			default:
				if len(b) > 0 && len(b) <= maxWord && !yield(b) {
					return
				}
				b = buf[:0]
			}
		}
	}
}

// maxWord is the length of the longest word that counts.
const maxWord = 64

// sink says what an argument controls: by what the tools column parsed at its pointer, else by name.
func sink(q *action.Query, l leaf, role string) action.Sink {
	a := &q.Action
	switch role { // what is no place, whatever it looks like
	case "content", "neutral", "code":
		return action.SinkNone
	}
	for _, x := range a.Recipients {
		if x.Pointer == l.pointer {
			return action.SinkDestination
		}
	}
	for _, x := range a.URLs {
		if x.Pointer == l.pointer {
			return action.SinkDestination
		}
	}
	for _, x := range a.Commands {
		if x.Pointer == l.pointer {
			return action.SinkCommand
		}
	}
	for _, x := range a.SQL {
		if x.Pointer == l.pointer {
			return action.SinkCommand
		}
	}
	for _, x := range a.Amounts {
		if x.Pointer == l.pointer {
			return action.SinkAmount
		}
	}
	for _, x := range a.Paths {
		if x.Pointer == l.pointer {
			placeless := len(q.Context.Session.Roots) == 0 && q.Resource.Zone != action.ZoneInside // a name of the server's own
			if a.Effect.SideEffect() && x.Inside != action.Yes && !placeless {
				return action.SinkDestination
			}
			return action.SinkSelector
		}
	}
	switch role {
	case "":
		return sinkByName(l, a.Effect)
	case "attribute":
		if l.kind == '0' || number(l.text) != "" && len(l.text) < 5 || isDate(l.text) {
			return action.SinkAmount // a short number or a date says how much or when
		}
		switch kind, _ := classify(l); kind {
		case "url", "host": // reading what lies there tells its host
			return action.SinkDestination
		case "email", "iban", "phone":
			if a.Effect.SideEffect() {
				return action.SinkDestination
			}
		case "id", "number": // as long as an account's number: money may go there
			if a.Effect == action.EffectSpend && digitsOf(l.text) >= 8 {
				return action.SinkDestination
			}
		}
		if by := sinkByName(l, a.Effect); by != action.SinkUnknown {
			return by
		}
		return action.SinkSelector
	case "recipient", "payee", "url":
		return action.SinkDestination
	case "command", "argv", "program", "sql":
		return action.SinkCommand
	case "flag":
		return action.SinkFlag
	case "amount", "currency":
		return action.SinkAmount
	case "credential":
		return action.SinkCredential
	}
	return action.SinkSelector
}

func digitsOf(t string) (n int) {
	for i := range len(t) {
		if t[i] >= '0' && t[i] <= '9' {
			n++
		}
	}
	return n
}

func sinkByName(l leaf, e action.Effect) action.Sink {
	if l.kind == 't' || l.kind == 'f' {
		return action.SinkFlag
	}
	w := nameWords(l.name)
	if len(w) == 0 {
		return action.SinkUnknown
	}
	last := w[len(w)-1]
	joined := " " + strings.Join(w, " ") + " "
	has := func(list string) bool {
		list = " " + list + " "
		return strings.Contains(list, " "+last+" ") || strings.Contains(list, " "+strings.TrimSuffix(last, "s")+" ")
	}
	switch {
	case has("id uuid ref reference key") && !strings.Contains(joined, " api ") && !strings.Contains(joined, " secret "):
		return action.SinkSelector
	case has("body content text message subject title description comment note summary html reason caption") || last == "query" && e == action.EffectRead:
		return action.SinkNone
	case has("password passwd token secret credential pin otp") || strings.Contains(joined, " api key ") || strings.Contains(joined, " secret "):
		return action.SinkCredential
	case has("to recipient cc bcc email participant attendee member payee iban account host hostname url uri link endpoint webhook domain channel group grantee owner reviewer phone address destination target"):
		return action.SinkDestination
	case has("command cmd script shell sql argv"), has("code statement") && (e == action.EffectExecute || e == action.EffectUnknown):
		return action.SinkCommand // elsewhere a code is a country's, a voucher's or an area's
	case has("amount price sum total value quantity limit budget"):
		return action.SinkAmount
	case has("public force recursive recurring role permission visibility overwrite scope access mode"):
		return action.SinkFlag
	case has("path file filename directory dir folder name"):
		return action.SinkSelector
	}
	return action.SinkUnknown
}

// plainURL is what is compared of a URL or host: the scheme, "www." and a closing slash say nothing.
func plainURL(canon string) string {
	if _, rest, ok := strings.Cut(canon, "://"); ok {
		canon = rest
	}
	return strings.TrimSuffix(strings.TrimPrefix(canon, "www."), "/")
}

// key is the fingerprint of a typed value in the form in which values are compared.
func (f *Flow) key(kind, canon string) uint64 { return f.hash(compared(kind, canon)) }

// compared is the form in which a typed value is compared: account, card and telephone numbers by their
// digits, hosts and URLs without what says nothing.
func compared(kind, canon string) (string, string) {
	switch kind {
	case "url", "host":
		return "url", plainURL(canon)
	case "phone", "number":
		if len(canon) >= 8 && strings.IndexByte(canon, '.') < 0 {
			return "account", canon
		}
	case "iban":
		return "account", strings.ToLower(canon)
	case "id":
		if d := unspaced.Replace(canon); len(d) >= 8 {
			return "account", d
		}
	}
	return kind, canon
}

var unspaced = strings.NewReplacer("-", "", " ", "")
