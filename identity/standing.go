// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

var _ enforce.Standing = (*Switch)(nil)

// Standing answers from memory. A subject without tenant or agent has no standing that could be known.
func (s *Switch) Standing(_ context.Context, sub *action.Subject, session string) action.Kill {
	k := action.UnknownKill()
	if sub == nil || sub.Tenant == "" || sub.ID == "" {
		return k
	}
	k.State, k.Revoked = action.StateKnown, s.revoked(sub)
	k.Owned = action.TriOf(s.leased() && (s.c.Owns == nil || s.c.Owns(sub.Tenant, sub.ID)))
	s.mu.RLock()
	defer s.mu.RUnlock()
	k.Epoch, k.Killed = s.epoch, action.No
	if len(s.orders) == 0 && len(s.hidden) == 0 {
		return k
	}
	for _, t := range targets(sub, session) {
		key := t.key()
		if _, ok := s.orders[key]; ok || (len(s.hidden) > 0 && s.hidden[s.mac(key)]) {
			k.Killed, k.Scope = action.Yes, t.Scope
			return k
		}
	}
	return k
}

// targets lists every kill that would stop the subject, widest first. An agent that acts for another one
// stops with it.
func targets(sub *action.Subject, session string) []Target {
	out := []Target{{Scope: KillAll}, {Scope: KillTenant, Tenant: sub.Tenant}, {Scope: KillAgent, Tenant: sub.Tenant, ID: sub.ID}}
	for _, d := range sub.Delegation {
		out = append(out, Target{Scope: KillAgent, Tenant: sub.Tenant, ID: d.ID})
	}
	if session != "" {
		out = append(out, Target{Scope: KillSession, Tenant: sub.Tenant, ID: session})
	}
	return out
}

func (s *Switch) revoked(sub *action.Subject) action.Tri {
	switch sub.Channel.Credential {
	case action.CredentialToken:
		if strings.Contains(sub.Channel.CredID, ":") {
			break // no token of ours has such an id
		}
		return action.TriOf(s.c.Tokens.Revoked(sub.Channel.CredID))
	case action.CredentialPeer:
		return action.TriOf(!slices.Contains(s.c.Tokens.c.PeerUIDs, sub.Channel.UID))
	}
	if s.c.Held == nil {
		return action.TriUnknown
	}
	return action.TriOf(!s.c.Held(sub))
}
