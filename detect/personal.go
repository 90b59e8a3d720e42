// SPDX-License-Identifier: Apache-2.0

package detect

import "strings"

// The scores of personal data. It stands in ordinary work, so it is stated and never withholds by itself:
// all of them are below 500 and none counts as a leak. Policy may look for the finding.
const (
	scoreCard     = 400
	scoreNational = 300
	scoreIBAN     = 200
	scoreContact  = 50
	scoreAddress  = 30

	maxPersonal = 64 // in one text
)

func personalHit(kind string, start, end, score int) hit {
	return hit{class: classPII, kind: kind, start: start, end: end, score: score}
}

// personal finds personal data by its form: addresses of mail and of hosts, telephone numbers, and numbers
// of persons with their check digits; at most maxPersonal of them, if not unbounded. Cards and accounts are
// found elsewhere.
func personal(t string, unbounded bool) (hits []hit) {
	add := func(h hit, ok bool) int {
		if ok {
			hits = append(hits, h)
		}
		return h.end
	}
	for i := 0; i < len(t) && (unbounded || len(hits) < maxPersonal); i++ {
		switch c := t[i]; {
		case c == '@':
			if h, ok := mailAt(t, i); ok {
				i = add(h, ok) - 1
			}
		case c == ':' && i+1 < len(t) && i > 0 && (t[i+1] == ':' || isHex(t[i-1])):
			if h, ok := ip6At(t, i); ok {
				i = add(h, ok) - 1
			}
		case c >= '0' && c <= '9' && (i == 0 || !isAlnum(t[i-1])):
			n := read(t, i)
			if h, ok := n.what(t); ok {
				add(h, ok)
			}
			if n.end > i {
				i = n.end - 1
			}
		case c >= 'A' && c <= 'Z' && (i == 0 || !isAlnum(t[i-1])):
			if h, ok := lettered(t, i); ok {
				i = add(h, ok) - 1
			}
		}
	}
	return hits
}

// mailAt takes the address of mail whose at sign is t[i].
func mailAt(t string, i int) (hit, bool) {
	start, end := i, i+1
	for start > 0 && i-start < 64 && (isWord(t[start-1]) || strings.IndexByte(".+-%'", t[start-1]) >= 0) {
		start--
	}
	for start < i && !isAlnum(t[start]) {
		start++
	}
	dots := 0
	for end < len(t) && end-i < 254 && (isAlnum(t[end]) || t[end] == '-' || t[end] == '.') {
		if t[end] == '.' {
			dots++
		}
		end++
	}
	for end > i+1 && !isAlnum(t[end-1]) {
		if t[end-1] == '.' {
			dots--
		}
		end--
	}
	top := end - 1 - strings.LastIndexByte(t[i:end], '.') - i
	if start == i || dots < 1 || top < 2 || !isLetter(t[end-1]) {
		return hit{}, false
	}
	return personalHit("email", start, end, scoreContact), true
}

// ip6At takes an IPv6 address one of whose first colons is t[i]: at least four groups, or two colons.
func ip6At(t string, i int) (hit, bool) {
	start, end := i, i
	for start > 0 && i-start < 4 && isHex(t[start-1]) {
		start--
	}
	if start > 0 && (isAlnum(t[start-1]) || t[start-1] == ':') {
		return hit{}, false
	}
	groups, colons, double, in := 0, 0, 0, 0
	for end = start; end < len(t) && end-start < 40; end++ {
		if t[end] == ':' {
			colons++
			in = 0
			if end > start && t[end-1] == ':' {
				double++
			}
		} else if isHex(t[end]) {
			if in++; in == 1 {
				groups++
			}
			if in > 4 {
				return hit{}, false
			}
		} else {
			break
		}
	}
	if end < len(t) && isWord(t[end]) || groups == 0 || groups > 8 || double > 1 || double == 0 && colons != 7 || double == 1 && (colons < 3 || groups < 3) {
		return hit{}, false
	}
	return personalHit("ip", start, end, scoreAddress), true
}

// numeral is a run of digits in groups.
type numeral struct {
	start, end int
	digit      []byte // values
	groups     []int  // their lengths
	sep        byte   // between them: 0 if there is none, '*' if they differ
	plus       bool
	tail       byte // a letter that follows at once
}

// read takes the number whose first digit is t[i], with an opening bracket or plus sign before it.
func read(t string, i int) numeral {
	n := numeral{start: i, digit: make([]byte, 0, 24)}
	if i > 0 && t[i-1] == '(' {
		n.start--
	}
	if n.start > 0 && t[n.start-1] == '+' {
		n.start, n.plus = n.start-1, true
	}
	size := 0
	for n.end = i; n.end < len(t) && n.end-i < 40; n.end++ {
		c := t[n.end]
		if c >= '0' && c <= '9' {
			n.digit = append(n.digit, c-'0')
			size++
			continue
		}
		wide := 1
		for wide < 2 && n.end+wide < len(t) && (c == ')' && strings.IndexByte(" -", t[n.end+wide]) >= 0 || c == ' ' && t[n.end+wide] == '(') {
			wide++
		}
		if strings.IndexByte(" -./)", c) < 0 || n.end+wide >= len(t) || t[n.end+wide] < '0' || t[n.end+wide] > '9' {
			break
		}
		n.groups, size = append(n.groups, size), 0
		switch n.sep {
		case 0, c:
			n.sep = c
		default:
			n.sep = '*'
		}
		n.end += wide - 1
	}
	n.groups = append(n.groups, size)
	if n.end < len(t) && isLetter(t[n.end]) {
		n.tail = t[n.end]
	}
	return n
}

func (n *numeral) shaped(sizes ...int) bool {
	if len(n.groups) != len(sizes) {
		return false
	}
	for i := range sizes {
		if n.groups[i] != sizes[i] {
			return false
		}
	}
	return true
}

// what says what n is. Only a form that leaves little doubt, a check digit with a word that announces it,
// or both, count.
func (n *numeral) what(t string) (hit, bool) {
	d := n.digit
	if n.sep == '.' && len(n.groups) == 4 && !n.plus {
		return n.ip4(t)
	}
	if len(d) < 7 || len(d) > 18 {
		return hit{}, false
	}
	if n.groups[0] == 4 && n.tail == 0 && (n.sep == '-' || n.sep == '*') && (d[0] == 1 && d[1] == 9 || d[0] == 2 && d[1] == 0) && d[4] < 2 {
		return hit{}, false // a date
	}
	before := strings.ToLower(t[max(0, n.start-48):n.start])
	national := personalHit("national-id", n.start, n.end, scoreNational)
	if n.tail != 0 {
		if len(d) == 8 && len(n.groups) == 1 && n.end+1 <= len(t) && upperAt(t, n.end) && (n.end+1 == len(t) || !isWord(t[n.end+1])) &&
			spanish(d, t[n.end]) || len(d) == 17 && n.tail == 'X' && chinese(append(d, 10)) {
			national.end++
			return national, true
		}
		return hit{}, false
	}
	switch {
	case n.sep == '-' && n.shaped(3, 2, 4) && d[0] != 9 && !(d[0] == 6 && d[1] == 6 && d[2] == 6) && d[0]+d[1]+d[2] != 0 && d[3]+d[4] != 0:
		national.kind = "ssn"
		return national, true
	case len(n.groups) == 4 && n.shaped(3, 3, 3, 2) && n.sep == '*' && brazilian(d):
		return national, true
	case announces(before, papers):
		return personalHit("document-id", n.start, n.end, scoreNational), true
	case announces(before, persons) && checked(d):
		return national, true
	case len(d) == 15 && french(d) && len(n.groups) > 3:
		return national, true
	}
	return n.phone(before)
}

// phone accepts international numbers, North American grouping, and others where a word announces one.
func (n *numeral) phone(before string) (hit, bool) {
	h := personalHit("phone", n.start, n.end, scoreContact)
	count := len(n.digit)
	if count > 15 || n.sep == '/' {
		return h, false
	}
	if n.plus {
		return h, count >= 8
	}
	if n.start > 0 && len(before) > 0 && strings.IndexByte("#$", before[len(before)-1]) >= 0 {
		return h, false
	}
	k := len(n.groups)
	american := n.sep != 0 && (n.shaped(3, 3, 4) || n.shaped(1, 3, 3, 4) && n.digit[0] == 1 || n.shaped(3, 3, 3, 4) && n.digit[0] == 0)
	national := n.digit[0] == 0 && count >= 9 && count <= 12 && k >= 2 && k <= 4 && n.groups[0] >= 3 && n.groups[0] <= 5 && (n.sep == ' ' || n.sep == '-')
	return h, american || national || k >= 1 && k <= 6 && n.sep != '.' && announces(before, phones)
}

func (n *numeral) ip4(t string) (hit, bool) {
	at := 0
	for _, g := range n.groups {
		v := 0
		for _, x := range n.digit[at : at+min(g, 4)] {
			v = v*10 + int(x)
		}
		if at += g; g > 3 || v > 255 || g > 1 && n.digit[at-g] == 0 {
			return hit{}, false
		}
	}
	if n.tail != 0 || n.start > 0 && (t[n.start-1] == '.' || t[n.start-1] == '-') || announces(strings.ToLower(t[max(0, n.start-12):n.start]), versions) {
		return hit{}, false
	}
	return personalHit("ip", n.start, n.end, scoreAddress), true
}

// The words that announce a number, in several languages.
var (
	phones   = []string{"phone", "tel", "mobil", "cell", "fax", "call ", "whatsapp", "handy", "ring ", "contact", "dial"}
	versions = []string{"version", "v", "release"}
	papers   = []string{"driver's licen", "drivers licen", "driver licen", "driving licen", "passport", "führerschein", "reisepass"}
	persons  = []string{"ssn", "social security", "social insurance", "national id", "national insurance", "identity number", "id number", "tax id", "taxpayer",
		"steuer", "nhs", "bsn", "burgerservice", "pesel", "personnummer", "personal number", "aadhaar", "uidai", "nir", "sécurité sociale", "cpf", "nif", "dni", "rijksregister", "registre national", "身份证", "citizen"}
)

func announces(before string, words []string) bool {
	for _, w := range words {
		if i := strings.LastIndex(before, w); i >= 0 && (i == 0 || !isLetter(before[i-1])) && !strings.ContainsAny(before[i+len(w):], "\n;") {
			return true
		}
	}
	return false
}
