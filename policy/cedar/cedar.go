// SPDX-License-Identifier: Apache-2.0

// Package cedar evaluates policies written in Cedar.
//
// # What a policy sees
//
// The principal is Agent::"<id>" in Tenant::"<tenant>" and in Role::"<role>" for each of its roles, the
// action is Action::"<effect>", the resource is Tool::"<server>/<name>" in Server::"<server>". The
// context holds every typed fact of agent.v1 under its own name: phase, round, subject, action, resource,
// time, session, flow, detect, monitor, history, approval, kill, enforcement, result, and params (the
// bundle's parameters). Raw arguments and results are not there: Cedar cannot parse them.
//
// Cedar has no quantifiers, so a list of records is given by columns: context.action.paths is
// {count: 2, inside: ["yes"], access: ["read", "write"], ...}, each a set of the distinct values. Hence
// `context.action.paths.inside == ["yes"]` says that there are paths and all are inside. The counters of
// context.history are a record by name.
//
// # What a policy says
//
// permit and forbid, with annotations: @id (required, unique in the file), @code, @reason, @hint,
// @severity, @always("true"), @obligation("redact kind=secret; label untrusted=yes"), and on forbid
// either @ask("operator") (or another channel; with @quorum, @ttl_s, @group) or @quarantine("true").
//
// A forbid denies; a forbid with @ask asks. An ask widens nothing: without a permit the answer is deny
// even if all that forbids would ask. Rules simply ask and need not look at context.approval, because
// the enforcement point compares a grant's rules and channel with the rules that ask; the facts are
// there for a rule that wants more.
//
// # What fails closed
//
// A name that the context can never have is refused when the bundle is loaded, and so is an expression whose types do
// not fit: every policy is checked against the schema that is made from agent.v1 (Schema). At run time Cedar skips a
// policy that errs. Here an error in any forbid denies with the policy's name; an error in
// a permit is reported and the permit does not count.
package cedar

import (
	"context"
	"errors"
	"fmt"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/usage"
)

// Version is the exact version of cedar-go; it counts in the digest of each bundle that holds Cedar.
const Version = "1.9.0"

// File is one Cedar source. Its base name without ending is the pack: the first part of each rule's id.
type File struct {
	Name string
	Data []byte
}

// Config is what an Evaluator is made of.
type Config struct {
	Files  []File
	Params any // becomes context.params: a struct of texts, lists of texts and flags with json tags

	// Tools are the JSON Schemas of the arguments of the tools that are known, by "server/name". A policy that reads
	// raw arguments and names such tools in its scope is checked against them.
	Tools map[string][]byte
}

// Evaluator decides. Its policies never change, and it is safe for concurrent use.
type Evaluator struct {
	permits list
	forbids list
	plan    *plan
}

// rule is one policy with what its annotations say.
type rule struct {
	policy      *cedar.Policy
	fast        *cedar.Policy // the same over facts, see facts.go
	id          cedar.PolicyID
	match       action.Match
	obligations []action.Obligation
	roles       bool // it may speak of roles
}

// list is a set of policies in a fixed order.
type list struct {
	rules []*rule
	byID  map[cedar.PolicyID]*rule
	index *index
}

// New parses the files. It returns an error that names file and line for a policy without a name or with
// an annotation that means nothing here.
func New(cfg Config) (*Evaluator, error) {
	e := &Evaluator{permits: list{byID: map[cedar.PolicyID]*rule{}}, forbids: list{byID: map[cedar.PolicyID]*rule{}}}
	params, err := convert(cfg.Params)
	if err != nil {
		return nil, err
	}
	seen, known, counters := &usage.Tree{}, shapeOf(reflect.TypeOf(cfg.Params)), map[string]bool{}
	for _, f := range cfg.Files {
		policies, err := cedar.NewPolicyListFromBytes(f.Name, f.Data)
		if err != nil {
			return nil, unparsed(f.Name, err)
		}
		pack := strings.TrimSuffix(path.Base(f.Name), ".cedar")
		for _, p := range policies {
			r, err := readRule(pack, p)
			if err != nil {
				return nil, fmt.Errorf("cedar: %s:%d: %w", f.Name, p.Position().Line, err)
			}
			if e.permits.byID[r.id] != nil || e.forbids.byID[r.id] != nil {
				return nil, fmt.Errorf("cedar: %s:%d: id %q stands for two policies", f.Name, p.Position().Line, r.id)
			}
			if r.roles, err = namesRoles(p); err != nil {
				return nil, fmt.Errorf("cedar: %s:%d: %w", f.Name, p.Position().Line, err)
			}
			if err := used(seen, known, counters, p); err != nil {
				return nil, fmt.Errorf("cedar: %s:%d: %w", f.Name, p.Position().Line, err)
			}
			l := &e.permits
			if p.Effect() == cedar.Forbid {
				l = &e.forbids
			}
			l.rules, l.byID[r.id] = append(l.rules, r), r
		}
	}
	if err := typed(slices.Concat(e.permits.rules, e.forbids.rules), reflect.TypeOf(cfg.Params), sortedKeys(counters), seen, cfg.Tools); err != nil {
		return nil, err
	}
	e.plan = newPlan(seen, params)
	for _, l := range []*list{&e.permits, &e.forbids} {
		for _, r := range l.rules {
			if r.fast, err = e.plan.facts.rewritten(r.policy); err != nil {
				return nil, fmt.Errorf("cedar: %s: %w", r.id, err)
			}
		}
		if l.index, err = newIndex(l.rules); err != nil {
			return nil, fmt.Errorf("cedar: %w", err)
		}
	}
	return e, nil
}

// inParser is where cedar-go's parser says that something is wrong.
var inParser = regexp.MustCompile(`^parser error: parse error at <input>:(\d+):(\d+) (?s:(.*))$`)

// unparsed says where a file is no Cedar.
func unparsed(file string, err error) error {
	if m := inParser.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("cedar: %s:%s:%s: %s", file, m[1], m[2], m[3])
	}
	return fmt.Errorf("cedar: %s: %w", file, err)
}

// Engine names the engine as it stands in each decision.
func (e *Evaluator) Engine() action.Engine { return action.Engine{Name: "cedar", Version: Version} }

// Decides reports whether there is any policy.
func (e *Evaluator) Decides() bool { return len(e.permits.rules)+len(e.forbids.rules) > 0 }

// Rules returns the names of all policies, sorted.
func (e *Evaluator) Rules() []string {
	var out []string
	for _, l := range []list{e.permits, e.forbids} {
		for _, r := range l.rules {
			out = append(out, r.match.ID)
		}
	}
	slices.Sort(out)
	return out
}

// Decide answers q. An error in a forbid becomes a deny with its name, never an error; the error is for a
// context that ended and for a query that is nil.
func (e *Evaluator) Decide(ctx context.Context, q *action.Query) (action.Decision, error) {
	d := action.Decision{Verdict: action.Deny, Engines: []action.Engine{e.Engine()}}
	if q == nil {
		return d, errors.New("cedar: no query")
	}
	if err := ctx.Err(); err != nil {
		return d, fmt.Errorf("cedar: %w", context.Cause(ctx))
	}
	env := e.plan.environment(q)
	defer e.plan.done(env)
	// Two passes, because one would keep from us the permits that a forbid overrides.
	_, permits := cedar.Authorize(search{e.permits.index, env, &env.request}, env, env.request)
	_, forbids := cedar.Authorize(search{e.forbids.index, env, &env.request}, env, env.request)
	e.fold(&d, permits, forbids)
	return d, nil
}

func (e *Evaluator) fold(d *action.Decision, permits, forbids cedar.Diagnostic) {
	verdict := action.Deny
	if len(permits.Reasons) > 0 {
		verdict = action.Allow
	}
	for _, err := range permits.Errors {
		d.Errors = append(d.Errors, e.permits.byID[err.PolicyID].match.ID+": "+action.Clip(err.Message, 500))
	}
	for _, p := range permits.Reasons {
		r := e.permits.byID[p.PolicyID]
		d.Matches, d.Obligations = append(d.Matches, r.match), append(d.Obligations, r.obligations...)
	}
	for _, p := range forbids.Reasons {
		r := e.forbids.byID[p.PolicyID]
		verdict = verdict.Meet(r.match.Verdict)
		d.Matches, d.Obligations = append(d.Matches, r.match), append(d.Obligations, r.obligations...)
	}
	for _, err := range forbids.Errors {
		id := e.forbids.byID[err.PolicyID].match.ID
		verdict = verdict.Meet(action.Deny)
		d.Errors = append(d.Errors, id+": "+action.Clip(err.Message, 500))
		d.Matches = append(d.Matches, action.Match{ID: id, Verdict: action.Deny, Code: "evaluation-error",
			Reason: "The rule could not be evaluated, so it denies.", Severity: "high", Always: true})
	}
	if len(permits.Reasons) == 0 {
		d.Matches = append(d.Matches, action.Match{ID: "default.cedar", Verdict: action.Deny, Code: "no-rule",
			Reason: "No policy permits this.", Severity: "medium"})
	}
	d.Verdict = verdict
	slices.Sort(d.Errors)
	slices.SortStableFunc(d.Matches, func(a, b action.Match) int { return strings.Compare(a.ID, b.ID) })
	slices.SortStableFunc(d.Obligations, func(a, b action.Obligation) int { return strings.Compare(a.Rule, b.Rule) })
}

var severities = []string{"low", "medium", "high", "critical"}

// readRule reads the annotations of one policy.
func readRule(pack string, p *cedar.Policy) (*rule, error) {
	notes := p.Annotations()
	forbid := p.Effect() == cedar.Forbid
	r := &rule{policy: p, match: action.Match{Verdict: action.Allow, Severity: "low"}}
	if forbid {
		r.match.Verdict, r.match.Severity = action.Deny, "medium"
	}
	id := string(notes["id"])
	if !plainID(id) || !plainID(pack) {
		return nil, fmt.Errorf("@id(%q) in pack %q: lower-case letters, digits, dots and dashes are wanted", action.Clip(id, 64), action.Clip(pack, 64))
	}
	r.match.ID = pack + "." + id
	r.id = cedar.PolicyID(r.match.ID)
	if _, ok := notes["ask"]; ok && notes["quarantine"] != "" {
		return nil, fmt.Errorf("%s: @ask and @quarantine exclude each other", id)
	}
	for _, key := range sortedKeys(notes) {
		if err := r.note(string(key), string(notes[key]), forbid); err != nil {
			return nil, fmt.Errorf("%s: @%s: %w", id, key, err)
		}
	}
	if forbid && (r.match.Code == "" || r.match.Reason == "") {
		return nil, fmt.Errorf("%s: a forbid needs @code and @reason", id)
	}
	a := &r.match.Approver
	if r.match.Verdict != action.Ask && (a.Quorum != 0 || a.TTL != 0 || a.Group != "" || a.Apart || a.EscalateAfter != 0 || a.EscalateTo != "" ||
		a.ACR != "" || a.AMR != "" || a.MaxAge != 0) {
		return nil, fmt.Errorf("%s: @quorum, @ttl_s, @group, @apart, @escalate_s, @escalate_to, @acr, @amr and @max_age_s need @ask", id)
	}
	if (a.EscalateAfter > 0) != (a.EscalateTo != "") {
		return nil, fmt.Errorf("%s: @escalate_s and @escalate_to go together", id)
	}
	return r, nil
}

func (r *rule) note(key, value string, forbid bool) (err error) {
	m := &r.match
	if len(value) > 500 {
		return errors.New("longer than 500 bytes")
	}
	switch {
	case key == "id":
	case key == "owasp" || key == "atlas": // which known attacks it is about, for people
	case key == "code":
		m.Code = value
	case key == "reason":
		m.Reason = value
	case key == "hint" && forbid:
		m.Hint = value
	case key == "severity" && slices.Contains(severities, value):
		m.Severity = value
	case key == "always" && forbid && value == "true":
		m.Always = true
	case key == "quarantine" && forbid && value == "true":
		m.Verdict = action.Quarantine
	case key == "ask" && forbid && value != "unknown" && slices.Contains(action.RankUnknown.Values(), value):
		m.Verdict, m.Approver.Channel = action.Ask, action.Rank(value)
	case key == "quorum" && forbid:
		m.Approver.Quorum, err = positive(value)
	case key == "ttl_s" && forbid:
		m.Approver.TTL, err = positive(value)
	case key == "group" && forbid:
		m.Approver.Group = value
	case key == "apart" && forbid && value == "true":
		m.Approver.Apart = true
	case key == "escalate_s" && forbid:
		m.Approver.EscalateAfter, err = positive(value)
	case key == "escalate_to" && forbid:
		m.Approver.EscalateTo = value
	case key == "acr" && forbid && wordly(value):
		m.Approver.ACR = value
	case key == "amr" && forbid && wordly(value):
		m.Approver.AMR = value
	case key == "max_age_s" && forbid:
		m.Approver.MaxAge, err = positive(value)
	case key == "obligation":
		r.obligations, err = obligations(m.ID, value)
	default:
		return fmt.Errorf("%q means nothing here", action.Clip(value, 64))
	}
	return err
}

// wordly reports whether s is words that stand apart by single spaces.
func wordly(s string) bool { return s != "" && s == strings.Join(strings.Fields(s), " ") }

func positive(s string) (int, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is no positive whole number", action.Clip(s, 32))
	}
	return int(n), nil
}

// obligations reads "type key=value key=value; type ...".
func obligations(id, s string) ([]action.Obligation, error) {
	var out []action.Obligation
	for part := range strings.SplitSeq(s, ";") {
		words := strings.Fields(part)
		if len(words) == 0 || !action.ObligationType(words[0]).Known() {
			return nil, fmt.Errorf("%q is no known obligation", strings.TrimSpace(part))
		}
		o := action.Obligation{Type: action.ObligationType(words[0]), Rule: id, Params: map[string]string{}}
		for _, w := range words[1:] {
			k, v, ok := strings.Cut(w, "=")
			if _, twice := o.Params[k]; !ok || k == "" || v == "" || twice {
				return nil, fmt.Errorf("%q is no key=value", w)
			}
			o.Params[k] = v
		}
		out = append(out, o)
	}
	return out, nil
}

func plainID(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 100
}

func sortedKeys[K ~string, V any](m map[K]V) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
