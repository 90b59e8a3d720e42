// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"errors"
	"slices"
)

// Erase ends every live ask of a person, or of an agent that acts for nobody, as Revoke does, and lets go of
// what all of theirs showed: documents and comments, in memory and in the store. It returns how many asks
// were touched; it goes on after an error and returns the first.
func (d *Desk) Erase(ctx context.Context, subject string, who Actor) (int, error) {
	d.mu.Lock()
	var ids []string
	for id, a := range d.asks {
		if a.User == subject || a.User == "" && a.Agent == subject {
			ids = append(ids, id)
		}
	}
	d.mu.Unlock()
	slices.Sort(ids)
	n := 0
	var firstErr error
	for _, id := range ids {
		_, err := d.Revoke(ctx, id, who, "erased")
		if err == nil || errors.Is(err, ErrState) {
			err = d.bare(ctx, id)
		}
		switch {
		case err == nil:
			n++
		case !errors.Is(err, ErrNotFound) && firstErr == nil:
			firstErr = err
		}
	}
	return n, firstErr
}

// bare strips an ask that has ended of what it showed.
func (d *Desk) bare(ctx context.Context, id string) error {
	a, err := d.hold(ctx, id)
	if err != nil {
		return err
	}
	defer a.release()
	d.mu.Lock()
	if a.State.Live() {
		d.mu.Unlock()
		return ErrState
	}
	a.Shown, a.Comment = nil, ""
	a.Answers = slices.Clone(a.Answers)
	for i := range a.Answers {
		a.Answers[i].Comment = ""
	}
	d.mu.Unlock()
	return d.save(ctx, a, a.State)
}
