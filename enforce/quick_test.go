// SPDX-License-Identifier: Apache-2.0

package enforce_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/enforce/enforcetest"
)

// TestOnlyQuickSourcesHaveNoDeadline asks at both gates: a source that is quick for one query and not for the next has a
// deadline in the second, and what it does wrong denies either way.
func TestOnlyQuickSourcesHaveNoDeadline(t *testing.T) {
	var fails atomic.Bool
	deadlines := map[action.Phase]bool{} // one informer at a time: its stage holds no other
	in := enforcetest.Facts{Func: func(ctx context.Context, q *action.Query) (action.Part, error) {
		if fails.Load() {
			return nil, errors.New("down")
		}
		_, deadlines[q.Phase] = ctx.Deadline()
		return action.UnknownDetect(), nil
	}}
	for _, c := range []struct {
		name          string
		quick         func(*action.Query) bool
		before, after bool // whether there is a deadline
	}{
		{"nothing is said", nil, true, true},
		{"never quick", func(*action.Query) bool { return false }, true, true},
		{"quick before the action only", func(q *action.Query) bool { return q.Phase == action.Before }, false, true},
		{"always quick", func(*action.Query) bool { return true }, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			fails.Store(false)
			r := newRig(t, byTool, func(cfg *enforce.Config) {
				cfg.Stages = [][]enforce.Source{{{Name: "facts", Informer: in, Quick: c.quick}}}
			})
			var ran atomic.Int64
			if _, rel, err := r.Do(t.Context(), r.attempt("read", "c1", `{}`), done(&ran, `"ok"`)); err != nil || rel.Status != action.StatusReleased {
				t.Fatalf("%+v, %v", rel, err)
			}
			if deadlines[action.Before] != c.before || deadlines[action.After] != c.after {
				t.Errorf("deadlines %v", deadlines)
			}
			fails.Store(true)
			adm, _, err := r.Do(t.Context(), r.attempt("read", "c2", `{}`), done(&ran, `"ok"`))
			if err != nil || adm.Verdict != action.Deny || ran.Load() != 1 {
				t.Errorf("with facts that are down: %+v, ran %d times, %v", adm, ran.Load(), err)
			}
		})
	}
}
