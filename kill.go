// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/identity"
)

// killLease is how long this process acts on what it knows of kills without its loop having come round.
const killLease = time.Second

// byPolicy orders the kills of quarantines.
const byPolicy = "policy"

// watchKills does what a stop means for things under way: running calls are cancelled, and open asks and
// unused grants revoked, whoever ordered it. The egress proxy closes its tunnels itself.
func (s *Sallyport) watchKills(ctx context.Context) error {
	last := int64(0)
	for {
		changed := s.Kill.Changed()
		orders := s.Kill.Orders()
		if len(orders) > 0 {
			s.Enforcer.Interrupt(func(sub *action.Subject, session string) bool {
				return s.Kill.Standing(ctx, sub, session).Killed == action.Yes
			})
		}
		for _, o := range orders {
			if o.Epoch <= last {
				continue
			}
			last = o.Epoch
			if o.By != byPolicy {
				continue // whoever stopped it by hand revokes in his own name
			}
			f := approval.Filter{}
			switch o.Scope {
			case identity.KillSession:
				f.Session = o.ID
			case identity.KillAgent:
				f.Agent = o.ID
			}
			who := approval.Actor{ID: byPolicy, Channel: action.RankOperator}
			_, _ = s.Approval.RevokeAll(ctx, f, who, "stopped by the policy") // the kernel denies whatever is left
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}
