// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// Shown is the document that people see, and that a grant binds. Every text in it has passed Visible and
// is bounded; nothing in it but Arguments and the values of Facts was chosen by the agent, and none of
// that is in Title.
type Shown struct {
	Format      string       `json:"format"` // "approval.v1"
	ID          string       `json:"id"`
	Nonce       string       `json:"nonce"` // random: makes the digest of the document tell nothing
	Title       string       `json:"title"`
	Phase       action.Phase `json:"phase"` // before: may it act; after: may its result be released
	Tool        ShownTool    `json:"tool"`
	Requester   Requester    `json:"requester"`
	Rules       []ShownRule  `json:"rules"`
	Facts       []Fact       `json:"facts"`
	Risk        []Fact       `json:"risk"`
	Obligations []string     `json:"obligations"`
	Warnings    []string     `json:"warnings"`
	Arguments   []string     `json:"arguments"` // the lines of the pretty form of what will be executed or released
	Bytes       int          `json:"bytes"`     // of its raw form
	Digest      string       `json:"digest"`    // of the nonce and its raw form
	Complete    bool         `json:"complete"`  // false if the middle of a long string is left out
	Erased      bool         `json:"erased"`    // the ask has ended and Arguments were let go of
	AskedMs     int64        `json:"asked_ms"`
	ExpiresMs   int64        `json:"expires_ms"`
	GrantMs     int64        `json:"grant_ms"` // how long a grant holds
}

// ShownTool is what would be called.
type ShownTool struct {
	Key        string                 `json:"key"`
	Method     string                 `json:"method"`
	Effect     action.Effect          `json:"effect"`
	Source     action.EffectSource    `json:"effect_source"`
	Reversible action.Tri             `json:"reversible"`
	Zone       action.Zone            `json:"zone"`
	Definition action.DefinitionState `json:"definition"`
	Digest     string                 `json:"definition_digest"`
	Upstream   string                 `json:"upstream"`
}

// Requester is who asks.
type Requester struct {
	Agent    string            `json:"agent"`
	Instance string            `json:"instance"`
	User     string            `json:"user"`
	Verified action.Tri        `json:"user_verified"`
	Session  string            `json:"session"`
	Door     action.Door       `json:"door"`
	UID      int64             `json:"uid"`
	Grade    action.Grade      `json:"grade"`
	Walls    action.Separation `json:"separation"`

	Assurance int `json:"assurance"` // what was proved of its runtime, 0..4
	Model     int `json:"model"`     // and of its model, 0..3
}

// ShownRule is one rule that asks.
type ShownRule struct {
	ID       string `json:"id"`
	Code     string `json:"code"`
	Reason   string `json:"reason"`
	Severity string `json:"severity"`
}

// Fact is one typed fact, in words.
type Fact struct {
	Kind  string `json:"kind"`
	At    string `json:"at"` // pointer into the arguments, or ""
	Value string `json:"value"`
	Note  string `json:"note"`
}

// Bounds of the lists of a document and of one short text.
const (
	maxFacts      = 100
	maxFactBytes  = 1024
	maxShortBytes = 256
)

// show builds the document of a. It wraps errUnshowable if the arguments are too large.
func show(a *row, r enforce.Request, nonce []byte) (*Shown, error) {
	q := r.Query
	s := &Shown{
		Format: "approval.v1", ID: a.ID, Nonce: hex.EncodeToString(nonce), Title: title(q), Phase: q.Phase,
		Tool: ShownTool{
			Key: short(q.Resource.ID), Method: short(q.Action.Name), Effect: q.Action.Effect, Source: q.Action.Source,
			Reversible: q.Action.Reversible, Zone: q.Resource.Zone, Definition: q.Resource.Definition.State,
			Digest: short(q.Resource.Definition.Digest), Upstream: short(q.Resource.Definition.Upstream),
		},
		Requester: Requester{
			Agent: short(q.Subject.ID), Instance: short(q.Subject.Instance), User: short(q.Subject.User.ID),
			Verified: q.Subject.User.Verified, Session: short(q.Context.Session.ID), Door: q.Subject.Channel.Door,
			UID: q.Subject.Channel.UID, Grade: q.Context.Enforcement.Grade, Walls: q.Context.Enforcement.Separation,
			Assurance: q.Subject.Attested.Assurance, Model: q.Subject.Attested.Model,
		},
		Facts: facts(q), Risk: risks(q), Bytes: len(r.Bytes), AskedMs: a.OpenedMs, ExpiresMs: a.ExpiresMs, GrantMs: a.GrantMs,
	}
	for _, m := range asking(r.Decision) {
		s.Rules = append(s.Rules, ShownRule{ID: short(m.ID), Code: short(m.Code), Reason: text(m.Reason), Severity: short(m.Severity)})
	}
	for _, o := range r.Decision.Obligations {
		s.Obligations = append(s.Obligations, obligation(o))
	}
	sum := sha256.Sum256(append(slices.Clone(nonce), r.Bytes...))
	s.Digest = "sha256:" + hex.EncodeToString(sum[:])
	pretty, complete, err := Pretty(r.Bytes)
	if err != nil {
		return nil, err
	}
	s.Arguments, s.Complete = strings.Split(pretty, "\n"), complete
	s.Warnings = warnings(q, s)
	if len(s.Rules) > maxFacts || len(s.Obligations) > maxFacts {
		return nil, errors.New("approval: more rules or obligations than can be shown")
	}
	return s, nil
}

// title names the tool and what it does to the world, in our words only.
func title(q *action.Query) string {
	verb := map[action.Effect]string{
		action.EffectRead: "reads", action.EffectRespond: "answers", action.EffectWrite: "changes something",
		action.EffectExecute: "runs something", action.EffectSend: "sends something out",
		action.EffectDestroy: "destroys something", action.EffectSpend: "spends money", action.EffectAdmin: "changes rights",
	}[q.Action.Effect]
	if verb == "" {
		verb = "nobody knows what it does"
	}
	if q.Phase == action.After {
		return fmt.Sprintf("%s: a result to release", short(q.Resource.ID))
	}
	return fmt.Sprintf("%s: %s", short(q.Resource.ID), verb)
}

// origins say where a value comes from.
var origins = map[action.Origin]string{
	action.OriginUser: "the user's own words", action.OriginTenant: "the organisation's records", action.OriginSchema: "a constant of the tool",
	action.OriginNamed: "a source that the user named", action.OriginUnseen: "unknown: this door does not see the user's words",
	action.OriginAgent: "the agent: it stands nowhere else", action.OriginUntrusted: "text that nobody vouches for",
}

// amount writes m as people write money; every digit is kept.
func amount(m action.Amount) string {
	digits, sign := strings.TrimPrefix(fmt.Sprint(m.Minor), "-"), ""
	if m.Minor < 0 {
		sign = "-"
	}
	if n := int(m.Exponent); n > 0 && n < maxShortBytes {
		digits = strings.Repeat("0", max(0, n+1-len(digits))) + digits
		digits = digits[:len(digits)-n] + "." + digits[len(digits)-n:]
	} else if n != 0 {
		digits = fmt.Sprintf("%s e%d", digits, -n)
	}
	return strings.TrimSpace(sign + digits + " " + m.Currency)
}

// facts puts what the parsers found in words; the list is bounded and says so.
func facts(q *action.Query) []Fact {
	out := []Fact{}
	add := func(kind, at, value string, notes ...string) {
		notes = slices.DeleteFunc(notes, func(n string) bool { return n == "" })
		out = append(out, Fact{Kind: kind, At: short(at), Value: text(value), Note: text(strings.Join(notes, "; "))})
	}
	a := &q.Action
	for _, p := range a.Paths {
		add("path", p.Pointer, first(p.Resolved, p.Raw), string(p.Access), say(p.Inside, "inside a root", "outside every root", "not known whether inside a root"),
			say(p.Traverse, "leads out by dots or a link", ""), say(p.Private, "private to the system or a credential store", ""))
	}
	for _, u := range a.URLs {
		port := ""
		if u.Port != 0 {
			port = fmt.Sprintf(":%d", u.Port)
		}
		add("url", u.Pointer, u.Scheme+"://"+u.Host+port+u.Path, say(u.Private, "private address", ""), say(u.Query, "with a query", ""))
	}
	for _, c := range a.Commands {
		add("command", c.Pointer, strings.Join(append([]string{c.Name}, c.Args...), " "), say(c.Dynamic, "what runs is decided at run time", ""),
			say(c.Reviewed, "on the list of reviewed commands", ""), say(c.Self, "calls sallyport", ""))
	}
	for _, s := range a.SQL {
		add("sql", s.Pointer, s.Verb+" "+strings.Join(s.Tables, ", "), say(s.Writes, "writes", "reads", "not known whether it writes"))
	}
	for _, p := range a.Recipients {
		add("recipient", p.Pointer, p.Value, p.Kind, say(p.Outside, "outside the organisation", "inside the organisation", "not known whether outside the organisation"))
	}
	for _, m := range a.Amounts {
		add("amount", m.Pointer, amount(m), say(m.Overflow, "overflow", ""))
	}
	for _, v := range q.Context.Flow.Arguments {
		if v.Sink != action.SinkNone && v.Sink != action.SinkUnknown {
			add("origin", v.Pointer, first(origins[v.Origin], string(v.Origin)), "used as "+string(v.Sink), v.Kind, "secrecy "+string(v.Secrecy))
		}
	}
	return bounded(out)
}

// risks puts the findings in words.
func risks(q *action.Query) []Fact {
	out := []Fact{}
	add := func(kind, at, value, note string) {
		out = append(out, Fact{Kind: kind, At: short(at), Value: text(value), Note: text(note)})
	}
	c := &q.Context
	if c.Detect.State == action.StateKnown {
		add("injection", "", fmt.Sprintf("%d of 1000", c.Detect.Injection), "")
		add("leak", "", fmt.Sprintf("%d of 1000", c.Detect.Leak), "")
		for _, s := range c.Detect.Secrets {
			add("secret", s.Pointer, s.Kind, fmt.Sprintf("%d bytes", s.Length))
		}
		for _, f := range c.Detect.Findings {
			add("finding", f.Pointer, f.Kind, f.Reason)
		}
	}
	if c.Monitor.State == action.StateKnown {
		add("risk", "", fmt.Sprintf("%d of 1000", c.Monitor.Risk), strings.Join(c.Monitor.Reasons, "; "))
	}
	if c.Flow.State == action.StateKnown {
		add("session", "", "untrusted text read: "+string(c.Flow.Tainted), "secrecy "+string(c.Flow.Session.Secrecy))
		add("asked for by the user", "", string(c.Flow.Asked), "")
	}
	if c.Session.State == action.SessionLost {
		add("session", "", "its past was lost", "")
	}
	return bounded(out)
}

// warnings say what makes the document itself hard to judge.
func warnings(q *action.Query, s *Shown) []string {
	out := []string{}
	if !s.Complete {
		out = append(out, "The middle of a long string is not shown.")
	}
	if strings.Contains(strings.Join(s.Arguments, ""), "⟨") {
		out = append(out, "The arguments hold invisible or unusual characters, shown as ⟨U+....⟩.")
	}
	rtl, mixed := scripts(strings.Join(s.Arguments, "\n"))
	if rtl {
		out = append(out, "The arguments hold letters that run from right to left.")
	}
	if mixed {
		out = append(out, "A word mixes the letters of several alphabets and may not be what it looks like.")
	}
	if q.Action.Typed != action.StateKnown {
		out = append(out, "No parser understood every argument; the facts may be incomplete.")
	}
	if q.Resource.Definition.State == action.DefinitionChanged {
		out = append(out, "The definition of the tool has changed since it was approved.")
	}
	if len(s.Facts) > maxFacts || len(s.Risk) > maxFacts {
		out = append(out, "There are more facts than are shown.")
	}
	return out
}

// scripts reports right-to-left letters, and words of Latin letters mixed with Cyrillic, Greek or
// Armenian ones.
func scripts(s string) (rtl, mixed bool) {
	var latin, other bool
	for _, r := range s {
		if !unicode.IsLetter(r) {
			latin, other = false, false
			continue
		}
		rtl = rtl || unicode.In(r, unicode.Hebrew, unicode.Arabic, unicode.Syriac, unicode.Thaana, unicode.Nko)
		latin = latin || unicode.Is(unicode.Latin, r)
		other = other || unicode.In(r, unicode.Cyrillic, unicode.Greek, unicode.Armenian)
		mixed = mixed || latin && other
	}
	return rtl, mixed
}

func bounded(f []Fact) []Fact {
	if len(f) > maxFacts {
		n := len(f) - maxFacts
		f = append(f[:maxFacts:maxFacts], Fact{Kind: "more", Value: fmt.Sprintf("%d further facts are not shown", n)})
	}
	return f
}

func obligation(o action.Obligation) string {
	keys := make([]string, 0, len(o.Params))
	for k := range o.Params {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for i, k := range keys {
		keys[i] = k + "=" + o.Params[k]
	}
	return text(string(o.Type) + " " + strings.Join(keys, " "))
}

// say puts t in words; unknown is what is said of a fact that nobody stated.
func say(t action.Tri, yes, no string, unknown ...string) string {
	switch t {
	case action.Yes:
		return yes
	case action.No:
		return no
	}
	return strings.Join(unknown, "")
}

func short(s string) string { return cut(s, maxShortBytes) }
func text(s string) string  { return cut(s, maxFactBytes) }

// cut renders s without reading more of it than can be shown.
func cut(s string, limit int) string {
	out, _ := clip(Visible(action.Clip(s, 4*limit)), s, limit)
	return out
}
