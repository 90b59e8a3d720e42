// SPDX-License-Identifier: Apache-2.0

package index

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/sallyport/sallyport/action"
)

// Format returns s as one or more readable lines, without a line break at the end. It is inert whatever
// the record holds: no control or format character gets through. The first column is the ledger index.
func (s *Step) Format() string {
	var b strings.Builder
	when := time.UnixMilli(s.TimeMs).UTC().Format("2006-01-02 15:04:05.000")
	fmt.Fprintf(&b, "%6d  %s  %-10s", s.Index, when, clean(string(s.Kind), 32))
	put := func(format, v string) {
		if v = clean(v, maxTextBytes); v != "" && v != "unknown" && v != "none" {
			fmt.Fprintf(&b, format, v)
		}
	}
	verdict := string(s.Verdict)
	if s.Verdict != "" && s.Verdict != action.Allow && !s.Enforced {
		verdict += " (not enforced)"
	}
	put("  %s", verdict)
	put("  %s", s.ToolKey())
	put(" (%s)", string(s.Effect))
	put("  -> %s", string(s.Status))
	put("  by %s", s.Actor)
	put("  [%s]", strings.Join(append(append([]string{}, s.Rules...), s.Codes...), " "))
	if s.Count > 1 {
		fmt.Fprintf(&b, "  x%d", s.Count)
	}
	const indent = "\n        "
	put(indent+"reason: %s", s.Reason)
	put(indent+"told the agent: %s", s.Hint)
	if r := s.Replay; r != nil {
		put(indent+"replayed: %s", string(r.Answer))
		put(" (%s)", r.Problem)
		for _, d := range r.Differences {
			put(indent+"  %s", d)
		}
	}
	return b.String()
}

func wordRune(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }
