// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"context"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/action"
)

// entry is one action on its way. What is large is dropped when it ends; the sealed payloads keep it.
type entry struct {
	mu sync.Mutex // serialises the steps of one action; never held while it is executed

	id   string
	att  Attempt
	args string // fingerprint of tool and argument bytes
	call string // fingerprint of (session, door, call id)
	link string // as Record.Subject names the call of a model's answer that this one carries out

	status     action.Status
	judgement  judgement // of gate one
	decision   action.Decision
	bytes      []byte // as they must be executed
	edited     []byte // not nil: what a person approved in place of the attempt's arguments
	binding    string // what a grant would hold for
	recorded   string // the binding whose ask is on record
	round      int    // decision records so far
	ticket     string
	expires    time.Time
	grant      action.Approval
	reserved   []Reserver
	receipt    action.Receipt
	first      atomic.Uint64 // index of x's first record and one; 0: none yet
	intended   bool
	executing  bool
	executor   string // who was told allow, if he said who he is
	deadline   time.Time
	chunks     int
	tail       string // end of the text that chunks have released
	after      *action.Query
	outcome    string // fingerprint of the outcome
	outReceipt action.Receipt
	release    *Release // without content
	hold       *Request // of a held result
	finished   bool
	size       int64  // as it is booked
	loads      string // agent on whom it is booked
	restored   bool   // rebuilt from the log: att lacks what only the payload holds
}

// recordedAt notes the receipt of an ask, refusal or intent.
func (x *entry) recordedAt(r action.Receipt) {
	x.receipt = r
	if r.Leaf != "" { // a refusal whose record failed has none
		x.first.CompareAndSwap(0, r.Index+1)
	}
}

// take makes j the judgement of x.
func (x *entry) take(j judgement) {
	x.judgement, x.decision = j, j.decision
	if j.raw != nil && j.raw.Phase == action.Before {
		x.bytes = bytesOf(j.raw)
	}
	if j.decision.Verdict == action.Ask {
		x.binding = Binding(j.raw, x.bytes, &j.decision)
	}
}

func (x *entry) verdict() action.Verdict { return x.judgement.verdict() }

// passes reports whether nothing stands against x any more, or only asks that the grant answers: the
// same bytes, definition, subject, session, obligations and rules, through a channel that is strong
// enough for each of them. Where other bytes were approved than asked for, the rest of the question must be
// the one that was asked about those; the bytes themselves were informed and decided on like any.
func (x *entry) passes(grant action.Approval, bound string, asked []byte) bool {
	if x.judgement.goesOn() {
		return true
	}
	now := x.binding
	if x.edited != nil && grant.Edited == action.Yes && x.decision.Verdict == action.Ask {
		now = Binding(x.judgement.raw, asked, &x.decision)
	}
	return x.decision.Verdict == action.Ask && grant.Status == action.ApprovalGranted &&
		bound != "" && bound == now && x.strong(grant)
}

// strong reports whether the grant's channel satisfies every asking rule.
func (x *entry) strong(grant action.Approval) bool { return strong(&x.decision, grant) }

func strong(d *action.Decision, grant action.Approval) bool {
	for _, m := range d.Deciding() {
		if !grant.Channel.AtLeast(m.Approver.Need()) {
			return false
		}
	}
	return true
}

// admission is what the door is told of x.
func (x *entry) admission() Admission {
	a := Admission{ID: x.id, Status: x.status, Receipt: opaque(x.receipt), Release: x.release}
	switch x.status {
	case action.StatusAsked:
		a.Verdict, a.Hint = action.Ask, x.decision.Hint()
		a.Ticket, a.Expires, a.Channel = x.ticket, x.expires, x.needs()
	case action.StatusIntended, action.StatusDone, action.StatusFailed:
		a.Verdict, a.Arguments = action.Allow, x.bytes
		a.Rewritten = x.bytes != nil && string(x.bytes) != string(x.att.Arguments)
		a.Whole = obliged(&x.decision, action.ObligeScan)
	case action.StatusUnknown:
		a.Verdict, a.Hint = action.Deny, "Whether this call was executed is not known. Do not repeat it."
	default:
		a.Verdict, a.Hint = x.verdict(), x.decision.Hint()
		if a.Verdict == action.Allow || a.Verdict == action.Ask {
			a.Verdict = action.Deny
		}
	}
	return a
}

// admissionFor is what the execution that calls itself by is told: the same as everybody, unless the call was
// handed to another one, which may have run it or may still.
func (x *entry) admissionFor(by string) Admission {
	a := x.admission()
	if by == "" || a.Verdict != action.Allow || a.Release != nil {
		return a
	}
	if x.executor == "" {
		x.executor = by
	}
	if x.executor != by {
		a.Verdict, a.Arguments, a.Rewritten = action.Deny, nil, false
		a.Hint = "This call was handed to another execution, and whether that ran it is not known. Do not repeat it."
	}
	return a
}

// needs is the strongest channel that one of the asking rules demands.
func (x *entry) needs() action.Rank {
	need := action.RankClient
	for _, m := range x.decision.Deciding() {
		if n := m.Approver.Need(); !need.AtLeast(n) {
			need = n
		}
	}
	return need
}

// opaque is what an agent gets of a receipt: enough to name it, nothing to learn from.
func opaque(r action.Receipt) string {
	if r.Leaf == "" {
		return ""
	}
	return fmt.Sprintf("%s/%d", r.Origin, r.Index)
}

// enter finds the action that a repeats, or opens a new one.
func (e *Enforcer) enter(ctx context.Context, a Attempt) (*entry, error) {
	if err := e.checkAttempt(ctx, &a); err != nil {
		return nil, err
	}
	parts := [][]byte{[]byte(a.Name), []byte(a.Type), []byte(a.Server), []byte(a.Tool), a.Arguments}
	if a.Roots != nil { // the same call with other folders is another question
		parts = append(parts, []byte(strings.Join(a.Roots, "\x00")))
	}
	args := e.cfg.Fingerprint("arguments", parts...)
	var call string
	if a.CallID != "" {
		call = e.cfg.Fingerprint("call", []byte(a.Session), []byte(a.Subject.Channel.Door), []byte(a.CallID))
	}
	waiting := a.Session + " " + args
	id, err := e.newID(e.cfg.Now()) // before the lock: randomness may take a system call
	if err != nil {
		return nil, err
	}

	e.mu.Lock()
	defer e.mu.Unlock()
	x := e.calls[call]
	if x != nil && call != "" {
		if x.args != args {
			return nil, fmt.Errorf("enforce: call id %q: %w", action.Clip(a.CallID, 64), ErrConflict)
		}
		e.revive(x, a)
		return x, nil
	}
	if x := e.waiting[waiting]; x != nil && resumes(a.Subject.Channel.Door) {
		e.revive(x, a)
		return x, nil
	}
	if !e.room(&a) {
		return nil, ErrBusy
	}
	x = &entry{id: id, att: a, args: args, call: call, status: action.StatusNone}
	x.decision.Verdict = action.Deny
	e.entries[x.id] = x
	if call != "" {
		e.calls[call] = x
	}
	e.load(x, 1)
	return x, nil
}

// load is what open actions hold.
type load struct {
	n     int
	bytes int64
}

// room reports whether another action may be opened: one agent cannot use up what is there for all.
// e.mu is held.
func (e *Enforcer) room(a *Attempt) bool {
	own := load{}
	if l := e.agents[agentKey(&a.Subject)]; l != nil {
		own = *l
	}
	size := int64(len(a.Arguments) + len(a.Reasoning))
	return e.open.n < e.cfg.MaxOpen && own.n < e.cfg.MaxOpenAgent &&
		own.bytes+size <= e.cfg.MaxOpenBytes && e.open.bytes+size <= 8*e.cfg.MaxOpenBytes
}

// load books x as opened (by 1) or ended (by -1). e.mu is held.
func (e *Enforcer) load(x *entry, by int) {
	if by > 0 {
		x.size, x.loads = int64(len(x.att.Arguments)+len(x.att.Reasoning)), agentKey(&x.att.Subject)
	}
	own := e.agents[x.loads]
	if own == nil {
		own = &load{}
		e.agents[x.loads] = own
	}
	for _, l := range []*load{&e.open, own} {
		l.n += by
		l.bytes += int64(by) * x.size
	}
	if own.n == 0 {
		delete(e.agents, x.loads)
	}
}

func agentKey(s *action.Subject) string { return s.Tenant + "/" + s.ID }

// resumes reports whether a door's repeated call means the one that is waiting: doors whose clients
// mint a new call id for each try.
func resumes(d action.Door) bool {
	return d == action.DoorMCP || d == action.DoorHook || d == action.DoorAuthZEN || d == action.DoorLLM || d == action.DoorEgress
}

// revive gives an entry that was rebuilt from the log what only the attempt knows. e.mu is held.
func (e *Enforcer) revive(x *entry, a Attempt) {
	if x.restored {
		x.att, x.restored = a, false
	}
}

func (e *Enforcer) checkAttempt(ctx context.Context, a *Attempt) error {
	if len(a.Arguments) == 0 {
		a.Arguments = []byte("{}")
	}
	code := ""
	switch {
	case a.Session == "" || a.Name == "" || a.Tool == "" || a.Subject.ID == "":
		code = "incomplete"
	case len(a.Name) > 256 || len(a.Server) > 256 || len(a.Tool) > 1024 || len(a.CallID) > 256:
		code = "too_long"
	case len(a.Arguments) > e.cfg.HoldBytes || len(a.Reasoning) > 1<<20:
		code = "too_large"
	case len(a.Roots) > maxRoots || slices.ContainsFunc(a.Roots, notRoot):
		code = "roots"
	}
	if code == "" {
		if err := action.Check(a.Arguments, action.Limits{Bytes: e.cfg.HoldBytes}); err != nil {
			e.Malformed(ctx, a.Subject.Channel.Door, a.Subject.ID, "arguments")
			return fmt.Errorf("enforce: arguments: %w: %w", ErrMalformed, err)
		}
		if i := firstByte(a.Arguments); i != '{' {
			code = "not_an_object"
		}
	}
	if code != "" {
		e.Malformed(ctx, a.Subject.Channel.Door, a.Subject.ID, code)
		return fmt.Errorf("enforce: attempt: %w: %s", ErrMalformed, code)
	}
	return nil
}

// notRoot reports whether p is no clean absolute path of a folder, or that of everything.
func notRoot(p string) bool {
	return !path.IsAbs(p) || path.Clean(p) != p || p == "/" || len(p) > 4096 || strings.Contains(p, "\x00")
}

func firstByte(b []byte) byte {
	for _, c := range b {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c
		}
	}
	return 0
}

// find returns the entry of id if it is the subject's own.
func (e *Enforcer) find(ctx context.Context, s *action.Subject, id string) (*entry, error) {
	e.mu.Lock()
	x := e.entries[id]
	e.mu.Unlock()
	if x == nil {
		return nil, ErrNotFound
	}
	sess, err := e.session(ctx, s.Tenant, x.att.Session)
	if err != nil || !sess.belongs(s) {
		return nil, ErrNotFound
	}
	return x, nil
}

// claim hands out the one right to execute x.
func (e *Enforcer) claim(id string) (*entry, error) {
	e.mu.Lock()
	x := e.entries[id]
	e.mu.Unlock()
	if x == nil {
		return nil, ErrNotFound
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.executing || x.status != action.StatusIntended {
		return nil, fmt.Errorf("enforce: action %s is being executed: %w", x.id, ErrState)
	}
	x.executing = true
	return x, nil
}

// finish drops what is large and remembers the rest of x for repeats. x.mu is held.
func (e *Enforcer) finish(x *entry) {
	if x.finished {
		return
	}
	x.finished = true
	x.att.Arguments, x.att.Reasoning, x.bytes = nil, nil, nil
	x.judgement.raw, x.judgement.query, x.judgement.input, x.judgement.rewritten = nil, nil, nil, nil
	if x.release == nil || x.release.Status != action.StatusHeld {
		x.hold, x.after = nil, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.load(x, -1)
	if key := x.att.Session + " " + x.args; e.waiting[key] == x {
		delete(e.waiting, key)
	}
	e.ended = append(e.ended, x.id)
	for len(e.ended) > e.cfg.MaxEnded {
		old := e.entries[e.ended[0]]
		e.ended = e.ended[1:]
		if old != nil {
			delete(e.entries, old.id)
			delete(e.calls, old.call)
		}
	}
}

// drop forgets x as if it had never been entered. x.mu is held.
func (e *Enforcer) drop(x *entry) {
	if x.finished {
		return
	}
	x.finished = true
	e.mu.Lock()
	defer e.mu.Unlock()
	e.load(x, -1)
	delete(e.entries, x.id)
	if x.call != "" && e.calls[x.call] == x {
		delete(e.calls, x.call)
	}
}

// unwait makes the next equal call one of its own. x.mu is held.
func (e *Enforcer) unwait(x *entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if key := x.att.Session + " " + x.args; e.waiting[key] == x {
		delete(e.waiting, key)
	}
}

// wait lets a repeated call find x. x.mu is held.
func (e *Enforcer) wait(x *entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting[x.att.Session+" "+x.args] = x
}

const (
	idAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ" // Crockford's
	idLength   = 26
)

var crockford = base32.NewEncoding(idAlphabet).WithPadding(base32.NoPadding)

// newID returns a ULID: 48 bits of milliseconds, 80 of randomness.
func (e *Enforcer) newID(now time.Time) (string, error) {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMilli())<<16)
	if _, err := io.ReadFull(e.cfg.Random, b[6:]); err != nil {
		return "", fmt.Errorf("enforce: id: %w", err)
	}
	return crockford.EncodeToString(b[:]), nil
}
