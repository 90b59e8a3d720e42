// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"

	"github.com/sallyport/sallyport/action"
)

// Signals is the number of kinds of oddity.
const Signals = int(signals)

// Follow takes q through both gates as done, and returns the risk of its agent with it, in bits, and what q
// alone added, as they stood at gate one. It is for measurements; what policy sees is Inform's.
func (m *Profiles) Follow(ctx context.Context, q *action.Query) (risk, added float64, err error) {
	a := m.key.look(q)
	m.mu.Lock()
	before := m.profileOf(&a).decayed(a.Ms)
	v := m.judge(&a, true)
	m.mu.Unlock()
	if err := m.Reserve(ctx, q); err != nil {
		return 0, 0, err
	}
	m.Settle(ctx, q, action.StatusDone)
	return v.risk, v.risk - before, nil
}

// Calm forgets the risk of q's agent, as time does.
func (m *Profiles) Calm(q *action.Query) {
	a := m.key.look(q)
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.profile(&a)
	p.Risk, p.RiskMs = 0, 0
}
