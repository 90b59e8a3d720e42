// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"context"
	"errors"
	"fmt"

	"github.com/sallyport/sallyport/action"
)

// What a session holds of content lives in memory. After a restart it is read again from where it is on
// record anyway, sealed under its owner's key: nothing of it is kept twice, and what was erased there does
// not come back here. A past that cannot be read as a whole leaves the session as one whose content is
// unknown: index_truncated says so, and the labels, which the store holds, are the same as ever.

// A Recalled is one thing that happened in a session: words of the user that count, or an action whose
// result came back.
type Recalled struct {
	Said  []byte        // nil if it is a result
	Query *action.Query // of gate two; nil if it is words
}

var (
	// ErrIncomplete is what Config.Recall returns where a part of the past is gone for good.
	ErrIncomplete = errors.New("flow: a part of the session's past is gone")
	// ErrNotYet is what it returns where nobody can say yet: the next action asks again, however often.
	ErrNotYet = errors.New("flow: the session's past cannot be read yet")
)

const (
	maxRecalled = 8 << 20 // bytes of results and words
	maxRecalls  = 4       // times that a past is tried to be read
)

// recall reads the past of a session again that this process does not have. It needs s.mu, and writes
// nothing.
func (f *Flow) recall(ctx context.Context, s *session, q *action.Query) {
	if f.cfg.Recall == nil || s.recalls == 0 {
		return
	}
	s.recalls--
	was := s.content
	s.content = newContent(f.cfg.MaxFields)
	left := maxRecalled
	err := f.cfg.Recall(ctx, q.Subject.Tenant, q.Context.Session.ID, func(r Recalled) error {
		if left -= len(r.Said); r.Query != nil {
			left -= len(r.Query.Context.Result.Content)
		}
		switch {
		case left < 0:
			return ErrIncomplete
		case r.Query == nil:
			s.request.hear(f, f.cfg.MaxRequest, r.Said)
		case r.Query.ID != q.ID: // its own result is read when it is settled
			part, a := f.stated(s, r.Query)
			s.keepWritten(f, r.Query)
			s.read(f, r.Query, part.Result, a)
		}
		return nil
	})
	switch {
	case err == nil:
		s.recalls, s.unindexed = 0, s.inherited.Untrusted != action.No // of earlier sessions nothing is read
		return
	case errors.Is(err, ErrIncomplete): // what could be read still says what is untrusted
		s.recalls = 0
	case errors.Is(err, ErrNotYet):
		s.recalls++
		s.content = was
	default:
		s.content = was
	}
	s.unindexed = true
}

// Erase forgets what is held of the content of a subject's sessions: of a user, or of an agent that acts
// for nobody. It is for when the keys of what is on record were destroyed. The labels stay, as with Forget.
func (f *Flow) Erase(ctx context.Context, tenant, subject string) error {
	if subject == "" {
		return errors.New("flow: nobody's sessions cannot be erased")
	}
	f.mu.Lock()
	var theirs []*session
	for e := f.order.Front(); e != nil; e = e.Next() {
		theirs = append(theirs, e.Value.(*session))
	}
	f.mu.Unlock()
	var errs []error
	for _, s := range theirs {
		s.mu.Lock()
		if s.tenant == tenant && s.owner == subject {
			s.content, s.recalls = newContent(f.cfg.MaxFields), 0
			s.sources, s.settled.Subjects, s.inherited.Subjects = nil, nil, nil
			s.truncated, s.unindexed = true, true
			if s.loaded {
				s.saved = nil
				if err := f.save(ctx, s, nil); err != nil {
					errs = append(errs, fmt.Errorf("flow: erase: %w", err))
				}
			}
		}
		s.mu.Unlock()
	}
	return errors.Join(errs...)
}
