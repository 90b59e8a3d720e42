// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// Asked is one question about a user's own rights.
type Asked struct {
	Tenant   string
	User     string   // proved
	Groups   []string // proved; only if Known
	Known    bool     // the groups are whole
	Relation string   // "viewer", "can_pay", ...
	Object   string   // "document:q3-report"; "" where the relation is to the tool as a whole
}

// Answered is what a source knows.
type Answered struct {
	Permitted action.Tri
	Version   string // of the rights that were looked at
	AgeS      int64  // how old they are
}

// RightsSource knows what users may. An answer that it does not have is unknown; an error is unknown too.
type RightsSource interface {
	Rights(ctx context.Context, a Asked) (Answered, error)
}

// RightsBatch is a source that answers about several objects in one go, in their order.
type RightsBatch interface {
	All(ctx context.Context, a Asked, objects []string) ([]Answered, error)
}

// RightsRule says which right of the user a tool needs.
type RightsRule struct {
	Server   string // our name of the server
	Tool     string // its tool; "*" all of them
	Source   string // name of the source
	Relation string
	// Object names the object that the call is about, with JSON pointers into the arguments in braces:
	// "document:{/id}". "" asks about no object before the call.
	Object string
	// Results names each object in the result, with "*" for every element: "document:{/structuredContent/items/*/id}".
	// They are checked again when the result comes back. "" checks nothing then.
	Results string
}

// maxObjects bounds the objects of one result. More are unknown: nobody looked at them.
const maxObjects = 50

// Rights states whether the user could do by himself what the agent does for him. It never decides: what no rule
// speaks of has no source, and what a rule speaks of is yes, no or unknown.
type Rights struct {
	Facts   enforce.Informer // the rest of the identity's part; required
	Rules   []RightsRule
	Sources map[string]RightsSource
	// GroupsKnown tells whether a subject's groups are whole; nil: never.
	GroupsKnown func(s *action.Subject) bool
}

// NewRights checks that every rule can be followed.
func NewRights(r Rights) (*Rights, error) {
	for _, rule := range r.Rules {
		if rule.Server == "" || rule.Tool == "" || rule.Relation == "" || rule.Object == "" && rule.Results == "" {
			return nil, fmt.Errorf("%w right of %q: server, tool, relation and an object are required", ErrMalformed, rule.Server)
		}
		if r.Sources[rule.Source] == nil {
			return nil, fmt.Errorf("%w right of %q: there is no source %q", ErrMalformed, rule.Server, rule.Source)
		}
		for _, t := range []string{rule.Object, rule.Results} {
			if _, _, err := template(t); err != nil {
				return nil, fmt.Errorf("%w right of %q: %w", ErrMalformed, rule.Server, err)
			}
		}
	}
	return &r, nil
}

// Inform states the identity's part with the user's rights.
func (r *Rights) Inform(ctx context.Context, q *action.Query) (action.Part, error) {
	part, err := r.Facts.Inform(ctx, q)
	if err != nil {
		return nil, err
	}
	id, ok := part.(action.Identity)
	if !ok {
		return nil, errors.New("identity: the facts are of another kind")
	}
	for i := range r.Rules {
		rule := &r.Rules[i]
		if rule.Server != q.Resource.Server || rule.Tool != "*" && rule.Tool != q.Resource.Name {
			continue
		}
		t, doc := rule.Object, q.Action.Arguments
		if q.Phase == action.After {
			t, doc = rule.Results, q.Context.Result.Content
		}
		if t == "" {
			continue
		}
		id.Rights = worseRight(id.Rights, r.ask(ctx, q, rule, t, doc))
	}
	return id, nil
}

// worseRight joins the answers of two rules: no before unknown before yes.
func worseRight(a, b action.Rights) action.Rights {
	rank := func(r action.Rights) int {
		switch {
		case r.Source == "":
			return 0
		case r.Permitted == action.Yes:
			return 1
		case r.Permitted == action.No:
			return 3
		}
		return 2
	}
	if rank(b) > rank(a) {
		return b
	}
	return a
}

// ask follows one rule. Everything that stands in the way of an answer makes it unknown.
func (r *Rights) ask(ctx context.Context, q *action.Query, rule *RightsRule, t string, doc jsontext.Value) action.Rights {
	out := action.Rights{State: action.StateKnown, Permitted: action.TriUnknown, Source: rule.Source, AgeS: action.MaxNumber}
	u := &q.Subject.User
	if u.ID == "" || u.Verified != action.Yes {
		return out
	}
	objects, whole := objectsOf(t, doc)
	if !whole {
		return out
	}
	if len(objects) == 0 && q.Phase == action.After {
		out.Permitted, out.AgeS = action.Yes, 0 // it returned none
		return out
	}
	a := Asked{Tenant: q.Subject.Tenant, User: u.ID, Groups: u.Groups, Known: r.GroupsKnown != nil && r.GroupsKnown(&q.Subject), Relation: rule.Relation}
	all, age := action.Yes, int64(0)
	for _, got := range answers(ctx, r.Sources[rule.Source], a, objects) {
		switch got.Permitted {
		case action.Yes:
		case action.No:
			all = action.No
		default:
			if all == action.Yes {
				all = action.TriUnknown
			}
		}
		out.Version, age = got.Version, max(age, got.AgeS)
	}
	if len(objects) == 0 {
		return out
	}
	out.Permitted, out.AgeS = all, age
	return out
}

// answers asks a source about each object, at once where it can. What it cannot answer is unknown.
func answers(ctx context.Context, src RightsSource, a Asked, objects []string) []Answered {
	out := make([]Answered, len(objects))
	if b, ok := src.(RightsBatch); ok && len(objects) > 1 {
		got, err := b.All(ctx, a, objects)
		if err == nil && len(got) == len(objects) {
			return got
		}
		return out
	}
	for i := range objects {
		a.Object = objects[i]
		got, err := src.Rights(ctx, a)
		if err != nil {
			got.Permitted = action.TriUnknown
		}
		out[i] = got
	}
	return out
}

// template splits "document:{/a/b}" into what stands before the pointer and its parts.
func template(t string) (before string, path []string, err error) {
	before, rest, ok := strings.Cut(t, "{")
	if !ok {
		return t, nil, nil
	}
	pointer, after, ok := strings.Cut(rest, "}")
	if !ok || after != "" || !strings.HasPrefix(pointer, "/") || strings.ContainsAny(pointer, "{}") {
		return "", nil, fmt.Errorf("object %q is not like \"document:{/id}\"", action.Clip(t, 100))
	}
	for _, p := range strings.Split(pointer[1:], "/") {
		path = append(path, strings.NewReplacer("~1", "/", "~0", "~").Replace(p))
	}
	return before, path, nil
}

// objectsOf names the objects that a template finds in doc, and whether it found all of them.
func objectsOf(t string, doc jsontext.Value) (objects []string, whole bool) {
	before, path, err := template(t)
	if err != nil {
		return nil, false
	}
	if path == nil {
		return []string{before}, true
	}
	var v any
	if len(doc) == 0 || json.Unmarshal(doc, &v) != nil {
		return nil, false
	}
	var found []any
	if !walk(v, path, &found) {
		return nil, false
	}
	for _, f := range found {
		s, ok := f.(string)
		if !ok || s == "" || len(s) > 512 || strings.ContainsAny(s, " \t\r\n\x00") {
			return nil, false
		}
		objects = append(objects, before+s)
	}
	slices.Sort(objects)
	return slices.Compact(objects), true
}

// walk collects what path leads to. It returns false where the path leads nowhere, or to too many.
func walk(v any, path []string, out *[]any) bool {
	if len(path) == 0 {
		*out = append(*out, v)
		return len(*out) <= maxObjects
	}
	switch x := v.(type) {
	case map[string]any:
		next, ok := x[path[0]]
		return ok && walk(next, path[1:], out)
	case []any:
		if path[0] != "*" {
			return false
		}
		for _, e := range x {
			if !walk(e, path[1:], out) {
				return false
			}
		}
		return true
	}
	return false
}
