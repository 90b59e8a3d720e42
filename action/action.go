// SPDX-License-Identifier: Apache-2.0

// Package action holds the words that every part of Sallyport shares: who acts, on what, with which
// facts known, what was decided, and what was recorded.
//
// It does no I/O and depends on nothing but the standard library and a strict JSON package. All types
// are plain values; none is safe for concurrent mutation, all are safe for concurrent reading.
//
// # Unknown is a value
//
// Every fact has an explicit unknown. A part that nobody stated keeps the value that its Unknown
// constructor gives it: State is "unknown" and each number holds the value that is worst for the
// agent, so a threshold that forgot to look at State fails closed.
package action

import "strings"

// Effect is what an action does to the world, in the words of the policy. The zero value reads as
// EffectUnknown and counts as the worst.
type Effect string

// The effects, from harmless to worst. Respond is the final answer to the user.
const (
	EffectUnknown Effect = "unknown"
	EffectRead    Effect = "read"
	EffectRespond Effect = "respond"
	EffectWrite   Effect = "write"
	EffectExecute Effect = "execute"
	EffectSend    Effect = "send"
	EffectDestroy Effect = "destroy"
	EffectSpend   Effect = "spend"
	EffectAdmin   Effect = "admin"
)

// NameResult is the action of a result that an agent brings to its model, of a call that the door to the model
// does not know: a read of a resource that nobody declared.
const NameResult = "llm/result"

// Values lists every effect, the unknown one first.
func (Effect) Values() []string {
	return []string{"unknown", "read", "respond", "write", "execute", "send", "destroy", "spend", "admin"}
}

// Severity orders effects for combination: 0 is a read, larger is graver, an unknown or unlisted
// effect is gravest.
func (e Effect) Severity() int {
	for i, v := range e.Values()[1:] {
		if string(e) == v {
			return i
		}
	}
	return len(e.Values())
}

// SideEffect reports whether an action of this effect may change anything; unknown may.
func (e Effect) SideEffect() bool { return e != EffectRead && e != EffectRespond }

// EffectSource says on whose word the effect rests. A server's own hint never lowers an effect.
type EffectSource string

// The sources of an effect, weakest first.
const (
	EffectSourceUnknown EffectSource = "unknown"
	EffectInferred      EffectSource = "inferred" // from name, description and schema
	EffectDeclared      EffectSource = "declared" // by a pack
	EffectApproved      EffectSource = "approved" // by an operator for this definition digest
)

// Values lists every source.
func (EffectSource) Values() []string { return []string{"unknown", "inferred", "declared", "approved"} }

// State says whether a part of the input document was stated at all.
type State string

// The states of a part of facts.
const (
	StateUnknown State = "unknown" // nobody stated it
	StateKnown   State = "known"
	StateFailed  State = "failed" // its source erred or was late: the kernel denies
)

// Values lists every state.
func (State) Values() []string { return []string{"unknown", "known", "failed"} }

// Tri is a fact that is true, false or not known. Policies compare it with a string, so that a
// forgotten case is visible in the rule.
type Tri string

// The three values of Tri.
const (
	TriUnknown Tri = "unknown"
	Yes        Tri = "yes"
	No         Tri = "no"
)

// Values lists the three values.
func (Tri) Values() []string { return []string{"unknown", "yes", "no"} }

// TriOf returns Yes or No.
func TriOf(b bool) Tri {
	if b {
		return Yes
	}
	return No
}

// Phase says at which of the two gates a query is asked.
type Phase string

// The two gates.
const (
	PhaseUnknown Phase = "unknown"
	Before       Phase = "before"
	After        Phase = "after"
)

// Values lists the phases.
func (Phase) Values() []string { return []string{"unknown", "before", "after"} }

// Asserter says who stood behind a statement. What the agent asserts may lower trust, never raise it.
type Asserter string

// Who may assert, from the least to the most trusted.
const (
	AssertedUnknown  Asserter = "unknown"
	AssertedAgent    Asserter = "agent"
	AssertedSDK      Asserter = "sdk"
	AssertedLLMRole  Asserter = "llm_role"
	AssertedHook     Asserter = "hook"
	AssertedFrontEnd Asserter = "front_end"
	AssertedOperator Asserter = "operator"
)

// Values lists every asserter.
func (Asserter) Values() []string {
	return []string{"unknown", "agent", "sdk", "llm_role", "hook", "front_end", "operator"}
}

// HostScoped reports whether the assertion came through a door that the model cannot reach, so that
// it may raise trust.
func (a Asserter) HostScoped() bool {
	switch a {
	case AssertedSDK, AssertedLLMRole, AssertedHook, AssertedFrontEnd, AssertedOperator:
		return true
	}
	return false
}

// Word returns v, or "unknown" for the zero value of a word.
func Word[T ~string](v T) string {
	if v == "" {
		return "unknown"
	}
	return string(v)
}

// ToolKey is the identity of a tool in policies, records and indexes: "server/name".
func ToolKey(server, name string) string { return server + "/" + name }

// SplitToolKey undoes ToolKey; a name may hold further slashes, a server may not.
func SplitToolKey(key string) (server, name string) {
	server, name, _ = strings.Cut(key, "/")
	return server, name
}
