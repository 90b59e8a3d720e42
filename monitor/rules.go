// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"fmt"
	"math/bits"
	"path"
	"regexp"
	"slices"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/internal/strictyaml"
)

// Rules are known chains of actions, in the spirit of Sigma's correlations: each is a list of steps that
// one session, agent, user or tenant takes within some time. A rule states a fact and raises an alarm; policy decides.
type Rules struct {
	rules  []rule
	picks  []pick
	tool   uint64 // selections that want the first use of a tool, by bit
	dest   uint64 // or of a destination
	digest uint64
	wide   [scopes]uint64 // selections of the rules of each scope
}

type rule struct {
	id, title string
	within    int64 // ms
	per       scope
	anyOrder  bool
	steps     []step
}

type step struct {
	bit      uint64
	count    int
	distinct string
}

// Unusual is the alert id of an action that is unusual for its agent; the others are those of rules.
const Unusual = "unusual"

// Drift is the alert id of an agent whose tools of late differ from those of its reference.
const Drift = "drift"

// trailEvents is the number of actions of a session that rules look back over, and of those actions of an agent,
// user or tenant that their rules look for.
const trailEvents = 64

// event is one action of a session.
type event struct {
	Ms                  int64
	Matches, Tool, Dest uint64
	Tie                 float64 // of the action: one that is reserved again is the same event
}

// note puts a in its place by time, so that the order in which actions that overlap are told says nothing.
func (t *trail) note(a *act) {
	e := event{Ms: a.Ms, Matches: a.Matches, Tool: a.Tool, Tie: a.Tie}
	if a.Ndests > 0 {
		e.Dest = a.Dests[0]
	}
	for i := t.Next; i > 0 && t.Next-i < 8; i-- {
		if o := &t.Events[(i-1)%trailEvents]; o.Tie == e.Tie { // reserved once more
			*o = e
			return
		}
	}
	at := t.Next
	for ; at > 0 && t.Next-at < trailEvents-1; at-- {
		o := t.Events[(at-1)%trailEvents]
		if o.Ms < e.Ms || o.Ms == e.Ms && o.Tie < e.Tie {
			break
		}
		t.Events[at%trailEvents] = o
	}
	t.Events[at%trailEvents] = e
	t.Next++
}

// rulesFile is the form of a file of rules.
type rulesFile struct {
	Version int        `yaml:"version"`
	Rules   []ruleText `yaml:"rules"`
}

type ruleText struct {
	ID       string        `yaml:"id"`
	Title    string        `yaml:"title"`
	Within   time.Duration `yaml:"within"`
	Per      string        `yaml:"per"` // session (default), agent, user or tenant
	AnyOrder bool          `yaml:"any_order"`
	Steps    []pick        `yaml:"steps"`
}

// pick selects actions: every field that is given must hold.
type pick struct {
	Effect    []string `yaml:"effect"`
	Zone      []string `yaml:"zone"`
	Tool      []string `yaml:"tool"`   // patterns of "server/tool", as of path.Match
	Origin    []string `yaml:"origin"` // of a value that steers the action
	Denied    string   `yaml:"denied"` // "no" (default), "yes" or "any"
	Untrusted string   `yaml:"untrusted"`
	Secrecy   string   `yaml:"secrecy"` // of what the session holds, at least
	Outside   string   `yaml:"outside"` // "yes": a recipient outside, or a host that is not private
	FirstTool string   `yaml:"first_tool"`
	FirstDest string   `yaml:"first_destination"`
	Count     int      `yaml:"count"`    // actions, 0 means 1
	Distinct  string   `yaml:"distinct"` // "", "tool" or "destination": how they must differ
}

//go:embed rules.yaml
var defaultRules []byte

// DefaultRules are the chains that every installation knows.
func DefaultRules() (*Rules, error) { return ReadRules("rules.yaml", defaultRules) }

var ruleID = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$`)

// ReadRules reads a file of rules. Unknown keys, words and ids that stand twice are refused.
func ReadRules(file string, data []byte) (*Rules, error) {
	var f rulesFile
	if err := strictyaml.Decode(file, data, &f); err != nil {
		return nil, fmt.Errorf("monitor: rules: %w", err)
	}
	if f.Version != 1 {
		return nil, fmt.Errorf("monitor: rules: %s: version %d is not 1", file, f.Version)
	}
	sum := sha256.Sum256(data)
	r := &Rules{digest: binary.LittleEndian.Uint64(sum[:])}
	seen := map[string]bool{}
	for _, t := range f.Rules {
		if !ruleID.MatchString(t.ID) || seen[t.ID] || len(t.ID) > 64 {
			return nil, fmt.Errorf("monitor: rules: %s: id %q is not lower-case words joined by dots, or stands twice", file, action.Clip(t.ID, 64))
		}
		seen[t.ID] = true
		if err := r.add(&t); err != nil {
			return nil, fmt.Errorf("monitor: rules: %s: rule %q: %w", file, t.ID, err)
		}
	}
	if len(r.rules) > 64 || len(r.picks) > 64 {
		return nil, fmt.Errorf("monitor: rules: %s: more than 64 rules or different steps", file)
	}
	return r, nil
}

func (r *Rules) add(t *ruleText) error {
	if t.Title == "" || len(t.Title) > 200 || t.Within <= 0 || t.Within > 24*time.Hour || len(t.Steps) == 0 {
		return fmt.Errorf("title, within (at most 24h) and steps are required")
	}
	n := rule{id: t.ID, title: t.Title, within: t.Within.Milliseconds(), anyOrder: t.AnyOrder}
	var err error
	if n.per, err = scopeOf(t.Per); err != nil {
		return err
	}
	for i, p := range t.Steps {
		if err := p.check(); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
		s := step{count: max(p.Count, 1), distinct: p.Distinct}
		p.Count, p.Distinct = 0, ""
		at := slices.IndexFunc(r.picks, func(o pick) bool { return fmt.Sprint(o) == fmt.Sprint(p) })
		if at < 0 {
			at = len(r.picks)
			r.picks = append(r.picks, p)
		}
		s.bit = 1 << min(at, 63)
		if p.FirstTool == "yes" {
			r.tool |= s.bit
		}
		if p.FirstDest == "yes" {
			r.dest |= s.bit
		}
		n.steps = append(n.steps, s)
		r.wide[n.per] |= s.bit
	}
	r.rules = append(r.rules, n)
	return nil
}

// check refuses words that no fact can have: such a step would never be taken, and nobody would know.
func (p *pick) check() error {
	for _, w := range []struct {
		name   string
		given  []string
		allows []string
	}{
		{"effect", p.Effect, action.EffectRead.Values()},
		{"zone", p.Zone, action.ZoneInside.Values()},
		{"origin", p.Origin, action.OriginUser.Values()},
		{"denied", nonEmpty(p.Denied), []string{"yes", "no", "any"}},
		{"untrusted", nonEmpty(p.Untrusted), []string{"yes"}},
		{"secrecy", nonEmpty(p.Secrecy), action.SecrecySecret.Values()[1:]},
		{"outside", nonEmpty(p.Outside), []string{"yes"}},
		{"first_tool", nonEmpty(p.FirstTool), []string{"yes"}},
		{"first_destination", nonEmpty(p.FirstDest), []string{"yes"}},
		{"distinct", nonEmpty(p.Distinct), []string{"tool", "destination"}},
	} {
		for _, g := range w.given {
			if !slices.Contains(w.allows, g) {
				return fmt.Errorf("%s: %q is not one of %v", w.name, action.Clip(g, 32), w.allows)
			}
		}
	}
	for _, g := range p.Tool {
		if _, err := path.Match(g, ""); err != nil {
			return fmt.Errorf("tool: pattern %q: %w", action.Clip(g, 64), err)
		}
	}
	if p.Count < 0 || p.Count > trailEvents {
		return fmt.Errorf("count: %d is not 1..%d", p.Count, trailEvents)
	}
	return nil
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// matches returns the selections that q falls under. With known, first uses are taken from what the
// monitor stated in q; without, they are left open, and judge closes them.
func (r *Rules) matches(q *action.Query, denied, known bool) (m uint64) {
	for i := range r.picks {
		if r.picks[i].takes(q, denied, known) {
			m |= 1 << i
		}
	}
	return m
}

func (p *pick) takes(q *action.Query, denied, known bool) bool {
	f := &q.Context.Flow
	switch {
	case p.Denied != "any" && (p.Denied == "yes") != denied,
		len(p.Effect) > 0 && !slices.Contains(p.Effect, action.Word(q.Action.Effect)),
		len(p.Zone) > 0 && !slices.Contains(p.Zone, action.Word(q.Resource.Zone)),
		p.Untrusted != "" && f.Session.Untrusted != action.Yes,
		p.Secrecy != "" && (f.State != action.StateKnown || f.Session.Secrecy.Worse(action.Secrecy(p.Secrecy)) != f.Session.Secrecy),
		p.Outside != "" && !goesOut(q),
		known && p.FirstTool != "" && q.Context.Monitor.FirstTool != action.Yes,
		known && p.FirstDest != "" && q.Context.Monitor.FirstDest != action.Yes:
		return false
	}
	if len(p.Tool) > 0 && !slices.ContainsFunc(p.Tool, func(g string) bool {
		ok, _ := path.Match(g, q.Resource.ID)
		return ok
	}) {
		return false
	}
	return len(p.Origin) == 0 || slices.ContainsFunc(f.Arguments, func(v action.Value) bool {
		return v.Sink != action.SinkNone && slices.Contains(p.Origin, action.Word(v.Origin))
	})
}

// goesOut reports whether q names somebody outside.
func goesOut(q *action.Query) bool {
	return slices.ContainsFunc(q.Action.Recipients, func(r action.Recipient) bool { return r.Outside == action.Yes }) ||
		slices.ContainsFunc(q.Action.URLs, func(u action.URL) bool { return u.Private != action.Yes })
}

// completed reports whether a takes the last step of r after the others in t.
func (r *rule) completed(t *trail, a *act) bool {
	if r.anyOrder {
		part := false
		for i := range r.steps {
			part = part || a.Matches&r.steps[i].bit != 0
			if !r.enough(t, a, &r.steps[i]) {
				return false
			}
		}
		return part
	}
	last := r.steps[len(r.steps)-1]
	if a.Matches&last.bit == 0 {
		return false
	}
	// Going back in time, each event serves the latest step that still wants one.
	at, need, from := len(r.steps)-1, last.count-1, t.Next
	for i := t.Next; ; i-- {
		for need == 0 {
			if at--; at < 0 {
				return true
			}
			need, from = r.steps[at].count, i
		}
		if i == 0 || t.Next-i >= trailEvents {
			return false
		}
		e := &t.Events[(i-1)%trailEvents]
		if a.Ms-e.Ms > r.within {
			return false
		}
		s := &r.steps[at]
		if e.Matches&s.bit != 0 && !t.repeats(e, s, i, from) && (at < len(r.steps)-1 || !s.same(e, a)) {
			need--
		}
	}
}

// repeats reports whether an event between i and from already stands for what e differs in.
func (t *trail) repeats(e *event, s *step, i, from uint32) bool {
	for j := i; s.distinct != "" && j < from; j++ {
		o := &t.Events[j%trailEvents]
		if o.Matches&s.bit != 0 && (s.distinct == "tool" && o.Tool == e.Tool || s.distinct == "destination" && o.Dest == e.Dest) {
			return true
		}
	}
	return false
}

func (s *step) same(e *event, a *act) bool {
	return s.distinct == "tool" && e.Tool == a.Tool || s.distinct == "destination" && a.Ndests > 0 && e.Dest == a.Dests[0]
}

// enough reports whether the session, with a, took s often enough, wherever.
func (r *rule) enough(t *trail, a *act, s *step) bool {
	need := s.count
	if a.Matches&s.bit != 0 {
		need--
	}
	for i := t.Next; i > 0 && t.Next-i < trailEvents && need > 0; i-- {
		e := &t.Events[(i-1)%trailEvents]
		if a.Ms-e.Ms > r.within {
			break
		}
		if e.Matches&s.bit != 0 && !t.repeats(e, s, i, t.Next) && (a.Matches&s.bit == 0 || !s.same(e, a)) {
			need--
		}
	}
	return need <= 0
}

// names lists the rules of done.
func (r *Rules) names(done uint64) (out []string) {
	for ; done != 0; done &= done - 1 {
		out = append(out, r.rules[bits.TrailingZeros64(done)].id)
	}
	slices.Sort(out)
	return out
}

// Title is what rule id means, "" if there is no such rule.
func (r *Rules) Title(id string) string {
	for _, x := range r.rules {
		if x.id == id {
			return x.title
		}
	}
	return ""
}
