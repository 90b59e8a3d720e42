// SPDX-License-Identifier: Apache-2.0

package action

import "github.com/go-json-experiment/json/jsontext"

// Flow is where the values of the action came from and where they go: the part of the flow column.
type Flow struct {
	State     State    `json:"state"`
	Arguments []Value  `json:"arguments"` // one per leaf of the arguments that matters, sorted by pointer
	Session   Labels   `json:"session"`   // what the session has touched so far, reserved reads included
	Sources   []Source `json:"sources"`   // the servers whose data the session holds, sorted
	Asked     Asked    `json:"asked"`     // whether the user's request asks for this effect
	Tainted   Tri      `json:"tainted"`   // untrusted text was read before
	Truncated Tri      `json:"index_truncated"`
	Result    Labels   `json:"result"`     // labels of what comes back (after), or is declared to (before)
	Request   Tri      `json:"request"`    // whether the user's request is known, told by somebody whom the model cannot reach
	Class     string   `json:"tool_class"` // what kind of thing the tool does: "read", "fetch", "send", "spend", "book", "destroy", "admin", "write", "profile", "credential", "login", "confirm", "execute"; "" if nobody knows
	Delegates Tri      `json:"delegates"`  // whether the request hands choices to a text: "do what stands on the list"
	Scope     Asked    `json:"scope"`      // whether the request means a set as a whole ("all", "every", "the rest")
}

// Value is one argument value with everything known of its origin.
type Value struct {
	Pointer   string     `json:"pointer"` // RFC 6901
	Kind      string     `json:"kind"`    // canonical type: "email", "host", "iban", "path", "id", "phone", "amount", "date", "text"
	Origin    Origin     `json:"origin"`  // the least trusted that applies
	Origins   []Origin   `json:"origins"` // all of them, sorted
	Selection Origin     `json:"selection"`
	Grade     string     `json:"grade"` // how the value relates to the request, "" when not computed: "user", "own", "linked", "matched", "queried", "set", "named", "chain", "paid", "listed", "tenant", "none", "tainted", "text"
	Sink      Sink       `json:"sink"`
	Secrecy   Secrecy    `json:"secrecy"`
	Owned     Tri        `json:"owned"` // belongs to the session's own user
	Known     Tri        `json:"known_destination"`
	Evidence  []Evidence `json:"evidence"`
	Role      string     `json:"role"`      // what the argument is for, in the words of tool packs, or "attribute" of a known tool that says nothing of it; "" if nobody knows
	Mentioned string     `json:"mentioned"` // "yes" if text that strangers may have written names the value too, or what its record is called; "no"; "" when not computed
	Carries   []string   `json:"carries"`   // what content takes along: "secret_field" (a value that records keep as a password, card or passport number), "link" (a stranger's address)
}

// Evidence points at the source of an origin.
type Evidence struct {
	Origin  Origin `json:"origin"`
	Source  string `json:"source"`  // tool key, record name or "request"
	Pointer string `json:"pointer"` // field within it
	Match   string `json:"match"`   // "exact", "decoded", "partial", "composed", "link"
}

// Origin is the provenance of a value.
type Origin string

// The origins, most trusted first.
const (
	OriginUnknown   Origin = "unknown"
	OriginUser      Origin = "user"
	OriginTenant    Origin = "tenant"
	OriginSchema    Origin = "schema" // a constant of an approved definition
	OriginNamed     Origin = "named"
	OriginUnseen    Origin = "unseen" // this door cannot see the user's words
	OriginAgent     Origin = "agent"
	OriginUntrusted Origin = "untrusted"
)

// Values lists the origins.
func (Origin) Values() []string {
	return []string{"unknown", "user", "tenant", "schema", "named", "unseen", "agent", "untrusted"}
}

// Sink is what an argument controls.
type Sink string

// The sinks.
const (
	SinkUnknown     Sink = "unknown"
	SinkNone        Sink = "none"        // content
	SinkDestination Sink = "destination" // recipient, payee, host, path outside, grantee
	SinkCommand     Sink = "command"
	SinkSelector    Sink = "selector"
	SinkAmount      Sink = "amount"
	SinkFlag        Sink = "flag"
	SinkCredential  Sink = "credential"
)

// Values lists the sinks.
func (Sink) Values() []string {
	return []string{"unknown", "none", "destination", "command", "selector", "amount", "flag", "credential"}
}

// Asked says whether the user's request speaks of the action's effect.
type Asked string

// The values of Asked.
const (
	AskedUnknown   Asked = "unknown"
	AskedYes       Asked = "yes"
	AskedDelegated Asked = "delegated"
	AskedNo        Asked = "no"
)

// Values lists them.
func (Asked) Values() []string { return []string{"unknown", "yes", "delegated", "no"} }

// Secrecy is how harmful it is if data gets out.
type Secrecy string

// The classes of secrecy, least first; unknown counts as secret.
const (
	SecrecyUnknown      Secrecy = "unknown"
	SecrecyPublic       Secrecy = "public"
	SecrecyInternal     Secrecy = "internal"
	SecrecyConfidential Secrecy = "confidential"
	SecrecySecret       Secrecy = "secret"
)

// Values lists the classes.
func (Secrecy) Values() []string {
	return []string{"unknown", "public", "internal", "confidential", "secret"}
}

// Worse returns the higher of two classes; unknown is the highest.
func (s Secrecy) Worse(t Secrecy) Secrecy {
	if s.level() >= t.level() {
		return s
	}
	return t
}

func (s Secrecy) level() int {
	for i, v := range s.Values()[1:] {
		if string(s) == v {
			return i
		}
	}
	return len(s.Values())
}

// Labels is what data carries: whether strangers may have written it, how secret it is, whose it is.
type Labels struct {
	Untrusted Tri      `json:"untrusted"`
	Secrecy   Secrecy  `json:"secrecy"`
	Subjects  []string `json:"subjects"` // whose data, as tenant pseudonyms; sorted
	Opaque    Tri      `json:"opaque"`   // some of it could not be decoded
}

// Source is one server whose data is in the session.
type Source struct {
	Server    string  `json:"server"`
	Tool      string  `json:"tool"`
	Secrecy   Secrecy `json:"secrecy"`
	Untrusted Tri     `json:"untrusted"`
}

// UnknownLabels are the labels of data that nobody looked at.
func UnknownLabels() Labels {
	return Labels{Untrusted: TriUnknown, Secrecy: SecrecyUnknown, Opaque: TriUnknown}
}

func (f Flow) isPart() {}

// Put writes f to the context.
func (f Flow) Put(q *Query) { q.Context.Flow = f }

// UnknownFlow is the flow part before anyone stated it.
func UnknownFlow() Flow {
	return Flow{State: StateUnknown, Session: UnknownLabels(), Asked: AskedUnknown, Tainted: TriUnknown,
		Truncated: TriUnknown, Result: UnknownLabels(), Request: TriUnknown, Delegates: TriUnknown, Scope: AskedUnknown}
}

// Path is one file-system path among the arguments.
type Path struct {
	Pointer  string `json:"pointer"`
	Raw      string `json:"raw"`
	Resolved string `json:"resolved"`  // absolute, dots and links removed; "" if it could not be
	Root     string `json:"root"`      // the declared root that holds it; "" if none does
	Inside   Tri    `json:"inside"`    // resolved within a declared root
	Traverse Tri    `json:"traversal"` // dot-dot or a link leads out of the root, is hidden by an encoding, or can be read in two ways
	Private  Tri    `json:"private"`   // within our own data directory, or a credential store
	Exists   Tri    `json:"exists"`
	Access   Effect `json:"access"` // read, write or destroy
}

// URL is one URL or host among the arguments.
type URL struct {
	Pointer string   `json:"pointer"`
	Scheme  string   `json:"scheme"`
	Host    string   `json:"host"` // punycode, lower case
	Port    int      `json:"port"`
	Path    string   `json:"path"`
	Domain  string   `json:"domain"`  // registrable domain; "" for an address
	Account string   `json:"account"` // of a multi-tenant service
	Query   Tri      `json:"query"`   // carries a query string
	Private Tri      `json:"private"` // loopback, link local, private range or metadata address
	Addrs   []string `json:"addresses"`
}

// Command is one simple command within a shell argument, or an argument vector.
type Command struct {
	Pointer  string   `json:"pointer"`
	Name     string   `json:"name"` // base name of the program; "" if dynamic
	Args     []string `json:"args"`
	Verb     string   `json:"verb"`     // first word that is no flag: "status" of "git status"
	Dynamic  Tri      `json:"dynamic"`  // substitution, variable or eval decides what runs
	Writes   []string `json:"writes"`   // redirect targets
	Reviewed Tri      `json:"reviewed"` // on the list of commands that only build, test or look
	Self     Tri      `json:"self"`     // calls sallyport
}

// SQL is one statement among the arguments.
type SQL struct {
	Pointer string   `json:"pointer"`
	Dialect string   `json:"dialect"`
	Verb    string   `json:"verb"`
	Tables  []string `json:"tables"`
	Writes  Tri      `json:"writes"`
	Parsed  State    `json:"parsed"`
}

// Recipient is a person, account or group that receives something.
type Recipient struct {
	Pointer string `json:"pointer"`
	Kind    string `json:"kind"` // "email", "phone", "iban", "account", "channel", "user"
	Value   string `json:"value"`
	Domain  string `json:"domain"`
	Outside Tri    `json:"outside"` // of the organisation
}

// Amount is money in minor units: Minor * 10^-Exponent of Currency.
type Amount struct {
	Pointer  string `json:"pointer"`
	Minor    int64  `json:"minor"`
	Exponent int    `json:"exponent"`
	Currency string `json:"currency"` // ISO 4217; "" when not said
	Overflow Tri    `json:"overflow"` // yes: the number did not fit and Minor is MaxNumber
}

// Result is what came back, as far as gate two may look at it; "none" before.
type Result struct {
	Status    ResultStatus   `json:"status"`
	Content   jsontext.Value `json:"content"` // found secrets replaced; null before and when too large
	Bytes     int64          `json:"bytes"`
	Truncated Tri            `json:"truncated"` // larger than gate two may hold
	Opaque    Tri            `json:"opaque"`    // holds parts that cannot be decoded
	Kind      string         `json:"kind"`      // "result", "error", "progress", "log", "elicitation", "sampling", "reasoning", "provided", "none"
}

// ResultStatus is how an execution ended.
type ResultStatus string

// The states of a result.
const (
	ResultUnknown ResultStatus = "unknown"
	ResultNone    ResultStatus = "none"
	ResultDone    ResultStatus = "done"
	ResultFailed  ResultStatus = "failed"
)

// Values lists the states.
func (ResultStatus) Values() []string { return []string{"unknown", "none", "done", "failed"} }

// NoResult is the result part at the first gate.
func NoResult() Result {
	return Result{Status: ResultNone, Content: jsontext.Value("null"), Truncated: No, Opaque: No, Kind: "none"}
}
