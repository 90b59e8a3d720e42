// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"hash/maphash"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// maxLeaves bounds how many argument values are stated.
const maxLeaves = 256

// Tool is what the tools column knows of the tool of an action.
type Tool struct {
	Class string   // kind of verb, as action.Flow.Class
	Words []string // of its name
	About []string // what its description says that it does something to
	Role  func(pointer, name string) string
	// Field is the declared class of an output field by its pattern, as Classify writes it; "" leaves it to
	// the classifier. Nil declares nothing.
	Field func(pointer string) Class
}

// An asking is one action's arguments against one session. It needs the session's lock.
type asking struct {
	f       *Flow
	s       *session
	q       *action.Query
	tool    Tool
	session action.Labels
	shelves []*shelf
	out     []action.Value
	valued  []valued      // beside out, before it is sorted
	traced  int           // values that were looked for in disguise
	result  action.Labels // of q

	complete bool // out holds every leaf
}

func (f *Flow) tool(q *action.Query) Tool {
	if f.cfg.Tool == nil {
		return Tool{}
	}
	return f.cfg.Tool(q)
}

// values states the origin of each leaf of q's arguments; complete is false if there were too many.
func (f *Flow) values(s *session, q *action.Query, session action.Labels) (a *asking, complete bool) {
	a = &asking{f: f, s: s, q: q, tool: f.tool(q), session: session, shelves: s.shelves(f, q.Subject.Tenant)}
	if a.tool.Class == "read" && a.opens() {
		a.tool.Class = "fetch"
	}
	complete = leaves(q.Action.Arguments, maxLeaves, func(l leaf) { a.value(l) })
	slices.SortFunc(a.out, func(a, b action.Value) int { return strings.Compare(a.Pointer, b.Pointer) })
	return a, complete
}

// opens reports whether an argument that nobody says the meaning of is an address: a tool that takes one
// fetches what lies there, whatever it is called.
func (a *asking) opens() (yes bool) {
	if a.tool.Role == nil {
		return false
	}
	leaves(a.q.Action.Arguments, maxLeaves, func(l leaf) {
		if kind, _ := classify(l); !yes && (kind == "url" || kind == "host") && a.tool.Role(l.pointer, l.name) == "" {
			yes = true
		}
	})
	return yes
}

// shelves are where records may be looked up: the session's own first.
func (s *session) shelves(f *Flow, tenant string) []*shelf {
	return append([]*shelf{s.shelf}, f.own.of(tenant)...)
}

// value states one leaf. Trust comes only from equality of the whole value with one of the request, or of
// a record that the request leads to.
func (a *asking) value(l leaf) {
	s, f := a.s, a.f
	v := action.Value{Pointer: l.pointer, Selection: action.OriginUnknown, Owned: action.TriUnknown,
		Known: action.TriUnknown, Secrecy: a.session.Secrecy}
	if a.tool.Role != nil {
		if v.Role = a.tool.Role(l.pointer, l.name); v.Role == "" && a.tool.Class != "" {
			v.Role = "attribute" // the tool is known, and of this argument it says nothing
		}
	}
	v.Sink = sink(a.q, l, v.Role)
	kind, canon := classify(l)
	v.Kind = kind
	if v.Sink == action.SinkDestination {
		v.Known = a.isKnown(l.pointer, kind, canon)
	}
	asked := s.request.holds(f, kind, canon, v.Sink == action.SinkAmount)
	if asked {
		v.Evidence = append(v.Evidence, action.Evidence{Origin: action.OriginUser, Source: "request", Match: "exact"})
		v.Secrecy = action.SecrecyInternal // the user said it; it holds nothing else
	}
	m, match := s.untrusted(f, kind, canon, l.text)
	if a.ofTenant(f.key(kind, canon)) {
		v.Evidence = append(v.Evidence, action.Evidence{Origin: action.OriginTenant, Source: "records", Match: "exact"})
	}
	if m.flags&(inNamed|inChain) != 0 {
		v.Evidence = append(v.Evidence, action.Evidence{Origin: action.OriginNamed, Source: s.toolName(m.tool), Match: match})
	}
	if match != "" {
		v.Evidence = append(v.Evidence, action.Evidence{Origin: action.OriginUntrusted, Source: s.toolName(m.tool), Match: match})
	} else if a.isStained(kind, canon) {
		v.Evidence = append(v.Evidence, action.Evidence{Origin: action.OriginUntrusted, Source: "an earlier write", Match: "exact"})
	} else if len(v.Evidence) == 0 && v.Sink != action.SinkNone && s.request.heard {
		a.trace(&v, l)
	}
	strangers := v.Sink == action.SinkCommand && a.runsStrangers(l.pointer)
	if strangers {
		v.Evidence = append(v.Evidence, action.Evidence{Origin: action.OriginUntrusted, Source: "a file that strangers' text was put into", Match: "link"})
	}
	for _, d := range a.q.Context.Detect.Secrets {
		if a.q.Phase == action.Before && d.Pointer == l.pointer {
			v.Secrecy = action.SecrecySecret
		}
	}
	for _, e := range v.Evidence {
		v.Origins = append(v.Origins, e.Origin)
	}
	if a.judge(&v, l, kind, canon, m, match); strangers {
		v.Grade, v.Selection = string(GradeTainted), action.OriginUntrusted
	}
	if v.Grade == string(GradeMedium) && a.computed(f.key(kind, canon)) {
		v.Evidence = append(v.Evidence, action.Evidence{Origin: action.OriginUser, Source: "computed from what was listed", Match: "link"})
	}
	if len(v.Origins) == 0 {
		v.Origins = []action.Origin{action.OriginUnseen}
		if s.request.heard {
			v.Origins[0] = action.OriginAgent
		}
	}
	v.Origin = v.Origins[len(v.Origins)-1] // user comes before untrusted
	slices.Sort(v.Origins)
	a.out = append(a.out, v)
}

// judge grades a value. Of several in one text, as in a list of recipients, the worst counts.
func (a *asking) judge(v *action.Value, l leaf, kind, canon string, m mention, match string) {
	if v.Sink == action.SinkFlag || v.Role == "flag" || v.Role == "selector" && l.kind == '"' {
		if a.widens(l) {
			v.Carries = []string{"widens"}
		}
	}
	if kind == "flag" || canon == "" && len(l.text) <= maxText {
		a.valued = append(a.valued, valued{text: l.text, grade: GradeUser, neutral: true})
		return
	}
	grade := Grade("")
	if v.Sink == action.SinkDestination && kind == "text" && strings.ContainsAny(l.text, ",;") {
		for part := range strings.FieldsFuncSeq(l.text, func(r rune) bool { return r == ',' || r == ';' }) {
			k, c := classify(leaf{kind: l.kind, text: part})
			pm, pmatch := a.s.untrusted(a.f, k, c, part)
			if g := a.grade(k, c, part, v.Role, pm, pmatch); grade == "" || gradeOrder[g] > gradeOrder[grade] {
				grade = g
			}
		}
	} else {
		grade = a.grade(kind, canon, l.text, v.Role, m, match)
	}
	v.Grade = string(grade)
	v.Mentioned = "no"
	if m.flags&inText != 0 || a.described(kind, canon) {
		v.Mentioned = "yes"
	}
	v.Selection = selection(grade, a.s.request.heard)
	v.Owned = action.TriOf(grade == GradeOwn)
	if v.Sink == action.SinkNone || v.Sink == action.SinkUnknown {
		v.Carries = append(v.Carries, a.carries(l.text)...)
	}
	neutral := v.Role == "neutral" || v.Role == "amount" || v.Role == "currency" || v.Role == "flag" || v.Role == "code" ||
		kind == "date" || kind == "number" && len(canon) < 5 && v.Sink != action.SinkSelector
	a.valued = append(a.valued, valued{text: l.text, grade: grade, neutral: neutral,
		points: v.Role == "url" || strings.HasPrefix(v.Role, "path") || kind == "url" || kind == "host" || kind == "path" || kind == "id" ||
			kind == "text" && (v.Role == "selector" || v.Role == "recipient") && !searches(l.name) && !a.searching() &&
				(a.s.request.named(a.f, canon) || a.s.request.does && gradeOrder[grade] <= gradeOrder[GradeChain])})
}

// searching reports whether the tool looks for things by their properties.
func (a *asking) searching() bool {
	return slices.ContainsFunc(a.tool.Words, func(w string) bool {
		switch w {
		case "search", "find", "query", "lookup", "look", "filter", "browse", "list", "seek", "locate", "discover", "explore", "match", "enumerate":
			return true
		}
		return false
	})
}

// searches reports whether an argument is looked for rather than named.
func searches(name string) bool {
	switch lastWord(name) {
	case "query", "q", "search", "keyword", "keywords", "term", "terms", "filter", "pattern", "text":
		return true
	}
	return false
}

func selection(g Grade, heard bool) action.Origin {
	switch g {
	case GradeUser, GradeOwn, GradeStrong, GradeMedium, GradeQuery, GradeSet:
		return action.OriginUser
	case GradePaid, GradeListed, GradeTenant:
		return action.OriginTenant
	case GradeNamed, GradeChain:
		return action.OriginNamed
	case GradeText, GradeTainted:
		return action.OriginUntrusted
	case GradeNone:
		if heard {
			return action.OriginAgent
		}
		return action.OriginUnseen
	}
	return action.OriginUnknown
}

// grade relates one typed value to the request: itself, through the records that hold it, through the
// texts that name it, in this order.
func (a *asking) grade(kind, canon, text, role string, m mention, match string) Grade {
	s, f := a.s, a.f
	if s.request.holds(f, kind, canon, role == "amount") {
		return GradeUser
	}
	h := f.key(kind, canon)
	if s.mine[h] {
		return GradeOwn
	}
	if a.isStained(kind, canon) {
		return GradeTainted
	}
	if g := s.written[h]; g != "" {
		return g
	}
	g := s.recorded(a.shelves, h)
	if kind == "path" { // a folder that a record or the request leads to holds what lies in it
		for p := canon; g == "" || gradeOrder[g] > gradeOrder[GradeSet]; {
			i := strings.LastIndexByte(p, '/')
			if i <= 0 {
				break
			}
			p = p[:i]
			g = better(g, s.recorded(a.shelves, f.key("path", p)))
		}
	}
	if m.flags&inNamed != 0 {
		g = better(g, GradeNamed)
		if kind == "email" && a.namesake(canon) || (kind == "url" || kind == "host") && a.hostSaid(canon) {
			g = better(g, GradeMedium)
		}
	}
	if m.flags&inChain != 0 {
		g = better(g, GradeChain)
	}
	switch {
	case g == GradeTainted, g == "" && m.flags&(inText|inField) != 0:
		if m.flags&inField != 0 && m.flags&inText == 0 && g == "" && kind == "text" {
			return GradeListed // part of what a field says
		}
		return GradeText
	case g == "":
		return GradeNone
	}
	return g
}

// namesake reports whether the local part of an address holds a name that the user said.
func (a *asking) namesake(address string) bool {
	local, _, _ := strings.Cut(address, "@")
	for w := range words(local) {
		if h := a.f.stemHash(w); len(w) >= 3 && h != 0 && a.s.request.names[h] {
			return true
		}
	}
	return false
}

// hostSaid reports whether the name of a host holds a word of the request.
func (a *asking) hostSaid(canon string) bool {
	host, _, _ := strings.Cut(plainURL(canon), "/")
	if i := strings.LastIndexByte(host, '.'); i > 0 {
		host = host[:i]
	}
	for w := range words(host) {
		m := stem(string(w))
		if h := a.f.stemHash(w); len(w) >= 4 && h != 0 && a.s.request.stems[h] && !pageWords[m] && !dull[m] && wishWords[m] == 0 {
			return true
		}
	}
	return false
}

// described reports whether text of strangers speaks of what a record with this value is called, so that
// it may have chosen the record.
func (a *asking) described(kind, canon string) bool {
	h := a.f.key(kind, canon)
	sh := a.s.shelf
	foreign := inText | inNamed | inChain
	if a.s.request.does {
		foreign = inText // what the user handed the choice to may speak
	}
	for _, p := range sh.where[h] {
		for _, label := range sh.records[p.record].labels {
			theirs, said := 0, 0
			for _, w := range label {
				switch {
				case a.s.request.stems[w]:
					said++
				case a.s.index[w].flags&foreign != 0:
					theirs++
				}
			}
			if said == 0 && theirs*100 >= len(label)*60 || said > 0 && theirs > 1 && theirs+said == len(label) {
				return true
			}
		}
	}
	return false
}

// widening are words that open a thing to more people, or give more rights over it.
var widening = set(`public everyone anyone world owner admin administrator write writer editor edit maintain root full rw all`)

// widens reports whether a switch or a choice opens more than the user worded.
func (a *asking) widens(l leaf) bool {
	if !a.s.request.heard {
		return false
	}
	text := l.text
	if l.kind == 't' {
		text = l.name
	}
	n := 0
	for w := range words(text) {
		if n++; n > 3 {
			return false
		}
		if widening[string(w)] && !a.s.request.said(string(w)) {
			return len(text) < 40
		}
	}
	return false
}

// carries says what content takes along.
func (a *asking) carries(text string) (out []string) {
	link := false
	secret := a.isSecret("text", text)
	tokens(text, func(kind, canon string) bool {
		h := a.f.key(kind, canon)
		if a.secretKey(h) && !a.s.request.typed[h] {
			secret = true
		}
		if (kind == "url" || kind == "host") && !link {
			m, match := a.s.untrusted(a.f, kind, canon, "")
			g := a.grade(kind, canon, "", "url", m, match)
			link = g == GradeText || g == GradeTainted
		}
		return !secret || !link
	})
	if link {
		out = append(out, "link")
	}
	if !secret && a.hasSecrets() {
		for w := range words(text) {
			if h := a.f.hash("text", string(w)); a.secretKey(h) && len(w) >= 6 && !a.s.request.said(string(w)) {
				secret = true
				break
			}
		}
	}
	if secret {
		out = append(out, "secret_field")
	}
	return out
}

func (a *asking) isSecret(_, text string) bool {
	kind, canon := classify(leaf{kind: '"', text: text})
	return canon != "" && a.secretKey(a.f.key(kind, canon)) && !a.s.request.holds(a.f, kind, canon, false)
}

// ofTenant reports whether the organisation's own records hold a value, in any field that is no prose.
func (a *asking) ofTenant(h uint64) bool {
	return slices.ContainsFunc(a.shelves[1:], func(sh *shelf) bool { return len(sh.where[h]) > 0 })
}

func (a *asking) secretKey(h uint64) bool {
	for _, sh := range a.shelves {
		if sh.secrets[h] {
			return true
		}
	}
	return false
}

func (a *asking) hasSecrets() bool {
	return slices.ContainsFunc(a.shelves, func(sh *shelf) bool { return len(sh.secrets) > 0 })
}

// mention is where text or fields of untrusted results name a value.
type mention struct {
	tool  uint16
	flags uint8
}

// The places of a mention.
const (
	inText    uint8 = 1 << iota // prose of strangers that the user did not point at
	inField                     // a field of a record
	inNamed                     // prose that the user pointed at
	inChain                     // prose that something named or linked led to
	inDecoded                   // only in an encoding; a value that stands there plainly too does not have it
)

// untrusted looks for the value in what strangers may have written: whole, else any typed value in it,
// else all of a short text's words in a row.
func (s *session) untrusted(f *Flow, kind, canon, text string) (m mention, match string) {
	if len(s.index) == 0 || kind == "flag" {
		return m, ""
	}
	short := func(kind, canon string) bool { return kind == "number" && len(canon) < 5 }
	if !short(kind, canon) {
		if m, ok := s.index[f.key(kind, canon)]; ok && canon != "" {
			if m.flags&inDecoded != 0 {
				return m, "decoded"
			}
			return m, "exact"
		}
	}
	found := false
	tokens(text, func(kind, canon string) bool {
		if !short(kind, canon) {
			m, found = s.index[f.key(kind, canon)]
		}
		return !found
	})
	if found {
		return m, "partial"
	}
	if kind != "text" || canon == "" || strings.Count(canon, " ") > 7 {
		return mention{}, ""
	}
	all, last := true, uint64(0)
	flags := ^uint8(0)
	for w := range words(canon) {
		h := f.word(w)
		n, ok := s.index[h]
		if last != 0 {
			n, ok = s.index[pair(last, h)]
		}
		m.tool, all, last = n.tool, all && ok, h
		flags &= n.flags
	}
	if all && last != 0 {
		if m.flags = flags; flags == 0 {
			m.flags = inText
		}
		return m, "exact"
	}
	return mention{}, ""
}

func (s *session) toolName(n uint16) string {
	if int(n) < len(s.tools) {
		return s.tools[n]
	}
	return ""
}

// hash is the fingerprint of a typed value under the key of this process.
func (f *Flow) hash(kind, canon string) uint64 {
	return pair(maphash.String(f.seed, kind), maphash.String(f.seed, canon))
}

// word is the fingerprint of one word.
func (f *Flow) word(w []byte) uint64 { return maphash.Bytes(f.seed, w) }

// pair mixes two keyed fingerprints in order (the finaliser of MurmurHash3).
func pair(a, b uint64) uint64 {
	h := a*0x9E3779B97F4A7C15 + b
	h ^= h >> 33
	h *= 0xFF51AFD7ED558CCD
	h ^= h >> 33
	h *= 0xC4CEB9FE1A85EC53
	return h ^ h>>33
}
