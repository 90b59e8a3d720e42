// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// What came of deciding a recorded input again, as enforce says it.
type (
	Answer   = enforce.ReplayAnswer
	Replayed = enforce.Replayed
)

// The answers.
const (
	Same       = enforce.Same
	Different  = enforce.Different
	Drift      = enforce.Drift
	Erased     = enforce.Erased
	NoEngine   = enforce.NoEngine
	Unrecorded = enforce.Unrecorded
)

// Redecide takes a decision again from its recorded input. under is the bundle that decided at the time.
type Redecide func(ctx context.Context, q *action.Query, under action.Bundle) (action.Decision, error)

// MaxReplay is how many steps one replay takes.
const MaxReplay = 50_000

// Replay returns the steps of a session, each decision of which was taken again by decide from the
// complete input that was recorded with it. decide must be what the path decides with, kernel included,
// or another policy to see what it would have said. Nothing is executed, asked or recorded. Deciding
// policy, engines and their versions are not compared, but say how a difference is to be read.
func (x *Index) Replay(ctx context.Context, session string, decide Redecide) ([]Step, error) {
	if decide == nil {
		return nil, errors.New("index: replay needs something that decides")
	}
	var out []Step
	err := x.walk(ctx, session, func(step *Step) (err error) {
		if step.Verdict != "" {
			step.Replay, err = x.again(ctx, step, decide)
		}
		out = append(out, *step)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Inputs calls fn with each decision of a session that can be read, in their order, with the complete input and
// the decision that were recorded with it, for a replay elsewhere (Compare). q is nil and r says why for the others.
func (x *Index) Inputs(ctx context.Context, session string, fn func(s *Step, q *action.Query, r *Replayed) error) error {
	return x.walk(ctx, session, func(step *Step) error {
		if step.Verdict == "" {
			return nil
		}
		r := &Replayed{}
		q, err := x.reopen(ctx, step, r)
		if err != nil {
			return err
		}
		return fn(step, q, r)
	})
}

// walk calls fn with the steps of a session, whose inputs may then be opened.
func (x *Index) walk(ctx context.Context, session string, fn func(*Step) error) error {
	if x.c.Payload == nil {
		return errors.New("index: replay needs payloads")
	}
	s, err := x.Session(ctx, session)
	if err != nil {
		return err
	}
	n := 0
	for cursor := ""; ; {
		p, err := x.Steps(ctx, s.ID, MaxLimit, cursor)
		if err != nil {
			return err
		}
		if err := x.opening(ctx, p.Items); err != nil {
			return err
		}
		for i := range p.Items {
			if err := fn(&p.Items[i]); err != nil {
				return err
			}
		}
		n += len(p.Items)
		if cursor = p.Next; cursor == "" {
			return nil
		}
		if n >= MaxReplay {
			return fmt.Errorf("index: session %q has more than %d records", clean(session, 64), MaxReplay)
		}
	}
}

// Count counts the answers of replayed steps.
func Count(steps []Step) map[Answer]int {
	n := map[Answer]int{}
	for i := range steps {
		if r := steps[i].Replay; r != nil {
			n[r.Answer]++
		}
	}
	return n
}

// Faults counts the decisions that the recorded bundle, in the same engines, does not take again: the record,
// the bundle or the engine is not what it was.
func Faults(steps []Step) int {
	n := 0
	for i := range steps {
		if r := steps[i].Replay; r != nil && r.Answer == Different && !r.Elsewhere {
			n++
		}
	}
	return n
}

// Recorded calls fn with every decision of a time on, the latest first, with the complete input and the
// decision that were recorded with it, and counts the others by why they cannot be read. It changes and
// records nothing, holds one page of records at a time however many there are, and ends with an error of fn.
func (x *Index) Recorded(ctx context.Context, since int64, fn func(s *Step, q *action.Query, d action.Decision) error) (map[Answer]int, error) {
	if x.c.Payload == nil || fn == nil {
		return nil, errors.New("index: recorded decisions need payloads and something that reads them")
	}
	not := map[Answer]int{}
	for cursor := ""; ; {
		p, err := x.Records(ctx, Filter{Since: since}, MaxLimit, cursor)
		if err != nil {
			return nil, err
		}
		if err := x.opening(ctx, p.Items); err != nil {
			return nil, err
		}
		for i := range p.Items {
			s := &p.Items[i]
			if s.Verdict == "" {
				continue
			}
			r := &Replayed{}
			q, err := x.reopen(ctx, s, r)
			if err != nil {
				return nil, err
			}
			if q == nil {
				not[r.Answer]++
			} else if err := fn(s, q, r.Recorded); err != nil {
				return nil, err
			}
		}
		if cursor = p.Next; cursor == "" {
			return not, nil
		}
	}
}

// opening puts on record what reopen will open of steps.
func (x *Index) opening(ctx context.Context, steps []Step) error {
	var parts []PartAt
	for i := range steps {
		if steps[i].Verdict != "" {
			parts = append(parts, PartAt{steps[i].Index, steps[i].input()}, PartAt{steps[i].Index, action.PartExplanation})
		}
	}
	if len(parts) == 0 {
		return nil
	}
	if err := x.c.Opening(ctx, parts); err != nil {
		return fmt.Errorf("index: not recorded, not opened: %w", err)
	}
	return nil
}

// input is the part that the step was decided on.
func (s *Step) input() action.PartName {
	if s.Phase == action.After {
		return action.PartInputAfter
	}
	return action.PartInputBefore
}

// Shown are the sealed parts that steps show a piece of: a reason, a hint, or the sentence of an alert.
func Shown(steps []Step) []PartAt {
	var parts []PartAt
	for i := range steps {
		s := &steps[i]
		switch {
		case s.Reason == "" && s.Hint == "":
		case s.Kind == action.KindAlert && s.Verdict == "":
			parts = append(parts, PartAt{s.Index, action.PartDetail})
		default:
			parts = append(parts, PartAt{s.Index, action.PartExplanation})
		}
	}
	return parts
}

// reopen reads what was recorded with a step. Without a query r says why there is none.
func (x *Index) reopen(ctx context.Context, s *Step, r *Replayed) (*action.Query, error) {
	input, answer, err := x.payload(ctx, s.Index, s.input())
	if err != nil {
		return nil, err
	}
	explanation, answer2, err := x.payload(ctx, s.Index, action.PartExplanation)
	if err != nil {
		return nil, err
	}
	switch {
	case answer == Erased || answer2 == Erased:
		r.Answer = Erased
		return nil, nil
	case answer != "" || answer2 != "":
		r.Answer = Unrecorded
		return nil, nil
	}
	if err := json.Unmarshal(explanation, &r.Recorded); err != nil {
		r.Answer, r.Problem = NoEngine, "the recorded explanation cannot be read"
		return nil, nil
	}
	q, err := action.ReadQuery(input)
	if err != nil {
		r.Answer, r.Problem = NoEngine, clean(err.Error(), maxTextBytes)
		return nil, nil
	}
	return q, nil
}

// again decides one step again. An error is one of reading, and ends the replay.
func (x *Index) again(ctx context.Context, s *Step, decide Redecide) (*Replayed, error) {
	r := &Replayed{}
	q, err := x.reopen(ctx, s, r)
	if err != nil || q == nil {
		return r, err
	}
	if r.Again, err = safely(ctx, q, r.Recorded.Bundle, decide); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r.Answer, r.Problem = NoEngine, clean(err.Error(), maxTextBytes)
		return r, nil
	}
	enforce.Compare(s.Verdict, r)
	return r, nil
}

func (x *Index) payload(ctx context.Context, index uint64, part action.PartName) ([]byte, Answer, error) {
	b, err := x.c.Payload(ctx, index, part)
	switch {
	case errors.Is(err, ErrErased):
		return nil, Erased, nil
	case err != nil:
		return nil, "", fmt.Errorf("index: entry %d: %s: %w", index, part, err)
	case b == nil:
		return nil, Unrecorded, nil
	}
	return b, "", nil
}

// safely decides, and turns a panic of an evaluator into an error.
func safely(ctx context.Context, q *action.Query, under action.Bundle, decide Redecide) (d action.Decision, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the evaluator panicked: %v", p)
		}
	}()
	return decide(ctx, q, under)
}
