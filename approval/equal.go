// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// Requests are equal if a person could not tell them apart, except by their session and time: the same agent and
// instance for the same user, the same tool in the same definition, the same bytes, obligations, demands and
// facts under the same policy. They are shown as one, and one answer can be given to all of them that were
// shown; each has its own record of the answer and its own grant. What is compared lives in memory only, so that
// nobody who can write to the store can make unequal requests look equal; after a restart each stands alone.

// maxEqual bounds the requests that are answered together, the first included.
const maxEqual = 32

// likeness is what makes requests equal, and how grave each is.
type likeness struct {
	key     string
	gravity [3]int // injection, leak and risk, of 1000
}

// nogreater reports whether nothing about l is worse than about of.
func (l likeness) nogreater(of likeness) bool {
	for i, g := range l.gravity {
		if g > of.gravity[i] {
			return false
		}
	}
	return l.key != "" && l.key == of.key
}

// like says what r is equal to. What cannot be compared is equal to nothing.
func like(r enforce.Request, needs []Need) likeness {
	q := r.Query
	weighed := *q // the numbers are compared, not matched
	weighed.Context.Detect.Injection, weighed.Context.Detect.Leak, weighed.Context.Monitor.Risk = 0, 0, 0
	subject := q.Subject // ages go on by themselves
	subject.User.AuthnAge, subject.Attested.AgeS = 0, 0
	sum := sha256.Sum256(r.Bytes)
	key, err := digest(struct {
		Subject    action.Subject      `json:"subject"`
		Name       string              `json:"name"`
		Resource   action.Resource     `json:"resource"`
		Phase      action.Phase        `json:"phase"`
		Bytes      []byte              `json:"bytes"`
		Bundle     action.Bundle       `json:"bundle"`
		Oblige     []action.Obligation `json:"oblige"`
		Needs      []Need              `json:"needs"`
		Judge      string              `json:"judge"`
		Effect     action.Effect       `json:"effect"`
		Typed      action.State        `json:"typed"`
		Facts      []Fact              `json:"facts"`
		Risk       []Fact              `json:"risk"`
		Monitor    action.State        `json:"monitor"`
		Detect     action.State        `json:"detect"`
		Grade      action.Grade        `json:"grade"`
		Separation action.Separation   `json:"separation"`
	}{subject, q.Action.Name, q.Resource, q.Phase, sum[:], r.Decision.Bundle, r.Decision.Obligations, needs, unjudgeable(q), q.Action.Effect,
		q.Action.Typed, facts(q), risks(&weighed), q.Context.Monitor.State, q.Context.Detect.State, q.Context.Enforcement.Grade,
		q.Context.Enforcement.Separation})
	if err != nil {
		return likeness{}
	}
	return likeness{key, [3]int{q.Context.Detect.Injection, q.Context.Detect.Leak, q.Context.Monitor.Risk}}
}

// leadOf returns the request that l can wait behind. The caller holds mu.
func (d *Desk) leadOf(l likeness, now int64) *ask {
	lead := d.leads[l.key]
	if lead == nil || lead.State != Pending || now >= lead.deadline() || !l.nogreater(lead.like) || len(lead.Answers) > 0 || len(lead.equal) >= maxEqual-1 {
		return nil
	}
	return lead
}

// stands reports whether f's lead stands for it: both wait, and the same people have answered both. The caller
// holds mu.
func (f *ask) stands() bool {
	return f.lead != nil && f.State == Pending && f.lead.State == Pending &&
		slices.EqualFunc(f.Answers, f.lead.Answers, func(a, b Given) bool { return fold(a.Approver) == fold(b.Approver) })
}

// waiting are the ids of the requests that wait behind a. The caller holds mu.
func (d *Desk) waiting(a *ask) []string {
	out := []string{}
	for _, f := range a.equal {
		if f.stands() {
			out = append(out, f.ID)
		}
	}
	return out
}

// leave ends a's part among its equals: those who wait behind it come out, the first of them as the new lead of
// those that are no graver. The caller holds mu.
func (d *Desk) leave(a *ask) {
	if a.lead != nil {
		a.lead.equal = slices.DeleteFunc(a.lead.equal, func(f *ask) bool { return f == a })
		a.lead = nil
	}
	behind := a.equal
	a.equal = nil
	if d.leads[a.like.key] == a {
		delete(d.leads, a.like.key)
	}
	var next *ask
	for _, f := range behind {
		f.lead = nil
		switch {
		case f.State != Pending:
		case next == nil:
			next = f
			d.leads[f.like.key] = f
		case f.like.nogreater(next.like):
			f.lead = next
			next.equal = append(next.equal, f)
		}
	}
}

// members returns the requests that who answers together with a, a first, and the digests of all, sorted. It
// refuses those that are not equal to a.
func (d *Desk) members(id string, among []string) (ids, digests []string, err error) {
	if len(among) > maxEqual {
		return nil, nil, fmt.Errorf("%w: at most %d requests are answered together", ErrChanged, maxEqual)
	}
	ids = []string{id}
	for _, other := range among {
		if !slices.Contains(ids, other) {
			ids = append(ids, other)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	first := d.asks[id]
	if first == nil || first.State == "" {
		return nil, nil, ErrNotFound
	}
	for _, id := range ids {
		a := d.asks[id]
		if a == nil || a.State != Pending || now >= a.deadline() || a != first && !a.like.nogreater(first.like) {
			return nil, nil, fmt.Errorf("%w: %q is not equal to what was shown, or waits no more", ErrChanged, action.Clip(id, 64))
		}
		digests = append(digests, a.Digest)
	}
	slices.Sort(digests)
	return ids, digests, nil
}

// ToSignAll is the challenge of one answer to several requests: over the digests of exactly what was shown of
// each, sorted. comment is as it stands in the record.
func ToSignAll(digests []string, verb, comment string) ([]byte, error) {
	b, err := action.Canonical(struct {
		Format  string   `json:"format"`
		Among   []string `json:"among"`
		Verb    string   `json:"verb"`
		Comment string   `json:"comment"`
	}{"approval.sign.all.v1", digests, verb, comment})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	return sum[:], nil
}

// together gives one answer to the request id and to those of who.Among. Each is answered, recorded and granted
// by itself; one that ended meanwhile is left out. The view and the error are those of id.
func (d *Desk) together(ctx context.Context, id string, who Actor, verb, comment string, answer func(ctx context.Context, id string, who Actor) (View, error)) (View, error) {
	if len(who.Among) == 0 {
		return answer(ctx, id, who)
	}
	if who.edit != "" {
		return View{}, fmt.Errorf("%w: other arguments are approved for one request at a time", ErrEdit)
	}
	ids, digests, err := d.members(id, who.Among)
	if err != nil {
		return View{}, err
	}
	if len(ids) == 1 {
		who.Among = nil
		return answer(ctx, id, who)
	}
	challenge, err := ToSignAll(digests, verb, said(comment))
	if err != nil {
		return View{}, err
	}
	if who, err = d.proved(ctx, who, challenge); err != nil {
		return View{}, err
	}
	who.among = digests
	v, first := answer(ctx, id, who)
	if first != nil && !errors.Is(first, ErrMore) {
		return v, first
	}
	who.Seen, who.rest = 0, true
	var failed []error
	for _, other := range ids[1:] {
		if _, err := answer(context.WithoutCancel(ctx), other, who); err != nil && !errors.Is(err, ErrMore) && !errors.Is(err, ErrState) {
			failed = append(failed, fmt.Errorf("%s: %w", other, err))
		}
	}
	if len(failed) > 0 {
		return v, errors.Join(failed...)
	}
	return v, first
}

// twin keys a request of one action among those with the same binding.
func twin(binding, actionID string) string { return strings.Join([]string{binding, actionID}, "\x00") }
