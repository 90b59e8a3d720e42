// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/sallyport/sallyport/action"
)

// notable is the number of bits from which a signal is worth a sentence.
const notable = 4.0

// reasons says in words and numbers what is unusual about q, and what is usual.
func (m *Profiles) reasons(q *action.Query, v *verdict) (out []string) {
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	tool := visible(q.Resource.ID, 128)
	for _, id := range v.rules.names(v.chains) {
		say("%s: %s", id, v.rules.Title(id))
	}
	if v.drift > maxDrift {
		say("drift: %.0f %% of its calls of late differ from its reference of %s", 100*v.drift, time.UnixMilli(v.refMs).UTC().Format(time.DateOnly))
	}
	if v.first == action.Yes {
		say("first use of %s by this agent, after %d actions in %d days; %d of %d peers use it", tool, v.learned, v.days, v.using, v.peers)
	} else if v.bits[SignalTool] >= notable {
		say("%s is rare for this agent: one call in about %d", tool, int64(1)<<int(min(v.bits[SignalTool], 40)))
	}
	if v.dest == action.Yes {
		say("first time that this agent reaches this destination; it has reached about %d", v.reached)
	} else if v.bits[SignalDestination] >= notable {
		say("first time that this agent reaches this destination with %s", tool)
	}
	for _, w := range []struct {
		s    Signal
		text string
	}{
		{SignalSequence, "this order of tools is rare here: %.1f bits beyond that of the tool"},
		{SignalClass, "what the session holds is unusual when this tool is used: %.1f bits"},
		{SignalOrigin, "a value that steers this tool comes from where it usually does not: %.1f bits"},
		{SignalVolume, "calls are faster or larger than usual: %.1f bits"},
		{SignalDenials, "refusals have become frequent: %.1f bits"},
	} {
		if v.bits[w.s] >= notable {
			say(w.text, v.bits[w.s])
		}
	}
	if v.known && v.p <= 0.05 {
		say("in all %.1f bits; of its past actions %.1f %% were as unusual", v.total, 100*v.p)
	}
	return out
}

// visible is s as it may stand on a screen, cut to n bytes: names come from servers and agents, and what
// steers a terminal or turns text around is replaced.
func visible(s string, n int) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(action.Clip(s, n), "\ufffd"))
}
