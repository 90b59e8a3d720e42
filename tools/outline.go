// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"strings"

	"github.com/sallyport/sallyport/action"
)

// Outline is what those who follow values need to know of a tool.
type Outline struct {
	// Class is the kind of verb, finer than the effect: "read", "fetch", "send", "spend", "book", "destroy",
	// "admin", "write", "profile", "credential", "login", "confirm" or "execute"; "" if nothing is known.
	Class string
	Words []string // of the name, in lower case; shared, not to be changed
	About []string // of the description's first sentence: what the tool does something to
	plan  *plan
}

// Outline returns what is known of the tool that q calls. It takes no lock.
func (r *Registry) Outline(q *action.Query) Outline {
	pl, _ := r.standing(r.snap.Load(), q)
	return Outline{Class: string(pl.class), Words: pl.named, About: pl.about, plan: pl}
}

// Role is what the argument at pointer is for, in the words of packs, and "" if nothing is known; name is
// that of the nearest member. A pack's word goes before the schema's, and that before the name's.
func (o Outline) Role(pointer, name string) string {
	if o.plan == nil {
		return ""
	}
	ro, _ := o.plan.role(pattern(pointer), name)
	return string(ro)
}

// Field is what a field of the tool's result may vouch for, as a pack that speaks for the tool declares it by
// the pattern of its pointer; "" if none does.
func (o Outline) Field(pointer string) string {
	if o.plan == nil {
		return ""
	}
	return o.plan.output[pointer]
}

// pattern replaces the indices of a pointer by "*".
func pattern(pointer string) string {
	if !strings.ContainsAny(pointer, "0123456789") {
		return pointer
	}
	steps := strings.Split(pointer, "/")
	for i, s := range steps {
		if s != "" && strings.Trim(s, "0123456789") == "" {
			steps[i] = "*"
		}
	}
	return strings.Join(steps, "/")
}
