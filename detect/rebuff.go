// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"slices"
	"strings"
)

// The word lists of the heuristic of Rebuff (protectai/rebuff, archived), from which it builds its phrases.
// It is here for comparison only, in Bench.
var (
	rebuffVerbs   = []string{"ignore", "disregard", "skip", "forget", "neglect", "overlook", "omit", "bypass", "pay no attention to", "do not follow", "do not obey"}
	rebuffWhich   = []string{"", "prior", "previous", "preceding", "above", "foregoing", "earlier", "initial"}
	rebuffObjects = []string{"content", "text", "instructions", "instruction", "directives", "directive", "commands", "command", "context", "conversation",
		"input", "inputs", "data", "message", "messages", "communication", "response", "responses", "request", "requests"}
	rebuffTails = []string{"", "and start over", "and start anew", "and begin afresh", "and start from scratch"}
)

// rebuff scores text as that heuristic is described: each run of words is compared with each phrase of as
// many words; the more words they share the higher, less a tenth of their likeness. Phrases that cannot
// score higher than one before are passed over, so that it costs far less than the original.
type rebuff struct {
	byLength map[int][][]string
	words    map[string]bool
}

func newRebuff() *rebuff {
	r := &rebuff{map[int][][]string{}, map[string]bool{}}
	for _, v := range rebuffVerbs {
		for _, w := range rebuffWhich {
			for _, o := range rebuffObjects {
				for _, t := range rebuffTails {
					p := strings.Fields(v + " " + w + " " + o + " " + t)
					r.byLength[len(p)] = append(r.byLength[len(p)], p)
					for _, x := range p {
						r.words[x] = true
					}
				}
			}
		}
	}
	return r
}

// score returns 0 to 1000; its authors act from 750.
func (r *rebuff) score(text string) int {
	words := strings.FieldsFunc(strings.ToLower(text), func(c rune) bool { return c < 0x80 && !isAlnum(byte(c)) })
	best, top := 0, 0.0
	for n, phrases := range r.byLength {
		for i := 0; i+n <= len(words); i++ {
			in := 0
			for _, w := range words[i : i+n] {
				if r.words[w] {
					in++
				}
			}
			if in <= best {
				continue
			}
			part := strings.Join(words[i:i+n], " ")
			for _, p := range phrases {
				shared := 0
				for _, w := range p {
					if slices.Contains(words[i:i+n], w) {
						shared++
					}
				}
				if shared == 0 || shared < best {
					continue
				}
				s := 0.5 + 0.5*min(float64(shared)/5, 1) - 0.1*dice(part, strings.Join(p, " "))
				best, top = max(best, shared), max(top, s)
			}
		}
	}
	return int(top * 1000)
}

// dice is twice the pairs of letters that two strings share, over all of theirs.
func dice(a, b string) float64 {
	if len(a) < 2 || len(b) < 2 {
		return 0
	}
	pairs := map[string]int{}
	for i := range len(a) - 1 {
		pairs[a[i:i+2]]++
	}
	shared := 0
	for i := range len(b) - 1 {
		if pairs[b[i:i+2]] > 0 {
			pairs[b[i:i+2]]--
			shared++
		}
	}
	return 2 * float64(shared) / float64(len(a)+len(b)-2)
}
