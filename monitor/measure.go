// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"math"

	"github.com/sallyport/sallyport/action"
)

// Signals is the number of kinds of oddity.
const Signals = int(signals)

// Follow takes q as done in its session without learning from it, and returns the risk of its agent with
// it, in bits, and what q alone added. It is for measurements; what policy sees is Inform's.
func (m *Profiles) Follow(q *action.Query) (risk, added float64) {
	a := m.key.look(q)
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.profileOf(&a).decayed(a.Ms)
	v := m.worry(&a, 0)
	t := m.trail(a.Session)
	t.Prev[1], t.Prev[0] = t.Prev[0], a.Tool
	return v.risk, v.risk - before
}

// Calm forgets the risk of q's agent, as time does.
func (m *Profiles) Calm(q *action.Query) {
	a := m.key.look(q)
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.profile(&a)
	p.Risk, p.RiskMs = 0, 0
}

// MilliOf is a risk in bits on the scale of action.Monitor.
func MilliOf(risk float64) int { return milli(1 - math.Exp2(-risk/riskUnit)) }
