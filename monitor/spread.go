// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"fmt"
	"slices"
)

// scope is whose actions a rule looks back over.
type scope uint8

const (
	perSession scope = iota
	perAgent         // in all its sessions and versions
	perUser          // of all agents that act for him
	perTenant
	scopes
)

var scopeWords = [scopes]string{"session", "agent", "user", "tenant"}

func scopeOf(word string) (scope, error) {
	if word == "" {
		return perSession, nil
	}
	i := slices.Index(scopeWords[:], word)
	if i < 0 {
		return 0, fmt.Errorf("per: %q is not one of %v", word, scopeWords)
	}
	return scope(i), nil
}

// note puts a into the trails that rules look back over: all of it into its session's, and what a wider rule looks
// for into the wider one's, so that a busy tenant does not push out what matters. It needs mu.
func (m *Profiles) note(a *act) {
	m.trail(a.Spread[perSession]).note(a)
	wide := &m.rules.Load().wide
	for s := perAgent; s < scopes; s++ {
		if a.Spread[s] != 0 && a.Matches&wide[s] != 0 {
			m.trail(a.Spread[s]).note(a)
		}
	}
}

// trailAt is the trail of a key, an empty one if there is none. It needs mu.
func (m *Profiles) trailAt(key uint64) *trail {
	if e, ok := m.sessions[key]; ok {
		return e.Value.(*trail)
	}
	return &nowhere
}

// completed returns the rules whose last step a takes after the others, by bit. It needs mu.
func (m *Profiles) completed(r *Rules, a *act) (done uint64) {
	for i := range r.rules {
		x := &r.rules[i]
		if key := a.Spread[x.per]; key != 0 && x.completed(m.trailAt(key), a) {
			done |= 1 << i
		}
	}
	return done
}

// trail returns the trail of a key, making it if there is none. It needs mu.
func (m *Profiles) trail(key uint64) *trail {
	if e, ok := m.sessions[key]; ok {
		m.trails.MoveToFront(e)
		return e.Value.(*trail)
	}
	for len(m.sessions) >= m.cfg.MaxSessions {
		old := m.trails.Back()
		delete(m.sessions, old.Value.(*trail).Key)
		m.trails.Remove(old)
	}
	t := &trail{Key: key}
	m.sessions[key] = m.trails.PushFront(t)
	return t
}
