// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/index"
	"github.com/sallyport/sallyport/policy"
)

// maxGroups bounds the groups of an answer; the names in them come from agents.
const maxGroups = 1000

// PolicyDiff is what two bundles answer to the same recorded inputs.
type PolicyDiff struct {
	Old       action.Bundle        `json:"old"`
	New       action.Bundle        `json:"new"`
	Decisions int                  `json:"decisions"` // decided under both
	Changed   int                  `json:"changed"`   // of these, answered otherwise
	Failed    int                  `json:"failed"`    // one of the bundles could not decide them
	Elsewhere int                  `json:"elsewhere"` // left out: of a door that is not configured any more
	Unread    map[index.Answer]int `json:"unread"`    // left out, by why they cannot be opened
	Groups    []PolicyChange       `json:"groups"`    // the most frequent first
	Omitted   int                  `json:"omitted"`   // groups left out
	Ungrouped int                  `json:"ungrouped"` // changes in no group, because there were too many
	SinceMs   int64                `json:"since_ms"`  // records from then on; 0 is all
	Origin    string               `json:"origin"`    // of the log that was read
	Size      uint64               `json:"size"`      // of the log when it was read
}

// PolicyChange is a group of recorded decisions that two bundles answer in the same two ways.
type PolicyChange struct {
	From    string       `json:"from"` // verdict, with " (observed)" where it would not be enforced
	To      string       `json:"to"`
	Phase   action.Phase `json:"phase"`
	Server  string       `json:"server"`
	Tool    string       `json:"tool"`
	Rules   string       `json:"rules"` // that decide under the new bundle, with commas between
	N       int          `json:"n"`
	Example uint64       `json:"example"` // the latest record of the group
}

// Same reports whether nothing that was decided again differs, and nothing failed.
func (d *PolicyDiff) Same() bool { return d.Changed == 0 && d.Failed == 0 }

// maxCounted bounds the groups that are counted on the way to an answer.
const maxCounted = 20 * maxGroups

// policyChanges counts what is answered otherwise, by group. Its memory is bounded, however long the record is.
type policyChanges map[PolicyChange]*PolicyChange

// add counts one change of the group key in d; at is its record.
func (c policyChanges) add(d *PolicyDiff, key PolicyChange, at uint64) {
	d.Changed++
	g := c[key]
	if g == nil {
		if len(c) >= maxCounted {
			d.Ungrouped++
			return
		}
		first := key
		first.Example = at
		g = &first
		c[key] = g
	}
	g.N++
}

// list puts the groups into d, the most frequent first, as far as they go.
func (c policyChanges) list(d *PolicyDiff) {
	d.Groups = []PolicyChange{}
	for _, g := range c {
		d.Groups = append(d.Groups, *g)
	}
	slices.SortFunc(d.Groups, func(a, b PolicyChange) int {
		return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(b.Example, a.Example))
	})
	d.Omitted = max(len(d.Groups)-maxGroups, 0)
	d.Groups = d.Groups[:min(len(d.Groups), maxGroups)]
}

// policyDiff decides recorded inputs under two bundles. Like a replay it opens them inside the owner,
// without a record of access: what it tells of them are names of tools and rules.
func (s *Sallyport) policyDiff(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	var body struct {
		Old     string `json:"old"`
		New     string `json:"new"`
		SinceMs int64  `json:"since_ms"`
	}
	if err := gateway.ReadJSON(w, r, &body, 16384); err != nil {
		return err
	}
	before, err := bundleNamed(body.Old)
	if err != nil {
		return gateway.Refuse(gateway.CodeInvalid, "old: %v", err)
	}
	after, err := bundleNamed(body.New)
	if err != nil {
		return gateway.Refuse(gateway.CodeInvalid, "new: %v", err)
	}
	out, err := s.compare(reading(r.Context(), c, "policy-diff"), before, after, body.SinceMs, 0)
	if err != nil {
		return err
	}
	return gateway.WriteJSON(w, http.StatusOK, out)
}

// errEnough ends a comparison that has seen as many decisions as it was to.
var errEnough = errors.New("enough")

// compare decides recorded inputs under two bundles: those of a time on, or the latest most of them; 0 is all. It holds
// one page of them at a time.
func (s *Sallyport) compare(ctx context.Context, before, after *policy.Compiled, since int64, most int) (PolicyDiff, error) {
	out := PolicyDiff{Old: before.Bundle(), New: after.Bundle(), SinceMs: since, Origin: s.Ledger.Origin(), Size: s.Ledger.Stats().Size}
	groups := policyChanges{}
	pairs := map[string]*[2]*policy.Compiled{"": {before, after}}
	var err error
	out.Unread, err = s.recorded(ctx, since, func(step *index.Step, q *action.Query, d action.Decision) error {
		if most > 0 && out.Decisions+out.Failed+out.Elsewhere >= most {
			return errEnough
		}
		pair, err := s.atDoor(pairs, doorOf(q))
		if err != nil {
			return err
		}
		if pair == nil {
			out.Elsewhere++
			return nil
		}
		a, errA := pair[0].Redecide(ctx, q)
		b, errB := pair[1].Redecide(ctx, q)
		if err := ctx.Err(); err != nil {
			return err
		}
		if errA != nil || errB != nil {
			out.Failed++
			return nil
		}
		out.Decisions++
		a, b = enforce.Reconcile(a, d), enforce.Reconcile(b, d)
		key := PolicyChange{From: effective(&a), To: effective(&b), Phase: step.Phase, Server: step.Server, Tool: step.Tool, Rules: deciding(&b)}
		if key.From == key.To {
			return nil
		}
		groups.add(&out, key, step.Index)
		return nil
	})
	if errors.Is(err, errEnough) {
		out.Unread, err = map[index.Answer]int{}, nil
	}
	if err != nil {
		return out, err
	}
	groups.list(&out)
	return out, nil
}

// atDoor is what decides at a door under each of two bundles, pairs[""]: the bundle's own policy for it, or else what decides there
// where a bundle has none. It is nil where the door is not configured. What it finds is kept in pairs.
func (s *Sallyport) atDoor(pairs map[string]*[2]*policy.Compiled, door string) (*[2]*policy.Compiled, error) {
	if p, ok := pairs[door]; ok {
		return p, nil
	}
	d := s.doors()[door]
	if d.pdp == nil {
		return nil, nil
	}
	var out [2]*policy.Compiled
	var without *policy.Compiled
	for i, c := range pairs[""] {
		own, ok := c.Door(door)
		if !ok && without == nil {
			var err error
			if without, err = d.without(); err != nil {
				return nil, err
			}
		}
		if out[i] = own; !ok {
			out[i] = without
		}
	}
	pairs[door] = &out
	return &out, nil
}

// bundleNamed loads the embedded baseline or the bundle of a folder.
func bundleNamed(name string) (*policy.Compiled, error) {
	if name == "baseline" {
		return policy.Load(policy.Config{})
	}
	if !filepath.IsAbs(name) {
		return nil, errors.New(`it is neither "baseline" nor an absolute path`)
	}
	return policy.Load(policy.Config{Dir: name})
}

// recorded is index.Recorded over all of the log.
func (s *Sallyport) recorded(ctx context.Context, since int64, fn func(*index.Step, *action.Query, action.Decision) error) (map[index.Answer]int, error) {
	if since < 0 {
		return nil, gateway.Refuse(gateway.CodeInvalid, "since_ms is negative")
	}
	if err := s.indexed(ctx); err != nil {
		return nil, err
	}
	not, err := s.Index.Recorded(ctx, since, fn)
	if errors.Is(err, index.ErrQuery) {
		return nil, gateway.Refuse(gateway.CodeInvalid, "%v", err)
	}
	return not, err
}

// effective is a verdict with whether it would be enforced.
func effective(d *action.Decision) string {
	v := string(d.Verdict)
	if d.Mode == action.Observe && d.Verdict != action.Allow {
		v += " (observed)"
	}
	return v
}

func deciding(d *action.Decision) string {
	var ids []string
	for _, m := range d.Deciding() {
		ids = append(ids, m.ID)
	}
	slices.Sort(ids)
	return strings.Join(slices.Compact(ids), ",")
}

// PolicyCoverage says what decided the recorded actions at gate one.
type PolicyCoverage struct {
	Decisions int                  `json:"decisions"`
	Effects   []EffectCoverage     `json:"effects"`   // sorted by effect
	Clusters  []DefaultCluster     `json:"clusters"`  // of what no rule decided, the most frequent first
	Unread    map[index.Answer]int `json:"unread"`    // left out, by why they cannot be opened
	Omitted   int                  `json:"omitted"`   // clusters left out
	Ungrouped int                  `json:"ungrouped"` // decisions in no cluster, because there were too many
}

// EffectCoverage counts the decisions on actions of one effect.
type EffectCoverage struct {
	Effect  action.Effect `json:"effect"`
	Rule    int           `json:"rule"`    // by a rule of a policy
	Default int           `json:"default"` // by none
	Kernel  int           `json:"kernel"`  // by the kernel or an approver, whatever policy said
}

// DefaultCluster is a group of actions that no rule decided: of one tool with the same argument names.
type DefaultCluster struct {
	Server    string        `json:"server"`
	Tool      string        `json:"tool"`
	Effect    action.Effect `json:"effect"`
	Arguments string        `json:"arguments"` // sorted names, with commas between; unusual ones are quoted
	N         int           `json:"n"`
	Example   uint64        `json:"example"`  // the latest record of the group
	Proposal  string        `json:"proposal"` // a rule in Rego, to be narrowed
}

// policyCoverage counts by what recorded actions were decided. It opens inputs as policyDiff does; of
// their arguments it tells the names.
func (s *Sallyport) policyCoverage(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	var body struct {
		SinceMs int64 `json:"since_ms"`
	}
	if err := gateway.ReadJSON(w, r, &body, 4096); err != nil {
		return err
	}
	out := PolicyCoverage{Effects: []EffectCoverage{}, Clusters: []DefaultCluster{}}
	effects, clusters := map[action.Effect]*EffectCoverage{}, map[DefaultCluster]*DefaultCluster{}
	var err error
	out.Unread, err = s.recorded(reading(r.Context(), c, "policy-coverage"), body.SinceMs, func(step *index.Step, q *action.Query, d action.Decision) error {
		if q.Phase != action.Before {
			return nil
		}
		out.Decisions++
		e := effects[q.Action.Effect]
		if e == nil {
			e = &EffectCoverage{Effect: q.Action.Effect}
			effects[q.Action.Effect] = e
		}
		switch decidedBy(&d) {
		case byRule:
			e.Rule++
			return nil
		case byKernel:
			e.Kernel++
			return nil
		}
		e.Default++
		key := DefaultCluster{Server: step.Server, Tool: step.Tool, Effect: q.Action.Effect, Arguments: argumentNames(q.Action.Arguments)}
		if clusters[key] == nil && len(clusters) >= maxCounted {
			out.Ungrouped++
			return nil
		}
		if clusters[key] == nil {
			c := key
			c.Example = step.Index
			clusters[key] = &c
		}
		clusters[key].N++
		return nil
	})
	if err != nil {
		return err
	}
	for _, e := range effects {
		out.Effects = append(out.Effects, *e)
	}
	slices.SortFunc(out.Effects, func(a, b EffectCoverage) int { return cmp.Compare(a.Effect, b.Effect) })
	for _, c := range clusters {
		c.Proposal = policy.Propose(action.ToolKey(c.Server, c.Tool), c.Effect)
		out.Clusters = append(out.Clusters, *c)
	}
	slices.SortFunc(out.Clusters, func(a, b DefaultCluster) int {
		return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(b.Example, a.Example))
	})
	out.Omitted = max(len(out.Clusters)-maxGroups, 0)
	out.Clusters = out.Clusters[:min(len(out.Clusters), maxGroups)]
	return gateway.WriteJSON(w, http.StatusOK, out)
}

type decider int

const (
	byDefault decider = iota
	byRule
	byKernel
)

// decidedBy says what a decision rests on. A rule of a policy goes before the kernel's.
func decidedBy(d *action.Decision) decider {
	by := byDefault
	for _, m := range d.Deciding() {
		switch {
		case strings.HasPrefix(m.ID, "kernel.") || strings.HasPrefix(m.ID, "approval."):
			by = byKernel
		case !strings.HasPrefix(m.ID, "default."):
			return byRule
		}
	}
	return by
}

// argumentNames lists the top names of an object of arguments. They are an agent's words: at most 32,
// each clipped, and quoted unless plain.
func argumentNames(arguments []byte) string {
	var members map[string]jsontext.Value
	if json.Unmarshal(arguments, &members) != nil {
		return ""
	}
	names := []string{}
	for name := range members {
		name = action.Clip(name, 64)
		if name == "" || strings.ContainsFunc(name, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-' && r != '.'
		}) {
			name = strconv.QuoteToASCII(name)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	if len(names) > 32 {
		names = append(names[:32], "...")
	}
	return strings.Join(names, ",")
}
