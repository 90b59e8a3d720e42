// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
)

// Remedy is what would have to be otherwise for an action to be decided better.
type Remedy struct {
	Verdict action.Verdict `json:"verdict"` // that the changes lead to; the decision's own if none helps
	Changes []FactChange   `json:"changes"` // each is needed; empty if there is nothing to better, or nothing was found
}

// FactChange is one fact and what it would have to be.
type FactChange struct {
	Fact string `json:"fact"` // "context.session.state", "action.paths[0].inside"
	From string `json:"from"`
	To   string `json:"to"` // "(none)" for a list that would have to be empty
}

// The bounds of a search for a remedy.
const (
	maxRemedy      = 6      // changes
	maxRemedyTries = 20_000 // decisions
)

// fixed are facts that say what the action is, or that are somebody's word for it: another one would be another action.
var fixed = []string{"version", "phase", "round", "subject.", "action.name", "action.effect", "resource.type", "resource.id", "resource.server", "resource.name",
	"context.kill", "context.enforcement"}

// Remedy looks for facts that, if they were otherwise, would have c permit q, or ask in place of denying. It changes words, flags,
// and whether lists have anything in them, one at a time, whatever helps most first, and then takes back what was not needed. Each
// answer is the policy's own, whatever its engine; that none is found proves nothing.
func (c *Compiled) Remedy(ctx context.Context, q *action.Query) (Remedy, error) {
	d, err := c.Decide(ctx, q)
	if err != nil {
		return Remedy{}, err
	}
	if d.Verdict == action.Allow {
		return Remedy{Verdict: d.Verdict, Changes: []FactChange{}}, nil
	}
	data, err := json.Marshal(q)
	if err != nil {
		return Remedy{}, err
	}
	now := action.NewQuery(q.Phase)
	if err := json.Unmarshal(data, now); err != nil {
		return Remedy{}, err
	}
	s := &search{ctx: ctx, c: c, q: now, best: grade(&d)}
	s.levers("", reflect.ValueOf(now).Elem(), nil)
	for range maxRemedy {
		if !s.step() {
			break
		}
	}
	s.prune()
	if s.best >= 1000 {
		s.likeCases(c.seeds())
	}
	out := Remedy{Verdict: s.verdict(), Changes: []FactChange{}}
	if out.Verdict == d.Verdict {
		return out, s.err
	}
	for _, l := range s.taken {
		out.Changes = append(out.Changes, FactChange{l.fact, shownValue(l.old), shownValue(l.at)})
	}
	slices.SortFunc(out.Changes, func(a, b FactChange) int { return strings.Compare(a.Fact, b.Fact) })
	return out, s.err
}

// search changes one query in place.
type search struct {
	ctx   context.Context
	c     *Compiled
	q     *action.Query
	all   []*lever
	taken []*lever
	best  int
	tries int
	err   error
}

// lever is a fact that can be changed.
type lever struct {
	fact   string
	path   []int // indexes of fields, and -1 for an element of a list
	at     reflect.Value
	old    reflect.Value
	values []reflect.Value
}

// levers collects what can be changed of v.
func (s *search) levers(fact string, v reflect.Value, path []int) {
	name := strings.TrimPrefix(fact, ".")
	if slices.ContainsFunc(fixed, func(f string) bool {
		return name == f || strings.HasSuffix(f, ".") && strings.HasPrefix(name, f) || strings.HasPrefix(name, f+".")
	}) {
		return
	}
	l := &lever{fact: name, path: path, at: v, old: reflect.ValueOf(v.Interface())}
	switch {
	case v.Type() == rawType:
		return
	case v.Kind() == reflect.String:
		words, ok := v.Interface().(interface{ Values() []string })
		if !ok {
			return
		}
		for _, w := range words.Values() {
			if w != v.String() && w != "unknown" {
				l.values = append(l.values, reflect.ValueOf(w).Convert(v.Type()))
			}
		}
	case v.Kind() == reflect.Bool:
		l.values = []reflect.Value{reflect.ValueOf(!v.Bool()).Convert(v.Type())}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8:
		for i := range v.Len() {
			s.levers(fmt.Sprintf("%s[%d]", fact, i), v.Index(i), append(slices.Clone(path), -1))
		}
		if v.Len() > 0 {
			l.values = []reflect.Value{reflect.MakeSlice(v.Type(), 0, 0)}
		}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			s.levers(fact+"."+v.Type().Field(i).Tag.Get("json"), v.Field(i), append(slices.Clone(path), i))
		}
		return
	case v.Kind() == reflect.Int || v.Kind() == reflect.Int64:
		// The worst value of a number that nobody stated; none of it is the best.
		if v.Int() > 0 {
			l.values = []reflect.Value{reflect.Zero(v.Type())}
		}
	}
	if len(l.values) > 0 {
		s.all = append(s.all, l)
	}
}

// grade is less the better a decision is: by its verdict, then by how many rules it rests on.
func grade(d *action.Decision) int {
	worst := map[action.Verdict]int{action.Allow: 0, action.Ask: 1, action.Deny: 2, action.Quarantine: 3}[d.Verdict]
	n := 0
	for _, m := range d.Matches {
		if m.Verdict != action.Allow {
			n++
		}
	}
	return worst*1000 + min(n+len(d.Errors), 999)
}

func (s *search) decide() int {
	if s.tries++; s.tries > maxRemedyTries || s.err != nil {
		return 1 << 30
	}
	d, err := s.c.Decide(s.ctx, s.q)
	if err != nil {
		s.err = err
		return 1 << 30
	}
	return grade(&d)
}

func (s *search) verdict() action.Verdict {
	d, err := s.c.Decide(s.ctx, s.q)
	if err != nil {
		s.err = err
	}
	return d.Verdict
}

// step makes the change that helps most, and reports whether there was one.
func (s *search) step() bool {
	if s.best == 0 {
		return false
	}
	var best *lever
	var to reflect.Value
	for _, l := range s.all {
		was := reflect.ValueOf(l.at.Interface())
		for _, v := range l.values {
			l.at.Set(v)
			if g := s.decide(); g < s.best {
				s.best, best, to = g, l, v
			}
		}
		l.at.Set(was)
	}
	if best == nil {
		return false
	}
	best.at.Set(to)
	if !slices.Contains(s.taken, best) {
		s.taken = append(s.taken, best)
	}
	return true
}

// likeCases tries the facts of the bundle's own cases, which hold together what rules want together, and keeps those
// that lead furthest with the fewest changes.
func (s *search) likeCases(cases []*action.Query) {
	type answer struct {
		best   int
		taken  []*lever
		values []reflect.Value
	}
	first := answer{s.best, s.taken, s.values()}
	kept := first
	for _, k := range cases {
		if k.Phase != s.q.Phase || k.Action.Effect != s.q.Action.Effect || s.tries > maxRemedyTries {
			continue
		}
		s.set(nil, nil)
		for _, l := range s.all {
			if v, ok := follow(reflect.ValueOf(k).Elem(), l.path); ok && l.at.Kind() != reflect.Slice && !v.Equal(l.at) {
				l.at.Set(v)
				s.taken = append(s.taken, l)
			}
		}
		if s.best = s.decide(); s.best/1000 >= first.best/1000 {
			continue
		}
		s.prune()
		if s.best/1000 < kept.best/1000 || s.best/1000 == kept.best/1000 && len(s.taken) < len(kept.taken) {
			kept = answer{s.best, s.taken, s.values()}
		}
	}
	s.set(kept.taken, kept.values)
	s.best = kept.best
}

func (s *search) values() (out []reflect.Value) {
	for _, l := range s.taken {
		out = append(out, reflect.ValueOf(l.at.Interface()))
	}
	return out
}

// set puts everything back and then makes the given changes.
func (s *search) set(taken []*lever, values []reflect.Value) {
	for _, l := range s.taken {
		l.at.Set(l.old)
	}
	s.taken = slices.Clone(taken)
	for i, l := range taken {
		l.at.Set(values[i])
	}
}

// follow returns what lies at a path of v; of a list its first element.
func follow(v reflect.Value, path []int) (reflect.Value, bool) {
	for _, i := range path {
		switch {
		case i >= 0:
			v = v.Field(i)
		case v.Len() == 0:
			return v, false
		default:
			v = v.Index(0)
		}
	}
	return v, true
}

// prune takes back the changes without which the verdict is the same.
func (s *search) prune() {
	want := s.best / 1000
	s.taken = slices.DeleteFunc(s.taken, func(l *lever) bool {
		now := reflect.ValueOf(l.at.Interface())
		l.at.Set(l.old)
		if s.decide()/1000 == want {
			return true
		}
		l.at.Set(now)
		return false
	})
}

func shownValue(v reflect.Value) string {
	if v.Kind() == reflect.Slice {
		if v.Len() == 0 {
			return "(none)"
		}
		return fmt.Sprintf("(%d)", v.Len())
	}
	return shownFact(v)
}
