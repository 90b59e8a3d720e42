// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"fmt"
	"slices"

	"github.com/sallyport/sallyport/action"
)

// Peer returns who called over the unix socket, from the kernel's word: the user is the process's uid,
// the agent is Config.Local. It returns ErrUnauthenticated for a uid that is not on Config.PeerUIDs.
//
// The kernel proves the uid and nothing else: any process of that user can call, an agent's shell too.
func (t *Tokens) Peer(uid, pid int64) (Principal, error) {
	if uid < 0 || !slices.Contains(t.c.PeerUIDs, uid) {
		return Principal{}, ErrUnauthenticated
	}
	name := t.userName(uid)
	s := action.NewQuery(action.Before).Subject
	s.ID, s.Tenant, s.Scopes = t.c.Local, t.c.Tenants[0], slices.Clone(t.c.PeerScopes)
	s.User.ID, s.User.Verified, s.User.Evidence = name, action.Yes, "peer"
	s.Channel.Credential, s.Channel.CredID = action.CredentialPeer, fmt.Sprintf("uid:%d", uid)
	s.Channel.UID, s.Channel.PID, s.Channel.Remote = uid, pid, action.No
	return Principal{Subject: s, Name: name}, nil
}

// userName names uid, and remembers it: the system may ask a network for it.
func (t *Tokens) userName(uid int64) string {
	t.mu.RLock()
	name, ok := t.users[uid]
	t.mu.RUnlock()
	if ok {
		return name
	}
	name, err := t.c.UserName(uid)
	if err != nil || name == "" || checkText("user", name, 128) != nil {
		name = fmt.Sprintf("uid:%d", uid)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.users[uid] = name
	return name
}
