// SPDX-License-Identifier: Apache-2.0

// Package usage is the part of the input that a set of policies can see, so that the rest need not be
// built. Leaving out what no policy names changes no answer; whoever marks must err on the side of more.
package usage

import (
	"maps"
	"slices"
)

// Tree is a tree of names. A nil Tree sees everything, the zero Tree nothing.
type Tree struct {
	all    bool
	fields map[string]*Tree
}

// Mark says that everything at path is seen; no path at all is everything.
func (t *Tree) Mark(path ...string) {
	for _, name := range path {
		if t.fields == nil {
			t.fields = map[string]*Tree{}
		}
		next := t.fields[name]
		if next == nil {
			next = &Tree{}
			t.fields[name] = next
		}
		t = next
	}
	t.all = true
}

// Field returns what is seen below name, and whether anything is.
func (t *Tree) Field(name string) (*Tree, bool) {
	if t == nil || t.all {
		return nil, true
	}
	sub, ok := t.fields[name]
	return sub, ok
}

// Names are the names of which something is seen, sorted; none if everything is.
func (t *Tree) Names() []string {
	if t.Whole() {
		return nil
	}
	return slices.Sorted(maps.Keys(t.fields))
}

// Whole reports whether everything is seen.
func (t *Tree) Whole() bool { return t == nil || t.all }

// Known are texts of a query that are certain before the rest of it is: {"resource.name": "send_mail"}.
type Known map[string]string

// Paths returns what the texts are of, sorted.
func (k Known) Paths() []string { return slices.Sorted(maps.Keys(k)) }

// About reports whether the texts are of exactly these paths, which are sorted.
func (k Known) About(paths []string) bool {
	for _, p := range paths {
		if _, ok := k[p]; !ok {
			return false
		}
	}
	return len(k) == len(paths)
}
