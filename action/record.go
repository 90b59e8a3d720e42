// SPDX-License-Identifier: Apache-2.0

package action

import "slices"

// Kind is the kind of a record. The list is closed.
type Kind string

// The kinds of record.
const (
	KindSession     Kind = "session"
	KindContext     Kind = "context"
	KindDecision    Kind = "decision" // a deny or an ask; an allow stands in its intent
	KindApproval    Kind = "approval"
	KindIntent      Kind = "intent"
	KindRound       Kind = "round"
	KindOutcome     Kind = "outcome"
	KindRelease     Kind = "release"
	KindLate        Kind = "late"
	KindUnknown     Kind = "unknown"
	KindPolicy      Kind = "policy"
	KindTool        Kind = "tool"
	KindAttestation Kind = "attestation"
	KindAlert       Kind = "alert"
	KindKill        Kind = "kill"
	KindKey         Kind = "key"
	KindErasure     Kind = "erasure"
	KindAccess      Kind = "access"
	KindAnchor      Kind = "anchor"
)

// Values lists every kind.
func (Kind) Values() []string {
	return []string{"session", "context", "decision", "approval", "intent", "round", "outcome", "release", "late",
		"unknown", "policy", "tool", "attestation", "alert", "kill", "key", "erasure", "access", "anchor"}
}

// Known reports whether k is on the list.
func (k Kind) Known() bool { return slices.Contains(k.Values(), string(k)) }

// Reserved reports whether space is kept back for records of this kind when the disk runs full, so that
// refusing and stopping always remain possible.
func (k Kind) Reserved() bool {
	switch k {
	case KindDecision, KindKill, KindRelease, KindApproval, KindOutcome, KindUnknown, KindLate:
		return true
	}
	return false
}

// Status is where an action stands.
type Status string

// The life of an action: asked, granted, intended, then done, failed or unknown, then released,
// withheld or held. Refused is a deny, or an ask that was refused or expired.
const (
	StatusNone     Status = "none"
	StatusAsked    Status = "asked"
	StatusGranted  Status = "granted"
	StatusRefused  Status = "refused"
	StatusIntended Status = "intended"
	StatusDone     Status = "done"
	StatusFailed   Status = "failed"
	StatusUnknown  Status = "unknown"
	StatusReleased Status = "released"
	StatusWithheld Status = "withheld"
	StatusHeld     Status = "held"
)

// Values lists the states.
func (Status) Values() []string {
	return []string{"none", "asked", "granted", "refused", "intended", "done", "failed", "unknown", "released",
		"withheld", "held"}
}

// Durability is how safe a record must be before its action goes on.
type Durability string

// The levels, weakest first. The zero value is local.
const (
	DurabilityLazy       Durability = "lazy"
	DurabilityLocal      Durability = "local"
	DurabilityReplicated Durability = "replicated"
	DurabilityWitnessed  Durability = "witnessed"
)

// Values lists the levels, weakest first.
func (Durability) Values() []string { return []string{"lazy", "local", "replicated", "witnessed"} }

// Record is one entry of the ledger as its author states it. The ledger replaces Agent, User, Server,
// Tool and Actor by per-tenant keyed pseudonyms, seals Parts, and adds time order, the session's own
// sequence and the digest of the session's previous leaf. Nothing in a leaf is free text that an agent
// or user supplied.
//
// (Action, Round, Kind) is unique for kinds that belong to an action.
type Record struct {
	Kind       Kind          `json:"kind"`
	Tenant     string        `json:"tenant"`
	TimeMs     int64         `json:"time_ms"` // wall clock of the author
	Action     string        `json:"action"`  // id; "" for records of no action
	Round      int           `json:"round"`
	Session    string        `json:"session"` // minted by us
	Agent      string        `json:"agent"`
	User       string        `json:"user"`
	Actor      string        `json:"actor"` // who did it when that is not the agent: an approver, an operator
	Door       Door          `json:"door"`
	Server     string        `json:"server"`
	Tool       string        `json:"tool"`
	Effect     Effect        `json:"effect"`
	Phase      Phase         `json:"phase"`
	Verdict    Verdict       `json:"verdict"`  // "" where nothing was decided
	Enforced   bool          `json:"enforced"` // false: observe mode let it pass
	Status     Status        `json:"status"`
	Rules      []string      `json:"rules"`
	Codes      []string      `json:"codes"`
	Bundle     Bundle        `json:"bundle"`
	Engines    []Engine      `json:"engines"`
	Call       string        `json:"call"`    // keyed fingerprint of (door, call id)
	Binding    string        `json:"binding"` // keyed fingerprint of tool and argument bytes; of an outcome, of what came back
	Grant      string        `json:"grant"`   // approval id
	Channel    Rank          `json:"channel"` // of an approval
	Grade      Grade         `json:"grade"`
	Separation Separation    `json:"separation"`
	Observed   Tri           `json:"observed"`
	Assurance  int           `json:"assurance"`
	Model      int           `json:"model"`
	Durability Durability    `json:"durability"`
	Epoch      int64         `json:"epoch"`   // of the cell's ownership
	Subject    string        `json:"subject"` // of the record where that is no action: a key id, a bundle digest, a definition digest; of an intent or decision on a call of a model's answer, that call's action; of such a call itself, "offer:" and a keyed fingerprint
	Count      int64         `json:"count"`   // of a counted record: malformed attempts in a window
	Parts      []PayloadPart `json:"parts"`
}

// PayloadPart is plaintext to be sealed with the record under the key of (Owner, Name's class).
type PayloadPart struct {
	Name  PartName
	Owner string // whose data it is: the user if there is one, else the agent
	Data  []byte
}

// PartName is a closed list of payload parts; each has its own key class.
type PartName string

// The parts of a payload.
const (
	PartInputBefore PartName = "input.before" // the complete Query
	PartInputAfter  PartName = "input.after"
	PartArguments   PartName = "arguments" // raw bytes as they are executed
	PartResult      PartName = "result"    // raw bytes as they came back
	PartReleased    PartName = "released"  // bytes as they were released, where they differ from the result
	PartReasoning   PartName = "reasoning"
	PartUserRequest PartName = "user_request"
	PartExplanation PartName = "explanation" // the complete Decision
	PartShown       PartName = "shown"       // what an approver saw
	PartDetail      PartName = "detail"      // of records that belong to no action
)

// Values lists the parts.
func (PartName) Values() []string {
	return []string{"input.before", "input.after", "arguments", "result", "released", "reasoning", "user_request", "explanation",
		"shown", "detail"}
}

// Part returns the data of the named part, or nil.
func (r *Record) Part(name PartName) []byte {
	for _, p := range r.Parts {
		if p.Name == name {
			return p.Data
		}
	}
	return nil
}

// Receipt is proof that a record stands in the log: Index in Origin's tree, within a signed checkpoint
// of Size leaves that is durable. It is opaque to agents.
type Receipt struct {
	Origin string `json:"origin"`
	Index  uint64 `json:"index"`
	Size   uint64 `json:"size"`
	Leaf   string `json:"leaf"` // "sha256:..." of the leaf
}
