// SPDX-License-Identifier: Apache-2.0

package cedar

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	xast "github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/usage"
)

// argument is the part of a tool's JSON Schema that says what Cedar is given of an argument.
type argument struct {
	Type       any                  `json:"type"`
	Properties map[string]*argument `json:"properties"`
	Required   []string             `json:"required"`
	More       any                  `json:"additionalProperties"`
	Items      *argument            `json:"items"`
}

// maxArgumentDepth bounds how deep a tool's schema is followed.
const maxArgumentDepth = 8

// closed reports that an object has no members beside those that are named.
func (a *argument) closed() bool { return a.More == false }

// cedarType is the type of what raw makes of the argument, as far as seen goes. It is nil where the schema leaves it open.
func (a *argument) cedarType(seen *usage.Tree, depth int) object {
	if a == nil || depth > maxArgumentDepth {
		return nil
	}
	switch a.Type {
	case "string":
		return text
	case "boolean":
		return flag
	case "integer", "number":
		return long
	case "object":
		attributes := object{}
		for name, p := range a.Properties {
			if below, ok := seen.Field(name); ok {
				t := p.cedarType(below, depth+1)
				if t == nil {
					return nil
				}
				if attributes[name] = t; !slices.Contains(a.Required, name) {
					attributes[name] = optional(t)
				}
			}
		}
		return recordOf(attributes)
	case "array":
		return a.list(seen, depth)
	}
	return nil
}

// optional is t as an attribute that may be absent: an argument that a tool does not insist on, or what an empty list has not.
func optional(t object) object {
	t = maps.Clone(t)
	t["required"] = false
	return t
}

// list is the type of what rawList makes: a count, and columns of records or one set of anything else.
func (a *argument) list(seen *usage.Tree, depth int) object {
	of := object{"count": long}
	if a.Items != nil && a.Items.Type == "object" {
		for name, p := range a.Items.Properties {
			if below, ok := seen.Field(name); ok {
				t := p.cedarType(below, depth+1)
				if t == nil {
					return nil
				}
				of[name] = optional(setType(t))
			}
		}
		return recordOf(of)
	}
	if _, ok := seen.Field("items"); ok {
		t := a.Items.cedarType(nil, depth+1)
		if t == nil {
			return nil
		}
		of["items"] = optional(setType(t))
	}
	return recordOf(of)
}

// missing names the first argument that seen reads and the schema does not have; sure says that the tool cannot have it.
func (a *argument) missing(seen *usage.Tree, path string, depth int) (name string, sure bool) {
	if a == nil || seen.Whole() || depth > maxArgumentDepth {
		return "", false
	}
	members := a.Properties
	if a.Type == "array" {
		members = map[string]*argument{"count": {Type: "integer"}, "items": {}}
		if a.Items != nil && a.Items.Type == "object" {
			members = maps.Clone(a.Items.Properties)
			if members == nil {
				members = map[string]*argument{}
			}
			members["count"] = &argument{Type: "integer"}
		}
	}
	for _, n := range seen.Names() {
		m, ok := members[n]
		if !ok {
			return path + "." + n, a.closed() || a.Type == "array" && a.Items != nil && a.Items.closed()
		}
		below, _ := seen.Field(n)
		if name, sure := m.missing(below, path+"."+n, depth+1); name != "" {
			return name, sure
		}
	}
	return "", false
}

// typedArguments checks a policy that reads raw arguments against each tool that its scope names and whose arguments
// are known. What a tool's schema leaves open is not checked: then the policy's errors at run time speak, which deny.
func typedArguments(r *rule, known map[string][]byte, of func(arguments object) (*schema.Schema, error)) error {
	if len(known) == 0 {
		return nil
	}
	tree := &usage.Tree{}
	if err := used(tree, anything, map[string]bool{}, r.policy); err != nil {
		return nil // which typed has reported
	}
	act, _ := tree.Field("action")
	seen, _ := act.Field("arguments")
	for _, tool := range named(r, known) {
		var a argument
		if json.Unmarshal(known[tool], &a) != nil || a.Type != "object" {
			continue
		}
		name, sure := a.missing(seen, "context.action.arguments", 0)
		types := a.cedarType(seen, 0)
		if name != "" && !sure || types == nil || seen.Whole() {
			continue
		}
		s, err := of(types)
		if err != nil {
			return err
		}
		against, err := s.Resolve()
		if err != nil {
			return fmt.Errorf("cedar: the schema with the arguments of %s: %w", action.Clip(tool, 200), err)
		}
		if err := validPolicy(against, (*xast.Policy)(r.policy.AST())); err != nil {
			place := r.policy.Position()
			return fmt.Errorf("cedar: %s:%d: %s: %w", place.Filename, place.Line, r.match.ID, a.refusal(tool, name, err))
		}
	}
	return nil
}

// named lists the known tools that the scope of r is about, sorted; none if it does not say.
func named(r *rule, known map[string][]byte) (out []string) {
	data, err := r.policy.MarshalJSON()
	if err != nil {
		return nil
	}
	var form struct {
		Resource scopeForm `json:"resource"`
	}
	if json.Unmarshal(data, &form) != nil {
		return nil
	}
	for _, e := range form.Resource.named() {
		for tool := range known {
			if e.Type == "Tool" && string(e.ID) == tool || e.Type == "Server" && strings.HasPrefix(tool, string(e.ID)+"/") {
				out = append(out, tool)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// validPolicy checks one policy strictly, but for the empty set, which has no type and only the strict form minds. It is
// what an empty column is compared with.
func validPolicy(s *resolved.Schema, p *xast.Policy) error {
	err := validate.New(s, validate.WithStrict()).Policy("", p)
	if err != nil && strings.Contains(err.Error(), emptySet) {
		err = validate.New(s, validate.WithPermissive()).Policy("", p)
	}
	return err
}

// refusal says why a policy errs on the tool's arguments, of which name is none, and what would not. Cedar's validator says it once for
// each action: the first is enough.
func (a *argument) refusal(tool, name string, err error) error {
	if name != "" && strings.Contains(err.Error(), "attribute `"+name[strings.LastIndexByte(name, '.')+1:]+"`") {
		return fmt.Errorf("%s does not exist: the tool %s has no such argument; it has %s%s", action.Clip(name, 200), action.Clip(tool, 200),
			action.Clip(strings.Join(slices.Sorted(maps.Keys(a.Properties)), ", "), 500), guardOf(name))
	}
	why, _, _ := strings.Cut(err.Error(), "\n")
	if m := unguarded.FindStringSubmatch(why); m != nil {
		return fmt.Errorf("with the arguments of %s: %s%s", action.Clip(tool, 200), why, guardOf("context."+m[1]))
	}
	return fmt.Errorf("with the arguments of %s: %s", action.Clip(tool, 200), why)
}

var unguarded = regexp.MustCompile("access to optional attribute `([a-zA-Z0-9_.]+)`")

// guardOf is the safe form of a policy that reads what may be absent.
func guardOf(path string) string {
	last := strings.LastIndexByte(path, '.')
	return fmt.Sprintf("; safe form: %s has %s && ...", path[:last], path[last+1:])
}
