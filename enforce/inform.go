// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// maxStale bounds how often decide + reserve starts again because facts changed in between.
const maxStale = 64

// inform runs the stages over q and returns what failed. Informers of a stage run in parallel on the
// same read-only q; their parts are put in once all of them are done. An informer that ignores its
// deadline is left behind: its late part is thrown away.
func (e *Enforcer) inform(ctx context.Context, q *action.Query) []fault {
	var faults []fault
	for _, stage := range e.cfg.Stages {
		faults = append(faults, e.stage(ctx, q, stage)...)
	}
	return faults
}

// reinform repeats the reservers, whose facts other actions change.
func (e *Enforcer) reinform(ctx context.Context, q *action.Query) []fault {
	var faults []fault
	for _, stage := range e.cfg.Stages {
		var again []Source
		for _, s := range stage {
			if _, ok := s.Informer.(Reserver); ok {
				again = append(again, s)
			}
		}
		faults = append(faults, e.stage(ctx, q, again)...)
	}
	return faults
}

type stated struct {
	i    int
	part action.Part
	err  error
}

func (e *Enforcer) stage(ctx context.Context, q *action.Query, stage []Source) []fault {
	apart := make([]bool, len(stage)) // informers that run beside us, because they may be late
	late := 0
	var longest time.Duration
	for i, s := range stage {
		if apart[i] = s.Deadline >= 0 && (s.Quick == nil || !s.Quick(q)); apart[i] {
			late++
			longest = max(longest, e.deadline(s))
		}
	}
	done := make([]stated, 0, len(stage))
	if late == 0 {
		for i, s := range stage {
			done = append(done, call(ctx, i, s, q))
		}
		return put(q, stage, done)
	}
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	results := make(chan stated, late) // buffered: one left behind does not block for ever
	snapshot := new(action.Query)      // informers left behind must not see what others put in later
	*snapshot = *q
	for i, s := range stage {
		if !apart[i] {
			continue
		}
		go func() {
			ctx := ctx
			if d := e.deadline(s); d < longest {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, d)
				defer cancel()
			}
			results <- call(ctx, i, s, snapshot)
		}()
	}
	for i, s := range stage { // while the others work
		if !apart[i] {
			done = append(done, call(ctx, i, s, snapshot))
		}
	}
	for len(done) < len(stage) {
		select {
		case s := <-results:
			done = append(done, s)
		case <-ctx.Done():
			why := "was late"
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				why = "was cancelled"
			}
			return append(put(q, stage, done), missing(stage, done, why)...)
		}
	}
	return put(q, stage, done)
}

func (e *Enforcer) deadline(s Source) time.Duration {
	if s.Deadline == 0 {
		return e.cfg.InformDeadline
	}
	return s.Deadline
}

func call(ctx context.Context, i int, s Source, q *action.Query) (out stated) {
	defer func() {
		if recover() != nil {
			out = stated{i: i, err: fmt.Errorf("panicked")}
		}
	}()
	part, err := s.Informer.Inform(ctx, q)
	if err == nil && part == nil {
		err = fmt.Errorf("stated nothing")
	}
	return stated{i: i, part: part, err: err}
}

func put(q *action.Query, stage []Source, done []stated) []fault {
	var faults []fault
	for _, s := range done {
		if s.err != nil {
			faults = append(faults, fault{"kernel.source", fmt.Sprintf("fact source %q: %v", stage[s.i].Name, s.err)})
			continue
		}
		s.part.Put(q)
	}
	return faults
}

func missing(stage []Source, done []stated, why string) []fault {
	var faults []fault
	for i, s := range stage {
		found := false
		for _, d := range done {
			found = found || d.i == i
		}
		if !found {
			faults = append(faults, fault{"kernel.source", fmt.Sprintf("fact source %q %s", s.Name, why)})
		}
	}
	return faults
}

// queryBefore builds the query of x at gate one over the given argument bytes.
func (e *Enforcer) queryBefore(x *entry, sess *sessionState, arguments []byte) *action.Query {
	q := action.NewQuery(action.Before)
	e.base(q, x, sess)
	q.Action.Arguments = jsontext.Value(arguments)
	q.Action.Bytes = int64(len(arguments))
	return q
}

// queryAfter builds the query of x at gate two. A result that may not be held is left out.
func (e *Enforcer) queryAfter(x *entry, sess *sessionState, o Outcome, content []byte) (*action.Query, []fault) {
	q := action.NewQuery(action.After)
	e.base(q, x, sess)
	if x.bytes != nil { // gone once the action ended: a late outcome is judged without them
		q.Action.Arguments = jsontext.Value(x.bytes)
	}
	q.Action.Bytes = int64(len(x.bytes))
	if x.grant.Status != "" {
		q.Context.Approval = x.grant
	}
	r := &q.Context.Result
	r.Status, r.Kind, r.Bytes, r.Opaque = o.Status, o.Kind, int64(len(content)), action.TriOf(o.Opaque)
	if r.Kind == "" {
		r.Kind = "result"
	}
	var faults []fault
	if r.Status != action.ResultDone && r.Status != action.ResultFailed {
		faults = append(faults, fault{"kernel.outcome", "the outcome has no status"})
		r.Status = action.ResultUnknown
	}
	switch {
	case len(content) > e.cfg.HoldBytes:
		r.Truncated = action.Yes
	case len(content) == 0:
		r.Content = jsontext.Value("null")
	case action.Check(content, action.Limits{Bytes: e.cfg.HoldBytes}) != nil:
		r.Opaque = action.Yes
		faults = append(faults, fault{"kernel.outcome", "the result is not one strict JSON value"})
	default:
		r.Content = jsontext.Value(content)
	}
	return q, faults
}

func (e *Enforcer) base(q *action.Query, x *entry, sess *sessionState) {
	now := e.cfg.Now().UTC()
	q.ID, q.Subject = x.id, x.att.Subject
	if q.Subject.Type == "" {
		q.Subject.Type = "agent"
	}
	q.Action.Name = x.att.Name
	q.Resource.Type, q.Resource.Server, q.Resource.Name = x.att.Type, x.att.Server, x.att.Tool
	q.Resource.ID = action.ToolKey(x.att.Server, x.att.Tool)
	q.Context.Time = action.Time{UnixMilli: now.UnixMilli(), Hour: now.Hour(), Weekday: int(now.Weekday())}
	q.Context.Session = sess.facts(now)
	if x.att.Roots != nil {
		q.Context.Session.Roots = slices.Clone(x.att.Roots)
	}
	q.Context.Enforcement = action.Enforcement{Grade: x.att.Grade, Separation: x.att.Separation,
		Observed: action.TriOf(!x.att.Claimed), Confined: x.att.Confined}
	if q.Context.Enforcement.Grade == "" {
		q.Context.Enforcement.Grade = action.GradeUnknown
	}
	if q.Context.Enforcement.Separation == "" {
		q.Context.Enforcement.Separation = action.SeparationUnknown
	}
}
