// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/store"
)

// maxAnswers bounds the answers to one ask, maxCommentBytes a comment.
const (
	maxAnswers      = 16
	maxCommentBytes = 2000
)

// The codes of approval records.
const (
	codeOpened   = "opened"
	codeApproved = "approved"      // the grant
	codeMore     = "approved.more" // counted, more people are needed
	codeWeak     = "approved.weak" // satisfies no asking rule
	codeOwn      = "approved.own"  // refused: the asking agent's own credential
	codeDenied   = "denied"
	codeRevoked  = "revoked"
	codeExpired  = "expired"
	codeReplaced = "superseded" // the policy now demands something else
)

// Approve records that who approves. If all that the asking rules demand is there, the action may pass
// once; otherwise Approve returns ErrMore with the reason, and the ask stays open.
func (d *Desk) Approve(ctx context.Context, id string, who Actor, comment string) (View, error) {
	return d.reply(ctx, id, who, comment, d.approve)
}

// Deny ends an open ask; comment reaches the agent. Anyone who may answer may deny.
func (d *Desk) Deny(ctx context.Context, id string, who Actor, comment string) (View, error) {
	return d.reply(ctx, id, who, comment, func(ctx context.Context, a *ask, g Given) error {
		if a.State != Pending {
			return ErrState
		}
		return d.refuse(ctx, a, g, Refused, codeDenied)
	})
}

// Revoke withdraws an open ask or a grant that was not used. The agent hears the comment.
func (d *Desk) Revoke(ctx context.Context, id string, who Actor, comment string) (View, error) {
	return d.reply(ctx, id, who, comment, func(ctx context.Context, a *ask, g Given) error {
		return d.refuse(ctx, a, g, Revoked, codeRevoked)
	})
}

// reply does what answers share: it finds the live ask, holds its turn, and checks who speaks.
func (d *Desk) reply(ctx context.Context, id string, who Actor, comment string,
	do func(ctx context.Context, a *ask, g Given) error) (View, error) {
	a, err := d.hold(ctx, id)
	if err != nil {
		return View{}, err
	}
	defer a.release()
	ctx = context.WithoutCancel(ctx) // whoever hangs up now has answered
	d.mu.Lock()
	now := d.now()
	live := a.State.Live() && now < a.deadline()
	d.mu.Unlock()
	switch {
	case !live || len(a.Answers) >= maxAnswers:
		return d.view(a), fmt.Errorf("%w: it is %s", ErrState, d.view(a).State)
	case who.Seen != 0 && who.Seen != a.rev:
		return d.view(a), ErrChanged
	}
	g, err := given(&a.row, who)
	if err != nil {
		d.noteOwn(ctx, a, who, now)
		return d.view(a), err
	}
	g.Comment, g.TimeMs = Visible(action.Clip(comment, maxCommentBytes)), now
	err = do(ctx, a, g)
	return d.view(a), err
}

func (d *Desk) approve(ctx context.Context, a *ask, g Given) error {
	if a.State != Pending {
		return ErrState
	}
	g.Approve = true
	ranks := action.Rank("").Values()
	for _, old := range a.Answers {
		if old.Approver == g.Approver && slices.Index(ranks, string(old.Channel)) >= slices.Index(ranks, string(g.Channel)) {
			return fmt.Errorf("%w: %q has already approved it", ErrOwn, action.Clip(g.Approver, 64))
		}
	}
	next := a.row
	next.Answers = append(slices.Clone(a.Answers), g)
	_, granted := enough(a.Needs, next.Answers)
	status, code := action.StatusGranted, codeApproved
	if !granted {
		status, code = action.StatusAsked, codeMore
		if !countsFor(a.Needs, g) {
			code = codeWeak
		}
	}
	if err := d.record(ctx, a, &next, status, code, &g); err != nil {
		return err
	}
	d.mu.Lock()
	a.Answers, a.Reason = next.Answers, ""
	if granted {
		a.State, a.EndedMs = Granted, g.TimeMs
		d.leavePending(a)
	} else {
		a.Reason = lacking(a.Needs, a.Answers, g)
	}
	d.wake(a)
	d.mu.Unlock()
	d.keep(ctx, a)
	if !granted {
		return fmt.Errorf("%w: %s", ErrMore, a.Reason)
	}
	return nil
}

// refuse records a denial or revocation and ends a.
func (d *Desk) refuse(ctx context.Context, a *ask, g Given, to State, code string) error {
	next := a.row
	next.Answers = append(slices.Clone(a.Answers), g)
	if err := d.record(ctx, a, &next, action.StatusRefused, code, &g); err != nil {
		return err
	}
	d.mu.Lock()
	a.Answers, a.Comment = next.Answers, g.Comment
	d.finish(a, to, g.TimeMs, code)
	d.chill(a, g.TimeMs)
	d.mu.Unlock()
	d.keep(ctx, a)
	return nil
}

// Consume burns a grant for actionID. Of any number of calls for one grant exactly one returns nil; all
// others, and those for a grant that was revoked, has expired or is unknown, return
// enforce.ErrConsumed. An error of the store burns the grant too.
func (d *Desk) Consume(ctx context.Context, grant, actionID string) error {
	a, err := d.hold(ctx, grant)
	if errors.Is(err, ErrNotFound) {
		return enforce.ErrConsumed
	}
	if err != nil {
		return err
	}
	defer a.release()
	if err := ctx.Err(); err != nil {
		return err
	}
	d.mu.Lock()
	now := d.now()
	if _, ok := enough(a.Needs, a.Answers); a.State != Granted || now >= a.deadline() || !ok {
		d.mu.Unlock()
		return enforce.ErrConsumed
	}
	a.UsedBy = action.Clip(actionID, 128)
	d.finish(a, Used, now, "used")
	d.mu.Unlock()
	if err := d.save(context.WithoutCancel(ctx), a, Used); err != nil {
		d.mu.Lock()
		a.dirty = true
		d.mu.Unlock()
		if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
			return enforce.ErrConsumed
		}
		return fmt.Errorf("approval: consuming %q: %w", action.Clip(grant, 64), err)
	}
	return nil
}

// end expires a if its time is over or replaced says that it has to make way. Its record comes first.
func (d *Desk) end(ctx context.Context, a *ask, replaced func() bool) error {
	if err := a.acquire(ctx); err != nil {
		return err
	}
	defer a.release()
	d.mu.Lock()
	now := d.now()
	code := codeExpired
	if a.State.Live() && now < a.deadline() {
		code = codeReplaced
	}
	skip := !a.State.Live() || (code == codeReplaced && !replaced())
	d.mu.Unlock()
	if skip {
		return nil
	}
	if err := d.record(ctx, a, &a.row, action.StatusRefused, code, nil); err != nil {
		return err
	}
	d.mu.Lock()
	d.finish(a, Expired, now, code)
	d.mu.Unlock()
	d.keep(ctx, a)
	return nil
}

// finish makes a final. What an approver saw stays in the ledger; the row lets go of the arguments. The
// caller holds mu and a's turn.
func (d *Desk) finish(a *ask, to State, at int64, reason string) {
	if a.State == Pending {
		d.leavePending(a)
	}
	d.leaveLive(a)
	a.State, a.EndedMs, a.Reason = to, at, reason
	if a.Shown != nil {
		s := *a.Shown
		s.Arguments, s.Nonce, s.Erased = nil, "", true
		a.Shown = &s
	}
	d.wake(a)
}

// wake tells those who wait for a. The caller holds mu.
func (d *Desk) wake(a *ask) {
	close(a.changed)
	a.changed = make(chan struct{})
}

// given checks whether who may answer r at all, and as what he counts.
func given(r *row, who Actor) (Given, error) {
	g := Given{Approver: action.Clip(who.ID, 256), Channel: who.Channel, UID: -1, SameUID: action.TriUnknown,
		Credential: action.Clip(who.Credential, 128), Groups: slices.Clone(who.Groups)}
	own := who.Agent != "" && who.Agent == r.Agent
	switch {
	case who.ID == "" || who.Channel == "" || who.Channel == action.RankUnknown ||
		!slices.Contains(who.Channel.Values(), string(who.Channel)):
		return g, fmt.Errorf("%w: nobody is proved", ErrOwn)
	case who.Channel == action.RankClient:
		if who.Session != r.Session || !own {
			return g, fmt.Errorf("%w: the channel client answers for its own session only", ErrOwn)
		}
	case own || who.ID == r.Agent:
		return g, fmt.Errorf("%w: the credential belongs to the agent that asks", ErrOwn)
	case who.Agent != "":
		g.Channel = action.RankJudge // another agent is an automated system, whatever its token says
	}
	if who.HasUID {
		g.UID = who.UID
		if r.UID >= 0 {
			g.SameUID = action.TriOf(who.UID == r.UID)
		}
	}
	return g, nil
}

func countsFor(needs []Need, g Given) bool {
	return slices.ContainsFunc(needs, func(n Need) bool {
		return g.Channel.AtLeast(n.Channel) && (n.Group == "" || slices.Contains(g.Groups, n.Group))
	})
}

// lacking says in words why answers do not grant.
func lacking(needs []Need, answers []Given, last Given) string {
	for _, n := range needs {
		if satisfied([]Need{n}, answers) {
			continue
		}
		switch {
		case !last.Channel.AtLeast(n.Channel):
			return fmt.Sprintf("approved through %q, but %q is needed", last.Channel, n.Channel)
		case n.Group != "" && !slices.Contains(last.Groups, n.Group):
			return fmt.Sprintf("somebody of group %q has to approve", n.Group)
		}
		return fmt.Sprintf("%d people have to approve", n.Quorum)
	}
	return "more is needed"
}

// hold returns the ask with its turn taken.
func (d *Desk) hold(ctx context.Context, id string) (*ask, error) {
	d.mu.Lock()
	a := d.asks[id]
	d.mu.Unlock()
	if a == nil {
		return nil, ErrNotFound
	}
	if err := a.acquire(ctx); err != nil {
		return nil, err
	}
	if a.failed != nil {
		a.release()
		return nil, ErrNotFound
	}
	return a, nil
}

func (a *ask) acquire(ctx context.Context) error {
	select {
	case a.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *ask) release() { <-a.turn }
