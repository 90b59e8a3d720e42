// SPDX-License-Identifier: Apache-2.0

package tools

import "github.com/sallyport/sallyport/action"

// unreadable is a command of which nothing is known.
func unreadable(pointer string, self action.Tri) action.Command {
	return action.Command{Pointer: pointer, Dynamic: action.Yes, Reviewed: action.No, Self: self}
}

func (c *call) command(pointer, s string) { c.texts = append(c.texts, located{pointer, s}) }

func (c *call) workdir(pointer, s string) { c.path(pointer, s, action.EffectRead, true) }

func (c *call) opaque(pointer, s string) { c.addCommand(unreadable(pointer, action.TriUnknown)) }

func (c *call) addCommand(cmd action.Command) {
	if len(c.facts.Commands) < maxFacts {
		c.facts.Commands = append(c.facts.Commands, cmd)
	} else {
		c.over[2] = true
	}
}

func (c *call) commands() {
	for _, t := range c.texts {
		c.typed = false
		c.addCommand(unreadable(t.pointer, action.TriUnknown))
	}
}
