// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/index"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/policy"
)

// maxAdmitted bounds the list of what a proposed rule would have let by.
const maxAdmitted = 1000

// approvedRuns collects what people let through, by agent and tool.
type approvedRuns map[admin.Run][]policy.Approved

func runKey(q *action.Query) admin.Run {
	return admin.Run{Agent: q.Subject.ID, Tool: q.Resource.ID, Effect: string(q.Action.Effect)}
}

// add takes a recorded step, if it is an approved action that was carried out as it was asked.
func (r approvedRuns) add(step *index.Step, q *action.Query, d action.Decision) {
	a := q.Context.Approval
	if step.Kind != action.KindIntent || step.Grant == "" || d.Verdict != action.Ask || a.Edited == action.Yes || q.Phase != action.Before {
		return
	}
	k := runKey(q)
	r[k] = append(r[k], policy.Approved{TimeMs: step.TimeMs, Query: q, Decision: d, Machine: a.Channel == action.RankJudge || a.Channel == action.RankClient})
}

// Runs lists agents and tools for which people approved again and again, the most often first.
func (v reviews) Runs(ctx context.Context, c *gateway.Caller, since int64) ([]admin.Run, error) {
	runs := approvedRuns{}
	_, err := v.recorded(reading(ctx, c, "standing"), v.since30(since), func(step *index.Step, q *action.Query, d action.Decision) error {
		if v.policyFor(q) == v.Policy {
			runs.add(step, q, d)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := []admin.Run{}
	for k, run := range runs {
		k.Approvals = len(run)
		for _, a := range run {
			k.LastMs = max(k.LastMs, a.TimeMs)
		}
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b admin.Run) int {
		return cmp.Or(cmp.Compare(b.Approvals, a.Approvals), cmp.Compare(b.LastMs, a.LastMs))
	})
	return out[:min(len(out), maxGroups)], nil
}

// Propose makes a standing rule of what people approved, and says what else it would have let by since then. It
// changes nothing: its files go the way of every bundle.
func (v reviews) Propose(ctx context.Context, c *gateway.Caller, p admin.Proposal) (admin.Proposed, error) {
	runs := approvedRuns{}
	active := v.Policy.Active()
	ctx = reading(ctx, c, "standing")
	p.SinceMs = v.since30(p.SinceMs)
	_, err := v.recorded(ctx, p.SinceMs, func(step *index.Step, q *action.Query, d action.Decision) error {
		if q.Subject.ID == p.Agent && q.Resource.ID == p.Tool && v.policyFor(q) == v.Policy {
			runs.add(step, q, d)
		}
		return nil
	})
	if err != nil {
		return admin.Proposed{}, err
	}
	var run []policy.Approved
	for _, r := range runs {
		if len(r) > len(run) {
			run = r
		}
	}
	hold := p.For
	if hold <= 0 {
		hold = policy.StandingFor
	}
	s, err := policy.Stand(ctx, active, run, p.Least, v.Ledger.Now().Add(min(hold, policy.MaxStanding)))
	if err != nil {
		return admin.Proposed{}, err
	}
	with, err := s.Compile(active)
	if err != nil {
		return admin.Proposed{}, fmt.Errorf("%w: it does not go with the bundle in force: %v", policy.ErrStanding, err)
	}
	out := admin.Proposed{Standing: *s, Bundle: with.Bundle(), Base: active.Bundle(), Files: map[string]string{}}
	files, err := s.Files(active)
	if err != nil {
		return out, err
	}
	for name, data := range files {
		out.Files[name] = string(data)
	}
	return out, v.admitted(ctx, active, with, p.SinceMs, &out)
}

// admitted decides what is on record under both bundles, and lists what only the second lets by.
func (v reviews) admitted(ctx context.Context, active, with *policy.Compiled, since int64, out *admin.Proposed) error {
	seen := map[string]int{} // by action, its place in the list
	out.Else = []admin.Admitted{}
	granted := map[string]bool{} // actions whose question people answered with yes
	err := v.Ledger.Select(ctx, 0, []string{string(action.KindApproval)}, func(e ledger.Entry) error {
		if e.Leaf.TimeMs >= since && e.Leaf.Status == action.StatusGranted {
			granted[e.Leaf.Action] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	unread, err := v.recorded(ctx, since, func(step *index.Step, q *action.Query, d action.Decision) error {
		if v.policyFor(q) != v.Policy {
			return nil
		}
		out.Replayed++
		was, err := active.Redecide(ctx, q)
		if err != nil {
			return ctx.Err()
		}
		is, err := with.Redecide(ctx, q)
		if err != nil || was.Verdict == action.Allow || is.Verdict != action.Allow {
			return ctx.Err()
		}
		approved := step.Grant != "" && step.Kind == action.KindIntent || granted[step.Action]
		if at, ok := seen[step.Action]; ok {
			if at >= 0 && approved {
				out.Else[at].Approved = true
			}
			return nil
		}
		out.Admitted++
		if len(out.Else) >= maxAdmitted {
			seen[step.Action] = -1
			return nil
		}
		seen[step.Action] = len(out.Else)
		out.Else = append(out.Else, admin.Admitted{Index: step.Index, TimeMs: step.TimeMs, Session: step.Session, Was: was.Verdict, Approved: approved})
		return nil
	})
	for _, n := range unread {
		out.Unread += n
	}
	for _, a := range out.Else {
		if a.Approved {
			out.Approved++
		}
	}
	out.Else = slices.DeleteFunc(out.Else, func(a admin.Admitted) bool { return a.Approved })
	return err
}

// seedDoc is a request that an administrator makes up, as the registry, the detectors and the policy in force see it.
func (v reviews) seedDoc(ctx context.Context, t admin.Trial) (*action.Query, action.Decision, error) {
	q, err := (&workbench{s: v.Sallyport}).document(ctx, t)
	if err != nil {
		return nil, action.Decision{}, err
	}
	q.Context.Time.UnixMilli = v.Ledger.Now().UnixMilli()
	d, err := v.policyFor(q).Active().Decide(ctx, q)
	if err == nil && d.Verdict != action.Ask {
		err = fmt.Errorf("%w: the policy answers %s, and only what it asks about can be seeded", admin.ErrTrial, d.Verdict)
	}
	return q, d, err
}

// since30 is the time from which things are counted where nothing else is said.
func (s *Sallyport) since30(since int64) int64 {
	if since > 0 {
		return since
	}
	return s.Ledger.Now().Add(-accuracyDays * 24 * time.Hour).UnixMilli()
}
