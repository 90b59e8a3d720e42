// SPDX-License-Identifier: Apache-2.0

package cedar

import (
	"fmt"
	"iter"
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/go-json-experiment/json"
)

// index finds the policies whose scope a request can match, instead of trying all: a policy that names its
// resource, action or principal stands under that entity. Leaving the others out changes no answer, because a
// scope that does not match never errs.
type index struct {
	any         []*rule
	byResource  map[cedar.EntityUID][]*rule
	byAction    map[cedar.EntityUID][]*rule
	byPrincipal map[cedar.EntityUID][]*rule
}

// form is what decides.
func (r *rule) form() *cedar.Policy {
	if r.fast != nil {
		return r.fast
	}
	return r.policy
}

func newIndex(rules []*rule) (*index, error) {
	x := &index{byResource: map[cedar.EntityUID][]*rule{}, byAction: map[cedar.EntityUID][]*rule{}, byPrincipal: map[cedar.EntityUID][]*rule{}}
	for _, r := range rules {
		if err := x.add(r); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// scopeForm is one part of a scope in Cedar's JSON form.
type scopeForm struct {
	Op       string       `json:"op"`
	Entity   *entityForm  `json:"entity"`
	Entities []entityForm `json:"entities"`
}

type entityForm struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

// named returns the entities one of which the request's must be, or be in; nil if the scope does not say.
func (s *scopeForm) named() []cedar.EntityUID {
	if s.Op != "==" && s.Op != "in" {
		return nil
	}
	forms := s.Entities
	if s.Entity != nil {
		forms = append(forms, *s.Entity)
	}
	var out []cedar.EntityUID
	for _, e := range forms {
		out = append(out, cedar.NewEntityUID(cedar.EntityType(e.Type), cedar.String(e.ID)))
	}
	return out
}

func (x *index) add(r *rule) error {
	data, err := r.policy.MarshalJSON()
	if err != nil {
		return err
	}
	var form struct {
		Principal scopeForm `json:"principal"`
		Action    scopeForm `json:"action"`
		Resource  scopeForm `json:"resource"`
	}
	if err := json.Unmarshal(data, &form); err != nil {
		return fmt.Errorf("the policy's JSON form: %w", err)
	}
	for _, part := range []struct {
		names []cedar.EntityUID
		by    map[cedar.EntityUID][]*rule
	}{{form.Resource.named(), x.byResource}, {form.Action.named(), x.byAction}, {form.Principal.named(), x.byPrincipal}} {
		if len(part.names) == 0 {
			continue
		}
		once := map[cedar.EntityUID]bool{}
		for _, uid := range part.names {
			if !once[uid] {
				once[uid] = true
				part.by[uid] = append(part.by[uid], r)
			}
		}
		return nil
	}
	x.any = append(x.any, r)
	return nil
}

// search is the index for one request: a cedar.PolicyIterator.
type search struct {
	index    *index
	entities types.EntityGetter
	request  *cedar.Request
}

// All yields each policy that may match, once.
func (s search) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, r := range s.index.any {
			if !yield(r.id, r.form()) {
				return
			}
		}
		_ = s.below(s.index.byResource, s.request.Resource, yield) &&
			s.below(s.index.byAction, s.request.Action, yield) && s.below(s.index.byPrincipal, s.request.Principal, yield)
	}
}

// below yields the policies that name uid or one of its ancestors.
func (s search) below(by map[cedar.EntityUID][]*rule, uid cedar.EntityUID, yield func(cedar.PolicyID, *cedar.Policy) bool) bool {
	if len(by) == 0 {
		return true
	}
	for _, r := range by[uid] {
		if !yield(r.id, r.form()) {
			return false
		}
	}
	ancestors := s.ancestors(uid)
	if len(ancestors) == 0 {
		return true
	}
	// A list of actions may name several of them.
	var seen map[*rule]bool
	for _, up := range ancestors {
		for _, r := range by[up] {
			if seen == nil {
				seen = map[*rule]bool{}
				for _, r := range by[uid] {
					seen[r] = true
				}
			}
			if seen[r] {
				continue
			}
			seen[r] = true
			if !yield(r.id, r.form()) {
				return false
			}
		}
	}
	return true
}

// ancestors lists what uid is in, without itself.
func (s search) ancestors(uid cedar.EntityUID) []cedar.EntityUID {
	first, _ := s.entities.Get(uid)
	if first.Parents.Len() == 0 {
		return nil
	}
	out := []cedar.EntityUID{uid}
	for i := 0; i < len(out); i++ {
		entity, _ := s.entities.Get(out[i])
		for up := range entity.Parents.All() {
			if !slices.Contains(out, up) {
				out = append(out, up)
			}
		}
	}
	return out[1:]
}
