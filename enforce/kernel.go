// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// fault is a reason for which the kernel denies. No bundle can remove the kernel; it only ever denies:
// killed, revoked, lease lapsed, cell not owned, fact source failed or late, policy cannot decide, bundle
// expired or unverifiable, unknown obligation, durability unattainable.
type fault struct{ code, reason string }

// denial adds a kernel denial to d.
func denial(d action.Decision, f fault) action.Decision {
	return d.Meet(action.Decision{Verdict: action.Deny, Mode: action.Enforce, Matches: []action.Match{{
		ID: f.code, Verdict: action.Deny, Code: f.code, Reason: f.reason, Severity: "high", Always: true,
		Hint: kernelHints[f.code],
	}}})
}

// obliged reports whether d demands t.
func obliged(d *action.Decision, t action.ObligationType) bool {
	return slices.ContainsFunc(d.Obligations, func(o action.Obligation) bool { return o.Type == t })
}

// keeps reports whether a rule demands that a part is stored.
func keeps(d *action.Decision, part action.PartName) bool {
	return slices.ContainsFunc(d.Obligations, func(o action.Obligation) bool {
		return o.Type == action.ObligeKeep && o.Params["part"] == string(part)
	})
}

// Reconcile adds to a decision that was taken again what its recorded form holds beyond the policy's own
// answer: denials of the kernel and of approvers, and obligations that had been carried out. Those rest
// on events, not on the input; the record proves them.
func Reconcile(again, recorded action.Decision) action.Decision {
	for _, m := range recorded.Matches {
		if beyondPolicy(m.ID) && !slices.ContainsFunc(again.Matches, func(n action.Match) bool { return n.ID == m.ID }) {
			again = again.Meet(action.Decision{Verdict: action.Deny, Mode: action.Enforce, Matches: []action.Match{m}})
		}
	}
	for _, o := range recorded.Obligations {
		if o.Done {
			again.Obligations = append(slices.Clone(again.Obligations), o)
		}
	}
	return again
}

// beyondPolicy reports whether a rule id is the kernel's or an approver's.
func beyondPolicy(id string) bool {
	return strings.HasPrefix(id, "kernel.") || strings.HasPrefix(id, "approval.")
}

// kernelHints are what an agent is told of a kernel denial; the others get the general sentence.
var kernelHints = map[string]string{
	"kernel.killed":           "This session has been stopped by an operator.",
	"kernel.revoked":          "This credential has been withdrawn.",
	"kernel.lease":            "The attestation of this agent has lapsed.",
	"kernel.source":           "A check could not be made, so the call was not made either. Try again later.",
	"kernel.pdp":              "The policy could not be asked, so the call was not made. Try again later.",
	"kernel.decider":          "The policy could not be asked, so the call was not made. Try again later.",
	"kernel.result_too_large": "Executed; the result is too large to be checked and was withheld. Do not repeat the call; ask for less.",
	"approval.expired":        "Nobody answered in time.",
	"approval.refused":        "A person refused this call.",
}

// standing asks from memory whether the subject may act at all.
func (e *Enforcer) standing(ctx context.Context, s *action.Subject, session string) (f fault, ok bool) {
	return standingFault(e.kill(ctx, s, session))
}

func (e *Enforcer) kill(ctx context.Context, s *action.Subject, session string) (k action.Kill) {
	defer func() {
		if recover() != nil {
			k = action.UnknownKill()
		}
	}()
	return e.cfg.Standing.Standing(ctx, s, session)
}

// state puts the standing into q and checks it.
func (e *Enforcer) state(ctx context.Context, q *action.Query) (fault, bool) {
	q.Context.Kill = e.kill(ctx, &q.Subject, q.Context.Session.ID)
	return standingFault(q.Context.Kill)
}

func standingFault(k action.Kill) (fault, bool) {
	switch {
	case k.State != action.StateKnown:
		return fault{"kernel.standing", "whether this agent may act is not known"}, false
	case k.Killed != action.No:
		return fault{"kernel.killed", fmt.Sprintf("stopped (scope %s, epoch %d)", k.Scope, k.Epoch)}, false
	case k.Revoked != action.No:
		return fault{"kernel.revoked", "the credential was withdrawn"}, false
	case k.Owned != action.Yes:
		return fault{"kernel.owner", "this process does not own the agent's cell"}, false
	}
	return fault{}, true
}

// contradicted says what an appraisal found against the runtime, where it did.
func contradicted(a action.Attestation) string {
	for _, c := range []struct{ name, word string }{{"what it runs", a.Executable}, {"its configuration", a.Config}, {"its platform", a.Hardware}} {
		if c.word == "contraindicated" {
			return ": " + c.name + " is not what it should be"
		}
	}
	return ""
}

// kernel checks what stands in the facts and in the decision itself.
func (e *Enforcer) kernel(q *action.Query, d *action.Decision) []fault {
	var out []fault
	if a := q.Subject.Attested; a.Needed == action.Yes && (a.State != action.StateKnown || a.LeaseS <= 0) {
		out = append(out, fault{"kernel.lease", "the attestation lease has lapsed" + contradicted(a)})
	}
	switch d.Verdict {
	case action.Allow, action.Ask, action.Deny, action.Quarantine:
	default:
		out = append(out, fault{"kernel.verdict", "the policy gave no verdict"})
	}
	if d.Bundle.Digest == "" {
		out = append(out, fault{"kernel.bundle", "no verified bundle is active"})
	}
	if d.Bundle.Expires != 0 && q.Context.Time.UnixMilli >= d.Bundle.Expires {
		out = append(out, fault{"kernel.bundle", fmt.Sprintf("bundle %q has expired", d.Bundle.Name)})
	}
	for _, o := range d.Obligations {
		if !o.Type.Known() || o.Type == action.ObligeNotify && e.cfg.Notify == nil || o.Type == action.ObligeKeep && o.Params["part"] != string(action.PartReasoning) {
			out = append(out, fault{"kernel.obligation", fmt.Sprintf("rule %q obliges to %q, which nobody here can carry out", o.Rule, action.Clip(string(o.Type), 32))})
		}
	}
	if q.Phase == action.After && q.Context.Result.Truncated != action.No {
		out = append(out, fault{"kernel.result_too_large", "the result is larger than gate two may hold"})
	}
	return out
}
