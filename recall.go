// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/flow"
	"github.com/sallyport/sallyport/index"
	"github.com/sallyport/sallyport/ledger"
)

// What an action waits for the index to have come up to the log after a start is half of the time that its
// facts may take. What is read then is read to its end, although the action may be late by that: the next
// one finds it.
const (
	recallWithin  = 400 * time.Millisecond
	recallReading = 30 * time.Second
	recallPause   = time.Second          // after one waited in vain,
	recallGlance  = 5 * time.Millisecond // others only look
)

// recall tells flow what is on record of a session: what the user said, and what actions brought back. That
// the owner reads its own records here is no disclosure: it has seen all of it before, and shows nobody.
func (s *Sallyport) recall(ctx context.Context, tenant, session string, fn func(flow.Recalled) error) error {
	within := recallWithin
	if time.Since(time.Unix(0, s.recallLate.Load())) < recallPause {
		within = recallGlance
	}
	if d, ok := ctx.Deadline(); ok {
		within = min(within, time.Until(d)/2)
	}
	waiting, done := context.WithTimeout(ctx, within)
	err := s.indexed(waiting)
	late := waiting.Err() != nil
	if done(); err != nil && late {
		s.recallLate.Store(time.Now().UnixNano())
		return fmt.Errorf("%w: %w", flow.ErrNotYet, err)
	} else if err != nil {
		return err
	}
	ctx, done = context.WithTimeout(context.WithoutCancel(ctx), recallReading)
	defer done()
	for cursor := ""; ; {
		p, err := s.Index.Steps(ctx, session, index.MaxLimit, cursor)
		if err != nil {
			return err
		}
		for i := range p.Items {
			if err := s.recallStep(&p.Items[i], tenant, session, fn); err != nil {
				return err
			}
		}
		if cursor = p.Next; cursor == "" {
			return nil
		}
	}
}

func (s *Sallyport) recallStep(step *index.Step, tenant, session string, fn func(flow.Recalled) error) error {
	switch step.Kind {
	case action.KindContext, action.KindOutcome, action.KindLate:
	default:
		return nil
	}
	e, err := s.Ledger.Read(step.Index)
	if err != nil {
		return err
	}
	l, part := e.Leaf, action.PartInputAfter // the view only says where to look
	switch {
	case l.Session != session || l.Tenant != tenant || l.Kind != step.Kind:
		return flow.ErrIncomplete
	case l.Kind == action.KindContext && !slices.ContainsFunc(l.Codes, hostAsserted):
		return nil
	case l.Kind == action.KindContext:
		part = action.PartUserRequest
	}
	b, err := e.Open(part)
	switch {
	case errors.Is(err, ledger.ErrErased):
		return flow.ErrIncomplete
	case errors.Is(err, ledger.ErrNotFound): // other words, or an outcome that nobody judged
		return nil
	case err != nil:
		return err
	}
	if part == action.PartUserRequest {
		return fn(flow.Recalled{Said: b})
	}
	q, err := action.ReadQuery(b)
	if err != nil || q.Subject.Tenant != tenant || q.Context.Session.ID != session {
		return flow.ErrIncomplete // of another release, or not what the index says that it is
	}
	return fn(flow.Recalled{Query: q})
}

// hostAsserted reports whether a code says that the words beside it came from whom the model cannot reach.
func hostAsserted(code string) bool {
	by, ok := strings.CutPrefix(code, "by.")
	return ok && action.Asserter(by).HostScoped()
}
