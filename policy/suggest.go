// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// The bounds of a suggestion. A tool that goes beyond them is not listed, so that its use asks.
const (
	maxShapes   = 500
	maxListed   = 200 // hosts, recipients, tables or commands of one tool
	maxPrefixes = 16  // folders of one tool
	maxExamples = 2   // queries kept of one shape, for cases
)

// Suggestion is least privilege from what was recorded of one agent: rules that only narrow. Beside other packs they
// ask about whatever the agent was not seen to do, and permit nothing of their own.
type Suggestion struct {
	Agent   string   `json:"agent"`
	Actions int      `json:"actions"` // recorded and let through
	Pack    string   `json:"pack"`    // name of the Rego package
	Rules   string   `json:"rules"`   // Rego
	Cases   []string `json:"cases"`   // elements of a suite, see CaseText
	Admits  []string `json:"admits"`  // in words: what the rules let by beyond what was recorded
	Omitted []string `json:"omitted"` // tools that were used in too many ways to list
}

// Suggester collects what one agent did. It is not safe for concurrent use.
type Suggester struct {
	tenant, agent string
	n             int
	shapes        map[string]*shape
	full          bool
}

// NewSuggester collects for an agent.
func NewSuggester(tenant, agent string) *Suggester {
	return &Suggester{tenant: tenant, agent: agent, shapes: map[string]*shape{}}
}

// shape is the use of one tool to one effect.
type shape struct {
	method, tool string
	effect       action.Effect
	approved     bool // every definition was
	typed        bool // every argument was understood
	odd          bool // something in it cannot be told, such as a command that is computed
	exact        bool // nothing is generalised, whatever the effect
	folders      map[string]bool
	access       map[string]bool
	hosts        map[string]bool
	recipients   map[string]bool
	commands     map[string]bool
	statements   map[string]bool // "verb" and "verb table"
	amounts      map[string]int64
	untyped      map[string]bool // names of arguments that no list is about
	examples     []*action.Query
}

// leastDepth is the number of slashes of the widest folder that is ever suggested: "/home/ann/".
const leastDepth = 3

// sinks are the effects by which things leave or are lost: what they may reach is listed one by one, never by folder.
var sinks = []action.Effect{action.EffectSend, action.EffectSpend, action.EffectDestroy, action.EffectAdmin, action.EffectUnknown}

// listed reports whether each thing that is reached is listed by itself.
func (sh *shape) listed() bool { return sh.exact || slices.Contains(sinks, sh.effect) }

// Add takes a recorded action of gate one that was let through, by policy or by a person. Others are ignored.
func (s *Suggester) Add(q *action.Query) {
	if q.Phase != action.Before || q.Subject.ID != s.agent || q.Subject.Tenant != s.tenant {
		return
	}
	s.n++
	key := fmt.Sprintf("%q %q %q", q.Action.Name, q.Resource.ID, q.Action.Effect)
	sh := s.shapes[key]
	if sh == nil {
		if s.full = len(s.shapes) >= maxShapes; s.full {
			return
		}
		sh = newShape(q)
		s.shapes[key] = sh
	}
	sh.add(q)
}

func newShape(q *action.Query) *shape {
	return &shape{method: q.Action.Name, tool: q.Resource.ID, effect: q.Action.Effect, approved: true, typed: true, folders: map[string]bool{}, access: map[string]bool{},
		hosts: map[string]bool{}, recipients: map[string]bool{}, commands: map[string]bool{}, statements: map[string]bool{}, amounts: map[string]int64{}, untyped: map[string]bool{}}
}

func (sh *shape) add(q *action.Query) {
	a := &q.Action
	sh.approved = sh.approved && q.Resource.Definition.State == action.DefinitionApproved
	sh.typed = sh.typed && a.Typed == action.StateKnown
	pointers := map[string]bool{}
	for _, p := range a.Paths {
		pointers[p.Pointer] = true
		sh.access[string(p.Access)] = true
		sh.odd = sh.odd || p.Traverse != action.No || !path.IsAbs(p.Resolved)
		if folder := path.Dir(p.Resolved) + "/"; !sh.listed() && strings.Count(folder, "/") >= leastDepth {
			sh.folders[folder] = true
		} else {
			sh.folders[p.Resolved] = true
		}
	}
	for _, u := range a.URLs {
		pointers[u.Pointer], sh.hosts[u.Host] = true, true
	}
	for _, r := range a.Recipients {
		pointers[r.Pointer], sh.recipients[r.Value] = true, true
	}
	for _, c := range a.Commands {
		sh.odd = sh.odd || c.Dynamic != action.No || c.Name == ""
		pointers[c.Pointer], sh.commands[strings.TrimSpace(c.Name+" "+c.Verb)] = true, true
	}
	for _, st := range a.SQL {
		sh.odd = sh.odd || st.Parsed != action.StateKnown || strings.Contains(st.Verb, " ")
		pointers[st.Pointer], sh.statements[st.Verb] = true, true
		for _, table := range st.Tables {
			sh.statements[st.Verb+" "+table] = true
		}
	}
	for _, m := range a.Amounts {
		pointers[m.Pointer] = true
		sh.odd = sh.odd || m.Overflow != action.No || m.Minor < 0
		unit := m.Currency + "/" + strconv.Itoa(m.Exponent)
		sh.amounts[unit] = max(sh.amounts[unit], m.Minor)
	}
	for _, name := range argumentNames(a.Arguments) {
		if !pointers["/"+name] {
			sh.untyped[name] = true
		}
	}
	if len(sh.examples) < maxExamples {
		sh.examples = append(sh.examples, q)
	}
	if !sh.listed() {
		sh.folders = gather(sh.folders)
	}
}

// gather makes few folders of many: those within another go, and while there are too many, the deepest gives way to
// the one that holds it, as far as leastDepth. A name without a slash at its end is one path.
func gather(folders map[string]bool) map[string]bool {
	for {
		out := map[string]bool{}
		for f := range folders {
			within := false
			for g := range folders {
				within = within || g != f && strings.HasSuffix(g, "/") && strings.HasPrefix(f, g)
			}
			if !within {
				out[f] = true
			}
		}
		if len(out) <= maxPrefixes {
			return out
		}
		deepest := ""
		for _, f := range slices.Sorted(maps.Keys(out)) {
			if strings.Count(f, "/") > strings.Count(deepest, "/") {
				deepest = f
			}
		}
		above := path.Dir(strings.TrimSuffix(deepest, "/")) + "/"
		if strings.Count(above, "/") < leastDepth {
			return out
		}
		delete(out, deepest)
		out[above] = true
		folders = out
	}
}

// fits reports whether the shape can be told: everything in it has a name, and there are not too many.
func (sh *shape) fits() bool {
	if sh.odd {
		return false
	}
	for _, set := range []map[string]bool{sh.hosts, sh.recipients, sh.commands, sh.statements, sh.folders} {
		if len(set) > maxListed || set[""] {
			return false
		}
	}
	return len(sh.folders) <= maxPrefixes || sh.listed()
}

// Suggest writes the rules, and cases that under active, the bundle in force, are decided as recorded.
func (s *Suggester) Suggest(ctx context.Context, active *Compiled) (*Suggestion, error) {
	out := &Suggestion{Agent: s.agent, Actions: s.n, Pack: "seen" + packWord(s.agent), Cases: []string{}, Admits: []string{}, Omitted: []string{}}
	var b strings.Builder
	fmt.Fprintf(&b, seenHead, out.Pack, quote("{tool} is used in a way in which "+action.Clip(s.agent, 100)+" did not use it before."), quote(s.tenant), quote(s.agent))
	for i, key := range slices.Sorted(maps.Keys(s.shapes)) {
		sh := s.shapes[key]
		if !sh.fits() {
			out.Omitted = append(out.Omitted, fmt.Sprintf("%s (%s): asks each time", action.Clip(strconv.QuoteToASCII(sh.tool), 100), action.Word(sh.effect)))
			continue
		}
		sh.write(&b, i)
		out.Admits = append(out.Admits, sh.admits()...)
		for _, q := range sh.examples {
			text, err := seenCase(ctx, active, sh, q)
			if err != nil {
				return nil, err
			}
			out.Cases = append(out.Cases, text)
		}
	}
	text, err := s.unseenCase(ctx, active)
	if err != nil {
		return nil, err
	}
	out.Cases = append(out.Cases, text)
	if s.full {
		out.Omitted = append(out.Omitted, fmt.Sprintf("what came after %d ways of using tools", maxShapes))
	}
	out.Rules = b.String()
	return out, nil
}

// packWord makes a name that Rego takes for a part of a package's name.
func packWord(agent string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(agent) {
		if (r >= 'a' && r <= 'z' || r >= '0' && r <= '9') && b.Len() < 40 {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func argumentNames(arguments []byte) []string {
	v, ok := decoded(arguments).(map[string]any)
	if !ok {
		return nil
	}
	return slices.Sorted(maps.Keys(v))
}
