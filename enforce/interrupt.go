// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"context"
	"errors"
	"sync"

	"github.com/sallyport/sallyport/action"
)

// ErrStopped is the cause with which the execution of a call ends whose agent was stopped.
var ErrStopped = errors.New("the call was stopped by an operator")

// running are the executions under way, so that a stop reaches them too.
type running struct {
	mu sync.Mutex
	of map[*entry]context.CancelCauseFunc
}

// begin returns the context of the execution of x, and what ends it.
func (r *running) begin(ctx context.Context, x *entry) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == nil {
		r.of = map[*entry]context.CancelCauseFunc{}
	}
	r.of[x] = cancel
	return ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.of, x)
		cancel(nil)
	}
}

// Interrupt cancels the executions under way of every subject and session that stopped names, and returns
// how many. What became of them is recorded as their outcome; what they did until then is done. Executions
// that others carry out are out of reach: their outcome is judged when it comes.
func (e *Enforcer) Interrupt(stopped func(s *action.Subject, session string) bool) int {
	e.running.mu.Lock()
	defer e.running.mu.Unlock()
	n := 0
	for x, cancel := range e.running.of {
		if stopped(&x.att.Subject, x.att.Session) { // neither changes after an entry was made
			cancel(ErrStopped)
			n++
		}
	}
	return n
}
