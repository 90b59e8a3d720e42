// SPDX-License-Identifier: Apache-2.0

package cedar

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// policyForm is Cedar's JSON form of a policy, as far as lint looks at it.
type policyForm struct {
	Principal  map[string]any `json:"principal"`
	Action     map[string]any `json:"action"`
	Resource   map[string]any `json:"resource"`
	Conditions []struct {
		Kind string `json:"kind"`
		Body any    `json:"body"`
	} `json:"conditions"`
}

// demands lists what p demands, all of it, as texts: "!" before what must not hold.
func demands(p *cedar.Policy) []string {
	data, err := p.MarshalJSON()
	if err != nil {
		return nil
	}
	var form policyForm
	if json.Unmarshal(data, &form) != nil {
		return nil
	}
	var out []string
	for name, scope := range map[string]map[string]any{"principal ": form.Principal, "action ": form.Action, "resource ": form.Resource} {
		if scope["op"] != "All" {
			out = append(out, name+canonical(scope))
		}
	}
	for _, c := range form.Conditions {
		op, sign := "&&", ""
		if c.Kind == "unless" {
			op, sign = "||", "!"
		}
		for _, part := range parts(c.Body, op) {
			out = append(out, signed(part, sign))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// parts takes apart what is joined by op.
func parts(node any, op string) []any {
	n, _ := node.(map[string]any)
	sides, ok := n[op].(map[string]any)
	if !ok || len(n) != 1 {
		return []any{node}
	}
	return append(parts(sides["left"], op), parts(sides["right"], op)...)
}

// signed is the text of node, without the negations around it.
func signed(node any, sign string) string {
	for {
		n, _ := node.(map[string]any)
		inner, ok := n["!"].(map[string]any)
		if !ok || len(n) != 1 {
			return sign + canonical(node)
		}
		node = inner["arg"]
		if sign == "" {
			sign = "!"
		} else {
			sign = ""
		}
	}
}

func canonical(v any) string {
	data, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(data)
}

// excludes returns why the demands can never hold together, "" if that is not seen: one beside its opposite, or one
// fact that is to be two different words or numbers.
func excludes(all []string) string {
	is := map[string]string{}
	for _, d := range all {
		if slices.Contains(all, "!"+d) {
			return "one condition says the opposite of another"
		}
		var n map[string]struct {
			Left  jsontext.Value `json:"left"`
			Right struct {
				Value jsontext.Value `json:"Value"`
			} `json:"right"`
		}
		if json.Unmarshal([]byte(d), &n) != nil || len(n["=="].Right.Value) == 0 {
			continue
		}
		left, right := string(n["=="].Left), string(n["=="].Right.Value)
		if old, ok := is[left]; ok && old != right {
			return fmt.Sprintf("one fact is to be %s and %s", action.Clip(old, 64), action.Clip(right, 64))
		}
		is[left] = right
	}
	return ""
}

// logic finds policies that can never hold, and those that another makes needless. Conditions are compared as they are
// written: what it finds is so, and there may be more.
func (e *Evaluator) logic() (out []Finding) {
	rules := slices.Concat(e.permits.rules, e.forbids.rules)
	want := make([][]string, len(rules))
	for i, r := range rules {
		want[i] = demands(r.policy)
		if why := excludes(want[i]); why != "" {
			f := at(r)
			f.Lint, f.Error, f.Text, f.Safe = "contradictory", true, why+", so that this never holds", "two policies, or a set of both words"
			out = append(out, f)
		}
	}
	often, byRarest := map[string]int{}, map[string][]int{}
	for _, w := range want {
		for _, d := range w {
			often[d]++
		}
	}
	// A policy can only shadow one that has its rarest demand, too.
	for i, w := range want {
		rarest := ""
		for _, d := range w {
			if rarest == "" || often[d] < often[rarest] {
				rarest = d
			}
		}
		byRarest[rarest] = append(byRarest[rarest], i)
	}
	for i, r := range rules {
		j := shadowOf(i, rules, want, byRarest)
		if j < 0 {
			continue
		}
		f, other := at(r), rules[j]
		dead := other.match.Verdict != r.match.Verdict
		f.Lint, f.Error, f.Safe = "shadowed", dead, "remove one, or a condition that tells them apart"
		f.Text = fmt.Sprintf("whenever it holds, %s (line %d) holds as well", other.match.ID, other.policy.Position().Line)
		if dead {
			f.Text += ", which forbids more, so that this never decides"
		}
		out = append(out, f)
	}
	return out
}

// shadowOf returns which of rules shadows the i-th, -1 if none does.
func shadowOf(i int, rules []*rule, want [][]string, byRarest map[string][]int) int {
	for _, d := range append([]string{""}, want[i]...) {
		for _, j := range byRarest[d] {
			if j != i && overrules(rules[j], rules[i], j < i, len(want[j]) == len(want[i])) && within(want[j], want[i]) {
				return j
			}
		}
	}
	return -1
}

// overrules reports whether, if both hold, r says nothing that other does not. Before says that other stands before r,
// same that they demand as much. A permit is not overruled by a forbid that asks: without it nothing would be asked.
func overrules(other, r *rule, before, same bool) bool {
	a, b := other.match.Verdict, r.match.Verdict
	packA, _, _ := strings.Cut(other.match.ID, ".")
	packB, _, _ := strings.Cut(r.match.ID, ".")
	switch {
	case len(r.obligations) > 0 || r.match.Always && !other.match.Always:
		return false
	case a == b:
		return packA == packB && other.match.Approver == r.match.Approver && (before || !same)
	case a == action.Ask && b == action.Allow:
		return false
	}
	return a.Meet(b) == a
}

// within reports whether all of some stands in all; both are sorted.
func within(some, all []string) bool {
	for _, s := range some {
		if _, ok := slices.BinarySearch(all, s); !ok {
			return false
		}
	}
	return true
}

// secretLike are forms of credentials that have no place in a policy, which many people read.
var secretLike = regexp.MustCompile(`AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY|gh[pousr]_[A-Za-z0-9]{30,}|xox[abprs]-[A-Za-z0-9-]{10,}|sk-[A-Za-z0-9_-]{20,}|eyJ[A-Za-z0-9_-]{10,}\.eyJ`)

// secrets finds texts that look like credentials.
func (e *Evaluator) secrets() (out []Finding) {
	for _, r := range slices.Concat(e.permits.rules, e.forbids.rules) {
		if !secretLike.Match(r.policy.MarshalCedar()) {
			continue
		}
		f := at(r)
		f.Lint, f.Error, f.Text, f.Safe = "secret-in-policy", true, "a text looks like a credential", "compare a digest or a fingerprint"
		out = append(out, f)
	}
	return out
}

// at is a finding in r, to be filled in.
func at(r *rule) Finding {
	p := r.policy.Position()
	return Finding{File: p.Filename, Line: p.Line, Rule: r.match.ID}
}
