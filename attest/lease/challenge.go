// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"encoding/hex"
	"slices"
	"time"

	"github.com/sallyport/sallyport/action"
)

// Challenge is what evidence must answer, once and soon.
type Challenge struct {
	ID      string
	Nonce   []byte // 32 bytes
	Head    string // of the ledger
	Expires time.Time

	tenant, agent string
}

// Challenge makes a challenge for an agent. Its oldest open ones make room.
func (b *Book) Challenge(s *action.Subject) (Challenge, error) {
	id, err := b.random(16)
	if err != nil {
		return Challenge{}, err
	}
	nonce, err := b.random(32)
	if err != nil {
		return Challenge{}, err
	}
	now := b.c.Now()
	c := Challenge{ID: hex.EncodeToString(id), Nonce: nonce, Head: b.c.Head(), Expires: now.Add(ChallengeFor), tenant: s.Tenant, agent: s.ID}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.challenges) >= maxChallenges {
		b.sweep(now)
	}
	var own []Challenge
	for _, o := range b.challenges {
		if o.tenant == s.Tenant && o.agent == s.ID {
			own = append(own, o)
		}
	}
	if len(own) >= maxPerAgent {
		oldest := slices.MinFunc(own, func(x, y Challenge) int { return x.Expires.Compare(y.Expires) })
		delete(b.challenges, oldest.ID)
	}
	if len(b.challenges) >= maxChallenges {
		return Challenge{}, ErrBusy
	}
	b.challenges[c.ID] = c
	return c, nil
}

// Take spends a challenge of the agent s, whatever comes of it. It returns ErrChallenge for any other.
func (b *Book) Take(s *action.Subject, id string) (Challenge, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, ok := b.challenges[id]
	if !ok || c.tenant != s.Tenant || c.agent != s.ID {
		return Challenge{}, ErrChallenge
	}
	delete(b.challenges, id)
	if !b.c.Now().Before(c.Expires) {
		return Challenge{}, ErrChallenge
	}
	return c, nil
}
