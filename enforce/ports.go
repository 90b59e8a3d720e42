// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport/sallyport/action"
)

// Informer states one typed part of the facts. It never refuses: thresholds are policy. An error, a
// panic or a missed deadline makes the kernel deny the action with the informer's name. Inform must not
// keep or change q. It is called concurrently, for many actions and phases.
type Informer interface {
	Inform(ctx context.Context, q *action.Query) (action.Part, error)
}

// A Reserver is an Informer whose facts other actions change: counters, caps, session labels. Its Inform
// is repeated inside the serialised section. Reserve then books the action against exactly the facts
// that q holds, or returns ErrStale if they have changed since, in which case the section starts again.
// Settle is called once for each successful Reserve, with how the action ended; it must not fail.
// After a restart, Settle may come for a reservation of an earlier process: Restore rebuilds them.
type Reserver interface {
	Informer
	Reserve(ctx context.Context, q *action.Query) error
	Settle(ctx context.Context, q *action.Query, s action.Status)
}

// ErrStale means that the facts a decision rested on have changed.
var ErrStale = errors.New("facts have changed")

// Decider is the policy decision point. The zero Decision denies; so does an error. Decide must not keep
// or change q, must depend on nothing but q and the active bundle, and is called concurrently.
type Decider interface {
	Decide(ctx context.Context, q *action.Query) (action.Decision, error)
}

// Request is one question to an approver.
type Request struct {
	Action   string
	Query    *action.Query
	Decision action.Decision
	Bytes    []byte // the argument bytes that will be executed
	Binding  string // what a grant holds for, see Binding
	Expires  time.Time
}

// Answer is what an approver says at once.
type Answer struct {
	Status  action.ApprovalStatus // pending, granted, refused or expired; anything else counts as refused
	Facts   action.Approval       // for granted: the facts with which the decision is taken again
	Ticket  string                // id under which people find the request
	Expires time.Time
	Comment string // of a refusal, for the agent
	Machine bool   // a second system refused: the agent does not hear the comment, which names rules
	Bytes   []byte // for granted: arguments that were approved in place of Request.Bytes; nil for none
}

// Approver asks people or a second system. Ask never blocks on them: the first Ask for a binding opens a
// request and answers pending; later ones answer what became of it. It is idempotent per binding while
// the request is open or granted and unused. Consume burns a grant, exactly once: the second call for
// one grant returns ErrConsumed, also after a restart. Changed returns a channel that is closed when the
// answer for the binding may have changed.
type Approver interface {
	Ask(ctx context.Context, r Request) (Answer, error)
	Consume(ctx context.Context, grant, actionID string) error
	Changed(binding string) <-chan struct{}
}

// ErrConsumed means that a grant was used, revoked or has expired.
var ErrConsumed = errors.New("the approval was used, revoked or has expired")

// ErrTooMany is returned by Ask when the session or agent may not open another request now.
var ErrTooMany = errors.New("too many open requests")

// Recorder is the ledger as the path needs it. Append returns only once r stands in the log at the
// demanded durability, within a signed checkpoint. After any error the record may or may not have
// persisted. The level comes from r.Durability; ErrDurability means that it cannot be attained.
// Append is called concurrently and keeps nothing of r.
type Recorder interface {
	Append(ctx context.Context, r *action.Record) (action.Receipt, error)
}

// ErrDurability means that the demanded durability cannot be attained now.
var ErrDurability = errors.New("the demanded durability cannot be attained")

// Payloads gives back what was sealed with a record, for held results and replay.
type Payloads interface {
	Payload(ctx context.Context, index uint64, part action.PartName) ([]byte, error)
}

// Standing tells whether the subject may act at all: killed, revoked, owner of its cell. The kernel asks
// it before deciding and once more directly before execute and release. It must answer from memory.
type Standing interface {
	Standing(ctx context.Context, s *action.Subject, session string) action.Kill
}
