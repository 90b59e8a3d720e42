// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"strings"
)

// logs holds n*log2(n) for the counts that entropy meets.
var logs = func() (t [513]float64) {
	for n := 2; n < len(t); n++ {
		t[n] = float64(n) * math.Log2(float64(n))
	}
	return t
}()

// entropy is Shannon's, in bits a byte, of the first 512 bytes of s.
func entropy(s string) float64 {
	if s == "" {
		return 0
	}
	if len(s) >= len(logs) {
		s = s[:len(logs)-1]
	}
	var count [256]uint16
	for i := range len(s) {
		count[s[i]]++
	}
	sum := 0.0
	for i := range len(s) {
		if n := count[s[i]]; n > 0 {
			sum += logs[n]
			count[s[i]] = 0
		}
	}
	return math.Log2(float64(len(s))) - sum/float64(len(s))
}

// placeholders are what people write where a secret belongs.
var placeholders = []string{"example", "placeholder", "changeme", "change_me", "your_", "your-", "yourtoken", "redacted",
	"insert", "dummy", "sample", "xxxx", "****", "....", "todo", "123456789012", "abcdefgh", "putyour", "put_your", "_here"}

// filled reports whether a run of one sign stands where the secret was. A token of an issuer's form needs
// no more: the keys of documentations count as found, because real ones are told from them by nothing.
func filled(s string) bool {
	for i := 4; i < len(s); i++ {
		if c := lower(s[i]); (c == 'x' || c == '*' || c == '0') && c == lower(s[i-1]) && c == lower(s[i-2]) && c == lower(s[i-3]) {
			return true
		}
	}
	return false
}

// plausible reports whether s can be a secret: mixed enough, and no placeholder.
func plausible(s string, bits float64) bool {
	if entropy(s) < bits {
		return false
	}
	low := strings.ToLower(s)
	for _, p := range placeholders {
		if strings.Contains(low, p) {
			return false
		}
	}
	return true
}

// mix counts what a string is made of.
type mix struct {
	lower, upper, digit, other int
	turns                      int // changes between letters and digits
	runs                       int // longest run of letters
	vowels                     int
}

func mixOf(s string) (m mix) {
	last, run := byte(0), 0
	for i := range len(s) {
		c := s[i]
		class := byte('o')
		switch {
		case c >= '0' && c <= '9':
			m.digit++
			class = 'd'
		case c >= 'a' && c <= 'z':
			m.lower++
			class = 'l'
		case c >= 'A' && c <= 'Z':
			m.upper++
			class = 'l'
		default:
			m.other++
		}
		if class == 'l' {
			run++
			m.runs = max(m.runs, run)
			if strings.IndexByte("aeiouAEIOU", c) >= 0 {
				m.vowels++
			}
		} else {
			run = 0
		}
		if last != 0 && last != class && class != 'o' && last != 'o' {
			m.turns++
		}
		last = class
	}
	return m
}

func (m mix) letters() int { return m.lower + m.upper }
