// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"errors"
	"time"

	"github.com/sallyport/sallyport/action"
)

// Attempt is one thing that an agent wants to do, as a door hands it in. The door has authenticated the
// subject and checked the protocol; everything else is decided here.
type Attempt struct {
	Subject    action.Subject // from the channel, never from a body
	Session    string         // from Enforcer.Session
	CallID     string         // idempotency key per (session, door); "" lets enforce mint one
	Name       string         // protocol method: "tools/call", "prompts/get", "resources/read", "respond", ...
	Type       string         // of the resource: "tool", "prompt", "resource", "model", "host", "message"
	Server     string         // our name of the upstream
	Tool       string         // name of the tool, prompt or resource
	ModelCall  string         // the provider's id of the call in the model's answer, where the door knows it; see correlate
	Arguments  []byte         // raw bytes of a JSON object; forwarded as they are unless an obligation rewrites them
	Reasoning  []byte         // what the agent said about it; never trusted
	Grade      action.Grade
	Separation action.Separation
	Claimed    bool     // executed by somebody else: the outcome will be a claim
	Confined   []string // walls that held, under run

	// Executor names the one execution that asks, for callers that execute themselves and may be started twice for
	// one call id. The first one that is told allow is the only one; "" claims nothing.
	Executor string

	// Roots are the folders that this one call is meant to stay in, clean absolute paths, at most 64. They take
	// the place of the session's, so that folders which one server of a session was given open nothing to calls
	// of another. nil leaves the session's; empty means none.
	Roots []string
}

// Admission is the answer of the first gate. The agent may see Verdict, Hint, ID, Ticket and Receipt,
// nothing else.
type Admission struct {
	ID        string
	Verdict   action.Verdict // allow, ask, deny or quarantine
	Status    action.Status
	Hint      string
	Arguments []byte // for allow: the bytes that must be executed
	Rewritten bool   // Arguments differ from what was sent, and are canonical
	Whole     bool   // policy obliges to scan: nothing of the result may go out before all of it is judged
	Ticket    string // for ask: under which people find it
	Expires   time.Time
	Channel   action.Rank // for ask: the weakest channel that can satisfy it
	Receipt   string      // opaque
	Release   *Release    // for a repeated call that has ended: its stored answer
}

// Outcome is what happened when an admitted action was executed.
type Outcome struct {
	Status  action.ResultStatus // done or failed
	Kind    string              // as action.Result.Kind; "" means "result"
	Content []byte              // one JSON value: what would go to the agent
	Opaque  bool                // holds parts that cannot be decoded
}

// Kinds of what Chunk only looks at, beside an answer that somebody else makes: it is judged and labels the session,
// and nothing is released by that. So an obligation to scan withholds nothing of it.
const (
	KindReasoning = "reasoning" // what a model said to itself
	KindProvided  = "provided"  // what a tool that the provider ran gave to the model
)

// Release is the answer of the second gate.
type Release struct {
	ID        string
	Verdict   action.Verdict
	Status    action.Status // released, withheld or held
	Content   []byte        // for released: what may go to the agent; nil otherwise
	Rewritten bool          // Content differs from what came back, and is canonical
	Hint      string        // for withheld and held: says that it was executed and must not be repeated
	Ticket    string        // for held: under which people find it
	Receipt   string
}

// Said is text or labelled content that a host-scoped door adds to a session.
type Said struct {
	Kind action.PartName // PartUserRequest, PartReasoning or PartDetail (labelled content)
	By   action.Asserter
	Text []byte
}

// The errors that doors translate. Everything else is a fault of ours: the door answers that nothing was
// done, in its host's block form.
var (
	// ErrMalformed refuses an attempt whose bytes or fields are not what the contract says; it was recorded.
	ErrMalformed = errors.New("malformed attempt")
	// ErrConflict refuses a call id that was used for other arguments.
	ErrConflict = errors.New("the call id was used for another call")
	// ErrNotFound hides actions and sessions that do not exist or are not the subject's own.
	ErrNotFound = errors.New("no such action or session")
	// ErrUnrecorded means that the ledger could not record: nothing was executed, or nothing is released.
	ErrUnrecorded = errors.New("the action cannot be recorded")
	// ErrState refuses a step that the action's state does not allow, such as an outcome before an intent.
	ErrState = errors.New("the action is not in that state")
	// ErrBusy refuses work beyond the bounds of memory.
	ErrBusy = errors.New("too many actions are open")
)
