// SPDX-License-Identifier: Apache-2.0

package enforce_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/enforce/enforcetest"
)

func TestRewritingIsDecidedOnceMore(t *testing.T) {
	cap := func(max string) []action.Obligation {
		return []action.Obligation{{Type: action.ObligeCap, Rule: "test.cap", Params: map[string]string{"pointer": "/amount", "max": max}}}
	}
	for _, c := range []struct {
		name   string
		policy enforcetest.Policy
		want   string // executed bytes; "" for none
	}{
		{"capped", func(q *action.Query) (action.Decision, error) {
			d := enforcetest.Rule(action.Allow, "test.cap")
			if q.Phase == action.Before {
				d.Obligations = cap("10")
			}
			return d, nil
		}, `{"amount":10,"to":"bob"}`},
		{"nothing to change keeps the bytes", func(q *action.Query) (action.Decision, error) {
			d := enforcetest.Rule(action.Allow, "test.cap")
			d.Obligations = cap("1000")
			return d, nil
		}, `{"to":"bob", "amount":100}`},
		{"the new bytes are denied", func(q *action.Query) (action.Decision, error) {
			if strings.Contains(string(q.Action.Arguments), `"amount":10,`) {
				return enforcetest.Rule(action.Deny, "test.new"), nil
			}
			d := enforcetest.Rule(action.Allow, "test.cap")
			d.Obligations = cap("10")
			return d, nil
		}, ""},
		{"a change that would never end", func(q *action.Query) (action.Decision, error) {
			d := enforcetest.Rule(action.Allow, "test.cap")
			d.Obligations = cap("10")
			if strings.Contains(string(q.Action.Arguments), `"amount":10,`) {
				d.Obligations = cap("5")
			}
			return d, nil
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.policy, nil)
			var got string
			_, _, err := r.Do(t.Context(), r.attempt("read", "c", `{"to":"bob", "amount":100}`), func(_ context.Context, a enforce.Admission) (enforce.Outcome, error) {
				got = string(a.Arguments)
				return enforce.Outcome{Status: action.ResultDone, Content: []byte(`{}`)}, nil
			})
			if err != nil || got != c.want {
				t.Fatalf("executed %q, want %q (%v)", got, c.want, err)
			}
			if got != "" && string(r.log.Of(action.KindIntent)[0].Part(action.PartArguments)) != got {
				t.Error("the record holds other bytes than were executed")
			}
		})
	}
}

func TestMaskingByKindIsDoneOrDenied(t *testing.T) {
	mask := func(params ...string) enforcetest.Policy {
		return func(q *action.Query) (action.Decision, error) {
			d := enforcetest.Rule(action.Allow, "test.mask")
			if q.Phase == action.Before {
				o := action.Obligation{Type: action.ObligeMask, Rule: "test.mask", Params: map[string]string{}}
				for i := 0; i < len(params); i += 2 {
					o.Params[params[i]] = params[i+1]
				}
				d.Obligations = []action.Obligation{o}
			}
			return d, nil
		}
	}
	hide := func(b []byte, kinds string, keep int) ([]byte, error) {
		return fmt.Appendf(nil, `{"hidden":"%s %d"}`, kinds, keep), nil
	}
	for _, c := range []struct {
		name   string
		policy enforcetest.Policy
		mask   func([]byte, string, int) ([]byte, error)
		want   string // executed bytes; "" for none
	}{
		{"done", mask("kind", "email", "keep", "2"), hide, `{"hidden":"email 2"}`},
		{"nothing is kept unless asked for", mask("kind", "email"), hide, `{"hidden":"email 0"}`},
		{"nobody masks", mask("kind", "email"), nil, ""},
		{"it fails", mask("kind", "email"), func([]byte, string, int) ([]byte, error) { return nil, errors.New("no") }, ""},
		{"a number that is none", mask("kind", "email", "keep", "all"), hide, ""},
		{"a kind and a pointer", mask("kind", "email", "pointer", "/to"), hide, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.policy, func(cfg *enforce.Config) { cfg.Mask = c.mask })
			var got string
			_, _, err := r.Do(t.Context(), r.attempt("read", "c", `{"to":"bob"}`), func(_ context.Context, a enforce.Admission) (enforce.Outcome, error) {
				got = string(a.Arguments)
				return enforce.Outcome{Status: action.ResultDone, Content: []byte(`{}`)}, nil
			})
			if err != nil || got != c.want {
				t.Fatalf("executed %q, want %q (%v)", got, c.want, err)
			}
		})
	}
}

// settled is a Reserver that keeps what it is settled with.
type settled struct{ labels []action.Labels }

func (s *settled) Inform(context.Context, *action.Query) (action.Part, error) {
	f := action.UnknownFlow()
	f.State, f.Result = action.StateKnown, action.Labels{Untrusted: action.No, Secrecy: action.SecrecyInternal, Opaque: action.No}
	return f, nil
}
func (s *settled) Reserve(context.Context, *action.Query) error { return nil }
func (s *settled) Settle(_ context.Context, q *action.Query, _ action.Status) {
	s.labels = append(s.labels, q.Context.Flow.Result)
}

func TestObligationsAreCarriedOutOrDeny(t *testing.T) {
	oblige := func(phase action.Phase, o ...action.Obligation) enforcetest.Policy {
		return func(q *action.Query) (action.Decision, error) {
			d := enforcetest.Rule(action.Allow, "test.allow")
			if q.Phase == phase {
				d.Obligations = o
			}
			return d, nil
		}
	}
	flow := &settled{}
	with := func(c *enforce.Config) { c.Stages = [][]enforce.Source{{{Name: "flow", Informer: flow}}} }

	r := newRig(t, oblige(action.After, action.Obligation{Type: action.ObligeLabel, Params: map[string]string{"untrusted": "yes", "secrecy": "secret"}},
		action.Obligation{Type: action.ObligeLabel, Params: map[string]string{"secrecy": "public"}}), with)
	ok := func(context.Context, enforce.Admission) (enforce.Outcome, error) {
		return enforce.Outcome{Status: action.ResultDone, Content: []byte(`"x"`)}, nil
	}
	if _, _, err := r.Do(t.Context(), r.attempt("read", "c", `{}`), ok); err != nil {
		t.Fatal(err)
	}
	if len(flow.labels) != 1 || flow.labels[0].Untrusted != action.Yes || flow.labels[0].Secrecy != action.SecrecySecret {
		t.Errorf("settled with labels %+v", flow.labels)
	}

	notify := action.Obligation{Type: action.ObligeNotify, Params: map[string]string{"text": "x"}}
	r = newRig(t, oblige(action.Before, notify), nil)
	if adm, _, err := r.Do(t.Context(), r.attempt("read", "c", `{}`), ok); err != nil || adm.Verdict != action.Deny {
		t.Errorf("a notice that nobody can give: %+v, %v", adm, err)
	}
	told := 0
	r = newRig(t, oblige(action.Before, notify), func(c *enforce.Config) { c.Notify = func(*action.Query, action.Obligation) { told++ } })
	if adm, _, err := r.Do(t.Context(), r.attempt("read", "c", `{}`), ok); err != nil || adm.Verdict != action.Allow || told != 1 {
		t.Errorf("%+v, %v, told %d times", adm, err, told)
	}

	r = newRig(t, oblige(action.Before, action.Obligation{Type: action.ObligeScan}), nil)
	adm, err := r.Before(t.Context(), r.attempt("read", "c", `{}`))
	if err != nil {
		t.Fatal(err)
	}
	if rel, err := r.Chunk(t.Context(), &r.sub, adm.ID, enforce.Outcome{Status: action.ResultDone, Kind: "progress", Content: []byte(`"x"`)}); err != nil || rel.Content != nil {
		t.Errorf("a piece of a result that is to be scanned whole: %+v, %v", rel, err)
	}
}

// TestRestartReleasesOnlyWhatWasReleased: what gate two took out of a result stays out, and a repeat of
// the same outcome is the same outcome.
func TestRestartReleasesOnlyWhatWasReleased(t *testing.T) {
	r := newRig(t, func(q *action.Query) (action.Decision, error) {
		d := enforcetest.Rule(action.Allow, "test.allow")
		if q.Phase == action.After {
			d.Obligations = []action.Obligation{{Type: action.ObligeRedact, Params: map[string]string{"pointer": "/key"}}}
		}
		return d, nil
	}, nil)
	adm, err := r.Before(t.Context(), r.attempt("read", "c", `{}`))
	if err != nil {
		t.Fatal(err)
	}
	out := enforce.Outcome{Status: action.ResultDone, Content: []byte(`{"key":"the secret"}`)}
	first, err := r.After(t.Context(), &r.sub, adm.ID, out)
	if err != nil || strings.Contains(string(first.Content), "the secret") || !first.Rewritten {
		t.Fatal(first, err)
	}
	r.open()
	again, err := r.After(t.Context(), &r.sub, adm.ID, out)
	if err != nil || string(again.Content) != string(first.Content) {
		t.Errorf("a repeat after a restart: %+v (%s), %v", again, again.Content, err)
	}
	held, err := r.Held(t.Context(), &r.sub, adm.ID)
	if err != nil || string(held.Content) != string(first.Content) {
		t.Errorf("asked for after a restart: %+v (%s), %v", held, held.Content, err)
	}
}
