// SPDX-License-Identifier: Apache-2.0

package detect

import "strings"

// minUnnamed is the shortest token that is a secret by its looks alone.
const minUnnamed = 34

// unnamed reports whether s looks like what issuers hand out, whoever they are: a short name in small letters,
// a separator, and then a long stretch in which small letters, capitals and digits change places at random.
// Nothing else needs to say that it is a secret. Identifiers of things that are mostly public have no name
// before them, or one letter case, or are shorter.
func unnamed(s string) bool {
	if len(s) < minUnnamed || len(s) > maxJudged || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	head := strings.IndexAny(s, "_-~")
	if head < 2 || head > 12 || strings.ContainsAny(s, "/+") {
		return false
	}
	for i := range head {
		if k := byteKinds[s[i]]; k&(byteLetter|byteDigit) == 0 || s[i] <= 'Z' && k&byteLetter != 0 {
			return false
		}
	}
	if name := s[:head]; name == "pk" || known(name) || strings.HasPrefix(name, "pub") {
		return false
	}
	random := stretch(s[head+1:])
	m := mixOf(random)
	return len(random) >= 24 && m.lower >= 4 && m.upper >= 4 && m.digit >= 3 && m.turns >= 5 && cases(random) >= 6 && plausible(random, 4)
}

// stretch is the longest run of letters and digits in s.
func stretch(s string) (longest string) {
	from := 0
	for i := 0; i <= len(s); i++ {
		if i == len(s) || !isAlnum(s[i]) {
			if i-from > len(longest) {
				longest = s[from:i]
			}
			from = i + 1
		}
	}
	return longest
}

// unpronounceable reports whether the longest run of s is of letters that stand beside each other in no usual word:
// two pairs in five. Names in code and in other languages have at most one in five.
func unpronounceable(s string) bool {
	s = stretch(s)
	if len(s) < 16 {
		return false
	}
	pairs, odd := 0, 0
	for i := 1; i < len(s); i++ {
		if isLetter(s[i]) && isLetter(s[i-1]) && (s[i-1] < 'a' || s[i] >= 'a') { // not where a name in camel case goes on
			if pairs++; !usualPairs[lower(s[i-1])-'a'][lower(s[i])-'a'] {
				odd++
			}
		}
	}
	return pairs >= 10 && odd*5 >= pairs*2
}

// usualPairs are the pairs of letters of the lexicon.
var usualPairs = func() (t [26][26]bool) {
	for _, w := range lexicon {
		for i := 1; i < len(w); i++ {
			if isLetter(w[i]) && isLetter(w[i-1]) {
				t[lower(w[i-1])-'a'][lower(w[i])-'a'] = true
			}
		}
	}
	return t
}()

// cases counts the changes between small letters and capitals.
func cases(s string) (n int) {
	for i := 1; i < len(s); i++ {
		if isLetter(s[i]) && isLetter(s[i-1]) && (s[i] < 'a') != (s[i-1] < 'a') {
			n++
		}
	}
	return n
}
