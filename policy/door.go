// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"errors"
	"fmt"
)

// Door returns what decides at the door of that name, if the bundle has something of its own for it.
func (c *Compiled) Door(name string) (*Compiled, bool) {
	d, ok := c.doors[name]
	return d, ok
}

func (c *Compiled) openDoor(name string) error {
	b, err := c.source.Door(name)
	if err != nil {
		return err
	}
	d, err := compile(b, c.with)
	if err != nil {
		return fmt.Errorf("doors/%s: %w", name, err)
	}
	if c.doors == nil {
		c.doors = map[string]*Compiled{}
	}
	c.doors[name] = d
	return nil
}

// testDoors runs the cases of each door's bundle and adds what they showed to r, under the door's folder.
func (c *Compiled) testDoors(ctx context.Context, r *Report) error {
	for _, name := range c.source.Doors() {
		in, err := c.doors[name].Test(ctx)
		if err != nil {
			return err
		}
		at := "doors/" + name + "/"
		r.Cases, r.Allowing, r.Refusing = r.Cases+in.Cases, r.Allowing+in.Allowing, r.Refusing+in.Refusing
		for _, f := range in.Failures {
			f.File = at + f.File
			r.Failures = append(r.Failures, f)
		}
		for _, a := range in.answers {
			a.File = at + a.File
			r.answers = append(r.answers, a)
		}
		for _, id := range in.Uncovered {
			r.Uncovered = append(r.Uncovered, at+id)
		}
	}
	return nil
}

// allRules is how many rules the bundle has, those of its doors included.
func (c *Compiled) allRules() int {
	n := len(c.Rules())
	for _, d := range c.doors {
		n += d.allRules()
	}
	return n
}

// Replace makes c active whatever its sequence: for a door's bundle, whose order is that of the bundle that it is in.
func (p *PDP) Replace(c *Compiled) error {
	if c == nil {
		return errors.New("policy: no bundle")
	}
	p.active.Store(c)
	return nil
}
