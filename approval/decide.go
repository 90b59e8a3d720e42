// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

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
	CodeOpened   = "opened"
	CodeApproved = "approved"      // the grant
	codeMore     = "approved.more" // counted, more people are needed
	codeWeak     = "approved.weak" // satisfies no asking rule
	CodeOwn      = "approved.own"  // refused: the asking agent's own credential
	codeDenied   = "denied"
	codeRevoked  = "revoked"
	codeExpired  = "expired"
	codeReplaced = "superseded" // the policy now demands something else
	codeRaised   = "escalated"  // the time of another group has come
)

// Approve records that who approves. If all that the asking rules demand is there, the action may pass
// once; otherwise Approve returns ErrMore with the reason, and the ask stays open.
func (d *Desk) Approve(ctx context.Context, id string, who Actor, comment string) (View, error) {
	if s := d.seedOf(id); s != nil {
		return d.answerSeed(ctx, s, who, "approve", comment)
	}
	return d.together(ctx, id, who, "approve", comment, func(ctx context.Context, id string, who Actor) (View, error) {
		return d.reply(ctx, id, who, "approve", comment, func(ctx context.Context, a *ask, g Given) error {
			return d.approve(ctx, a, g, "")
		})
	})
}

// Edit is Approve for other arguments than those shown: a JSON object that will be executed in their place,
// if facts and policy allow it then. All who approve together have to approve the same arguments. What was
// asked and what was approved are both on record.
func (d *Desk) Edit(ctx context.Context, id string, who Actor, comment string, arguments []byte) (View, error) {
	edit, err := editable(arguments)
	if err != nil {
		return View{}, err
	}
	who.edit = edit
	if s := d.seedOf(id); s != nil {
		return d.answerSeed(ctx, s, who, "approve", comment)
	}
	if len(who.Among) > 0 {
		return View{}, fmt.Errorf("%w: other arguments are approved for one request at a time", ErrEdit)
	}
	return d.reply(ctx, id, who, "approve", comment, func(ctx context.Context, a *ask, g Given) error {
		if a.Frame.Phase == action.After {
			return fmt.Errorf("%w: a result can be released or not, not edited", ErrEdit)
		}
		return d.approve(ctx, a, g, edit)
	})
}

// Deny ends an open ask; comment reaches the agent. Anyone who may answer may deny. Like Approve, it answers
// the equal requests of who.Among in the same way.
func (d *Desk) Deny(ctx context.Context, id string, who Actor, comment string) (View, error) {
	if s := d.seedOf(id); s != nil {
		return d.answerSeed(ctx, s, who, "deny", comment)
	}
	return d.together(ctx, id, who, "deny", comment, func(ctx context.Context, id string, who Actor) (View, error) {
		return d.reply(ctx, id, who, "deny", comment, func(ctx context.Context, a *ask, g Given) error {
			if a.State != Pending {
				return ErrState
			}
			return d.refuse(ctx, a, g, Refused, codeDenied, !who.rest)
		})
	})
}

// Revoke withdraws an open ask or a grant that was not used. The agent hears the comment.
func (d *Desk) Revoke(ctx context.Context, id string, who Actor, comment string) (View, error) {
	if s := d.seedOf(id); s != nil {
		return d.answerSeed(ctx, s, who, "revoke", comment)
	}
	return d.reply(ctx, id, who, "revoke", comment, func(ctx context.Context, a *ask, g Given) error {
		return d.refuse(ctx, a, g, Revoked, codeRevoked, true)
	})
}

// reply does what answers share: it finds the live ask, holds its turn, and checks who speaks.
func (d *Desk) reply(ctx context.Context, id string, who Actor, verb, comment string,
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
	comment = said(comment)
	if who, err = d.prove(ctx, &a.row, who, verb, comment); err != nil {
		return d.view(a), err
	}
	g, err := given(&a.row, d.stand(who, now))
	if err != nil {
		d.noteOwn(ctx, a, who, now)
		return d.view(a), err
	}
	g.Comment, g.TimeMs, g.SeenMs = comment, now, d.seenFor(a, who.ID, now)
	err = do(ctx, a, g)
	return d.view(a), err
}

// said is a comment as it is recorded, signed and told.
func said(comment string) string { return Visible(action.Clip(comment, maxCommentBytes)) }

func (d *Desk) approve(ctx context.Context, a *ask, g Given, edit string) error {
	if a.State != Pending {
		return ErrState
	}
	g.Approve = true
	if edit != "" {
		g.Edited = a.salted([]byte(edit))
	}
	if a.Edit != "" && edit != "" && edit != a.Edit {
		return fmt.Errorf("%w: somebody has approved other arguments already", ErrEdit)
	}
	ranks := action.Rank("").Values()
	for _, old := range a.Answers {
		if fold(old.Approver) == fold(g.Approver) && old.Edited == g.Edited &&
			slices.Index(ranks, string(old.Channel)) >= slices.Index(ranks, string(g.Channel)) && !addsTo(a.Needs, &old, &g, a.OpenedMs) {
			return fmt.Errorf("%w: %q has already approved it", ErrOwn, action.Clip(g.Approver, 64))
		}
	}
	next := a.row
	next.Answers = append(slices.Clone(a.Answers), g)
	if edit != "" {
		next.Edit = edit
	}
	_, granted := enough(a.Needs, next.Answers, a.OpenedMs)
	status, code := action.StatusGranted, CodeApproved
	if !granted {
		status, code = action.StatusAsked, codeMore
		if !countsFor(a.Needs, g, a.OpenedMs) {
			code = codeWeak
		}
	}
	if err := d.record(ctx, a, &next, status, code, &g); err != nil {
		return err
	}
	d.mu.Lock()
	a.Answers, a.Edit, a.Reason = next.Answers, next.Edit, ""
	if granted {
		a.State, a.EndedMs = Granted, g.TimeMs
		d.leavePending(a)
	} else {
		a.Reason = lacking(a.Needs, a.Answers, g, a.OpenedMs)
	}
	d.wake(a)
	d.mu.Unlock()
	d.keep(ctx, a)
	if !granted {
		return fmt.Errorf("%w: %s", ErrMore, a.Reason)
	}
	return nil
}

// addsTo reports whether g is what some need demands and old was not: the same person, who has signed in anew.
func addsTo(needs []Need, old, g *Given, opened int64) bool {
	return slices.ContainsFunc(needs, func(n Need) bool { return n.counts(g, opened) && !n.counts(old, opened) })
}

// refuse records a denial or revocation and ends a. chill is whether it counts as one more denial.
func (d *Desk) refuse(ctx context.Context, a *ask, g Given, to State, code string, chill bool) error {
	next := a.row
	next.Answers = append(slices.Clone(a.Answers), g)
	if err := d.record(ctx, a, &next, action.StatusRefused, code, &g); err != nil {
		return err
	}
	d.mu.Lock()
	a.Answers, a.Comment = next.Answers, g.Comment
	d.finish(a, to, g.TimeMs, code)
	if chill {
		d.chill(a, g.TimeMs)
	}
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
	if _, ok := enough(a.Needs, a.Answers, a.OpenedMs); a.State != Granted || now >= a.deadline() || !ok {
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
	for _, b := range d.same[a.Binding] {
		close(b.changed)
		b.changed = make(chan struct{})
	}
}

// given checks whether who may answer r at all, and as what he counts.
func given(r *row, who Actor) (Given, error) {
	g := Given{Approver: action.Clip(who.ID, 256), Channel: who.Channel, UID: -1, SameUID: action.TriUnknown,
		Credential: action.Clip(who.Credential, 128), Groups: slices.Clone(who.Groups), For: who.standsFor(r.User),
		Own: own(r, who.ID), Evidence: who.Evidence, SeenMs: -1, Among: who.among}
	g.signIn(who.SignIn)
	g.Groups = append(g.Groups, who.lent(r.User)...)
	mine := who.Agent != "" && who.Agent == r.Agent
	switch {
	case who.ID == "" || who.Channel == "" || who.Channel == action.RankUnknown ||
		!slices.Contains(who.Channel.Values(), string(who.Channel)):
		return g, fmt.Errorf("%w: nobody is proved", ErrOwn)
	case who.Channel == action.RankClient:
		if who.Session != r.Session || !mine {
			return g, fmt.Errorf("%w: the channel client answers for its own session only", ErrOwn)
		}
		g.Own = action.Yes
	case mine || who.ID == r.Agent:
		return g, fmt.Errorf("%w: the credential belongs to the agent that asks", ErrOwn)
	case who.Agent != "":
		g.Channel = action.RankJudge // another agent is an automated system, whatever its token says
	}
	if g.Channel == action.RankJudge && r.Judge != "" {
		return g, fmt.Errorf("%w: no automated system may confirm it: %s", ErrOwn, r.Judge)
	}
	if who.HasUID {
		g.UID = who.UID
		if r.UID >= 0 {
			g.SameUID = action.TriOf(who.UID == r.UID)
		}
	}
	return g, nil
}

// The bounds of what is recorded of a sign-in. A value beyond them is none: it can match no rule.
const (
	maxLevelBytes = 256
	maxMethods    = 16
)

// signIn notes how the person proved himself.
func (g *Given) signIn(s SignIn) {
	plain := func(v string) bool { return v != "" && len(v) <= maxLevelBytes && v == Visible(v) }
	if plain(s.ACR) {
		g.ACR = s.ACR
	}
	for _, m := range s.AMR {
		if plain(m) && len(g.AMR) < maxMethods {
			g.AMR = append(g.AMR, m)
		}
	}
	if !s.At.IsZero() {
		g.AuthnMs = max(s.At.UnixMilli(), 0)
	}
}

// own reports whether an approver is the user for whom r's agent acts. Who that user is may not be known.
func own(r *row, id string) action.Tri {
	if r.User == "" {
		return action.TriUnknown
	}
	return action.TriOf(fold(id) == fold(r.User))
}

// fold makes two spellings of one name equal.
func fold(name string) string { return strings.ToLower(strings.TrimSpace(name)) }

// lacking says in words why answers do not grant.
func lacking(needs []Need, answers []Given, last Given, opened int64) string {
	for _, n := range needs {
		if _, ok := enough([]Need{n}, answers, opened); ok {
			continue
		}
		switch {
		case !last.Channel.AtLeast(n.Channel):
			return fmt.Sprintf("approved through %q, but %q is needed", last.Channel, n.Channel)
		case n.Apart && last.Own != action.No:
			return "somebody else than the user for whom the agent acts has to approve"
		case !n.member(&last, opened):
			return fmt.Sprintf("somebody of group %q has to approve", n.Group)
		case !n.proves(&last):
			return n.wants()
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
