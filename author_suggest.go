// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"net/http"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/index"
	"github.com/sallyport/sallyport/policy"
)

// PolicySuggestion is policy.Suggestion, with what was left out.
type PolicySuggestion struct {
	policy.Suggestion

	Unread map[index.Answer]int `json:"unread"` // left out, by why they cannot be opened
}

// policySuggest makes rules out of what an agent was let do. What it shows are values of recorded arguments.
func (s *Sallyport) policySuggest(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	var body struct {
		Agent   string `json:"agent"`
		Tenant  string `json:"tenant"`
		SinceMs int64  `json:"since_ms"`
	}
	if err := gateway.ReadJSON(w, r, &body, 4096); err != nil {
		return err
	}
	if body.Agent == "" {
		return gateway.Refuse(gateway.CodeInvalid, "an agent must be named")
	}
	if body.Tenant == "" {
		body.Tenant = "default"
	}
	collect, seen := policy.NewSuggester(body.Tenant, body.Agent), 0
	unread, err := s.recorded(reading(r.Context(), c, "policy-suggest"), body.SinceMs, func(step *index.Step, q *action.Query, d action.Decision) error {
		if seen++; seen > index.MaxReplay {
			return gateway.Refuse(gateway.CodeInvalid, "more than %d decisions since then", index.MaxReplay) // their values are kept
		}
		let := step.Kind == action.KindIntent && (d.Verdict == action.Allow || d.Verdict == action.Ask && step.Grant != "")
		if let && q.Subject.ID == body.Agent && s.policyFor(q) == s.Policy {
			collect.Add(q)
		}
		return nil
	})
	if err != nil {
		return err
	}
	suggested, err := collect.Suggest(r.Context(), s.Policy.Active())
	if err != nil {
		return err
	}
	return gateway.WriteJSON(w, http.StatusOK, PolicySuggestion{*suggested, unread})
}

// policyObserved tells what was let by only because its agent is observed. Old and New are the bundle in force; each
// group goes from what was decided, with " (observed)", to what is carried out once it is enforced.
func (s *Sallyport) policyObserved(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	var body struct {
		Agent   string `json:"agent"`
		SinceMs int64  `json:"since_ms"`
	}
	if err := gateway.ReadJSON(w, r, &body, 4096); err != nil {
		return err
	}
	if body.Agent == "" {
		return gateway.Refuse(gateway.CodeInvalid, "an agent must be named")
	}
	active := s.Policy.Active().Bundle()
	out := PolicyDiff{Old: active, New: active, SinceMs: body.SinceMs, Origin: s.Ledger.Origin(), Size: s.Ledger.Stats().Size}
	groups := policyChanges{}
	var err error
	out.Unread, err = s.recorded(reading(r.Context(), c, "policy-diff"), body.SinceMs, func(step *index.Step, q *action.Query, d action.Decision) error {
		if q.Subject.ID != body.Agent {
			return nil
		}
		out.Decisions++
		if d.Verdict == action.Allow || d.Mode != action.Observe || step.Enforced {
			return nil
		}
		key := PolicyChange{From: effective(&d), To: string(d.Verdict), Phase: step.Phase, Server: step.Server, Tool: step.Tool, Rules: deciding(&d)}
		groups.add(&out, key, step.Index)
		return nil
	})
	if err != nil {
		return err
	}
	groups.list(&out)
	return gateway.WriteJSON(w, http.StatusOK, out)
}
