// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// keyword is a word that says that what is assigned to it is a secret.
type keyword struct {
	word string
	weak bool // common in other senses: the value must look the more random
	pass bool // a person chose the value: it may be short
}

var keywords = []keyword{
	{"password", false, true}, {"passwd", false, true}, {"passphrase", false, true}, {"passwort", false, true},
	{"pwd", false, true}, {"passcode", false, true}, {"secret", false, false}, {"token", false, false},
	{"apikey", false, false}, {"api_key", false, false}, {"api-key", false, false}, {"api key", false, false},
	{"credential", false, false}, {"bearer", false, false}, {"authorization", false, false}, {"private_key", false, false},
	{"privatekey", false, false}, {"access_key", false, false}, {"accesskey", false, false}, {"access-key", false, false},
	{"client_secret", false, false}, {"signing", true, false}, {"key", true, false}, {"auth", true, false}, {"creds", true, false},
}

// The characters of values.
var (
	valueBytes = setOf(wide)
	passBytes  = setOf(wide + "!@#$^&*?")
)

// lane bounds what the search for values costs in one text: a text made of keywords must not cost more
// than its length allows.
type lane struct {
	work int    // bytes that may still be looked at
	ends [2]int // of the last value, by whether a person chose it
}

// maxJudged is how much of a long value is looked at.
const maxJudged = 256

// assigned looks for a value that is assigned to the keyword which ends at text[:end].
func (k *keyword) assigned(text string, end int, ln *lane) (hit, bool) {
	i := end
	for n := 0; i < len(text) && n < 24 && (isWord(text[i]) || text[i] == '-' || text[i] == '.'); n++ {
		i++
	}
	name := text[end:i]
	if i < len(text) && isWord(text[i]) || notSecret(name) || !k.pass && known(text[:end-len(k.word)]) {
		return hit{}, false
	}
	at, ok := operator(text, i, k)
	if !ok {
		return hit{}, false
	}
	in, last := &valueBytes, &ln.ends[0]
	if k.pass {
		in, last = &passBytes, &ln.ends[1]
	}
	stop := max(at, *last) // a keyword within the last value: its own value ends there too
	for stop < len(text) && in[text[stop]] {
		stop++
	}
	*last = stop
	ln.work -= min(stop-at, maxJudged)
	value := text[at:stop]
	if len(value) <= maxJudged {
		value = strings.TrimRight(value, ".:%=")
		for len(value) < stop-at && text[at+len(value)] == '=' { // padding belongs to it
			value = text[at : at+len(value)+1]
		}
	}
	if stop < len(text) && (text[stop] == '(' || text[stop] == '[' || text[stop] == '{') {
		return hit{}, false // code that computes the value
	}
	h, ok := k.judge(value, at)
	if !ok || inMarker(text, end) {
		return h, false
	}
	if !k.pass && passing(text, end-len(k.word)) {
		h.class, h.kind, h.score = classLeak, "link-token", 300
	}
	return h, true
}

// passing reports whether the keyword at text[at:] stands in a URL with no word before it that makes it a
// lasting credential: such a link opens one door once, and who gets it by mail is meant to have it.
func passing(text string, at int) bool {
	from := max(0, at-256)
	start := strings.LastIndexAny(text[from:at], " \t\r\n\"'<>(") + 1 + from
	if !strings.Contains(text[start:at], "://") {
		return false
	}
	name := start + strings.LastIndexAny(text[start:at], "/?&;#") + 1
	before := strings.ToLower(text[name:at])
	for _, w := range []string{"access", "api", "client", "refresh", "private", "bot", "app", "secret", "user", "id", "service"} {
		if strings.Contains(before, w) {
			return false
		}
	}
	switch w := strings.ToLower(text[at:min(len(text), at+6)]); {
	case strings.HasPrefix(w, "token"), strings.HasPrefix(w, "key"), strings.HasPrefix(w, "auth"), strings.HasPrefix(w, "sign"):
		return true
	}
	return false
}

// inMarker reports whether text[:end] ends within a marker that we put in the place of a secret.
func inMarker(text string, end int) bool {
	from := max(0, end-48)
	open := strings.LastIndexByte(text[from:end], '[')
	if open < 0 {
		return false
	}
	open += from
	stop := strings.IndexByte(text[open:min(len(text), open+128)], ']')
	return stop > 0 && open+stop >= end && isMarker(text[open:open+stop+1])
}

// aboutSecrets are last words of names that say something about a secret instead of holding it.
var aboutSecrets = []string{"id", "ids", "name", "length", "len", "type", "count", "size", "url", "uri", "path", "file", "expires",
	"expiry", "ttl", "hint", "policy", "board", "word", "words", "limit", "usage", "used", "format", "hash", "frame", "distance", "store", "secrets"}

// notSecret reports whether rest, which follows a keyword within a name, changes what the name means.
func notSecret(rest string) bool {
	end := len(rest)
	for end > 0 && !isAlnum(rest[end-1]) {
		end--
	}
	start := end
	for start > 0 && isAlnum(rest[start-1]) {
		start--
		if upperAt(rest, start) {
			break
		}
	}
	return slices.Contains(aboutSecrets, strings.ToLower(rest[start:end]))
}

// known are words before a keyword that make it no secret: public keys, keys of tables.
func known(before string) bool {
	before = strings.ToLower(strings.TrimRight(before[max(0, len(before)-12):], "_-. "))
	for _, w := range []string{"public", "primary", "foreign", "sort", "partition", "pub", "issuer", "next", "page", "continuation", "sync", "cursor",
		"csrf", "xsrf", "idempotency", "cache", "search", "dedup", "etag"} {
		if strings.HasSuffix(before, w) {
			return true
		}
	}
	return false
}

// operator skips what stands between a name and its value: an assignment in a language, a header, a tag,
// a call, or the word "is".
func operator(text string, i int, k *keyword) (int, bool) {
	i = skip(text, i, " \t\"'`])\\", 6)
	start := i
	i = skip(text, i, ":=>?|.,", 4)
	found := i > start && text[start:i] != "." && text[start:i] != "?"
	if !found {
		rest := text[i:]
		next := strings.TrimLeft(action.Clip(rest, 40), " \t\r\n-")
		switch {
		case strings.HasPrefix(next, "value:"): // a list of named values
			i += strings.Index(rest, "value:") + len("value:")
		case strings.HasPrefix(next, "value=") || strings.HasPrefix(next, "Value="): // an element with two attributes
			i += strings.Index(rest, "alue=") + len("alue=")
		case len(rest) > 3 && strings.EqualFold(rest[:3], "is "):
			i += 3
		case strings.HasPrefix(rest, "string =") || strings.HasPrefix(rest, "string="):
			i += strings.IndexByte(rest, '=') + 1
		case k.word == "bearer" && i > 0 && text[i-1] == ' ':
		default:
			return 0, false
		}
	}
	i = skip(text, i, " \t\r\n\"'`<([\\", 8)
	for _, w := range []string{"bearer ", "basic ", "token ", "value: \"", "value: "} {
		if len(text)-i > len(w) && strings.EqualFold(text[i:i+len(w)], w) {
			i += len(w)
			break
		}
	}
	return i, true
}

func skip(text string, i int, set string, limit int) int {
	for n := 0; n < limit && i < len(text) && strings.IndexByte(set, text[i]) >= 0; n++ {
		i++
	}
	return i
}

// isMarker reports whether value is what we put in the place of a secret: secret, kind, length and perhaps
// a fingerprint, in brackets or not. Anything else that merely begins like one is a value.
func isMarker(value string) bool {
	parts := strings.Split(strings.TrimSuffix(strings.TrimPrefix(value, "["), "]"), ":")
	if len(parts) < 3 || len(parts) > 5 || parts[0] != "secret" || len(parts[1]) > 20 || len(parts[2]) > 7 {
		return false
	}
	only := func(s, set string) bool { return s != "" && strings.Trim(s, set) == "" }
	for _, p := range parts[3:] {
		if len(p) > 32 || !only(p, word) {
			return false
		}
	}
	return only(parts[1], "abcdefghijklmnopqrstuvwxyz-") && only(parts[2], digits)
}

// judge decides whether value, which stands at at, looks like a secret in the context of k.
func (k *keyword) judge(value string, at int) (hit, bool) {
	h := hit{class: classSecret, kind: "generic", start: at, end: at + len(value), score: 800}
	if len(value) > maxJudged {
		value = value[:maxJudged]
	}
	m := mixOf(value)
	if isMarker(value) || strings.Contains(value, "://") {
		return hit{}, false
	}
	if m.digit < 2 && !k.weak && unpronounceable(value) {
		h.score = 600
		return h, plausible(value, 3)
	}
	if m.digit == 0 && !k.pass {
		return hit{}, false
	}
	if k.pass && len(value) >= 6 && len(value) <= 64 && plausible(value, 2) {
		classes := 0
		for _, n := range []int{m.lower, m.upper, m.digit, m.other} {
			if n > 0 {
				classes++
			}
		}
		if m.digit > 0 && classes >= 2 && m.letters() > 0 || classes >= 3 {
			h.kind, h.score = "password", 700
			if guessable(value) {
				h.class, h.score = classLeak, 400
			}
			return h, true
		}
	}
	minLen, bits := 10, 3.0
	if k.weak {
		minLen, bits = 16, 3.3
	}
	if m.letters() == 0 { // only digits: a date, a count, an id, unless it is long and assigned to a credential
		h.score = 600
		return h, !k.weak && m.other == 0 && len(value) >= 16 && len(value) <= 40 && entropy(value) >= 2.5 && !sequential(value, 6)
	}
	if len(value) < minLen || m.digit < 2 || sequential(value, 9) {
		return hit{}, false
	}
	// A name or a version in code has few turns between letters and digits and long runs of letters. A
	// constant of code has underscores: capitals and digits by themselves are an identifier of an issuer.
	if m.turns < 3 && m.runs >= 6 && !(!k.weak && m.lower+m.other == 0 && m.digit >= 4 && len(value) >= 16) || m.other*3 > len(value) {
		return hit{}, false
	}
	if k.weak && m.turns < 4 {
		return hit{}, false
	}
	return h, plausible(value, bits)
}

// sequential reports whether n signs of s stand in the order of the keyboard or the alphabet: 12345, abcde.
func sequential(s string, n int) bool {
	run := 1
	for i := 1; i < len(s); i++ {
		if lower(s[i]) == lower(s[i-1])+1 && isAlnum(s[i]) || s[i] == '0' && s[i-1] == '9' {
			if run++; run >= n {
				return true
			}
		} else {
			run = 1
		}
	}
	return false
}

// guessable reports whether a password is one of the first that anybody would try: lower case with a run of
// digits, or the word itself. It is stated, but nobody's work is stopped to protect it.
func guessable(s string) bool {
	m := mixOf(s)
	if strings.ContainsAny(s, "!@#$%^&*+=/~") || m.upper > 1 || len(s) > 16 {
		return false
	}
	low := strings.ToLower(s)
	return sequential(s, 3) || strings.Contains(low, "password") || strings.Contains(low, "qwert")
}

// keywordIn returns the strongest keyword that a member's name ends with or holds, or nil.
func keywordIn(name string) *keyword {
	if len(name) > 128 {
		return nil
	}
	low := strings.ToLower(name)
	for i := range keywords {
		k := &keywords[i]
		if at := strings.LastIndex(low, k.word); at >= 0 && !notSecret(name[at+len(k.word):]) && !known(low[:at]) {
			if k.weak && at > 0 && isAlnum(low[at-1]) && !upperAt(name, at) { // the name is "monkey" or "turkey"
				continue
			}
			return k
		}
	}
	return nil
}

func upperAt(s string, i int) bool { return s[i] >= 'A' && s[i] <= 'Z' }
