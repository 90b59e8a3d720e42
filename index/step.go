// SPDX-License-Identifier: Apache-2.0

package index

import (
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
)

// Step is one record as people read it. Names are readable where they could be opened, else pseudonyms.
type Step struct {
	Index      uint64            `json:"index"` // in the ledger: there it can be proved
	Leaf       string            `json:"leaf"`
	TimeMs     int64             `json:"time_ms"`
	Kind       action.Kind       `json:"kind"`
	Action     string            `json:"action"`
	Round      int               `json:"round"`
	Session    string            `json:"session"`
	Agent      string            `json:"agent"`
	User       string            `json:"user"`
	Actor      string            `json:"actor"`
	Door       action.Door       `json:"door"`
	Server     string            `json:"server"`
	Tool       string            `json:"tool"`
	Effect     action.Effect     `json:"effect"`
	Phase      action.Phase      `json:"phase"`
	Verdict    action.Verdict    `json:"verdict"` // "" where nothing was decided
	Enforced   bool              `json:"enforced"`
	Status     action.Status     `json:"status"`
	Rules      []string          `json:"rules"`
	Codes      []string          `json:"codes"`
	Bundle     string            `json:"bundle"` // digest of the policy
	Sequence   int64             `json:"sequence"`
	Grant      string            `json:"grant"`
	Channel    action.Rank       `json:"channel"`
	Grade      action.Grade      `json:"grade"`
	Separation action.Separation `json:"separation"`
	Observed   action.Tri        `json:"observed"`
	Durability action.Durability `json:"durability"`
	Assurance  int               `json:"assurance"` // what was proved of the agent's runtime, 0..4
	Model      int               `json:"model"`     // and of its model, 0..3
	Subject    string            `json:"subject"`
	Count      int64             `json:"count"`
	Reason     string            `json:"reason"` // for people; "" if it could not be opened
	Hint       string            `json:"hint"`   // what the agent was told
	Replay     *Replayed         `json:"replay,omitempty"`
	sealed     bool              // the names are pseudonyms
	learned    []named           // what some of them stand for
	deciding   []string          // rules that decided; all of the record's where the explanation cannot be opened
}

// The bounds of what one record puts into the view.
const (
	maxNameBytes = 256
	maxTextBytes = 512
	maxListItems = 64
	maxOpenBytes = 4 << 20 // a larger sealed part is not opened for names or reasons
)

// stepOf makes a step of e, opening what people need to read it.
func stepOf(e Entry, l *learner) Step {
	r := e.Record
	s := Step{
		Index: e.Index, Leaf: clean(e.Leaf, maxNameBytes), TimeMs: r.TimeMs, Kind: word(r.Kind), Action: clean(r.Action, maxNameBytes),
		Round: r.Round, Session: clean(r.Session, maxNameBytes), Agent: clean(r.Agent, maxNameBytes), User: clean(r.User, maxNameBytes),
		Actor: clean(r.Actor, maxNameBytes), Door: word(r.Door), Server: clean(r.Server, maxNameBytes), Tool: clean(r.Tool, maxNameBytes),
		Effect: word(r.Effect), Phase: word(r.Phase), Verdict: word(r.Verdict), Enforced: r.Enforced, Status: word(r.Status),
		Rules: cleanAll(r.Rules), Codes: cleanAll(r.Codes), Bundle: clean(r.Bundle.Digest, maxNameBytes), Sequence: r.Bundle.Sequence,
		Grant: clean(r.Grant, maxNameBytes), Channel: word(r.Channel), Grade: word(r.Grade), Separation: word(r.Separation),
		Observed: word(r.Observed), Durability: word(r.Durability), Assurance: r.Assurance, Model: r.Model, Subject: clean(r.Subject, maxNameBytes), Count: r.Count,
	}
	if e.Sealed {
		s.sealed, s.learned = true, l.learn(e)
	}
	switch {
	case r.Verdict != "":
		s.deciding = s.Rules
		s.readReason(e)
	case r.Kind == action.KindAlert:
		s.readSummary(e)
	}
	return s
}

// readSummary takes the sentence of an alert as its reason.
func (s *Step) readSummary(e Entry) {
	var detail struct {
		Summary string `json:"summary"`
	}
	if b := open(e, action.PartDetail); b != nil && json.Unmarshal(b, &detail) == nil {
		s.Reason = clean(detail.Summary, maxTextBytes)
	}
}

// open returns a part, or nil if it is missing, erased or too large. What cannot be opened is only not
// shown: the record itself stands in the log either way.
func open(e Entry, part action.PartName) []byte {
	if e.Open == nil {
		return nil
	}
	b, err := e.Open(part)
	if err != nil || len(b) > maxOpenBytes {
		return nil
	}
	return b
}

// readReason takes reason and hint from the recorded explanation.
func (s *Step) readReason(e Entry) {
	b := open(e, action.PartExplanation)
	var d action.Decision
	if b == nil || json.Unmarshal(b, &d) != nil {
		return
	}
	var reasons []string
	if d.Verdict == s.Verdict {
		s.deciding = nil
	}
	for _, m := range d.Deciding() {
		if d.Verdict == s.Verdict && len(s.deciding) < maxListItems {
			s.deciding = append(s.deciding, clean(m.ID, maxNameBytes))
		}
		if m.Reason != "" && len(reasons) < maxListItems {
			reasons = append(reasons, m.Reason)
		}
	}
	s.Reason, s.Hint = clean(strings.Join(reasons, "; "), maxTextBytes), clean(d.Hint(), maxTextBytes)
}

// clean is what of a record's text is shown: at most n bytes, inert.
func clean(s string, n int) string { return action.Inert(s, n) }

func word[T ~string](w T) T { return T(clean(string(w), 32)) }

func cleanAll(list []string) []string {
	out := make([]string, 0, min(len(list), maxListItems))
	for _, s := range list[:min(len(list), maxListItems)] {
		out = append(out, clean(s, maxNameBytes))
	}
	return out
}

func join(list []string) string { return strings.Join(list, "\n") }

func split(s string) []string {
	if s == "" {
		return []string{}
	}
	return strings.Split(s, "\n")
}

// ToolKey names the step's tool, "" if it has none.
func (s *Step) ToolKey() string {
	if s.Server == "" && s.Tool == "" {
		return ""
	}
	return action.ToolKey(s.Server, s.Tool)
}

// values of s in the order of columns.
func (s *Step) values() []any {
	return []any{s.Index, s.Leaf, s.TimeMs, string(s.Kind), s.Action, s.Round, s.Session, s.Agent, s.User, s.Actor, string(s.Door),
		s.Server, s.Tool, string(s.Effect), string(s.Phase), string(s.Verdict), s.Enforced, string(s.Status), join(s.Rules),
		join(s.Codes), s.Bundle, s.Sequence, s.Grant, string(s.Channel), string(s.Grade), string(s.Separation), string(s.Observed),
		string(s.Durability), s.Assurance, s.Model, s.Subject, s.Count, s.Reason, s.Hint}
}

// scan reads columns into s.
func (s *Step) scan(row interface{ Scan(...any) error }) error {
	var rules, codes string
	err := row.Scan(&s.Index, &s.Leaf, &s.TimeMs, &s.Kind, &s.Action, &s.Round, &s.Session, &s.Agent, &s.User, &s.Actor, &s.Door,
		&s.Server, &s.Tool, &s.Effect, &s.Phase, &s.Verdict, &s.Enforced, &s.Status, &rules, &codes, &s.Bundle, &s.Sequence,
		&s.Grant, &s.Channel, &s.Grade, &s.Separation, &s.Observed, &s.Durability, &s.Assurance, &s.Model, &s.Subject, &s.Count, &s.Reason, &s.Hint)
	s.Rules, s.Codes = split(rules), split(codes)
	return err
}
