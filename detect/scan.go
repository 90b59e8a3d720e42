// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/detect/learn"
)

// class is what a hit means.
type class uint8

const (
	classSecret class = iota
	classLeak         // something confidential that is not worth replacing
	classPII
	classInjection
	classCanary
	classTrace // stated, and nothing more
)

// hit is a find in one text, at bytes [start, end) of it.
type hit struct {
	class      class
	kind       string
	layer      string
	value      string // what was found, decoded
	start, end int
	score      int
}

// The prefilter holds the literals of every rule; which stands for which is decided by the number.
var (
	literals, stems = func() (all []string, stems []signal) {
		for i := range shapes {
			all = append(all, strings.ToLower(shapes[i].prefix))
		}
		for i := range specials {
			all = append(all, specials[i].literal)
		}
		for i := range keywords {
			all = append(all, keywords[i].word)
		}
		for s := sigNone; s < signals; s++ {
			for _, p := range phrases[s] {
				all, stems = append(all, p), append(stems, s)
			}
		}
		return all, stems
	}()
	prefilter    = newMatcher(literals)
	firstSpecial = len(shapes)
	firstKeyword = firstSpecial + len(specials)
	firstStem    = firstKeyword + len(keywords)
	maxPlaces    = 512
	maxHits      = 256
	maxLayerHits = 64
)

// roomFor is how much may be decoded from n bytes: enough for a short text to be turned around and around,
// and for a long one to be decoded as it can only shrink.
func roomFor(n int) int { return min(16*n+4<<10, 4*n+64<<10) }

// scanner goes through the texts of one value. It is not safe for concurrent use.
type scanner struct {
	secrets     bool                 // look for secrets, and for the numbers of cards and accounts
	personal    bool                 // look for personal data
	only        []string             // of these kinds, but without bound; nil for any, bounded
	description bool                 // the text is a tool's description
	formless    bool                 // of the secrets, without those that have an issuer's form
	injection   bool                 // look for instructions by their structure
	model       *learn.Model         // look for them by what was learnt; nil for not
	room        int                  // bytes that may still be decoded
	path        [maxDepth + 1]uint64 // hashes of the texts that the one at hand was decoded from
	canary      canary
	signed      *signatures // of confirmed attacks; nil for none
	now         time.Time   // decides which of them are valid
	opaque      bool
	truncated   bool
	worst       int // the highest injection score so far
	stated      int // findings of personal data that were stated
}

// text returns what is found in t, in order of place. name is the member that holds it, or "".
func (s *scanner) text(t, name string) []hit {
	if len(t) < 4 {
		if h, ok := field(t, name); ok && s.personal {
			h.layer, h.value = "plain", t
			return wanted([]hit{h}, s.only)
		}
		return nil
	}
	return s.layer(t, name, "plain", 0)
}

var pathSeed = maphash.MakeSeed()

// again reports whether t was met on the way from the outermost text to it: turned twice it is itself.
func (s *scanner) again(t string, depth int) bool {
	s.path[depth] = maphash.String(pathSeed, t)
	return slices.Contains(s.path[:depth], s.path[depth])
}

// layer scans one text and everything that it encodes.
func (s *scanner) layer(t, name, layer string, depth int) []hit {
	if s.again(t, depth) {
		return nil
	}
	if v := fold(t); v != nil {
		if v.hidden >= 4 && s.injection {
			s.worst = max(s.worst, 800)
		}
		hits := s.plain(v.text, name, join(layer, v.layer), depth, v.hidden)
		for i := range hits {
			hits[i].start, hits[i].end = v.span(hits[i].start, hits[i].end, len(t))
		}
		return hits
	}
	return s.plain(t, name, layer, depth, 0)
}

func join(layer, next string) string {
	switch {
	case next == "":
		return layer
	case layer == "plain":
		return next
	}
	return layer + "+" + next
}

// plain scans a text without hidden characters.
func (s *scanner) plain(t, name, layer string, depth, hidden int) []hit {
	var hits []hit
	var places []place
	if hidden >= 4 {
		places = append(places, place{sigHidden, 0})
	}
	ln := lane{work: 8*len(t) + 64<<10}
	var shown structure
	prefilter.each(t, func(l uint16, end int) {
		n := int(l)
		if n >= firstStem {
			at := end - len(literals[n])
			if !s.injection || at > 0 && isAlnum(t[at]) && isAlnum(t[at-1]) {
				return
			}
			if len(places) == maxPlaces { // weigh what there is; what comes next may belong to the last of it
				hits = append(hits, s.suspicions(t, places, layer, &shown)...)
				places = append(places[:0], places[maxPlaces-64:]...)
			}
			places = append(places, place{stems[n-firstStem], at})
			return
		}
		if !s.secrets || s.formless && n < firstSpecial && shapes[n].kind != prefixed {
			return
		}
		// Findings are bounded. What is only replaced is not: a secret must not hide behind others.
		if s.injection && len(hits) >= maxHits || n >= firstKeyword && ln.work <= 0 {
			s.truncated = true
			return
		}
		if h, ok := find(t, n, end, &ln); ok {
			hits = append(hits, h)
		}
	})
	if s.secrets {
		hits = append(hits, s.whole(t, name)...)
	}
	if s.personal {
		hits = append(hits, personal(t, s.only != nil)...)
		hits = append(hits, traces(t)...)
		if h, ok := field(t, name); ok {
			hits = append(hits, h)
		}
	}
	hits = append(hits, s.runs(t, depth, layer)...)
	hits = wanted(hits, s.only)
	for i := range hits {
		if hits[i].layer == "" {
			hits[i].layer, hits[i].value = layer, t[hits[i].start:hits[i].end]
		}
	}
	if len(places) > 0 {
		hits = append(hits, s.suspicions(t, places, layer, &shown)...)
	}
	return tidy(append(hits, s.deeper(t, name, layer, depth, &shown)...))
}

// deeper asks what was learnt of t, and scans what t hides.
func (s *scanner) deeper(t, name, layer string, depth int, shown *structure) (hits []hit) {
	var read learn.Reader
	var cited [][2]int
	if s.model != nil {
		cited = shown.quotes(t)
	}
	g := look(t, s.model, &read, cited)
	hits = append(hits, s.judged(read.Best, *shown, layer)...)
	if s.signed != nil {
		if h, ok := s.signed.find(t, s.now); ok {
			h.layer, s.worst = layer, max(s.worst, h.score)
			hits = append(hits, h)
		}
	}
	if depth < maxDepth {
		if v := unescape(t); v != nil && s.take(v.text) {
			more := s.layer(v.text, name, join(layer, v.layer), depth+1)
			for i := range more {
				more[i].start, more[i].end = v.span(more[i].start, more[i].end, len(t))
			}
			hits = append(hits, more...)
		}
		hits = append(hits, s.disguises(t, name, layer, depth, g)...)
	}
	return hits
}

// statedFrom is the score from which what the model says is worth a finding, and together that from which
// it and the structure of the same text count as independent.
const (
	statedFrom = 400
	together   = 300
)

// judged turns the model's highest window into a hit.
func (s *scanner) judged(p learn.Peak, shown structure, layer string) []hit {
	if s.model == nil || p.To == 0 {
		return nil
	}
	score := s.model.Milli(p.Score)
	if layer != "plain" && score >= statedFrom {
		score = min(1000, score+100)
	}
	if shown.score >= together && score >= together && shown.at > p.From-reach/2 && shown.at < p.To+reach/2 {
		s.worst = max(s.worst, 1000-(1000-shown.score)*(1000-score)/1000)
	}
	if s.worst = max(s.worst, score); score < statedFrom {
		return nil
	}
	return []hit{{class: classInjection, kind: "reads like orders to a model", layer: layer, start: p.From, end: p.To, score: score}}
}

// disguises scans the readings of t that were turned around.
func (s *scanner) disguises(t, name, layer string, depth int, g guise) (hits []hit) {
	for _, v := range disguised(t, g) {
		if !s.take(v.text) {
			continue
		}
		secrets, personal := s.secrets, s.personal
		s.secrets, s.personal = secrets && !v.prose, false
		more := s.layer(v.text, name, join(layer, v.layer), depth+1)
		s.secrets, s.personal = secrets, personal
		for i := range more {
			more[i].start, more[i].end = v.back(more[i].start, more[i].end)
		}
		hits = append(hits, more...)
	}
	return hits
}

// find asks the rule of a literal.
func find(t string, n, end int, ln *lane) (hit, bool) {
	switch {
	case n < firstSpecial:
		if start, stop, ok := shapes[n].match(t, end, bodies[n]); ok {
			return secretHit(shapes[n].kind, start, stop), true
		}
		return shapes[n].near(t, end, bodies[n])
	case n < firstKeyword:
		return specials[n-firstSpecial].find(t, end)
	}
	return keywords[n-firstKeyword].assigned(t, end, ln)
}

// whole looks at a text as the value of the member name.
func (s *scanner) whole(t, name string) []hit {
	if len(t) > 1024 || name == "" {
		return nil
	}
	k := keywordIn(name)
	if k == nil || strings.ContainsAny(t, " \t\n") {
		return nil
	}
	if h, ok := k.judge(t, 0); ok {
		return []hit{h}
	}
	return nil
}

// runs finds numbers with check digits and encoded runs in one pass.
func (s *scanner) runs(t string, depth int, layer string) (hits []hit) {
	run, line, cardEnd := -1, 0, 0
	for i := 0; i <= len(t); i++ {
		c := byte(0)
		if i < len(t) {
			c = t[i]
		}
		if byteKinds[c]&byteRun != 0 {
			if run < 0 {
				run, line = i, i
			}
		} else if run >= 0 && i-line >= minLine && wrapped(t, i) {
			if c == '\n' {
				line = i + 1
			}
		} else if run >= 0 {
			if i-run >= minEncoded && s.canary.in(t[run:i]) {
				hits = append(hits, hit{class: classCanary, kind: "a planted canary", start: run, end: i, score: 1000})
			} else if s.secrets && i-run >= minUnnamed && unnamed(t[run:i]) {
				hits = append(hits, hit{class: classSecret, kind: "unnamed", start: run, end: i, score: 700})
			} else if i-run >= minEncoded && depth < maxDepth {
				hits = append(hits, s.encoded(t, run, i, depth, layer)...)
			}
			run = -1
		}
		if !s.secrets && !s.personal || c < '0' || c > '9' || i < cardEnd {
			continue
		}
		if i == 0 || !isWord(t[i-1]) && t[i-1] != '.' {
			if c >= '1' && c <= '6' {
				if h, ok := cardAt(t, i); ok {
					hits, cardEnd = append(hits, h), h.end
				}
			}
		} else if i >= 2 && i+1 < len(t) && t[i+1] >= '0' && t[i+1] <= '9' && t[i-1] >= 'A' && t[i-1] <= 'Z' &&
			t[i-2] >= 'A' && t[i-2] <= 'Z' && (i == 2 || !isWord(t[i-3])) {
			if h, ok := ibanAt(t, i-2); ok {
				hits, cardEnd = append(hits, h), h.end
			}
		}
	}
	return hits
}

// minLine is the shortest line of a longer encoded text: 64 and 76 are the customary ones.
const minLine = 60

// wrapped reports whether an encoded run goes on in the line after the end of line at t[i].
func wrapped(t string, i int) bool {
	if i < len(t) && t[i] == '\r' {
		i++
	}
	return i+1 < len(t) && t[i] == '\n' && isAlnum(t[i+1])
}

// encoded scans what t[start:end] decodes to; whatever is found stands at the whole run.
func (s *scanner) encoded(t string, start, end, depth int, layer string) []hit {
	text, by, ok, opaque := decode(t[start:end])
	s.opaque = s.opaque || opaque
	if !ok || !s.take(text) {
		return nil
	}
	hits := s.layer(text, "", join(layer, by), depth+1)
	if len(hits) > maxLayerHits && s.only == nil {
		hits, s.truncated = hits[:maxLayerHits], true
	}
	for i := range hits {
		hits[i].start, hits[i].end = start, end
	}
	return hits
}

// take reports whether there is room to scan text, which was decoded.
func (s *scanner) take(text string) bool {
	if s.room -= len(text); s.room < 0 {
		s.room, s.truncated = 0, true
		return false
	}
	return true
}

// structure is the most that the structure of a text tells, and where.
type structure struct {
	score, at int
	cited     [][2]int // citations of the text, once asked for
	asked     bool
}

func (s *structure) quotes(t string) [][2]int {
	if !s.asked {
		s.cited, s.asked = citations(t), true
	}
	return s.cited
}

// suspicions turns signals into hits. Instructions that somebody took the trouble to encode are graver.
func (s *scanner) suspicions(t string, places []place, layer string, shown *structure) (hits []hit) {
	slices.SortStableFunc(places, func(a, b place) int { return a.at - b.at })
	found := suspect(t, uncited(shown.quotes(t), places), s.description)
	if found.score == 0 {
		return nil
	}
	if layer != "plain" && found.score >= 350 {
		found.score = min(1000, found.score+200)
	}
	s.worst = max(s.worst, found.score)
	if found.score > shown.score {
		shown.score, shown.at = found.score, found.reasons[0].at
	}
	for _, r := range found.reasons {
		end := min(len(t), r.at+64)
		hits = append(hits, hit{class: classInjection, kind: r.text, layer: layer, start: r.at, end: end, score: r.score})
	}
	return hits
}

// tidy sorts hits and joins those of secrets that overlap, and those of personal data.
func tidy(hits []hit) []hit {
	if len(hits) < 2 {
		return hits
	}
	slices.SortStableFunc(hits, func(a, b hit) int {
		if a.start != b.start {
			return a.start - b.start
		}
		return b.score - a.score
	})
	out := hits[:0]
	for _, h := range hits {
		n := len(out)
		if h.class < classInjection && n > 0 && out[n-1].class < classInjection && h.start < out[n-1].end {
			last := &out[n-1]
			if h.class != last.class { // what is personal gives way, and never widens a secret
				if h.class == classSecret {
					*last = h
				}
				continue
			}
			if h.score > last.score {
				h.start, h.end = min(h.start, last.start), max(h.end, last.end)
				*last = h
			} else {
				last.end = max(last.end, h.end)
			}
			continue
		}
		out = append(out, h)
	}
	return out
}
