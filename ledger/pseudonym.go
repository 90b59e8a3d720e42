// SPDX-License-Identifier: Apache-2.0

package ledger

import "github.com/sallyport/sallyport/action"

// pseudonym replaces an identity: the same for the same (tenant, kind, id), meaningless without the
// log's secret. The empty id stays empty.
func (k *keyring) pseudonym(kind, id string) string {
	if id == "" {
		return ""
	}
	who := identity{kind: kind, id: id}
	k.mu.RLock()
	known := k.known[who]
	k.mu.RUnlock()
	if known == "" {
		known = k.learn(who)
	}
	return known
}

// identities puts the pseudonyms of those whom r names into l.
func (k *keyring) identities(l *Leaf, r *action.Record) {
	who := [...]struct {
		as identity
		to *string
	}{
		{identity{kind: "agent", id: r.Agent}, &l.Agent}, {identity{kind: "user", id: r.User}, &l.User},
		{identity{kind: "actor", id: r.Actor}, &l.Actor}, {identity{kind: "server", id: r.Server}, &l.Server},
		{identity{kind: "tool", id: r.Tool, split: true, server: r.Server}, &l.Tool},
	}
	k.mu.RLock()
	for i := range who {
		*who[i].to = ""
		if who[i].as.id != "" {
			*who[i].to = k.known[who[i].as]
		}
	}
	k.mu.RUnlock()
	for i := range who {
		if who[i].as.id != "" && *who[i].to == "" {
			*who[i].to = k.learn(who[i].as)
		}
	}
}

// learn derives a pseudonym and remembers it.
func (k *keyring) learn(who identity) string {
	id := who.id
	if who.split {
		id = action.ToolKey(who.server, id)
	}
	known := base32.EncodeToString(mac(k.pseudonyms, []byte(who.kind), []byte(id))[:16])
	if len(who.server)+len(who.id) > 512 {
		return known
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.known) >= maxCachedNames {
		clear(k.known)
	}
	k.known[who] = known
	return known
}
