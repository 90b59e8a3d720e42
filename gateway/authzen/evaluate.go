// SPDX-License-Identifier: Apache-2.0

package authzen

import (
	"context"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

// answer is a decision with what the caller may know of it. The zero value denies.
type answer struct {
	Decision bool     `json:"decision"`
	Context  *reasons `json:"context,omitempty"`
}

// reasons is the context of a decision.
type reasons struct {
	Evaluation string            `json:"evaluation_id,omitempty"` // id of the action in the record
	Reason     string            `json:"reason,omitempty"`        // "denied", "approval_required"
	User       map[string]string `json:"reason_user,omitempty"`   // by language
	Request    *accessRequest    `json:"access_request,omitempty"`
	Error      *failure          `json:"error,omitempty"`
}

// accessRequest says that a person was asked. The same evaluation, repeated after the grant, is permitted
// once.
type accessRequest struct {
	ID      string    `json:"id"`
	Status  string    `json:"status"`
	Expires time.Time `json:"expires_at"`
}

type failure struct {
	Status  int    `json:"status"`
	Message string `json:"message"`
}

// given is the outcome of an evaluation: the decision that goes out.
var given = map[bool][]byte{true: []byte(`{"decision":true}`), false: []byte(`{"decision":false}`)}

// evaluate takes one evaluation through both gates. A caller that leaves does not stop it half-way.
func (d *door) evaluate(ctx context.Context, c *gateway.Caller, e *evaluation) (answer, error) {
	ctx = context.WithoutCancel(ctx)
	s := c.Subject
	s.User = action.User{Verified: action.TriUnknown, AuthnAge: action.MaxNumber, Evidence: "none"}
	if e.subjectType == "user" {
		s.User = action.User{ID: e.subjectID, Verified: action.No, AuthnAge: action.MaxNumber, Evidence: "asserted"}
	}
	session, err := d.cfg.Enforcer.Session(ctx, &s, Server, enforce.SessionOptions{})
	if err != nil {
		return answer{}, err
	}
	adm, err := d.cfg.Enforcer.Before(ctx, enforce.Attempt{
		Subject: s, Session: session, Name: "access/evaluation", Type: "tool", Server: Server, Tool: e.action,
		Arguments: e.arguments, Grade: c.Grade(action.GradeHook), Separation: d.cfg.Separation(c), Confined: c.Held(), Claimed: true,
	})
	if err != nil {
		return answer{}, err
	}
	if adm.Verdict != action.Allow {
		return refused(adm), nil
	}
	// What is permitted with other arguments only is not what was asked.
	permit := !adm.Rewritten
	rel, err := d.cfg.Enforcer.After(ctx, &s, adm.ID, enforce.Outcome{Status: action.ResultDone, Content: given[permit]})
	if err != nil {
		return answer{}, err
	}
	a := answer{Decision: permit && rel.Status == action.StatusReleased && !rel.Rewritten, Context: &reasons{Evaluation: adm.ID}}
	if !a.Decision {
		a.Context.Reason = "denied"
	}
	return a, nil
}

func refused(adm enforce.Admission) answer {
	r := &reasons{Evaluation: adm.ID, Reason: "denied"}
	if adm.Hint != "" {
		r.User = map[string]string{"en": adm.Hint}
	}
	if adm.Verdict == action.Ask {
		r.Reason = "approval_required"
		if adm.Ticket != "" {
			r.Request = &accessRequest{ID: adm.Ticket, Status: "pending", Expires: adm.Expires.UTC().Truncate(time.Millisecond)}
		}
	}
	return answer{Context: r}
}
