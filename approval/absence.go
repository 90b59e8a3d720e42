// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/store"
)

// Absence says that somebody stands in for a person who is away: approvals by To count for the groups
// that the person lends. They count as To's own: two people stay two people.
type Absence struct {
	ID      string   `json:"id"`
	From    string   `json:"from"`   // who is away
	To      string   `json:"to"`     // who stands in
	Groups  []string `json:"groups"` // lent; each one that the person himself was in
	FromMs  int64    `json:"from_ms"`
	UntilMs int64    `json:"until_ms"`
	Comment string   `json:"comment"`
}

type absence struct {
	Absence
	rev uint64
}

// The codes of absences, in records of kind approval that name no grant. Their Subject is the absence's
// digest.
const (
	codeAway = "absence.added"
	codeBack = "absence.ended"
)

// maxAbsence bounds how long groups can be lent at a time, maxAbsences how many loans there are.
const (
	maxAbsence  = 31 * 24 * time.Hour
	maxAbsences = 1000
)

// ErrAbsence refuses a stand-in.
var ErrAbsence = errors.New("approval: this person cannot stand in")

// Away lends groups of who to a.To. Nobody lends a group that he is not in himself, or that was lent to him.
func (d *Desk) Away(ctx context.Context, who Actor, a Absence) (Absence, error) {
	d.mu.Lock()
	now, n := d.now(), len(d.absent)
	d.mu.Unlock()
	a.From, a.Comment = action.Clip(who.ID, 256), said(a.Comment)
	a.FromMs = max(a.FromMs, now)
	a.To = strings.TrimSpace(a.To)
	switch {
	case who.ID == "" || who.Agent != "" || !who.Channel.AtLeast(action.RankOperator):
		return a, fmt.Errorf("%w: only people who are logged in lend", ErrAbsence)
	case a.To == "" || len(a.To) > 256 || fold(a.To) == fold(a.From):
		return a, fmt.Errorf("%w: %q", ErrAbsence, action.Clip(a.To, 64))
	case a.UntilMs <= a.FromMs || a.UntilMs-a.FromMs > maxAbsence.Milliseconds() || a.FromMs-now > maxAbsence.Milliseconds():
		return a, fmt.Errorf("%w: the time has to end later than it begins, within 31 days", ErrAbsence)
	case len(a.Groups) == 0 || n >= maxAbsences:
		return a, fmt.Errorf("%w: no groups are lent, or too many absences stand", ErrAbsence)
	}
	for _, g := range a.Groups {
		if !slices.Contains(who.Groups, g) {
			return a, fmt.Errorf("%w: %q is not in group %q", ErrAbsence, action.Clip(who.ID, 64), action.Clip(g, 64))
		}
	}
	b := make([]byte, 10)
	if _, err := io.ReadFull(d.cfg.Rand, b); err != nil {
		return a, fmt.Errorf("approval: reading randomness: %w", err)
	}
	a.ID = "ab_" + encode32(b)
	if err := d.recordAbsence(ctx, &a, codeAway, who.ID, now); err != nil {
		return a, err
	}
	return a, d.putAbsence(ctx, a)
}

// Back ends an absence before its time; the absent person and the stand-in may.
func (d *Desk) Back(ctx context.Context, who Actor, id string) error {
	d.mu.Lock()
	now := d.now()
	a, ok := d.absent[id]
	d.mu.Unlock()
	if !ok || who.ID == "" || fold(who.ID) != fold(a.From) && fold(who.ID) != fold(a.To) {
		return ErrNotFound
	}
	if err := d.recordAbsence(ctx, &a.Absence, codeBack, who.ID, now); err != nil {
		return err
	}
	d.mu.Lock()
	delete(d.absent, id)
	d.mu.Unlock()
	if err := d.cfg.Store.Delete(ctx, d.absenceKey(id), a.rev); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return nil
}

// Absences lists those that stand, the first to end first.
func (d *Desk) Absences() []Absence {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	out := []Absence{}
	for _, a := range d.absent {
		if now < a.UntilMs {
			out = append(out, a.Absence)
		}
	}
	slices.SortFunc(out, func(a, b Absence) int { return int(min(max(a.UntilMs-b.UntilMs, -1), 1)) })
	return out
}

// stand gives who the groups that were lent to him for now.
func (d *Desk) stand(who Actor, now int64) Actor {
	if who.Agent != "" || who.Channel == action.RankClient || who.Channel == action.RankJudge {
		return who
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.absent {
		if fold(a.To) == fold(who.ID) && a.FromMs <= now && now < a.UntilMs {
			who.absent = append(who.absent, a.Absence)
		}
	}
	slices.SortFunc(who.absent, func(a, b Absence) int { return strings.Compare(a.ID, b.ID) })
	return who
}

// standsFor names those whom a stands in for, but the user for whom the asking agent acts: what he may not
// approve himself he cannot lend.
func (a *Actor) standsFor(user string) []string {
	out := []string{}
	for _, b := range a.absent {
		if fold(b.From) != fold(user) && !slices.Contains(out, b.From) {
			out = append(out, b.From)
		}
	}
	return out
}

func (a *Actor) lent(user string) []string {
	var out []string
	for _, b := range a.absent {
		if fold(b.From) != fold(user) {
			out = append(out, b.Groups...)
		}
	}
	return out
}

func (d *Desk) absenceKey(id string) string { return d.cfg.Tenant + "/absence/" + id }

func (d *Desk) recordAbsence(ctx context.Context, a *Absence, code, actor string, now int64) error {
	sum, err := digest(a)
	if err != nil {
		return err
	}
	b, err := action.Canonical(a)
	if err != nil {
		return err
	}
	return d.append(ctx, &action.Record{Kind: action.KindApproval, Tenant: d.cfg.Tenant, TimeMs: now, Actor: actor, Door: action.DoorUnknown,
		Effect: action.EffectUnknown, Phase: action.PhaseUnknown, Enforced: true, Status: action.StatusNone, Codes: []string{code},
		Channel: action.RankUnknown, Grade: action.GradeUnknown, Separation: action.SeparationUnknown, Observed: action.TriUnknown,
		Durability: action.DurabilityLocal, Subject: sum, Parts: []action.PayloadPart{{Name: action.PartDetail, Owner: a.From, Data: b}}})
}

func (d *Desk) putAbsence(ctx context.Context, a Absence) error {
	b, err := action.Canonical(a)
	if err != nil {
		return err
	}
	rev, err := d.cfg.Store.Put(context.WithoutCancel(ctx), d.absenceKey(a.ID), b, 0)
	if err != nil {
		return fmt.Errorf("approval: storing an absence: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.absent[a.ID] = absence{a, rev}
	return nil
}

// loadAbsences reads the stored ones; Open keeps those that the ledger proves.
func (d *Desk) loadAbsences(ctx context.Context) (map[string]absence, error) {
	out := map[string]absence{} // by digest
	for after := ""; ; {
		page, err := d.cfg.Store.List(ctx, d.absenceKey(""), after, 0)
		if err != nil || len(page) == 0 {
			return out, err
		}
		for _, e := range page {
			after = e.Key
			a := absence{rev: e.Revision}
			if action.Read(e.Value, &a.Absence, action.Limits{}) != nil || d.absenceKey(a.ID) != e.Key {
				continue
			}
			if sum, err := digest(&a.Absence); err == nil {
				out[sum] = a
			}
		}
	}
}

// hearAbsence adds what a record says: an absence stands if the ledger says that it began and not that it
// ended.
func (d *Desk) hearAbsence(rows map[string]absence, r *action.Record) {
	a, ok := rows[r.Subject]
	switch {
	case !ok:
	case slices.Contains(r.Codes, codeAway):
		d.absent[a.ID] = a
	case slices.Contains(r.Codes, codeBack):
		delete(d.absent, a.ID)
	}
}
