// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/bundle"
)

// ErrStanding is wrapped by every refusal to propose a standing rule.
var ErrStanding = errors.New("no standing rule is proposed")

// The bounds of a proposal.
const (
	LeastApprovals = 5                   // that a proposal rests on where nothing else is asked for
	StandingFor    = 30 * 24 * time.Hour // how long a rule holds where nothing else is asked for
	MaxStanding    = 90 * 24 * time.Hour
	apart          = time.Minute // approvals closer than this are of one occasion
	riskSpread     = 100         // of 1000, by which approvals may differ
	maxWords       = 8           // values of an argument that no parser understands
)

// Approved is a recorded action that asked, and that a person let through.
type Approved struct {
	TimeMs   int64
	Query    *action.Query
	Decision action.Decision // that asked
	Machine  bool            // a second system approved; such approvals count for nothing here
}

// Standing is a proposed rule: what one agent was let do with one tool again and again passes without asking, for a
// time. It only settles the asks that were answered; whatever denies still denies.
type Standing struct {
	Agent     string   `json:"agent"`
	Tool      string   `json:"tool"`
	Effect    string   `json:"effect"`
	Approvals int      `json:"approvals"` // that it rests on
	Pack      string   `json:"pack"`
	Rule      string   `json:"rule"`
	Asks      []string `json:"asks"` // rules that have nothing left to ask
	Rules     string   `json:"rules"`
	Cases     []string `json:"cases"`
	Admits    []string `json:"admits"` // in words: what it lets by beyond what was approved
	ExpiresMs int64    `json:"expires_ms"`
}

// Stand proposes a rule for a run of approvals of one tool and one agent, of which it needs least (0 means
// LeastApprovals) on different occasions. It errs with ErrStanding where the values go to a sink of secret data or
// come from an untrusted or unknown source, where the approvals differ in risk, in what asked or in what the tool is,
// and where an argument cannot be bounded.
func Stand(ctx context.Context, active *Compiled, run []Approved, least int, until time.Time) (*Standing, error) {
	if least < 1 {
		least = LeastApprovals
	}
	run = slices.DeleteFunc(slices.Clone(run), func(a Approved) bool { return a.Machine || a.Query == nil })
	slices.SortFunc(run, func(a, b Approved) int { return int(min(max(a.TimeMs-b.TimeMs, -1), 1)) })
	if n := occasions(run); n < least {
		return nil, fmt.Errorf("%w: %d approvals on different occasions are fewer than %d", ErrStanding, n, least)
	}
	asks, err := sameAsks(run)
	if err != nil {
		return nil, err
	}
	if err := steady(run); err != nil {
		return nil, err
	}
	sh := newShape(run[0].Query)
	sh.exact = true
	words := map[string]map[string]bool{}
	for _, a := range run {
		if err := plain(a.Query); err != nil {
			return nil, err
		}
		sh.add(a.Query)
		if err := gatherWords(words, a.Query); err != nil {
			return nil, err
		}
	}
	for name := range words {
		if !sh.untyped[name] {
			words[name] = nil // a list of the shape is about it
		}
	}
	if !sh.fits() || !sh.approved {
		return nil, fmt.Errorf("%w: its definition is not approved, or its arguments are too many to be listed", ErrStanding)
	}
	q := run[0].Query
	sum := sha256.Sum256([]byte(strings.Join([]string{q.Subject.Tenant, q.Subject.ID, sh.tool, sh.method, string(sh.effect)}, "\x00")))
	out := &Standing{Agent: q.Subject.ID, Tool: sh.tool, Effect: string(sh.effect), Approvals: len(run), Pack: "standing" + hex.EncodeToString(sum[:4]),
		Asks: asks, ExpiresMs: until.UnixMilli(), Admits: []string{}}
	out.Rule = out.Pack + ".standing"
	out.Rules = out.write(run, sh, words)
	sh.untyped = map[string]bool{}
	out.Admits = append(out.Admits, sh.admits()...)
	return out, out.addCases(ctx, active, run)
}

// occasions counts approvals that lie apart in time.
func occasions(run []Approved) int {
	n, last := 0, int64(0)
	for _, a := range run {
		if n == 0 || a.TimeMs-last >= apart.Milliseconds() {
			n, last = n+1, a.TimeMs
		}
	}
	return n
}

// sameAsks are the rules that asked, which have to be the same each time.
func sameAsks(run []Approved) ([]string, error) {
	var asks []string
	for i, a := range run {
		var now []string
		for _, m := range a.Decision.Matches {
			if m.Verdict != action.Ask {
				continue
			}
			if m.Always {
				return nil, fmt.Errorf("%w: %q always asks", ErrStanding, m.ID)
			}
			now = append(now, m.ID)
		}
		slices.Sort(now)
		if now = slices.Compact(now); i > 0 && !slices.Equal(now, asks) {
			return nil, fmt.Errorf("%w: different rules asked: %s, and %s", ErrStanding, strings.Join(asks, ", "), strings.Join(now, ", "))
		}
		asks = now
	}
	if len(asks) == 0 {
		return nil, fmt.Errorf("%w: no rule asked", ErrStanding)
	}
	return asks, nil
}

// steady refuses approvals that differ in what they are about or in how risky it was.
func steady(run []Approved) error {
	first := run[0].Query
	low, high := gravity(first), gravity(first)
	for _, a := range run {
		q := a.Query
		if q.Phase != action.Before || q.Subject.Tenant != first.Subject.Tenant || q.Subject.ID != first.Subject.ID || q.Resource.ID != first.Resource.ID ||
			q.Action.Name != first.Action.Name || q.Action.Effect != first.Action.Effect || q.Resource.Definition.Digest != first.Resource.Definition.Digest {
			return fmt.Errorf("%w: the approvals are not all of one agent, tool, definition and effect", ErrStanding)
		}
		if q.Context.Monitor.State != first.Context.Monitor.State || q.Context.Detect.State != first.Context.Detect.State {
			return fmt.Errorf("%w: the approvals differ in what was known of their risk", ErrStanding)
		}
		for i, g := range gravity(q) {
			low[i], high[i] = min(low[i], g), max(high[i], g)
			if high[i]-low[i] > riskSpread {
				return fmt.Errorf("%w: the approvals differ in risk, from %d to %d of 1000", ErrStanding, low[i], high[i])
			}
		}
	}
	return nil
}

func gravity(q *action.Query) [3]int {
	return [3]int{q.Context.Detect.Injection, q.Context.Detect.Leak, q.Context.Monitor.Risk}
}

// plain refuses an action that a person should see each time: one whose values come from strangers or from nowhere
// that is known, or that may take secrets along.
func plain(q *action.Query) error {
	f := &q.Context.Flow
	refuse := func(why string) error { return fmt.Errorf("%w: %s", ErrStanding, why) }
	switch {
	case f.State != action.StateKnown:
		return refuse("where its values come from was not known")
	case q.Context.Detect.State != action.StateKnown:
		return refuse("nobody looked for secrets in it")
	case len(q.Context.Detect.Secrets) > 0 || slices.ContainsFunc(q.Context.Detect.Findings, grave) || q.Context.Detect.Canary == action.Yes:
		return refuse("a secret or an injection was found in one of them")
	case leaves(q) && secret(f.Session.Secrecy):
		return refuse("the session held secret data, and the action can take it out")
	}
	for _, v := range f.Arguments {
		if v.Sink == action.SinkNone {
			if leaves(q) && secret(v.Secrecy) {
				return refuse(fmt.Sprintf("it takes secret data out, at %s", action.Clip(v.Pointer, 64)))
			}
			continue
		}
		if secret(v.Secrecy) || len(v.Carries) > 0 {
			return refuse(fmt.Sprintf("secret data goes to a sink, at %s", action.Clip(v.Pointer, 64)))
		}
		for _, o := range append(slices.Clone(v.Origins), v.Origin, v.Selection) {
			if o == action.OriginUntrusted {
				return refuse(fmt.Sprintf("an untrusted source chose where it goes, at %s", action.Clip(v.Pointer, 64)))
			}
		}
		if v.Origin == action.OriginUnknown {
			return refuse(fmt.Sprintf("nobody knows who chose where it goes, at %s", action.Clip(v.Pointer, 64)))
		}
	}
	return nil
}

// grave reports whether a finding is more than an address, a name or a word that could be part of one.
func grave(f action.Finding) bool {
	return f.Score >= 200 || !slices.Contains([]string{"pii", "trace", "leak", "injection"}, f.Kind)
}

// leaves reports whether the effect can take data along.
func leaves(q *action.Query) bool {
	return slices.Contains([]action.Effect{action.EffectSend, action.EffectSpend, action.EffectExecute, action.EffectUnknown}, q.Action.Effect) ||
		q.Resource.Zone != action.ZoneInside
}

// secret reports whether data of class s must not get out; what is not known is secret.
func secret(s action.Secrecy) bool {
	return s != action.SecrecyPublic && s != action.SecrecyInternal
}

// gatherWords adds the canonical values of all top arguments, which have to be few and scalar to be bounded.
func gatherWords(words map[string]map[string]bool, q *action.Query) error {
	dec := jsontext.NewDecoder(bytes.NewReader(q.Action.Arguments))
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
		return fmt.Errorf("%w: its arguments are no object", ErrStanding)
	}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return fmt.Errorf("%w: its arguments cannot be read", ErrStanding)
		}
		key := name.String()
		v, err := dec.ReadValue()
		if err != nil {
			return fmt.Errorf("%w: its arguments cannot be read", ErrStanding)
		}
		v = v.Clone()
		if err := v.Canonicalize(); err != nil {
			return fmt.Errorf("%w: its arguments cannot be read", ErrStanding)
		}
		if words[key] == nil {
			words[key] = map[string]bool{}
		}
		words[key][string(v)] = true
	}
	return nil
}

const standingHead = `# A standing rule, proposed from %d approvals between %s and %s.
# It permits nothing that another rule denies, and ends by itself.
package sallyport.%s

import rego.v2

allow contains {
	"id": "standing", "code": "standing-rule",
	"reason": %s,
} if {
	input.phase == "before"
	input.subject.tenant == %s
	input.subject.id == %s
	input.subject.user.id in %s
	input.context.time.unix_ms < %d
	input.resource.definition.digest == %s
	input.context.flow.state == "known"
	every v in input.context.flow.arguments { harmless(v) }
	input.context.flow.session.secrecy in %s
	input.context.detect.state == "known"
	input.context.detect.injection_milli <= %d
	input.context.detect.leak_milli <= %d
	count(input.context.detect.secrets) == 0
	every f in input.context.detect.findings { slight(f) }
	input.context.monitor.state == %s
	input.context.monitor.risk_milli <= %d
	bounded
	seen
}

slight(f) if {
	f.kind in {"pii", "trace", "leak", "injection"}
	f.score_milli < 200
}

harmless(v) if {
	v.sink == "none"
	v.secrecy in %s
}

harmless(v) if {
	v.sink != "none"
	v.secrecy in {"public", "internal"}
	v.origin in %s
	v.selection in %s
	count(v.carries) == 0
}
`

// write makes the Rego of the rule.
func (s *Standing) write(run []Approved, sh *shape, words map[string]map[string]bool) string {
	first, last := run[0], run[len(run)-1]
	day := func(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.DateOnly) }
	users, session, content, origins, selections := set{}, set{}, set{}, set{}, set{}
	most := [3]int{}
	for _, a := range run {
		q := a.Query
		users.add(q.Subject.User.ID)
		session.add(string(q.Context.Flow.Session.Secrecy))
		for _, v := range q.Context.Flow.Arguments {
			if v.Sink == action.SinkNone {
				content.add(string(v.Secrecy))
				continue
			}
			origins.add(string(v.Origin))
			selections.add(string(v.Selection))
		}
		for i, g := range gravity(q) {
			most[i] = max(most[i], g)
		}
	}
	for _, empty := range []set{content, origins, selections} {
		if len(empty) == 0 {
			empty.add("none was seen")
		}
	}
	q := first.Query
	var b strings.Builder
	fmt.Fprintf(&b, standingHead, len(run), day(first.TimeMs), day(last.TimeMs), s.Pack,
		quote("{tool} was approved for this agent like this, again and again; the rule holds until "+day(s.ExpiresMs)+"."),
		quote(q.Subject.Tenant), quote(q.Subject.ID), list(users), s.ExpiresMs, quote(q.Resource.Definition.Digest), list(session),
		most[0], most[1], quote(string(q.Context.Monitor.State)), most[2], list(content), list(origins), list(selections))
	s.bound(&b, words)
	sh.write(&b, 0)
	return b.String()
}

// set is a set of words.
type set map[string]bool

func (s set) add(word string) { s[word] = true }

// bound writes which arguments there may be, and which values those may have that no parser understands.
func (s *Standing) bound(b *strings.Builder, words map[string]map[string]bool) {
	names := set{}
	for name := range words {
		names.add(name)
	}
	fmt.Fprintf(b, "\nbounded if {\n\tinput.action.typed == \"known\"\n\tevery name, _ in input.action.arguments { name in %s }\n", list(names))
	for _, name := range slices.Sorted(maps.Keys(words)) {
		values := words[name]
		if values == nil {
			continue
		}
		if len(values) > maxWords || slices.ContainsFunc(slices.Collect(maps.Keys(values)), func(v string) bool { return len(v) > 200 || v[0] == '{' || v[0] == '[' }) {
			s.Admits = append(s.Admits, fmt.Sprintf("%s: any value of %s", s.Tool, action.Clip(quote(name), 64)))
			continue
		}
		fmt.Fprintf(b, "\tobject.get(input.action.arguments, %s, null) in {null, %s}\n", quote(name), strings.Join(slices.Sorted(maps.Keys(values)), ", "))
	}
	b.WriteString("}\n")
}

// addCases writes what was approved, and what differs from it, as cases.
func (s *Standing) addCases(ctx context.Context, active *Compiled, run []Approved) error {
	with, err := s.Compile(active)
	if err != nil {
		return err
	}
	last := run[len(run)-1].Query
	for _, c := range []struct {
		name   string
		change func(q *action.Query)
	}{
		{"what was approved passes by the standing rule", func(*action.Query) {}},
		{"another agent still asks", func(q *action.Query) { q.Subject.ID += "-other" }},
		{"after the rule has ended it asks again", func(q *action.Query) { q.Context.Time.UnixMilli = s.ExpiresMs }},
		{"a riskier one still asks", func(q *action.Query) { q.Context.Monitor.State, q.Context.Monitor.Risk = action.StateKnown, 999 }},
	} {
		q, err := action.ReadQuery(mustCanonical(last))
		if err != nil {
			return err
		}
		q.Context.Time.UnixMilli = min(q.Context.Time.UnixMilli, s.ExpiresMs-1)
		q.Context.Approval = action.NoApproval()
		c.change(q)
		d, err := with.Decide(ctx, q)
		if err != nil {
			return err
		}
		part, err := Stating(q)
		if err != nil {
			return err
		}
		text, err := CaseText(s.Tool+": "+c.name, d.Verdict, nil, part)
		if err != nil {
			return err
		}
		s.Cases = append(s.Cases, text)
	}
	return nil
}

func mustCanonical(q *action.Query) []byte {
	b, err := action.Canonical(q)
	if err != nil {
		return nil // ReadQuery says so
	}
	return b
}

// Files are what the rule adds to or changes in the bundle in force, by name.
func (s *Standing) Files(active *Compiled) (map[string][]byte, error) {
	old, _ := active.source.File(bundle.ManifestFile)
	manifest, err := withSettle(old, s.Rule, s.Asks, active.source.Manifest.Sequence+1)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{bundle.ManifestFile: manifest, s.Pack + "/standing.rego": []byte(s.Rules)}
	if len(s.Cases) > 0 {
		files["tests/"+s.Pack+".yaml"] = []byte("# Of a standing rule. Written by \"sallyport policy propose\".\ncases:\n" + strings.Join(s.Cases, ""))
	}
	return files, nil
}

// Compile is the bundle in force with the rule.
func (s *Standing) Compile(active *Compiled) (*Compiled, error) {
	files, err := s.Files(active)
	if err != nil {
		return nil, err
	}
	b, err := active.source.With(files)
	if err != nil {
		return nil, err
	}
	return Compile(b, Config{Shadow: -1, unproved: true})
}

// withSettle adds a line to what a manifest settles.
func withSettle(manifest []byte, rule string, asks []string, sequence int64) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(manifest, &doc); err != nil || len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("policy: the manifest cannot be read")
	}
	top := doc.Content[0]
	var entry, settles yaml.Node
	if err := entry.Encode(bundle.Settle{Rule: rule, Asks: asks}); err != nil {
		return nil, err
	}
	found := false
	for i := 0; i+1 < len(top.Content); i += 2 {
		switch top.Content[i].Value {
		case "sequence":
			top.Content[i+1].Value = fmt.Sprint(sequence)
		case "settles":
			found = true
			at := top.Content[i+1]
			at.Content = slices.DeleteFunc(at.Content, func(n *yaml.Node) bool { return settleOf(n) == rule })
			at.Content = append(at.Content, &entry)
		}
	}
	if !found {
		settles = yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{&entry}}
		top.Content = append(top.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: "settles"}, &settles)
	}
	text, err := yamlText(&doc)
	return []byte(text), err
}

func settleOf(n *yaml.Node) string {
	var s bundle.Settle
	if n.Decode(&s) != nil {
		return ""
	}
	return s.Rule
}
