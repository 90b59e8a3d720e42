// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"slices"

	"github.com/sallyport/sallyport/action"
)

// RunHeader names the run that a supervisor's request belongs to. An owner that does not know the run refuses the
// request, so that nobody falls back to being an unconfined caller when the owner was restarted.
const RunHeader = "Sallyport-Run"

// Walls are what holds the program behind a caller, as the owner proved it itself.
type Walls struct {
	Run  string   // names the one run of the program
	Held []string // the walls that stand, in the order in which they were built
	All  bool     // there is no other
}

// Grade is the enforcement grade of a caller's action at a door whose own grade is door.
func (c *Caller) Grade(door action.Grade) action.Grade {
	if c.Walls != nil && c.Walls.All {
		return action.GradeConfined
	}
	return door
}

// Held are the walls around the caller, nil for none.
func (c *Caller) Held() []string {
	if c.Walls == nil {
		return nil
	}
	return slices.Clone(c.Walls.Held)
}
