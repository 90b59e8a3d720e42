// SPDX-License-Identifier: Apache-2.0

package approval

import "github.com/sallyport/sallyport/action"

// unjudgeable says why no automated system may confirm what q asks for, or "". A value that an untrusted
// source chose, or that cannot be traced, must not reach a place where it matters on a machine's word:
// whoever wrote the value may have written for the machine, too.
func unjudgeable(q *action.Query) string {
	if q.Phase == action.After {
		return "a result is released by people"
	}
	f := &q.Context.Flow
	if f.State != action.StateKnown {
		return "where its values come from is not known"
	}
	for _, v := range f.Arguments {
		if v.Sink != action.SinkNone && (v.Origin == action.OriginUntrusted || v.Selection == action.OriginUntrusted) {
			return "an untrusted source chose where it goes"
		}
	}
	return ""
}
