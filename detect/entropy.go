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

// filled reports whether filling stands where the secret was: runs of one sign, or of signs in order, that
// make up half of s. Less than that could be appended to a real one to hide it. A token of an issuer's form
// needs no more: the keys of documentations count as found, because real ones are told from them by nothing.
func filled(s string) bool {
	fill, start := 0, 0
	for i := 1; i <= len(s); i++ {
		if i < len(s) && same(s[i-1], s[i], s[start], i-start) {
			continue
		}
		if i-start >= 4 {
			fill += i - start
		}
		start = i
	}
	return len(s) >= 4 && fill*2 >= len(s)
}

// same reports whether b goes on a run that began with first and whose last sign is a.
func same(a, b, first byte, n int) bool {
	a, b, first = lower(a), lower(b), lower(first)
	if b == a && (a == 'x' || a == '*' || a == '0' || a == '#') && (n == 1 || a == first) {
		return true
	}
	return isAlnum(a) && isAlnum(b) && (b == a+1 || a == '9' && b == '0')
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
