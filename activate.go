// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"errors"
	"fmt"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/policy"
	"github.com/sallyport/sallyport/policy/bundle"
)

// Activation is what became of a bundle that asked to be put in force.
type Activation struct {
	policy.Findings
	Active     bool          `json:"active"` // it is in force; false after a dry run
	Replaced   action.Bundle `json:"replaced"`
	Difference PolicyDiff    `json:"difference"` // what it changes about recorded decisions
	Record     uint64        `json:"record"`     // of the log; 0 after a dry run
}

// fromDoor is where a bundle comes from that somebody brought.
const fromDoor = "people's door"

var (
	errNoDifference = errors.New("what it changes about recorded decisions cannot be told")
	errNoTrust      = errors.New("policy.trust names nobody who may sign, so that a bundle can only be taken at the start")
)

// Refused is why a bundle was not put in force.
type Refused struct {
	Why        error
	Unrecorded error // nil: the refusal stands in the log, or it was a dry run
}

// Error says why.
func (r *Refused) Error() string {
	if r.Unrecorded != nil {
		return fmt.Sprintf("%v; and that could not be recorded: %v", r.Why, r.Unrecorded)
	}
	return r.Why.Error()
}

// Unwrap returns why.
func (r *Refused) Unwrap() error { return r.Why }

// ActivatePolicy puts b in force if it is signed, newer, tested and compared with what it replaces; the record of that is
// durable before the first decision under it. A refusal is recorded as well, and what is in force stays. from says
// where b came from, actor who brought it. A dry run examines b and records nothing.
//
// Decisions that are under way end under the bundle that they began with. It is safe for concurrent use.
func (s *Sallyport) ActivatePolicy(ctx context.Context, b *bundle.Bundle, from, actor string, dry bool) (Activation, error) {
	s.bundles.mu.Lock()
	defer s.bundles.mu.Unlock()
	if s.bundles.root == nil {
		return Activation{}, errNoTrust
	}
	active := s.Policy.Active()
	out := Activation{Replaced: active.Bundle()}
	c, f, err := policy.Examine(ctx, b, s.gate(active))
	out.Findings = f
	if err == nil {
		reads := context.WithValue(ctx, readerKey{}, reader{actor, "policy-activate"})
		out.Difference, err = s.difference(reads, active, c, s.gate(active).Trust.Replay)
	}
	if ctx.Err() != nil {
		return out, ctx.Err()
	}
	if err != nil {
		why := err
		if !dry {
			err = s.recordRefusal(ctx, f, from, actor, why)
		}
		return out, &Refused{why, err}
	}
	if dry {
		return out, nil
	}
	doors, err := s.nextDoors(c)
	if err != nil {
		return out, err
	}
	rest, err := readBeside(c)
	if err != nil {
		return out, err
	}
	chains := s.Profiles.Replacing(rest.chains)
	// From here on nothing may end half way because somebody hung up.
	ctx = context.WithoutCancel(ctx)
	report := policyReport{Settings: s.bundles.settings, From: from, Replaced: out.Replaced, Findings: &f, Difference: &out.Difference, Chains: &chains}
	if out.Record, err = s.recordPolicy(ctx, c, codeActivated, actor, report); err != nil {
		return out, fmt.Errorf("policy: bundle %q: not put in force: %w", f.Bundle.Name, err)
	}
	for _, d := range doors {
		if _, err := s.recordPolicy(ctx, d.next, codeActivated, actor, policyReport{Settings: s.bundles.settings, From: from, Replaced: d.pdp.Active().Bundle()}); err != nil {
			return out, fmt.Errorf("policy: bundle %q: not put in force: %w", f.Bundle.Name, err)
		}
	}
	if err := s.raiseMark(ctx, f.Bundle); err != nil {
		return out, fmt.Errorf("policy: bundle %q: recorded and not put in force, which the next start makes up for: %w", f.Bundle.Name, err)
	}
	if err := s.Policy.Activate(c); err != nil {
		return out, err
	}
	for _, d := range doors {
		if err := d.pdp.Replace(d.next); err != nil {
			return out, err
		}
	}
	out.Active = true
	err = s.useBeside(ctx, rest, actor)
	_ = s.snapshot() // else a start before the next one forgets what sessions did before the chains were replaced
	s.MCP.Relist()
	if err != nil {
		return out, fmt.Errorf("policy: bundle %q: in force, but for tools that wait for their record: %w", f.Bundle.Name, err)
	}
	return out, nil
}

// adminBundles is ActivatePolicy and the kept bundles for the people's door.
type adminBundles struct{ s *Sallyport }

// Activate reads the archive and puts it in force. An archive that is none is recorded as well.
func (a adminBundles) Activate(ctx context.Context, archive []byte, by string, dry bool) (any, error) {
	b, err := bundle.ReadArchive(archive)
	if err != nil {
		if !dry && a.s.bundles.root != nil {
			err = errors.Join(err, a.s.recordRefusal(ctx, policy.Findings{}, fromDoor, by, err))
		}
		return nil, gateway.Refuse(gateway.CodeInvalid, "%v", err)
	}
	out, err := a.s.ActivatePolicy(ctx, b, fromDoor, by, dry)
	switch {
	case errors.Is(err, errNoTrust):
		return nil, gateway.Refuse(gateway.CodeState, "%v", err)
	case errors.Is(err, policy.ErrRollback):
		return nil, gateway.Refuse(gateway.CodeConflict, "%v", err)
	case errors.As(err, new(*Refused)):
		return nil, gateway.Refuse(gateway.CodeInvalid, "%v", err)
	case err != nil:
		return nil, err
	}
	return out, nil
}

// Archive returns a bundle that is or was in force.
func (a adminBundles) Archive(_ context.Context, digest string) ([]byte, error) {
	c, err := a.s.recordedPolicy(action.Bundle{Digest: digest})
	if err != nil {
		return nil, gateway.Refuse(gateway.CodeNotFound, "no bundle %q is kept", action.Clip(digest, 80))
	}
	return c.Source().Archive()
}

// difference compares the answers of two bundles to the latest recorded inputs.
func (s *Sallyport) difference(ctx context.Context, old, new *policy.Compiled, most int) (PolicyDiff, error) {
	d, err := s.compare(ctx, old, new, 0, most)
	if err != nil {
		return d, fmt.Errorf("%w: %w", errNoDifference, err)
	}
	d.Groups, d.Omitted = d.Groups[:min(len(d.Groups), 50)], d.Omitted+max(len(d.Groups)-50, 0)
	return d, nil
}
