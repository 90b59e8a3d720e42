// SPDX-License-Identifier: Apache-2.0

package action

// Part is one informer's statement. Put writes it to the place in q that is its own, and nowhere else.
// Only the types of this package are parts.
type Part interface {
	Put(q *Query)
	isPart()
}

// ToolFacts is what a tool is and what its arguments mean: the part that the tools column states.
type ToolFacts struct {
	Effect     Effect
	Source     EffectSource
	Reversible Tri
	Idempotent Tri
	Typed      State
	Zone       Zone
	Definition Definition
	Paths      []Path
	URLs       []URL
	Commands   []Command
	SQL        []SQL
	Recipients []Recipient
	Amounts    []Amount
}

func (f ToolFacts) isPart() {}

// Put writes f into the action and resource of q.
func (f ToolFacts) Put(q *Query) {
	a := &q.Action
	a.Effect, a.Source, a.Reversible, a.Idempotent, a.Typed = f.Effect, f.Source, f.Reversible, f.Idempotent, f.Typed
	a.Paths, a.URLs, a.Commands, a.SQL, a.Recipients, a.Amounts = f.Paths, f.URLs, f.Commands, f.SQL, f.Recipients, f.Amounts
	q.Resource.Zone, q.Resource.Definition = f.Zone, f.Definition
}

// Identity is what is known of the agent's record and of the rights of the user it acts for.
type Identity struct {
	State      State    `json:"state"`
	Registered Tri      `json:"registered"` // there is an agent record
	Assurance  int      `json:"assurance"`  // 0..4: A0 bearer, A1 software key, A2 measured, A3 TPM, A4 TEE
	Model      int      `json:"model"`      // 0..3: M0 declared, M1 digest, M2 signed, M3 kernel-enforced
	Rights     Rights   `json:"rights"`
	Roles      []string `json:"roles"`
}

// Rights is whether the user could do this himself.
type Rights struct {
	State     State  `json:"state"`
	Permitted Tri    `json:"permitted"`
	Source    string `json:"source"`
	Version   string `json:"version"`
	AgeS      int64  `json:"age_s"`
}

func (f Identity) isPart() {}

// Put writes f to the subject.
func (f Identity) Put(q *Query) { q.Subject.Identity = f }

// UnknownIdentity is the identity part before anyone stated it.
func UnknownIdentity() Identity {
	return Identity{State: StateUnknown, Registered: TriUnknown,
		Rights: Rights{State: StateUnknown, Permitted: TriUnknown, AgeS: MaxNumber}}
}

// Attestation is what is proved about the runtime that acts. A lease of 0 has lapsed.
type Attestation struct {
	State      State    `json:"state"`
	Kind       string   `json:"kind"`      // "none", "tpm", "sgx", "tdx", "sev-snp", "nitro", "supervisor"
	Assurance  int      `json:"assurance"` // as Identity.Assurance, but proved by this evidence
	Model      int      `json:"model"`
	TCB        string   `json:"tcb"` // graded status of the platform; "unknown"
	Advisory   []string `json:"advisories"`
	Executable string   `json:"executable"` // AR4SI: "unknown", "affirming", "warning", "contraindicated"
	Config     string   `json:"configuration"`
	Hardware   string   `json:"hardware"`
	Weights    string   `json:"weights"` // digest of the model's files; "" when not measured
	Debug      Tri      `json:"debug"`
	AgeS       int64    `json:"age_s"`
	LeaseS     int64    `json:"lease_s"`      // seconds left; 0 when lapsed or unknown
	Needed     Tri      `json:"lease_needed"` // yes if the agent's record demands a live lease
	Evidence   string   `json:"evidence"`     // digest of the evidence
}

func (f Attestation) isPart() {}

// Put writes f to the subject.
func (f Attestation) Put(q *Query) { q.Subject.Attested = f }

// UnknownAttestation is the attestation part before anyone stated it.
func UnknownAttestation() Attestation {
	return Attestation{State: StateUnknown, Kind: "none", TCB: "unknown", Executable: "unknown", Config: "unknown",
		Hardware: "unknown", Debug: TriUnknown, AgeS: MaxNumber, Needed: TriUnknown}
}

// Detect is what the detectors found in the arguments (before) or the result (after).
type Detect struct {
	State     State     `json:"state"`
	Injection int       `json:"injection_milli"` // 0..1000
	Leak      int       `json:"leak_milli"`
	Canary    Tri       `json:"canary"`
	Secrets   []Secret  `json:"secrets"`
	Findings  []Finding `json:"findings"`
	Opaque    Tri       `json:"opaque"` // something could not be decoded, so absence of findings says little
	Truncated Tri       `json:"truncated"`
}

// Secret is a found secret in the place of its value.
type Secret struct {
	Kind    string `json:"kind"`
	Length  int    `json:"length"`
	Print   string `json:"fingerprint"` // keyed per tenant
	Pointer string `json:"pointer"`
}

// Finding is one detector's finding.
type Finding struct {
	Kind    string `json:"kind"`  // "injection", "leak", "canary", "poisoning", ...
	Layer   string `json:"layer"` // the decode layers it was found under: "plain", "base64", ...
	Reason  string `json:"reason"`
	Pointer string `json:"pointer"`
	Start   int    `json:"start"` // byte span in the value at Pointer
	End     int    `json:"end"`
	Score   int    `json:"score_milli"`
}

func (f Detect) isPart() {}

// Put writes f to the context.
func (f Detect) Put(q *Query) { q.Context.Detect = f }

// UnknownDetect is the detectors' part before anyone stated it.
func UnknownDetect() Detect {
	return Detect{State: StateUnknown, Injection: MaxMilli, Leak: MaxMilli, Canary: TriUnknown, Opaque: TriUnknown, Truncated: TriUnknown}
}

// Monitor is how usual the action is for its agent.
type Monitor struct {
	State     State    `json:"state"`
	Risk      int      `json:"risk_milli"`
	P         int      `json:"p_milli"` // conformal p-value; 0 is most unusual
	Learning  Tri      `json:"learning"`
	FirstTool Tri      `json:"first_tool"`        // this agent never used the tool
	FirstDest Tri      `json:"first_destination"` // this agent never reached the destination
	ToolAgeD  int64    `json:"tool_age_days"`     // since first seen; 0 when new or unknown
	DestAgeD  int64    `json:"destination_age_days"`
	PeerShare int      `json:"peer_share_milli"` // of peers that use the tool; 0 when unknown
	Reasons   []string `json:"reasons"`
	Alerts    []string `json:"alerts"` // ids of chains that the action completes; "unusual"; "drift"
}

func (f Monitor) isPart() {}

// Put writes f to the context.
func (f Monitor) Put(q *Query) { q.Context.Monitor = f }

// UnknownMonitor is the monitor's part before anyone stated it.
func UnknownMonitor() Monitor {
	return Monitor{State: StateUnknown, Risk: MaxMilli, Learning: TriUnknown, FirstTool: TriUnknown, FirstDest: TriUnknown}
}

// History holds the counters and windows that the bundle declared.
type History struct {
	State    State     `json:"state"`
	Counters []Counter `json:"counters"` // sorted by name
}

// Counter is one declared counter with what is already reserved in it.
type Counter struct {
	Name   string `json:"name"`
	State  State  `json:"state"`
	Value  int64  `json:"value"` // MaxNumber when unknown
	Window string `json:"window"`
}

func (f History) isPart() {}

// Put writes f to the context.
func (f History) Put(q *Query) { q.Context.History = f }

// UnknownHistory is the history before anyone stated it.
func UnknownHistory() History { return History{State: StateUnknown} }

// Approval is what people or a second system said about exactly this action.
type Approval struct {
	Status    ApprovalStatus `json:"status"`
	ID        string         `json:"id"`
	Channel   Rank           `json:"channel"` // the weakest channel among the approvers
	Approvers []string       `json:"approvers"`
	Rules     []string       `json:"rules"` // the asking rules that it answers
	ExpiresMs int64          `json:"expires_ms"`
	Edited    Tri            `json:"edited"`
	SameUID   Tri            `json:"same_uid"` // an approver shares the agent's uid: separation is none
	Digest    string         `json:"digest"`   // of what was bound
}

// ApprovalStatus is where an ask stands.
type ApprovalStatus string

// The states of an ask. The zero value is none.
const (
	ApprovalUnknown ApprovalStatus = "unknown"
	ApprovalNone    ApprovalStatus = "none"
	ApprovalPending ApprovalStatus = "pending"
	ApprovalGranted ApprovalStatus = "granted"
	ApprovalRefused ApprovalStatus = "refused"
	ApprovalExpired ApprovalStatus = "expired"
)

// Values lists the states.
func (ApprovalStatus) Values() []string {
	return []string{"unknown", "none", "pending", "granted", "refused", "expired"}
}

// Rank is how well the one who approved was proved to be a person apart from the agent.
type Rank string

// The ranks of approval channels, weakest first.
const (
	RankUnknown  Rank = "unknown"
	RankClient   Rank = "client"   // the agent's own client asked its user
	RankJudge    Rank = "judge"    // a second automated system
	RankBearer   Rank = "bearer"   // a token; the person is unproved
	RankOperator Rank = "operator" // a login or a signed command line
	RankPasskey  Rank = "passkey"
)

// Values lists the ranks, weakest first.
func (Rank) Values() []string {
	return []string{"unknown", "client", "judge", "bearer", "operator", "passkey"}
}

// AtLeast reports whether r is as strong as need. A judge never stands in for a person: it satisfies
// only an ask that names it. An unknown need is satisfied by nothing.
func (r Rank) AtLeast(need Rank) bool {
	if need.index() == 0 || r.index() == 0 {
		return false // unknown, or on no list
	}
	if r == RankJudge || need == RankJudge {
		return r == need || (need == RankJudge && r.index() > RankJudge.index())
	}
	return r.index() >= need.index()
}

func (r Rank) index() int {
	for i, v := range r.Values() {
		if string(r) == v {
			return i
		}
	}
	return 0
}

func (f Approval) isPart() {}

// Put writes f to the context.
func (f Approval) Put(q *Query) { q.Context.Approval = f }

// NoApproval is the approval part of an action that nobody was asked about.
func NoApproval() Approval {
	return Approval{Status: ApprovalNone, Channel: RankUnknown, Edited: TriUnknown, SameUID: TriUnknown}
}

// Kill is whether the agent, the session or everything was stopped, and whether this process still
// owns the session's cell.
type Kill struct {
	State   State  `json:"state"`
	Killed  Tri    `json:"killed"`
	Scope   string `json:"scope"` // "none", "session", "agent", "tenant", "all"
	Epoch   int64  `json:"epoch"`
	Revoked Tri    `json:"revoked"` // the credential was withdrawn
	Owned   Tri    `json:"owned"`   // this process holds the cell (tenant, agent)
}

func (f Kill) isPart() {}

// Put writes f to the context.
func (f Kill) Put(q *Query) { q.Context.Kill = f }

// UnknownKill is the kill part before anyone stated it; the kernel denies on it.
func UnknownKill() Kill {
	return Kill{State: StateUnknown, Killed: TriUnknown, Scope: "none", Revoked: TriUnknown, Owned: TriUnknown}
}

// Enforcement says how strong this gate is for this action.
type Enforcement struct {
	Grade      Grade      `json:"grade"`
	Separation Separation `json:"separation"`
	Observed   Tri        `json:"observed"` // we executed it ourselves and saw the result; no for claims
	Confined   []string   `json:"confined"` // which walls held under run
}

// Grade is the enforcement grade of a door.
type Grade string

// The grades. Only confined may claim that there was no other way out.
const (
	GradeUnknown  Grade = "unknown"
	GradeHook     Grade = "hook"
	GradeProxy    Grade = "proxy"
	GradeConfined Grade = "confined"
)

// Values lists the grades.
func (Grade) Values() []string { return []string{"unknown", "hook", "proxy", "confined"} }

// Separation is what keeps the agent from approving its own asks.
type Separation string

// The kinds of separation.
const (
	SeparationUnknown  Separation = "unknown"
	SeparationNone     Separation = "none" // agent and approver share a uid
	SeparationUID      Separation = "uid"
	SeparationConfined Separation = "confined"
	SeparationPasskey  Separation = "passkey"
)

// Values lists the kinds.
func (Separation) Values() []string { return []string{"unknown", "none", "uid", "confined", "passkey"} }

// UnknownEnforcement is the enforcement part before a door stated it.
func UnknownEnforcement() Enforcement {
	return Enforcement{Grade: GradeUnknown, Separation: SeparationUnknown, Observed: TriUnknown}
}
