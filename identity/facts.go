// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// Facts states whether the agent has a record and how well its credential proves it. The user's own
// rights stay unknown. It answers from memory.
func (t *Tokens) Facts() enforce.Informer { return facts{t} }

type facts struct{ t *Tokens }

func (f facts) Inform(_ context.Context, q *action.Query) (action.Part, error) {
	p := action.UnknownIdentity()
	_, ok := f.t.agent(q.Subject.Tenant, q.Subject.ID)
	p.State, p.Registered, p.Assurance = action.StateKnown, action.TriOf(ok), assurance(q.Subject.Channel.Credential)
	return p, nil
}

// assurance grades a credential. Peer credentials prove a uid, which many programs share: no better than
// a bearer secret.
func assurance(c action.Credential) int {
	switch c {
	case action.CredentialMTLS, action.CredentialDPoP, action.CredentialSVID:
		return 1
	}
	return 0
}

// Unattested states that nothing is proved about the runtime, and whether the agent's record demands that
// it were: then the kernel denies. It stands in until evidence is appraised.
func (t *Tokens) Unattested() enforce.Informer { return unattested{t} }

type unattested struct{ t *Tokens }

func (f unattested) Inform(_ context.Context, q *action.Query) (action.Part, error) {
	p := action.UnknownAttestation()
	a, _ := f.t.agent(q.Subject.Tenant, q.Subject.ID)
	p.State, p.Needed = action.StateKnown, action.TriOf(a.Lease)
	return p, nil
}
