// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"bytes"
	"strings"
	"unicode"

	"github.com/sallyport/sallyport/action"
)

// A server may speak about another's tools: "before you use send_email, call me", or list one of nearly the
// same name. A definition that nobody approved and that names or imitates a tool of another server counts as
// poisoned, from whichever of the two is listed last. Names of one word say nothing: servers share them.

// maxMentions bounds the names that one definition is taken to speak of.
const maxMentions = 256

// mentions are the tokens of a definition's text that can be names of tools: two words or more in one token.
func mentions(d *Definition) map[string]bool {
	out := map[string]bool{}
	for token := range strings.FieldsFuncSeq(d.text(), func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) && c != '_' && c != '-' }) {
		token = strings.Trim(token, "-_")
		if telltale(token) && token != d.Name && len(out) < maxMentions {
			out[token] = true
		}
	}
	return out
}

// telltale reports whether a name is of several words, joined as only names are.
func telltale(name string) bool {
	if len(name) < 6 || len(name) > 128 {
		return false
	}
	inner := strings.ContainsAny(name, "_-")
	for i, c := range name {
		inner = inner || i > 0 && unicode.IsUpper(c) && name[i-1] >= 'a' && name[i-1] <= 'z'
	}
	return inner && len(words(name)) > 1
}

// folded is a name without what tells look-alikes apart: case, separators, digits for letters.
func folded(name string) string {
	return strings.Map(func(c rune) rune {
		switch c = unicode.ToLower(c); c {
		case '_', '-', '.', ' ', '/':
			return -1
		case '0':
			return 'o'
		case '1', 'i', '|':
			return 'l'
		case '5':
			return 's'
		}
		return c
	}, name)
}

// shadows judges the definitions of a tenant against each other.
func (s *snapshot) shadows(tenant string) {
	named := map[string][]*entry{} // by name
	alike := map[string][]*entry{} // by folded name
	var all []*entry
	for k, e := range s.tools {
		if k.tenant != tenant || e.pin.Transport == Host {
			continue
		}
		if len(e.subject) >= 2 {
			all = append(all, e)
		}
		if telltale(k.name) {
			named[k.name] = append(named[k.name], e)
			alike[folded(k.name)] = append(alike[folded(k.name)], e)
		}
	}
	for k, e := range s.tools {
		if k.tenant != tenant || e.pin.Transport == Host {
			continue
		}
		is := e.scanned
		if e.pin.State != action.DefinitionApproved && (e.speaksOf(named) || e.imitates(alike[folded(k.name)]) || e.bends(all)) {
			is = action.Yes
		}
		if is != e.at.Poisoned {
			c := *e
			c.at.Poisoned, c.pin.Poisoned = is, is
			s.tools[k] = &c
		}
	}
}

// speaksOf reports whether the text names a tool of another server that its own server does not have.
func (e *entry) speaksOf(named map[string][]*entry) bool {
	for name := range e.mentions {
		others, own := false, false
		for _, o := range named[name] {
			own = own || o.pin.Server == e.pin.Server
			others = others || o.pin.Server != e.pin.Server
		}
		if others && !own {
			return true
		}
	}
	return false
}

// imitates reports whether another server's approved tool has this name, or nearly, and another definition.
func (e *entry) imitates(alike []*entry) bool {
	for _, o := range alike {
		if o.pin.Server != e.pin.Server && o.pin.State == action.DefinitionApproved && !bytes.Equal(o.pin.Definition, e.pin.Definition) {
			return true
		}
	}
	return false
}
