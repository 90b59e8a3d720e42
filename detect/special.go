// SPDX-License-Identifier: Apache-2.0

package detect

import "strings"

// specials are secrets whose form is not a prefix and a body. Each gets the text and the end of its
// literal.
var specials = []struct {
	literal string
	find    func(text string, end int) (hit, bool)
}{
	{"-----begin ", pemKey}, {"putty-user-key-file", puttyKey}, {"ey", jwt}, {"://", urlPassword}, {":a", botToken}, {"-us", listKey},
	{" -u ", commandUser}, {" --user", commandUser}, {"kind: secret", clusterSecret},
}

func secretHit(kind string, start, end int) hit {
	return hit{class: classSecret, kind: kind, start: start, end: end, score: 1000}
}

// maxPEM is the longest private key that is looked for; larger RSA keys than 16,384 bits do not exist in
// practice.
const maxPEM = 16 << 10

// pemKey takes a private key up to its end line, or as much of it as there is.
func pemKey(text string, end int) (hit, bool) {
	start := end - len("-----begin ")
	head := text[end:min(end+60, len(text))]
	if i := strings.Index(head, "-----"); i < 0 || !strings.Contains(head[:i], "PRIVATE KEY") {
		return hit{}, false
	}
	stop := min(len(text), start+maxPEM)
	if i := strings.Index(text[end:stop], "-----END "); i >= 0 {
		stop = end + i + len("-----END ")
		if j := strings.Index(text[stop:min(len(text), stop+60)], "-----"); j >= 0 {
			stop += j + 5
		}
	}
	return secretHit("private-key", start, stop), stop-start > 64
}

func puttyKey(text string, end int) (hit, bool) {
	start := end - len("putty-user-key-file")
	stop := min(len(text), start+8192)
	return secretHit("private-key", start, stop), strings.Contains(text[start:stop], "Private-Lines")
}

// jwt takes a signed token: three base64url parts, of which the first two are JSON objects.
func jwt(text string, end int) (hit, bool) {
	start := end - 2
	if text[start:end] != "ey" || start > 0 && (isWord(text[start-1]) || text[start-1] == '.' || text[start-1] == '-') {
		return hit{}, false
	}
	part := func(i int) int {
		for i < len(text) && i-start < maxPEM && (isWord(text[i]) || text[i] == '-') {
			i++
		}
		return i
	}
	a := part(end)
	if a-start < 12 || a+3 > len(text) || text[a:a+3] != ".ey" {
		return hit{}, false
	}
	b := part(a + 1)
	if b-a < 12 || b >= len(text) || text[b] != '.' {
		return hit{}, false
	}
	c := part(b + 1)
	return secretHit("jwt", start, c), c-b > 8
}

// urlPassword takes the password of scheme://user:password@host.
func urlPassword(text string, end int) (hit, bool) {
	stop := end
	for stop < len(text) && stop-end < 256 && strings.IndexByte("/ \t\r\n\"'<>?#`", text[stop]) < 0 {
		stop++
	}
	at := strings.LastIndexByte(text[end:stop], '@')
	if at < 0 {
		return hit{}, false
	}
	colon := strings.IndexByte(text[end:end+at], ':')
	if m := mixOf(text[end : end+at]); colon < 0 && at >= 20 && m.digit >= 4 && m.turns >= 5 && m.other == 0 && plausible(text[end:end+at], 3) {
		return secretHit("url-password", end, end+at), true // the key of a service that takes no user
	}
	if colon < 0 || at-colon < 4 {
		return hit{}, false
	}
	value := text[end+colon+1 : end+at]
	if strings.ContainsAny(value, "${}<>") || strings.EqualFold(value, "password") || !plausible(value, 1) {
		return hit{}, false
	}
	return secretHit("url-password", end+colon+1, end+at), true
}

// botToken takes a messenger bot's token: digits, a colon, and 35 characters that begin with A.
func botToken(text string, end int) (hit, bool) {
	colon := end - 2
	start := colon
	for start > 0 && colon-start <= 16 && text[start-1] >= '0' && text[start-1] <= '9' {
		start--
	}
	if n := colon - start; n < 5 || n > 16 || text[end-1] != 'A' || start > 0 && isWord(text[start-1]) {
		return hit{}, false
	}
	stop := end
	for stop < len(text) && (isWord(text[stop]) || text[stop] == '-') {
		stop++
	}
	return secretHit("bot-token", start, stop), stop-end == 34 && plausible(text[end:stop], 3)
}

// listKey takes a mailing-list service's key: 32 hexadecimal digits and the data centre.
func listKey(text string, end int) (hit, bool) {
	start := end - 3 - 32
	if start < 0 || end >= len(text) || text[end] < '0' || text[end] > '9' || start > 0 && isWord(text[start-1]) {
		return hit{}, false
	}
	body := text[start : end-3]
	for i := range len(body) {
		if strings.IndexByte(hexes, body[i]) < 0 {
			return hit{}, false
		}
	}
	stop := end
	for stop < len(text) && text[stop] >= '0' && text[stop] <= '9' {
		stop++
	}
	return secretHit("mail-key", start, stop), plausible(body, 2.5)
}

// cardAt takes a payment card's number whose first digit is text[i]: 13 to 19 digits, in groups or not,
// an issuer's prefix, and the check digit (ISO/IEC 7812-1, Luhn).
func cardAt(text string, i int) (hit, bool) {
	var d [19]byte
	n, j := 0, i
	for ; j < len(text); j++ {
		c := text[j]
		if c >= '0' && c <= '9' {
			if n == len(d) {
				return hit{}, false
			}
			d[n] = c - '0'
			n++
		} else if (c != ' ' && c != '-') || j+1 >= len(text) || text[j+1] < '0' || text[j+1] > '9' {
			break
		}
	}
	if n < 12 || j < len(text) && isWord(text[j]) || !issued(d[:n]) && !(n == 12 && spoken(text[max(0, i-40):i])) {
		return hit{}, false
	}
	return personalHit("card", i, j, scoreCard), luhn(d[:n])
}

// spoken reports whether text speaks of a card. Some debit cards have 12 digits, as have many other ids.
func spoken(text string) bool { return strings.Contains(strings.ToLower(text), "card") }

// issued reports whether a number of these digits is given out by one of the large card schemes.
func issued(d []byte) bool {
	n, two, four := len(d), int(d[0])*10+int(d[1]), (int(d[0])*10+int(d[1]))*100+int(d[2])*10+int(d[3])
	switch {
	case d[0] == 4:
		return n == 13 || n == 16 || n == 19
	case two >= 51 && two <= 55, four >= 2221 && four <= 2720, four == 6011, two == 65, four >= 6440 && four <= 6499, two == 35:
		return n == 16
	case two == 34 || two == 37:
		return n == 15
	case two == 30 || two == 36 || two == 38 || two == 39:
		return n == 14
	case four == 2131, four == 1800:
		return n == 15
	case two == 50 || two >= 56 && two <= 58 || two == 62 || two == 67:
		return n >= 13 && n <= 19
	}
	return false
}

// ibanLengths is the length of each country's account numbers (SWIFT, IBAN registry).
const ibanLengths = "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BR29BY28CH21CR22CY28CZ24DE22DK18DO28EE20EG29ES24FI18FO18FR27GB22GE22" +
	"GI23GL18GR27GT28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21MC27MD24ME22MK19MR27MT31MU30NL18" +
	"NO15PK24PL28PS29PT25QA29RO24RS22SA24SC31SE24SI19SK24SM27ST25SV28TL23TN24TR26UA29VA22VG24XK20"

// ibanLength is ibanLengths by country.
var ibanLength = func() (t [26 * 26]byte) {
	for s := ibanLengths; s != ""; s = s[4:] {
		t[int(s[0]-'A')*26+int(s[1]-'A')] = (s[2]-'0')*10 + s[3] - '0'
	}
	return t
}()

// ibanAt takes an account number whose country stands at text[i:i+2], in groups or not.
func ibanAt(text string, i int) (hit, bool) {
	want := int(ibanLength[int(text[i]-'A')*26+int(text[i+1]-'A')])
	if want == 0 {
		return hit{}, false
	}
	var b [34]byte
	n, j := 0, i
	for ; j < len(text) && n < want; j++ {
		c := text[j]
		switch {
		case isAlnum(c):
			b[n] = lower(c)
			n++
		case c != ' ' && c != '-' || text[j-1] == c:
			return hit{}, false
		}
	}
	if n < want || j < len(text) && isWord(text[j]) {
		return hit{}, false
	}
	m := 0
	for k := range n {
		c := b[(k+4)%n]
		if c >= 'a' {
			m = (m*100 + int(c-'a') + 10) % 97
		} else {
			m = (m*10 + int(c-'0')) % 97
		}
	}
	return personalHit("iban", i, j, scoreIBAN), m == 1
}
