// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/bundle"
)

// Mark names the newest bundle of a name that was ever in force. Its zero value is none.
type Mark struct {
	Sequence int64  `json:"sequence"`
	Digest   string `json:"digest"`
}

// Gate is what a bundle is measured by before it is put in force. None of it comes from the bundle.
type Gate struct {
	Trust    *bundle.Trust // required
	Now      func() time.Time
	Mark     Mark
	Settings string    // digest of the owner's settings
	Active   *Compiled // what is in force; nil is nothing of this name
	Load     Config    // limits, shadow and alarm to compile with

	// Check looks at what other parts of the owner read from the bundle; nil takes it unseen.
	Check func(b *bundle.Bundle) error

	// Kept returns a bundle that was in force, for one that brings its rules back. Nil knows none.
	Kept func(digest string) (*bundle.Bundle, error)
}

// Findings is what examining a bundle showed.
type Findings struct {
	Bundle    action.Bundle   `json:"bundle"`
	Parent    string          `json:"parent,omitzero"`
	Rollback  string          `json:"rollback,omitzero"`
	Signers   []bundle.Signer `json:"signers"`
	Cases     int             `json:"cases"`
	Coverage  int             `json:"coverage"`          // per cent of the rules that fired in a case, rounded down
	Untested  []string        `json:"untested"`          // the others, at most 20
	Tighter   bool            `json:"tighter"`           // it is proved to permit no more than what is in force
	Unproved  string          `json:"unproved,omitzero"` // why that is not proved
	OnePerson bool            `json:"one_person"`        // too few signed it, which is enough for a tighter one
}

// The reasons for which a bundle is refused, besides bundle.ErrRefused, bundle.ErrUntrusted and ErrRollback. What
// wraps none of them does not compile.
var (
	ErrUntested = errors.New("its tests do not show enough")
	ErrSettings = errors.New("it was approved for other settings")
)

// Examine refuses b unless it is signed by enough people, newer than everything that was in force, compiles without
// a rule that could fail open, and passes its own cases with enough of its rules. One signature is enough if b is
// proved to permit nothing that the active bundle does not. b is not put in force.
func Examine(ctx context.Context, b *bundle.Bundle, g Gate) (*Compiled, Findings, error) {
	f := Findings{Signers: []bundle.Signer{}, Untested: []string{}}
	fail := func(err error) (*Compiled, Findings, error) {
		return nil, f, fmt.Errorf("policy: bundle %q: %w", b.Manifest.Name, err)
	}
	if g.Trust == nil || g.Now == nil {
		return fail(errors.New("no trust or no clock to measure it by"))
	}
	want, err := Statement(b)
	if err != nil {
		return fail(err)
	}
	f.Bundle = action.Bundle{Name: want.Name, Digest: want.Digest, Sequence: want.Sequence, Expires: want.Expires}
	f.Parent, f.Rollback = want.Parent, b.Manifest.Rollback
	signers, few := g.Trust.Verify(b.Signed(), want, g.Now())
	if few != nil && !(errors.Is(few, bundle.ErrTooFew) && len(signers) > 0) {
		return fail(few)
	}
	if err := g.follows(b, want); err != nil {
		return fail(err)
	}
	f.Signers = signers
	if g.Check != nil {
		if err := g.Check(b); err != nil {
			return fail(fmt.Errorf("%w: %w", bundle.ErrRefused, err))
		}
	}
	c, err := compile(b, g.Load)
	if err != nil {
		return nil, f, err
	}
	if err := c.tested(ctx, g.Trust.Coverage, &f); err != nil {
		return fail(err)
	}
	if g.Active == nil {
		f.Unproved = "nothing of this name is in force"
	} else {
		f.Unproved = untight(g.Active, c)
	}
	f.Tighter = f.Unproved == ""
	f.OnePerson = few != nil
	if few != nil && !f.Tighter {
		return fail(fmt.Errorf("%w; one is enough only for a bundle that is proved to permit no more, and here %s", few, f.Unproved))
	}
	return c, f, nil
}

// follows checks what ties a bundle to those before it and to its owner.
func (g *Gate) follows(b *bundle.Bundle, want bundle.Statement) error {
	m := &b.Manifest
	switch {
	case want.Sequence < g.Mark.Sequence:
		return fmt.Errorf("sequence %d after %d: %w", want.Sequence, g.Mark.Sequence, ErrRollback)
	case want.Sequence == g.Mark.Sequence && want.Digest != g.Mark.Digest:
		return fmt.Errorf("sequence %d was in force with other content (%s): %w", want.Sequence, g.Mark.Digest, ErrRollback)
	case want.Sequence == g.Mark.Sequence && g.Active != nil:
		return fmt.Errorf("sequence %d is in force already: %w", want.Sequence, ErrRollback)
	case m.Settings == "" && g.Trust.Settings != bundle.SettingsAny:
		return fmt.Errorf("%w: the trust asks each bundle to name them, and this one does not; its manifest would say \"settings: %s\" here", ErrSettings, g.Settings)
	case m.Settings != "" && m.Settings != g.Settings:
		return fmt.Errorf("%w: %s, and here they are %s", ErrSettings, m.Settings, g.Settings)
	case g.Active != nil && g.Active.source.Next != nil && b.Next == nil:
		return fmt.Errorf("%w: the one in force says in %s whom to trust, and this one does not", bundle.ErrUntrusted, bundle.TrustFile)
	case m.Rollback == "":
		return nil
	case g.Kept == nil:
		return fmt.Errorf("%w: nothing that was in force is kept", bundle.ErrRefused)
	}
	old, err := g.Kept(m.Rollback)
	if err != nil {
		return fmt.Errorf("%w: rollback: %w", bundle.ErrRefused, err)
	}
	if diff := b.Restores(old); diff != "" {
		return fmt.Errorf("%w: it says that it brings %s back, and %s", bundle.ErrRefused, m.Rollback, diff)
	}
	return nil
}

// tested runs the cases.
func (c *Compiled) tested(ctx context.Context, floor int, f *Findings) error {
	r, err := c.Test(ctx)
	f.Cases = r.Cases
	switch {
	case errors.Is(err, ErrOneSided):
		return fmt.Errorf("%w: %w", ErrUntested, err)
	case err != nil:
		return err
	case !r.Passed():
		k := r.Failures[0]
		return fmt.Errorf("%w: %d of %d cases fail, such as %q in %s:%d", ErrUntested, len(r.Failures), r.Cases, k.Case, k.File, k.Line)
	}
	rules := c.allRules()
	f.Coverage = 100
	if rules > 0 {
		f.Coverage = 100 * (rules - len(r.Uncovered)) / rules
	}
	now, err := r.Results()
	if err != nil {
		return err
	}
	if err := sameResults(c.source.Signed(), now); err != nil {
		return err
	}
	f.Untested = append(f.Untested, r.Uncovered[:min(len(r.Uncovered), 20)]...)
	if f.Coverage < floor {
		return fmt.Errorf("%w: %d %% of its rules fire in a case, and %d %% must; none for %q", ErrUntested, f.Coverage, floor, f.Untested)
	}
	return nil
}
