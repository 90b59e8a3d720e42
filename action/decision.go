// SPDX-License-Identifier: Apache-2.0

package action

import "slices"

// Verdict is the outcome of a decision. The zero value reads as deny.
type Verdict string

// The verdicts, least restrictive first.
const (
	Allow      Verdict = "allow"
	Ask        Verdict = "ask"
	Deny       Verdict = "deny"
	Quarantine Verdict = "quarantine" // deny, and stop the session
)

// Values lists the verdicts, least restrictive first. A decision has no unknown: anything else denies.
func (Verdict) Values() []string { return []string{"allow", "ask", "deny", "quarantine"} }

func (v Verdict) level() int {
	switch v {
	case Allow:
		return 0
	case Ask:
		return 1
	case Quarantine:
		return 3
	}
	return 2
}

// Meet returns the more restrictive of two verdicts. Anything unlisted counts as deny.
func (v Verdict) Meet(w Verdict) Verdict {
	if w.level() > v.level() {
		v = w
	}
	if v.level() == 2 {
		return Deny
	}
	return v
}

// Decision is what the policy answered. The zero Decision denies.
type Decision struct {
	Verdict     Verdict      `json:"verdict"`
	Matches     []Match      `json:"matches"` // the rules that led to Verdict, sorted by ID
	Obligations []Obligation `json:"obligations"`
	Mode        Mode         `json:"mode"`
	Bundle      Bundle       `json:"bundle"`
	Engines     []Engine     `json:"engines"`
	Errors      []string     `json:"errors"` // evaluation errors, each already turned into a deny match
}

// Match is one rule that fired.
type Match struct {
	ID       string   `json:"id"` // "pack.rule"
	Verdict  Verdict  `json:"verdict"`
	Code     string   `json:"code"`     // stable, machine readable
	Reason   string   `json:"reason"`   // for people
	Hint     string   `json:"hint"`     // for the agent; reveals no policy
	Severity string   `json:"severity"` // "low", "medium", "high", "critical"
	Always   bool     `json:"always"`   // enforced even in observe mode: secrets leaving, integrity faults
	Approver Approver `json:"approver"` // for ask: who can satisfy it
}

// Approver is what an ask demands. Its zero value can be satisfied by an operator.
type Approver struct {
	Channel Rank   `json:"channel"` // weakest channel that counts; "" means operator
	Quorum  int    `json:"quorum"`  // 0 means 1
	TTL     int    `json:"ttl_s"`   // 0 means the approver's default
	Group   string `json:"group"`   // "" means anyone with the scope

	Apart         bool   `json:"apart"`       // nobody counts who is the user for whom the agent acts
	EscalateAfter int    `json:"escalate_s"`  // seconds after which EscalateTo counts beside Group; 0 means never
	EscalateTo    string `json:"escalate_to"` // group

	// What the sign-in behind an answer must have been, as the identity provider says; each adds to Channel.
	ACR    string `json:"acr,omitzero"`       // one of these levels, separated by spaces; "" means any
	AMR    string `json:"amr,omitzero"`       // all of these methods, separated by spaces; "" means any
	MaxAge int    `json:"max_age_s,omitzero"` // seconds since the person proved himself; 0 means any; a passkey's signature is new
}

// Need returns the weakest channel that satisfies the ask.
func (a Approver) Need() Rank {
	if a.Channel == "" || a.Channel == RankUnknown {
		return RankOperator
	}
	return a.Channel
}

// Mode says whether the verdict binds.
type Mode string

// The modes. Anything but observe enforces.
const (
	Enforce Mode = "enforce"
	Observe Mode = "observe"
)

// Values lists the modes.
func (Mode) Values() []string { return []string{"enforce", "observe"} }

// Bundle names the policy that decided.
type Bundle struct {
	Name     string `json:"name"`
	Digest   string `json:"digest"` // "sha256:..."
	Sequence int64  `json:"sequence"`
	Expires  int64  `json:"expires_ms"` // 0 means it does not expire
}

// Engine is one evaluator that took part.
type Engine struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Obligation is something that must be done for an allow to stand. One that the enforcement point does
// not know denies.
type Obligation struct {
	Type   ObligationType    `json:"type"`
	Rule   string            `json:"rule"` // the rule that demands it
	Done   bool              `json:"done"` // carried out already: the decision was taken on the bytes it led to
	Params map[string]string `json:"params"`
}

// ObligationType is a closed list.
type ObligationType string

// The obligations. The rewriting ones are applied in the order rewrite, redact, mask, cap.
const (
	ObligeRewrite    ObligationType = "rewrite"    // pointer, value (JSON): replace an argument
	ObligeRedact     ObligationType = "redact"     // pointer, or kind=secret: remove it
	ObligeMask       ObligationType = "mask"       // pointer, or kind=KIND,... of personal data; keep=N: show only the last N characters
	ObligeCap        ObligationType = "cap"        // pointer, max: lower a number
	ObligeDurability ObligationType = "durability" // level=lazy|local|replicated|witnessed
	ObligeLabel      ObligationType = "label"      // untrusted, secrecy: labels of the result
	ObligeScan       ObligationType = "scan"       // the result is held until it is scanned as a whole
	ObligeNotify     ObligationType = "notify"     // channel, text
	ObligeKeep       ObligationType = "keep"       // part=reasoning: what the agent said of its reasons is stored
)

// Values lists every obligation.
func (ObligationType) Values() []string {
	return []string{"rewrite", "redact", "mask", "cap", "durability", "label", "scan", "notify", "keep"}
}

// Known reports whether t is on the list.
func (t ObligationType) Known() bool { return slices.Contains(t.Values(), string(t)) }

// Rewrites reports whether t changes bytes.
func (t ObligationType) Rewrites() bool {
	return t == ObligeRewrite || t == ObligeRedact || t == ObligeMask || t == ObligeCap
}

// Meet combines the answers of two engines: the more restrictive verdict with all the rules that led to
// it, every obligation of both, every error. Engines that agree on allow need both to have said so;
// the caller makes sure that each engine was asked.
func (d Decision) Meet(e Decision) Decision {
	out := d
	out.Verdict = d.Verdict.Meet(e.Verdict)
	out.Matches = append(slices.Clone(d.Matches), e.Matches...)
	out.Obligations = append(slices.Clone(d.Obligations), e.Obligations...)
	out.Engines = append(slices.Clone(d.Engines), e.Engines...)
	out.Errors = append(slices.Clone(d.Errors), e.Errors...)
	if d.Mode == Observe && e.Mode != Observe {
		out.Mode = Enforce
	}
	slices.SortStableFunc(out.Matches, func(a, b Match) int { return cmpString(a.ID, b.ID) })
	return out
}

// Permitted reports whether d lets the action go on without asking anyone.
func (d *Decision) Permitted() bool { return d.Verdict == Allow }

// Deciding returns the matches whose verdict is the decision's own.
func (d *Decision) Deciding() []Match {
	var out []Match
	for _, m := range d.Matches {
		if m.Verdict.level() == d.Verdict.level() {
			out = append(out, m)
		}
	}
	return out
}

// Hint is what the agent is told: the first hint among the deciding rules, else a sentence that says
// only what happened.
func (d *Decision) Hint() string {
	for _, m := range d.Deciding() {
		if m.Hint != "" {
			return m.Hint
		}
	}
	switch d.Verdict {
	case Allow:
		return ""
	case Ask:
		return "A person has to approve this call."
	}
	return "This call is not permitted."
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
