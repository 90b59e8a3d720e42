// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"context"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

// proof is what a lease rests on, kept to be looked at again. Only evidence that collateral speaks of is kept.
type proof struct {
	evidence []byte
	bind     []byte
	in       Input
}

// keepProof returns what Recheck needs of a claim; nil for evidence that nothing can make worse.
func keepProof(c *Claim, a *Appraisal) *proof {
	if reportKinds[c.Kind] && a.Input != nil {
		if bind, err := hex.DecodeString(a.Bind); err == nil {
			return &proof{evidence: c.Evidence, bind: bind, in: *a.Input}
		}
	}
	return nil
}

// reportKinds are the kinds whose evidence is held against collateral.
var reportKinds = map[string]bool{"sgx": true, "tdx": true, "snp": true, "nitro": true}

// Recheck verifies and appraises again what every lease in force rests on that collateral speaks of: after new collateral
// came, or while time passes. A lease that would not be granted now ends at once; none gets longer or better. What
// has changed is on record. It returns how many have ended.
func (b *Book) Recheck(ctx context.Context) (int, error) {
	b.rechecks.Add(1)
	b.mu.Lock()
	now := b.c.Now()
	var all []*Lease
	for _, id := range slices.Sorted(maps.Keys(b.leases)) {
		if l := b.leases[id]; l.live(now) && l.proof != nil {
			all = append(all, l)
		}
	}
	b.mu.Unlock()
	ended := 0
	var errs []error
	for _, l := range all {
		if ctx.Err() != nil {
			return ended, errors.Join(append(errs, ctx.Err())...)
		}
		gone, err := b.recheck(ctx, l)
		if gone {
			ended++
		}
		errs = append(errs, err)
	}
	return ended, errors.Join(errs...)
}

// recheck looks at one lease again. It never writes to l, which others may be reading.
func (b *Book) recheck(ctx context.Context, l *Lease) (ended bool, err error) {
	now := b.c.Now()
	a := &Appraisal{Format: 1, Agent: l.Agent, Lease: l.ID, TimeMs: now.UnixMilli(), Bind: hex.EncodeToString(l.proof.bind), Kind: l.Kind,
		Evidence: l.proof.evidence, Result: Result{Vector: Vector{Executables: 97, Instance: 97}}}
	facts, err := b.enclave(ctx, l.Kind, l.proof.evidence, l.proof.bind)
	if err == nil {
		in := l.proof.in
		facts.Measured = in.Facts.Measured
		in.Facts, in.Assurance, in.CollateralAgeS = facts, facts.Assurance(), collateralAge(facts, now)
		in.Model = min(in.Model, modelOf(&in))
		a.Input = &in
		a.Result, err = b.ask(ctx, in)
	}
	if ctx.Err() != nil {
		return false, ctx.Err() // nothing was found out
	}
	if err != nil {
		a.Error, a.Result.Why = err.Error(), []string{action.Clip(err.Error(), 256)}
	}
	next := *l
	next.Vector, next.Status, next.Why = a.Result.Vector, a.Result.Status(), a.Result.Why
	if ended = err != nil || a.Result.LeaseS <= 0; ended {
		next.Ended, next.Ends = CodePlatform, now
	} else {
		next.Assurance, next.Model = min(l.Assurance, a.Input.Assurance), min(l.Model, a.Input.Model)
		next.Ends = earliest(l.Ends, ends(now, a.Result.LeaseS, facts.Until))
		if facts.TCB != nil {
			next.TCB, next.Advisory = facts.TCB.Status, facts.TCB.Advisories
		}
	}
	b.mu.Lock()
	if b.leases[l.ID] != l || !l.live(b.c.Now()) {
		b.mu.Unlock()
		return false, nil // renewed or ended meanwhile
	}
	b.leases[l.ID] = &next
	b.mu.Unlock()
	if !ended && next.Vector == l.Vector && next.Assurance == l.Assurance && next.TCB == l.TCB {
		return false, nil
	}
	return ended, b.record(ctx, &next, CodePlatform, a)
}

func modelOf(in *Input) int {
	level, _ := modelLevel(in.Assurance, in.Measured, in.Statement)
	return level
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// collateralAge is how old, in seconds, the oldest part of the collateral is that its maker renews; -1 if nobody knows.
func collateralAge(f *attest.Facts, now time.Time) int64 {
	if f == nil || f.Stated.IsZero() {
		return -1
	}
	return max(int64(now.Sub(f.Stated)/time.Second), 0)
}
