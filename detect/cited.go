// SPDX-License-Identifier: Apache-2.0

package detect

import "strings"

// Texts about attacks cite them: "phrases like 'ignore previous instructions'". What a text puts between quotes
// behind a word that announces an example is spoken about, not spoken. Whoever hides an order so says to its
// reader that it is none, which most models take as it is meant; a few do not, and for them this is a way past
// the tripwire.
var citing = []string{"like", "such as", "e.g.", "for example", "for instance", "phrase", "phrases", "pattern", "patterns", "example", "examples",
	"called", "known as", "the string", "strings", "payload", "payloads", "reads", "wording"}

const (
	maxCitation = 120 // bytes between the quotes
	maxLead     = 32  // bytes before the first of them
)

// citations are the spans of t that are cited, in order.
func citations(t string) (spans [][2]int) {
	for i := 0; i < len(t); i++ {
		q := t[i]
		if q != '\'' && q != '"' && q != '`' || i == 0 || isAlnum(t[i-1]) {
			continue
		}
		end := strings.IndexByte(t[i+1:min(len(t), i+1+maxCitation)], q)
		if end < 0 || strings.ContainsAny(t[i+1:i+1+end], "\n") {
			continue
		}
		end += i + 2
		if end < len(t) && isAlnum(t[end]) { // an apostrophe
			continue
		}
		if announced(t[max(0, i-maxLead):i]) || follows(t, spans, i) {
			spans = append(spans, [2]int{i, end})
		}
		i = end - 1
	}
	return spans
}

// announced reports whether a lead ends in a word that announces an example.
func announced(lead string) bool {
	lead = strings.ToLower(strings.TrimRight(lead, " :,(["))
	for _, w := range citing {
		if before, ok := strings.CutSuffix(lead, w); ok && (before == "" || !isAlnum(before[len(before)-1])) {
			return true
		}
	}
	return false
}

// follows reports whether only "and", "or" or a comma stand between the last citation and i.
func follows(t string, spans [][2]int, i int) bool {
	if len(spans) == 0 {
		return false
	}
	between := t[spans[len(spans)-1][1]:i]
	if len(between) > 12 {
		return false
	}
	switch strings.Trim(between, " ,;.") {
	case "", "and", "or":
		return true
	}
	return false
}

// uncited drops the places that stand in citations.
func uncited(spans [][2]int, places []place) []place {
	if len(spans) == 0 {
		return places
	}
	out := make([]place, 0, len(places)) // the caller goes on with its own
	n := 0
	for _, p := range places {
		for n < len(spans) && spans[n][1] <= p.at {
			n++
		}
		if n < len(spans) && p.at >= spans[n][0] && p.signal != sigHidden {
			continue
		}
		out = append(out, p)
	}
	return out
}
