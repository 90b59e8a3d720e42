// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/sallyport/sallyport/action"
)

// sets are the partial sets of the profile, in the order of the query's answer.
var sets = []string{"quarantine", "deny", "ask", "allow", "oblige"}

var verdictOf = map[string]action.Verdict{
	"quarantine": action.Quarantine, "deny": action.Deny, "ask": action.Ask, "allow": action.Allow,
}

// pack is one package of the profile with what its rules say, known from their text.
type pack struct {
	name  string
	has   map[string]bool
	rules map[string]*rule // by id
	spans []span           // of all rules, sorted by file and row
}

type rule struct {
	set        string
	match      action.Match
	obligation action.Obligation
	head       *ast.Term
	rank       int // in the order of names
}

type span struct {
	file string
	row  int
	name string
}

// parse reads the files and parts those that decide from those that are documents.
func parse(files []File) (decide, document map[string]*ast.Module, err error) {
	decide, document = map[string]*ast.Module{}, map[string]*ast.Module{}
	for _, f := range files {
		m, err := ast.ParseModuleWithOpts(f.Name, string(f.Data), ast.ParserOptions{Capabilities: capabilities(), ProcessAnnotation: true})
		if err != nil {
			return nil, nil, fmt.Errorf("rego: %w", err)
		}
		if m == nil {
			return nil, nil, fmt.Errorf("rego: %s: empty file", f.Name)
		}
		if !slices.ContainsFunc(m.Imports, func(i *ast.Import) bool { return ast.RegoV2CompatibleRef.Equal(i.Path.Value) }) {
			return nil, nil, fmt.Errorf("rego: %s:1: \"import rego.v2\" is missing", f.Name)
		}
		switch path := packagePath(m); {
		case len(path) == 2 && path[0] == "sallyport":
			decide[f.Name] = m
		case len(path) == 2 && path[0] == "document":
			document[f.Name] = m
		default:
			return nil, nil, fmt.Errorf("rego: %s:%d: package %q is neither sallyport.<pack> nor document.<name>",
				f.Name, m.Package.Location.Row, strings.Join(path, "."))
		}
	}
	return decide, document, nil
}

func packagePath(m *ast.Module) []string {
	var out []string
	for _, t := range m.Package.Path[1:] {
		s, _ := t.Value.(ast.String)
		out = append(out, string(s))
	}
	return out
}

// profile checks each rule of the sets and collects what it says.
func profile(modules map[string]*ast.Module) ([]*pack, error) {
	byName := map[string]*pack{}
	for _, file := range sortedKeys(modules) {
		m := modules[file]
		name := packagePath(m)[1]
		p := byName[name]
		if p == nil {
			p = &pack{name: name, has: map[string]bool{}, rules: map[string]*rule{}}
			byName[name] = p
		}
		for _, r := range m.Rules {
			if err := p.add(file, r); err != nil {
				return nil, fmt.Errorf("rego: %s:%d: %w", file, r.Location.Row, err)
			}
		}
	}
	var out []*pack
	for _, name := range sortedKeys(byName) {
		p := byName[name]
		if len(p.has) == 0 {
			return nil, fmt.Errorf("rego: package sallyport.%s states none of %s", name, strings.Join(sets, ", "))
		}
		slices.SortStableFunc(p.spans, func(a, b span) int {
			if c := strings.Compare(a.file, b.file); c != 0 {
				return c
			}
			return a.row - b.row
		})
		out = append(out, p)
	}
	return out, nil
}

// misnamed reports whether r has the form of a rule that decides: an element with an id in a partial set.
func misnamed(r *ast.Rule) bool {
	if r.Head.Key == nil || r.Head.Value != nil {
		return false
	}
	obj, ok := r.Head.Key.Value.(ast.Object)
	return ok && obj.Get(ast.StringTerm("id")) != nil
}

func (p *pack) add(file string, r *ast.Rule) error {
	name := r.Head.Ref()[0].Value.String()
	at := span{file: file, row: r.Location.Row, name: name}
	if !slices.Contains(sets, name) {
		if misnamed(r) {
			return fmt.Errorf("%s contains rules with an id, and nothing decides by it; the sets that decide are %s", name, strings.Join(sets, ", "))
		}
		p.spans = append(p.spans, at)
		return nil
	}
	if r.Head.Key == nil || r.Head.Value != nil || len(r.Head.Args) > 0 || len(r.Head.Ref()) != 1 || r.Default || r.Else != nil {
		return fmt.Errorf("%s must be a partial set: \"%s contains {...} if ...\"", name, name)
	}
	obj, ok := r.Head.Key.Value.(ast.Object)
	if !ok || !constantValue(r.Head.Key) {
		return fmt.Errorf("%s must contain an object of constants", name)
	}
	said, err := readRule(name, p.name, obj)
	if err != nil {
		return err
	}
	id := strings.TrimPrefix(said.match.ID, p.name+".")
	if old := p.rules[id]; old != nil && (old.set != name || !old.head.Equal(r.Head.Key)) {
		return fmt.Errorf("id %q stands for two rules", id)
	}
	said.head = r.Head.Key
	p.rules[id], p.has[name] = said, true
	at.name = id
	p.spans = append(p.spans, at)
	return nil
}

func (p *pack) ruleAt(file string, row int) string {
	found := ""
	for _, s := range p.spans {
		if s.file == file && s.row <= row {
			found = s.name
		}
	}
	return found
}

func constantValue(t *ast.Term) bool {
	switch v := t.Value.(type) {
	case ast.String, ast.Boolean, ast.Number:
		return true
	case ast.Object:
		return !v.Until(func(k, v *ast.Term) bool { return !constantValue(k) || !constantValue(v) })
	}
	return false
}

var severities = []string{"low", "medium", "high", "critical"}

// readRule reads the object of one rule's head.
func readRule(set, pack string, obj ast.Object) (*rule, error) {
	r := &rule{set: set, match: action.Match{Verdict: verdictOf[set], Severity: "medium"}}
	if set == "allow" {
		r.match.Severity = "low"
	}
	seen := map[string]bool{}
	var err error
	obj.Foreach(func(k, v *ast.Term) {
		key, ok := k.Value.(ast.String)
		if err != nil {
			return
		}
		if !ok {
			err = fmt.Errorf("key %s is no text", k)
			return
		}
		seen[string(key)] = true
		err = r.put(string(key), v)
	})
	if err != nil {
		return nil, err
	}
	for _, need := range required[set] {
		if !seen[need] {
			return nil, fmt.Errorf("%s without %q", set, need)
		}
	}
	id := r.match.ID
	if !plainID(id) {
		return nil, fmt.Errorf("id %q: lower-case letters, digits, dots and dashes are wanted", action.Clip(id, 64))
	}
	r.match.ID = pack + "." + id
	r.obligation.Rule = r.match.ID
	return r, nil
}

var required = map[string][]string{
	"quarantine": {"id", "code", "reason"}, "deny": {"id", "code", "reason"}, "ask": {"id", "code", "reason"},
	"allow": {"id"}, "oblige": {"id", "type"},
}

func (r *rule) put(key string, v *ast.Term) error {
	var err error
	restrictive := r.set == "deny" || r.set == "quarantine" || r.set == "ask"
	switch {
	case key == "id":
		r.match.ID, err = text(v)
	case key == "code" && r.set != "oblige":
		r.match.Code, err = text(v)
	case key == "reason" && r.set != "oblige":
		r.match.Reason, err = text(v)
	case key == "hint" && restrictive:
		r.match.Hint, err = text(v)
	case key == "severity" && r.set != "oblige":
		if r.match.Severity, err = text(v); err == nil && !slices.Contains(severities, r.match.Severity) {
			err = fmt.Errorf("severity %q is not one of %s", r.match.Severity, strings.Join(severities, ", "))
		}
	case key == "always" && restrictive:
		b, ok := v.Value.(ast.Boolean)
		if !ok {
			return fmt.Errorf("always is neither true nor false")
		}
		r.match.Always = bool(b)
	case key == "approver" && r.set == "ask":
		r.match.Approver, err = approver(v)
	case key == "type" && r.set == "oblige":
		var t string
		if t, err = text(v); err == nil && !action.ObligationType(t).Known() {
			err = fmt.Errorf("obligation %q is not known", t)
		}
		r.obligation.Type = action.ObligationType(t)
	case key == "params" && r.set == "oblige":
		r.obligation.Params, err = texts(v)
	default:
		return fmt.Errorf("%s has no %q", r.set, key)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

func approver(v *ast.Term) (a action.Approver, err error) {
	obj, ok := v.Value.(ast.Object)
	if !ok {
		return a, fmt.Errorf("an object is wanted")
	}
	obj.Foreach(func(k, v *ast.Term) {
		if err != nil {
			return
		}
		key, _ := k.Value.(ast.String)
		switch key {
		case "channel":
			var s string
			s, err = text(v)
			a.Channel = action.Rank(s)
			if err == nil && (s == "unknown" || !slices.Contains(a.Channel.Values(), s)) {
				err = fmt.Errorf("channel %q is not one of %s", s, strings.Join(a.Channel.Values()[1:], ", "))
			}
		case "group":
			a.Group, err = text(v)
		case "quorum":
			a.Quorum, err = number(v)
		case "ttl_s":
			a.TTL, err = number(v)
		case "apart":
			b, ok := v.Value.(ast.Boolean)
			if !ok {
				err = fmt.Errorf("apart is neither true nor false")
			}
			a.Apart = bool(b)
		case "escalate_s":
			a.EscalateAfter, err = number(v)
		case "escalate_to":
			a.EscalateTo, err = text(v)
		case "acr":
			a.ACR, err = words(v)
		case "amr":
			a.AMR, err = words(v)
		case "max_age_s":
			a.MaxAge, err = number(v)
		default:
			err = fmt.Errorf("there is no %q", string(key))
		}
	})
	if err == nil && (a.EscalateAfter > 0) != (a.EscalateTo != "") {
		err = fmt.Errorf("escalate_s and escalate_to go together")
	}
	return a, err
}

func text(v *ast.Term) (string, error) {
	s, ok := v.Value.(ast.String)
	if !ok || s == "" || len(s) > 500 {
		return "", fmt.Errorf("%s is no text of 1 to 500 bytes", v)
	}
	return string(s), nil
}

// words is a text of words that stand apart by single spaces.
func words(v *ast.Term) (string, error) {
	s, err := text(v)
	if err == nil && s != strings.Join(strings.Fields(s), " ") {
		err = fmt.Errorf("%s are no words with a space between each two", v)
	}
	return s, err
}

func texts(v *ast.Term) (map[string]string, error) {
	obj, ok := v.Value.(ast.Object)
	if !ok {
		return nil, fmt.Errorf("an object of texts is wanted")
	}
	out := map[string]string{}
	var err error
	obj.Foreach(func(k, v *ast.Term) {
		key, e1 := text(k)
		val, e2 := text(v)
		if e1 != nil || e2 != nil {
			err = fmt.Errorf("an object of texts is wanted")
		}
		out[key] = val
	})
	return out, err
}

func number(v *ast.Term) (int, error) {
	n, ok := v.Value.(ast.Number)
	i, whole := n.Int()
	if !ok || !whole || i < 1 || i > 1<<31-1 {
		return 0, fmt.Errorf("%s is no positive whole number", v)
	}
	return i, nil
}

func plainID(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 100
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
