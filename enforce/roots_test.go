// SPDX-License-Identifier: Apache-2.0

package enforce_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/enforce/enforcetest"
)

// insideRoots allows calls whose first root is below /w and asks about the rest; gate two sees the same.
func insideRoots(q *action.Query) (action.Decision, error) {
	if roots := q.Context.Session.Roots; len(roots) > 0 && strings.HasPrefix(roots[0], "/w") {
		return enforcetest.Rule(action.Allow, "test.inside"), nil
	}
	if q.Phase == action.After {
		return enforcetest.Rule(action.Deny, "test.elsewhere"), nil
	}
	return enforcetest.Rule(action.Ask, "test.outside"), nil
}

func TestRootsOfACallAreItsOwn(t *testing.T) {
	r := newRig(t, insideRoots, nil)
	r.sub = enforcetest.Subject(action.DoorMCP)
	var err error
	if r.sess, err = r.Session(t.Context(), &r.sub, "client", enforce.SessionOptions{Roots: []string{"/w/session"}}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		roots []string
		want  action.Verdict
	}{
		"a call without roots has the session's":      {nil, action.Allow},
		"a call with roots has these":                 {[]string{"/w/files"}, action.Allow},
		"a call with none has none":                   {[]string{}, action.Ask},
		"roots of another server are not the session": {[]string{"/etc"}, action.Ask},
	} {
		t.Run(name, func(t *testing.T) {
			a := r.attempt("read", "", `{"path":"x"}`)
			a.Roots = c.roots
			adm, err := r.Before(t.Context(), a)
			if err != nil || adm.Verdict != c.want {
				t.Fatalf("%+v, %v", adm, err)
			}
			if adm.Verdict != action.Allow {
				return
			}
			if rel, err := r.After(t.Context(), &r.sub, adm.ID, enforce.Outcome{Status: action.ResultDone, Content: []byte(`1`)}); err != nil || rel.Status != action.StatusReleased {
				t.Errorf("the second gate sees other roots: %+v, %v", rel, err)
			}
		})
	}
	q := lastInput(t, r, action.KindIntent)
	if len(q.Context.Session.Roots) != 1 {
		t.Errorf("on record: %q", q.Context.Session.Roots)
	}
	for _, bad := range [][]string{{"relative"}, {"/"}, {"/w/../etc"}, {""}, slices.Repeat([]string{"/w"}, 65)} {
		a := r.attempt("read", "", `{}`)
		a.Roots = bad
		if _, err := r.Before(t.Context(), a); !errors.Is(err, enforce.ErrMalformed) {
			t.Errorf("roots %q: %v", bad, err)
		}
	}
}

func lastInput(t *testing.T, r *rig, kind action.Kind) *action.Query {
	t.Helper()
	recs := r.log.Of(kind)
	q, err := action.ReadQuery(recs[len(recs)-1].Part(action.PartInputBefore))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestAskIsNotTakenUpWithOtherRoots(t *testing.T) {
	r := newRig(t, insideRoots, nil)
	r.sub = enforcetest.Subject(action.DoorMCP)
	var err error
	if r.sess, err = r.Session(t.Context(), &r.sub, "client", enforce.SessionOptions{}); err != nil {
		t.Fatal(err)
	}
	a := r.attempt("read", "", `{}`)
	a.Roots = []string{"/etc"}
	asked, err := r.Before(t.Context(), a)
	if err != nil || asked.Verdict != action.Ask {
		t.Fatalf("%+v, %v", asked, err)
	}
	if again, err := r.Before(t.Context(), a); err != nil || again.ID != asked.ID {
		t.Errorf("the same call is another action: %+v, %v", again, err)
	}
	a.Roots = []string{}
	if other, err := r.Before(t.Context(), a); err != nil || other.ID == asked.ID {
		t.Errorf("another server's call takes the ask up: %+v, %v", other, err)
	}
	r.open() // a restart: the ask is rebuilt with the roots that it was judged with
	r.desk.Decide(asked.Ticket, true, action.RankOperator, "")
	if _, err := r.Wait(t.Context(), &r.sub, asked.ID); err != nil {
		t.Fatal(err)
	}
	if got := lastInput(t, r, action.KindIntent).Context.Session.Roots; !slices.Equal(got, []string{"/etc"}) {
		t.Errorf("after the restart it is judged with the roots %q", got)
	}
}
