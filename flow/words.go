// SPDX-License-Identifier: Apache-2.0

package flow

import "strings"

// stem takes the commonest English endings off a lower-case word, so that "reservation" and "reserved"
// meet. It is no dictionary: words that it does not bring together stay apart, which raises no trust.
func stem(w string) string {
	if len(w) <= 3 {
		return w
	}
	switch {
	case strings.HasSuffix(w, "ies") && len(w) > 4:
		w = w[:len(w)-3] + "y"
	case strings.HasSuffix(w, "sses"), strings.HasSuffix(w, "xes"), strings.HasSuffix(w, "ches"), strings.HasSuffix(w, "shes"):
		w = w[:len(w)-2]
	case strings.HasSuffix(w, "s") && !strings.HasSuffix(w, "ss") && !strings.HasSuffix(w, "us") && !strings.HasSuffix(w, "is"):
		w = w[:len(w)-1]
	}
	for _, end := range []string{"ation", "ment", "ition", "ion", "ing", "ed", "er", "ly", "al"} {
		rest, ok := strings.CutSuffix(w, end)
		if !ok || len(rest) < 3 || !strings.ContainsAny(rest, "aeiouy") || end == "ion" && rest[len(rest)-1] != 't' && rest[len(rest)-1] != 's' ||
			end == "al" && len(rest) < 5 || end == "er" && len(rest) < 4 {
			continue
		}
		w = rest
		break
	}
	if n := len(w); n > 3 && w[n-1] == w[n-2] && strings.IndexByte("aeiou", w[n-1]) < 0 && w[n-1] != 's' {
		w = w[:n-1]
	}
	if n := len(w); n > 3 && w[n-1] == 'e' {
		w = w[:n-1]
	}
	if n := len(w); n > 3 && w[n-1] == 'y' {
		w = w[:n-1] + "i"
	}
	return w
}

// set makes a set of the words of a text.
func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// stems makes a set of the stems of a text's words.
func stems(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[stem(w)] = true
	}
	return m
}

// stops are words that say nothing of what is meant.
var stops = set(`a about above after again all also am an and any are around as at back be because been before being below
	between both but by can could did do does doing done down during each every few first for from further get give go got had
	has have having he her here hers him his hi hello how i if in into is it its just last let like make me more most much must
	my need new no nor not now of off on once one only or other our out over own please possible same see she should so some
	such sure take than thank thanks that the their them then there these they thing things this those through to today
	tomorrow too two under until up us use used using very via want was way we well were what when where which while who whom
	whose why will with within without would yes yesterday you your yours dear okay`)

// meaning is the stem of a word that says something, or "".
func meaning(w string) string {
	if len(w) < 2 || stops[w] {
		return ""
	}
	return stem(w)
}

// stemHash is the fingerprint of a word's stem; 0 for a word that says nothing.
func (f *Flow) stemHash(w []byte) uint64 {
	m := meaning(string(w))
	if m == "" {
		return 0
	}
	return f.hash("stem", m)
}

// stemsOf are the fingerprints of at most limit words of a text that say something. Addresses fall into
// their parts.
func (f *Flow) stemsOf(text string, limit int) []uint64 {
	var out []uint64
	for w := range words(text) {
		if h := f.stemHash(w); h != 0 {
			if out = append(out, h); len(out) == limit {
				break
			}
		}
	}
	return out
}
