// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"slices"
	"strings"
)

// Grade says how a value relates to what the user asked for, best first. It stands in action.Value.Grade.
type Grade string

// The grades.
const (
	GradeUser    Grade = "user"    // stands in the request
	GradeOwn     Grade = "own"     // the user's own address or account
	GradeStrong  Grade = "linked"  // stands in a record that holds a value or a person of the request, or that this session made
	GradeMedium  Grade = "matched" // in a record that the request's words, or its superlative, single out
	GradeQuery   Grade = "queried" // in a listing that was queried with nothing but the user's words
	GradeSet     Grade = "set"     // in a listing of what the request speaks of, as a whole or by a superlative
	GradeNamed   Grade = "named"   // in text that the user pointed at
	GradeChain   Grade = "chain"   // in text that a named or linked value led to
	GradePaid    Grade = "paid"    // in an unlinked record: money went there before
	GradeListed  Grade = "listed"  // in an unlinked record that a tool returned in this session
	GradeTenant  Grade = "tenant"  // in an unlinked record of the organisation
	GradeNone    Grade = "none"    // nowhere
	GradeTainted Grade = "tainted" // in records that a stranger's words chose
	GradeText    Grade = "text"    // only in text that strangers may have written
)

var gradeOrder = func() map[Grade]int {
	m := map[Grade]int{}
	for i, g := range []Grade{GradeUser, GradeOwn, GradeStrong, GradeMedium, GradeQuery, GradeSet, GradeNamed, GradeChain, GradePaid,
		GradeListed, GradeTenant, GradeNone, GradeTainted, GradeText} {
		m[g] = i
	}
	return m
}()

// better returns the better of two grades; "" is none yet.
func better(a, b Grade) Grade {
	if a == "" || b != "" && gradeOrder[b] < gradeOrder[a] {
		return b
	}
	return a
}

// link says how the record i of a shelf, in which the value h stands, relates to the request. "" means not at all.
func (s *session) link(shelves []*shelf, sh *shelf, i int32, h uint64) Grade {
	g := Grade("")
	for depth := 0; i >= 0 && depth < 3; depth++ {
		r := &sh.records[i]
		one := func() bool { return depth > 0 || !s.rivalled(shelves, r, h) }
		if g = better(g, s.linkOwn(sh, r, one)); g == GradeStrong {
			return g
		}
		if sh == s.shelf && s.answered(i) {
			g = better(g, GradeMedium)
		}
		if i = r.parent; sh.sources[r.source].tenant {
			break // one account's records hold all kinds of people
		}
	}
	return g
}

// linkOwn relates one record. one says whether its name is nobody else's.
func (s *session) linkOwn(sh *shelf, r *record, one func() bool) Grade {
	if r.created {
		return GradeStrong
	}
	q := &s.request
	if !q.heard {
		return ""
	}
	src := &sh.sources[r.source]
	for _, h := range r.typed {
		if q.typed[h] && !s.mine[h] {
			return GradeStrong
		}
	}
	named := slices.ContainsFunc(r.names, func(h uint64) bool { return q.names[h] && !s.mineNames[h] }) ||
		slices.ContainsFunc(r.labels, func(label []uint64) bool { return len(label) > 1 && within(label, q.stems) })
	if named && one() {
		return GradeStrong
	} else if named {
		return ""
	}
	if src.tenant { // among all that an organisation has, a common word singles nothing out
		return ""
	}
	for _, w := range r.words {
		if q.stems[w] {
			return GradeMedium
		}
	}
	for _, l := range q.lead {
		for _, e := range r.extremes {
			if e.top == l.top && (l.fields[e.field] || l.fields == nil && q.stems[e.field]) {
				return GradeMedium
			}
		}
	}
	if q.does {
		for _, label := range r.labels {
			if len(label) > 0 && within(label, s.told) {
				return GradeChain
			}
		}
	}
	switch {
	case src.query == queryUser:
		return GradeQuery
	case (q.all || len(q.lead) > 0) && src.query == queryNone && overlap(src.nouns, q.stems):
		return GradeSet
	}
	return ""
}

func within(words []uint64, set map[uint64]bool) bool {
	for _, w := range words {
		if !set[w] {
			return false
		}
	}
	return true
}

func overlap(words []uint64, set map[uint64]bool) bool {
	for _, w := range words {
		if set[w] {
			return true
		}
	}
	return false
}

// recorded looks a typed value up in records: the best grade that one of them gives it.
func (s *session) recorded(shelves []*shelf, h uint64) (best Grade) {
	tainted := false
	for _, sh := range shelves {
		for _, p := range sh.where[h] {
			g := s.graded(shelves, sh, p, h)
			tainted = tainted || g == GradeTainted
			best = better(best, g)
		}
	}
	if tainted && gradeOrder[best] >= gradeOrder[GradeSet] {
		return GradeTainted // what a stranger's words brought in stays his, wherever it is listed next
	}
	return best
}

// graded is what one place in a record makes of a value. Who sent or wrote a record is vouched for only by
// a user who named him or that very record; a label that nothing links says no more than any text.
func (s *session) graded(shelves []*shelf, sh *shelf, p place, h uint64) Grade {
	g := s.link(shelves, sh, p.record, h)
	src := &sh.sources[sh.records[p.record].source]
	if src.query == queryTainted && g != GradeStrong {
		return GradeTainted
	}
	if p.class == Counterparty && g != GradeStrong {
		return GradeListed
	}
	switch {
	case g != "":
		return g
	case p.paid:
		return GradePaid
	case src.tenant:
		return GradeTenant
	}
	return GradeListed
}

// queryOf says whose words the arguments of a read are, and namingOf whether they point at its source.
// Both are settled when the call is made: later words must not raise earlier results.
func (s *session) queryOf(f *Flow, v []valued) queryKind {
	kind, asked := queryNone, false
	for _, x := range v {
		if x.neutral {
			continue
		}
		switch x.grade {
		case GradeUser, GradeOwn, GradeStrong, GradeMedium, GradeQuery, GradeSet:
			asked = true
			continue
		case GradeText, GradeTainted:
			return queryTainted
		case GradeNamed, GradeChain:
			if !s.request.does {
				return queryTainted // pointing at a text to read hands no choice to it
			}
			kind = queryOther
			continue
		case GradePaid, GradeListed, GradeTenant:
			kind = queryOther
			continue
		}
		share, found, strange := s.spoken(f, x.text)
		switch {
		case strange:
			return queryTainted
		case share >= 60:
			asked = true
		case found:
			kind = queryOther
		default:
			kind = queryOther
		}
	}
	if kind == queryNone && asked {
		return queryUser
	}
	return kind
}

// spoken is the share of a text's meaning words that the user said, and whether a stranger's text says
// all of the others, or one of them holds a digit and stands nowhere.
func (s *session) spoken(f *Flow, text string) (percent int, found, strange bool) {
	n, said, foreign := 0, 0, 0
	for w := range words(text) {
		m := f.stemHash(w)
		if m == 0 {
			continue
		}
		n++
		switch {
		case s.request.stems[m]:
			said++
		case s.index[m].flags&(inText|inNamed|inChain) != 0:
			foreign++
		case strings.ContainsAny(string(w), "0123456789") && len(w) >= 3:
			strange = true
		}
	}
	if n == 0 {
		return 100, false, false
	}
	return said * 100 / n, said > 0, strange || foreign > 0 && foreign+said == n && said*2 < n
}

// valued is an argument with what is known of it.
type valued struct {
	text    string
	grade   Grade
	neutral bool // a limit, a time, a switch: it chooses nothing
	points  bool // a URL, path, name or quoted string of the request
}

// namingOf says whether a call points at its source by a value of the request, or by one that led on from
// there. A search is no pointing.
func namingOf(v []valued) naming {
	best := namedNot
	for _, x := range v {
		if x.neutral {
			continue
		}
		switch x.grade {
		case GradeUser:
			if x.points {
				return namedDirect
			}
		case GradeStrong, GradeMedium, GradeNamed, GradeChain:
			if x.points {
				best = namedByText
			}
		}
	}
	return best
}
