// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// ReplayAnswer is what came of deciding a recorded input again.
type ReplayAnswer string

// The answers.
const (
	Same       ReplayAnswer = "same"
	Different  ReplayAnswer = "different"          // of a decision under another bundle that is what was asked for, else a fault
	Drift      ReplayAnswer = "drift"              // different, by the recorded bundle in an engine of another version
	Erased     ReplayAnswer = "erased"             // the input or the explanation can no longer be opened
	NoEngine   ReplayAnswer = "engine-unavailable" // no evaluator could read or decide it
	Unrecorded ReplayAnswer = "unrecorded"         // the decision stands in the log without what it rested on
)

// Replayed is one decision taken again from its recorded input.
type Replayed struct {
	Answer      ReplayAnswer    `json:"answer"`
	Recorded    action.Decision `json:"recorded"`
	Again       action.Decision `json:"again"`
	Differences []string        `json:"differences"` // in words
	Problem     string          `json:"problem"`     // why it could not be decided
	Elsewhere   bool            `json:"elsewhere"`   // the recorded decision is another bundle's, and log and explanation agree
}

// Compare fills r's answer and differences from what was recorded and what was decided again. verdict is the one
// that stands in the log.
func Compare(verdict action.Verdict, r *Replayed) {
	r.Again = Reconcile(r.Again, r.Recorded)
	if verdict != r.Recorded.Verdict {
		r.Differences = append(r.Differences, fmt.Sprintf("log and explanation: %s, %s", verdict, action.Inert(string(r.Recorded.Verdict), 32)))
	}
	r.Differences = append(r.Differences, Differences(r.Recorded, r.Again)...)
	r.Elsewhere = r.Recorded.Bundle.Digest != r.Again.Bundle.Digest && verdict == r.Recorded.Verdict
	switch {
	case len(r.Differences) == 0:
		r.Answer = Same
	case !r.Elsewhere && !slices.Equal(r.Recorded.Engines, r.Again.Engines):
		r.Answer = Drift
	default:
		r.Answer = Different
	}
}

// Differences says in words how b differs from a: verdict, mode, rules, obligations and errors. Which
// policy and engine decided is left out.
func Differences(a, b action.Decision) []string {
	var out []string
	if a.Verdict != b.Verdict {
		out = append(out, fmt.Sprintf("verdict: %s -> %s", action.Inert(action.Word(a.Verdict), 32), action.Inert(action.Word(b.Verdict), 32)))
	}
	if inForce(a.Mode) != inForce(b.Mode) {
		out = append(out, fmt.Sprintf("mode: %s -> %s", action.Inert(action.Word(a.Mode), 32), action.Inert(action.Word(b.Mode), 32)))
	}
	out = append(out, listDifference("rules", a.Matches, b.Matches, func(m action.Match) string { return m.ID })...)
	out = append(out, listDifference("obligations", a.Obligations, b.Obligations, func(o action.Obligation) string {
		return string(o.Type) + " of " + o.Rule
	})...)
	return append(out, listDifference("errors", a.Errors, b.Errors, func(s string) string { return s })...)
}

func inForce(m action.Mode) bool { return m != action.Observe }

// listDifference compares two lists as multisets of canonical values.
func listDifference[T any](what string, a, b []T, name func(T) string) []string {
	gone, come := without(a, b), without(b, a)
	var parts []string
	for _, v := range gone {
		at := slices.IndexFunc(come, func(w T) bool { return name(w) == name(v) })
		if at >= 0 {
			parts, come = append(parts, "changed "+action.Inert(name(v), 128)), slices.Delete(come, at, at+1)
			continue
		}
		parts = append(parts, "without "+action.Inert(name(v), 128))
	}
	for _, v := range come {
		parts = append(parts, "with "+action.Inert(name(v), 128))
	}
	if len(parts) == 0 {
		return nil
	}
	return []string{what + ": " + strings.Join(parts, ", ")}
}

// without returns the values of a that b does not hold as often.
func without[T any](a, b []T) []T {
	n := map[string]int{}
	for _, v := range b {
		n[canonicalText(v)]++
	}
	var out []T
	for _, v := range a {
		if c := canonicalText(v); n[c] > 0 {
			n[c]--
		} else {
			out = append(out, v)
		}
	}
	return out
}

func canonicalText(v any) string {
	b, err := action.Canonical(v)
	if err != nil {
		return fmt.Sprintf("%#v", v)
	}
	return string(b)
}
