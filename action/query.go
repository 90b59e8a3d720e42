// SPDX-License-Identifier: Apache-2.0

package action

import "github.com/go-json-experiment/json/jsontext"

// Version is the version of the input document that this build writes.
const Version = "agent.v1"

// Query is the input document agent.v1: everything a decision may depend on, and nothing else. It is
// closed, holds no floats, and contains every nondeterminism (time, counters, resolved addresses,
// digests), so that the same Query under the same bundle gives the same Decision for ever. Its shape is
// AuthZEN's: subject, action, resource, context.
//
// Start from NewQuery: a Query built by hand has empty words, which encode as invalid.
type Query struct {
	Version  string   `json:"version"`
	Phase    Phase    `json:"phase"`
	ID       string   `json:"id"`    // of the action; minted by enforce
	Round    int      `json:"round"` // 0 for the only or first exchange
	Subject  Subject  `json:"subject"`
	Action   Act      `json:"action"`
	Resource Resource `json:"resource"`
	Context  Context  `json:"context"`
}

// Subject is who acts and for whom. All of it comes from the channel, never from a body.
type Subject struct {
	Type       string      `json:"type"` // "agent"
	ID         string      `json:"id"`   // the agent record's id
	Tenant     string      `json:"tenant"`
	Instance   string      `json:"instance"` // one running agent; "" if the door cannot tell
	User       User        `json:"user"`
	Delegation []Delegate  `json:"delegation"` // outermost first
	Scopes     []Scope     `json:"scopes"`
	Channel    Channel     `json:"channel"`
	Identity   Identity    `json:"identity"`
	Attested   Attestation `json:"attested"`
}

// User is the person the agent acts for. Rights follow only from Verified.
type User struct {
	ID       string   `json:"id"` // "" when nobody is named
	Verified Tri      `json:"verified"`
	Groups   []string `json:"groups"`
	AuthnAge int64    `json:"authn_age_s"` // seconds since the person authenticated; MaxNumber when unknown
	Evidence string   `json:"evidence"`    // what proves it: "none", "asserted", "oidc", "peer", "exchange"
}

// Delegate is one link of a delegation chain.
type Delegate struct {
	ID     string  `json:"id"`
	Scopes []Scope `json:"scopes"`
}

// Scope is a right of a credential on the outer contracts.
type Scope string

// The scopes. A token within reach of the model must never hold ScopeHost.
const (
	ScopeAgent          Scope = "agent"
	ScopeHost           Scope = "host"
	ScopeTenantData     Scope = "tenant-data"
	ScopeToolAdmin      Scope = "tool-admin"
	ScopeViewer         Scope = "viewer"
	ScopeApprover       Scope = "approver"
	ScopeAuthor         Scope = "author"
	ScopePolicyApprover Scope = "policy-approver"
	ScopeAuditor        Scope = "auditor"
	ScopeAdmin          Scope = "admin"
	ScopeAuthZEN        Scope = "authzen" // ask for decisions that the caller enforces itself
)

// Values lists every scope.
func (Scope) Values() []string {
	return []string{"unknown", "agent", "host", "tenant-data", "tool-admin", "viewer", "approver", "author",
		"policy-approver", "auditor", "admin", "authzen"}
}

// Channel is how the subject reached us.
type Channel struct {
	Door       Door       `json:"door"`
	Credential Credential `json:"credential"`
	CredID     string     `json:"credential_id"` // id of the token or certificate, never the secret
	UID        int64      `json:"uid"`           // peer uid; -1 where the channel has none
	PID        int64      `json:"pid"`           // peer process; -1 where the channel has none
	Remote     Tri        `json:"remote"`        // yes if it came over anything but loopback or a unix socket
}

// Door names an entrance.
type Door string

// The doors.
const (
	DoorUnknown Door = "unknown"
	DoorAPI     Door = "api"
	DoorMCP     Door = "mcp"
	DoorHook    Door = "hook"
	DoorLLM     Door = "llm"
	DoorEgress  Door = "egress"
	DoorCLI     Door = "cli"
	DoorAuthZEN Door = "authzen"
)

// Values lists every door.
func (Door) Values() []string {
	return []string{"unknown", "api", "mcp", "hook", "llm", "egress", "cli", "authzen"}
}

// Credential is the kind of proof a channel carried.
type Credential string

// The kinds of credential.
const (
	CredentialUnknown Credential = "unknown"
	CredentialToken   Credential = "token"
	CredentialPeer    Credential = "peer" // kernel peer credentials of a unix socket
	CredentialMTLS    Credential = "mtls"
	CredentialDPoP    Credential = "dpop"
	CredentialSVID    Credential = "svid"
)

// Values lists every kind.
func (Credential) Values() []string {
	return []string{"unknown", "token", "peer", "mtls", "dpop", "svid"}
}

// Act is what is to be done, with the typed facts that policy engines cannot parse out of text.
type Act struct {
	Name       string         `json:"name"` // protocol method: "tools/call", "prompts/get", "respond", "http.request", ...
	Effect     Effect         `json:"effect"`
	Source     EffectSource   `json:"effect_source"`
	Reversible Tri            `json:"reversible"`
	Idempotent Tri            `json:"idempotent"`
	Typed      State          `json:"typed"`     // whether the lists below were filled by a parser that understood every argument
	Arguments  jsontext.Value `json:"arguments"` // as sent, found secrets replaced by {kind, length, fingerprint}; an object
	Bytes      int64          `json:"bytes"`     // of the raw arguments
	Paths      []Path         `json:"paths"`
	URLs       []URL          `json:"urls"`
	Commands   []Command      `json:"commands"`
	SQL        []SQL          `json:"sql"`
	Recipients []Recipient    `json:"recipients"`
	Amounts    []Amount       `json:"amounts"`
}

// Resource is the thing acted on: a tool, prompt, resource, model or host of a server.
type Resource struct {
	Type       string     `json:"type"`   // "tool", "prompt", "resource", "model", "host", "message"
	ID         string     `json:"id"`     // ToolKey(Server, Name)
	Server     string     `json:"server"` // our name of the upstream
	Name       string     `json:"name"`
	Zone       Zone       `json:"zone"`
	Definition Definition `json:"definition"`
}

// Zone says whether what we tell the server stays with us. Arguments to a server outside are also sent.
type Zone string

// The zones.
const (
	ZoneUnknown Zone = "unknown" // counts as outside
	ZoneInside  Zone = "inside"
	ZoneOutside Zone = "outside"
)

// Values lists the zones.
func (Zone) Values() []string { return []string{"unknown", "inside", "outside"} }

// Definition is the pinned description of a tool.
type Definition struct {
	State    DefinitionState `json:"state"`
	Digest   string          `json:"digest"`   // "sha256:..." of the canonical definition; "" when there is none
	Registry string          `json:"registry"` // digest of the whole registry at the time
	Upstream string          `json:"upstream"` // identity of the server behind the name: command digest or URL origin
	Pack     string          `json:"pack"`     // the pack that declared it; "" if none did
	Poisoned Tri             `json:"poisoned"` // the description carries instructions
}

// DefinitionState is where a tool definition stands.
type DefinitionState string

// The states of a definition. Pending tools are usable as unknown.
const (
	DefinitionUnknown  DefinitionState = "unknown" // never listed
	DefinitionPending  DefinitionState = "pending"
	DefinitionApproved DefinitionState = "approved"
	DefinitionChanged  DefinitionState = "changed"
)

// Values lists the states.
func (DefinitionState) Values() []string {
	return []string{"unknown", "pending", "approved", "changed"}
}

// Context is everything else a decision may look at.
type Context struct {
	Time        Time        `json:"time"`
	Session     Session     `json:"session"`
	Flow        Flow        `json:"flow"`
	Detect      Detect      `json:"detect"`
	Monitor     Monitor     `json:"monitor"`
	History     History     `json:"history"`
	Approval    Approval    `json:"approval"`
	Kill        Kill        `json:"kill"`
	Enforcement Enforcement `json:"enforcement"`
	Result      Result      `json:"result"`
}

// Time is when the query was asked, from the highest time that the log has ever recorded or the wall
// clock, whichever is later.
type Time struct {
	UnixMilli int64 `json:"unix_ms"`
	Hour      int   `json:"hour"`    // 0..23 in UTC
	Weekday   int   `json:"weekday"` // 0 is Sunday
}

// Session is the conversation the action belongs to.
type Session struct {
	ID       string       `json:"id"`
	State    SessionState `json:"state"`
	Seq      int64        `json:"seq"`      // actions so far
	AgeS     int64        `json:"age_s"`    // seconds
	Roots    []string     `json:"roots"`    // resolved folders the host declared for this session, or the server's own argument
	Cwd      string       `json:"cwd"`      // as told by a host-scoped door; "" if none
	Request  Statement    `json:"request"`  // what the user asked for, as told by a host-scoped door
	Inherits Tri          `json:"inherits"` // labels came over from an earlier session of the same agent and user
}

// SessionState says what we know of a session's past.
type SessionState string

// The states of a session.
const (
	SessionUnknown SessionState = "unknown"
	SessionLive    SessionState = "live"
	SessionLost    SessionState = "lost" // its state did not survive; labels may be missing
)

// Values lists the states.
func (SessionState) Values() []string { return []string{"unknown", "live", "lost"} }

// Statement is text with the one who stands behind it. The text itself lives in the sealed payload.
type Statement struct {
	By    Asserter `json:"by"`
	Bytes int64    `json:"bytes"`
	Print string   `json:"fingerprint"` // keyed; "" if there is none
}

// NewQuery returns a query at gate p in which every fact is explicitly unknown.
func NewQuery(p Phase) *Query {
	return &Query{
		Version: Version,
		Phase:   p,
		Subject: Subject{
			Type: "agent", Tenant: "default",
			User:     User{Verified: TriUnknown, AuthnAge: MaxNumber, Evidence: "none"},
			Channel:  Channel{Door: DoorUnknown, Credential: CredentialUnknown, UID: -1, PID: -1, Remote: TriUnknown},
			Identity: UnknownIdentity(), Attested: UnknownAttestation(),
		},
		Action: Act{
			Effect: EffectUnknown, Source: EffectSourceUnknown, Reversible: TriUnknown, Idempotent: TriUnknown,
			Typed: StateUnknown, Arguments: jsontext.Value("{}"),
		},
		Resource: Resource{
			Type: "tool", Zone: ZoneUnknown,
			Definition: Definition{State: DefinitionUnknown, Poisoned: TriUnknown},
		},
		Context: Context{
			Session: Session{State: SessionUnknown, Request: Statement{By: AssertedUnknown}, Inherits: TriUnknown},
			Flow:    UnknownFlow(), Detect: UnknownDetect(), Monitor: UnknownMonitor(), History: UnknownHistory(),
			Approval: NoApproval(), Kill: UnknownKill(), Enforcement: UnknownEnforcement(), Result: NoResult(),
		},
	}
}

// Blank returns a copy of q without anything that an agent or a server supplied: what may still be
// recorded when found secrets could not be replaced.
func (q *Query) Blank() *Query {
	b := *q
	b.Action.Arguments = jsontext.Value("{}")
	b.Action.Paths, b.Action.URLs, b.Action.Commands = nil, nil, nil
	b.Action.SQL, b.Action.Recipients, b.Action.Amounts = nil, nil, nil
	b.Context.Flow.Arguments = nil
	b.Context.Result.Content = jsontext.Value("null")
	return &b
}

// MaxNumber is the largest integer that survives every JSON reader, 2^53-1. Unknown ages and counters
// hold it.
const MaxNumber int64 = 1<<53 - 1

// MaxMilli is a certain score: the value of an unknown risk.
const MaxMilli = 1000
