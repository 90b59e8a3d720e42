// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"regexp"
	"strconv"
	"strings"
)

// A claim is a computation that the user's words name: which entry of a listing leads in a number or a date.
type claim struct {
	columns []column // by which it may be told, nearest word first
	top     bool
	nth     int // counted from the leader, 1 for itself
	many    int // how many lead; 1 unless the user said a number
}

// A column is what a word of the user may mean: the stems of names of fields that stand for it.
type column []uint64

// A limit keeps entries out whose number or date is beyond it.
type limit struct {
	columns []column
	op      byte // '<', '>', or 'l' and 'g' with equality
	bound   float64
}

// The bounds of what is taken from a session's requests.
const (
	maxClaims = 16
	maxLimits = 16
)

var (
	ordinals = map[string]int{"second": 2, "2nd": 2, "third": 3, "3rd": 3, "fourth": 4, "4th": 4, "fifth": 5, "5th": 5}
	cardinal = map[string]int{"two": 2, "2": 2, "three": 3, "3": 3, "four": 4, "4": 4, "five": 5, "5": 5, "ten": 10, "10": 10}

	// bounded finds a comparison with a number or a date; behind it may stand what turns it, or a unit.
	bounded = regexp.MustCompile(`(at least|no less than|not less than|minimum of|a minimum|at most|no more than|not more than|no later than|maximum of|up to|more than|greater than|higher than|larger than|` +
		`bigger than|over|above|exceeding|exceeds|older than|longer than|less than|lower than|cheaper than|smaller than|fewer than|shorter than|under|below|before|after|since|` +
		`>=|<=|≥|≤|>|<) *([$€£¥]?) *(\d{4}-\d\d-\d\d|\d[\d,]*(?:\.\d+)?)(?: *([a-z$€£¥%]+))?`)
	turned = regexp.MustCompile(`([$€£¥]?) *(\d[\d,]*(?:\.\d+)?)\+? *(?:([a-z]+) )?(or more|or higher|or above|or better|or less|or lower|or below|or fewer|or cheaper|or under)`)
)

// operators by how they are worded. What is on no list is above.
var operators = map[string]byte{
	"at least": 'g', "no less than": 'g', "not less than": 'g', "minimum of": 'g', "a minimum": 'g', ">=": 'g', "≥": 'g', "since": 'g',
	"or more": 'g', "or higher": 'g', "or above": 'g', "or better": 'g',
	"at most": 'l', "no more than": 'l', "not more than": 'l', "no later than": 'l', "maximum of": 'l', "up to": 'l', "<=": 'l', "≤": 'l',
	"or less": 'l', "or lower": 'l', "or below": 'l', "or fewer": 'l', "or cheaper": 'l', "or under": 'l',
	"less than": '<', "lower than": '<', "cheaper than": '<', "smaller than": '<', "fewer than": '<', "shorter than": '<', "under": '<', "below": '<', "before": '<', "<": '<',
}

// compute takes claims and limits out of a message of the user.
func (r *request) compute(f *Flow, text string) {
	low := strings.ToLower(text)
	var ws []string
	for w := range words(low) {
		if len(ws) < 4096 {
			ws = append(ws, string(w))
		}
	}
	for i, w := range ws {
		s, ok := superlatives[w]
		if !ok || len(r.claims) >= maxClaims {
			continue
		}
		c := claim{top: s.top, nth: 1, many: 1}
		if s.fields != "" {
			c.columns = append(c.columns, f.columnOf(strings.Fields(s.fields)...))
		} else {
			for j := i + 1; j < len(ws) && j <= i+4 && len(c.columns) < 2; j++ { // "the highest number of users"
				if of := j+1 < len(ws) && ws[j+1] == "of"; meaning(ws[j]) != "" && !(of && (ws[j] == "number" || ws[j] == "amount" || ws[j] == "count")) {
					c.columns = append(c.columns, f.columnOf(ws[j]), f.columnOf(familyOf(ws[j])...))
				}
			}
		}
		for _, j := range []int{i - 1, i + 1} {
			if j < 0 || j >= len(ws) {
				continue
			}
			if n := ordinals[ws[j]]; n > 0 && j < i {
				c.nth = n
			}
			if n := cardinal[ws[j]]; n > 0 {
				c.many = n
			}
		}
		r.claims = append(r.claims, c)
	}
	r.bounds(f, low)
}

func (r *request) bounds(f *Flow, low string) {
	add := func(at int, how, currency, number, unit string) {
		bound, ok := measure(number)
		if !ok || len(r.limits) >= maxLimits {
			return
		}
		l := limit{op: '>', bound: bound}
		if op := operators[how]; op != 0 {
			l.op = op
		}
		if strings.Contains(number, "-") {
			l.columns = append(l.columns, f.columnOf(times...))
			r.limits = append(r.limits, l)
			return
		}
		if currency != "" {
			l.columns = append(l.columns, f.columnOf(prices...))
		}
		if m := meaning(unit); m != "" {
			l.columns = append(l.columns, f.columnOf(unit), f.columnOf(familyOf(unit)...))
		}
		var near []string
		for w := range words(low[max(0, at-60):at]) {
			near = append(near, string(w))
		}
		for i := len(near) - 1; i >= 0 && i >= len(near)-4; i-- {
			if meaning(near[i]) != "" {
				l.columns = append(l.columns, f.columnOf(near[i]), f.columnOf(familyOf(near[i])...))
			}
		}
		r.limits = append(r.limits, l)
	}
	for _, p := range bounded.FindAllStringSubmatchIndex(low, maxLimits) {
		add(p[0], low[p[2]:p[3]], low[p[4]:p[5]], low[p[6]:p[7]], part(low, p[8], p[9]))
	}
	for _, p := range turned.FindAllStringSubmatchIndex(low, maxLimits) {
		add(p[0], low[p[8]:p[9]], low[p[2]:p[3]], low[p[4]:p[5]], part(low, p[6], p[7]))
	}
}

func part(s string, from, to int) string {
	if from < 0 {
		return ""
	}
	return s[from:to]
}

// measure is the number that a quantity or a date stands for, so that the same kind can be compared.
func measure(t string) (float64, bool) {
	if len(t) >= 10 && isDate(t[:10]) {
		digits := strings.Map(func(c rune) rune {
			if c < '0' || c > '9' {
				return -1
			}
			return c
		}, t[:min(len(t), 19)])
		v, err := strconv.ParseFloat((digits + "000000")[:14], 64)
		return v, err == nil
	}
	return quantity(t)
}

// prices, marks and the other families are words for one kind of measure each.
var (
	times   = strings.Fields("date time timestamp created updated modified sent received day start begin due deadline end")
	prices  = strings.Fields("price cost amount fee fare total payment rent salary")
	kindred = [][]string{
		prices,
		strings.Fields("rating score star stars review reviews vote votes points popularity rank rated"),
		strings.Fields("size bytes length width height area capacity"),
		times,
		strings.Fields("quantity count stock"),
		strings.Fields("duration hours minutes days"),
	}
)

// familyOf are the words that may stand for the same measure as w.
func familyOf(w string) []string {
	for _, fam := range kindred {
		for _, x := range fam {
			if stem(x) == stem(w) {
				return fam
			}
		}
	}
	return nil
}

func (f *Flow) columnOf(names ...string) (c column) {
	for _, n := range names {
		c = append(c, f.hash("stem", stem(n)))
	}
	return c
}
