// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

// text is a string that a body either holds or leaves out; null is a wrong type, because readers differ
// on whether it means empty.
type text string

func (t *text) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	tok, err := dec.ReadToken()
	if err != nil {
		return err
	}
	if tok.Kind() != '"' {
		return errors.New("must be a string")
	}
	*t = text(tok.String())
	return nil
}

// flag is a boolean that a body either holds or leaves out.
type flag bool

func (f *flag) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	tok, err := dec.ReadToken()
	if err != nil {
		return err
	}
	if k := tok.Kind(); k != 't' && k != 'f' {
		return errors.New("must be true or false")
	}
	*f = flag(tok.Bool())
	return nil
}

// on names the subject once more; see the package comment.
type on struct {
	Agent      text `json:"agent"`
	OnBehalfOf text `json:"on_behalf_of"`
}

type sessionRequest struct {
	on
	UserRequest text   `json:"user_request"`
	Roots       []text `json:"roots"`
	Cwd         text   `json:"cwd"`
}

type contextRequest struct {
	on
	Kind      text `json:"kind"` // user_request, reasoning, content
	Text      text `json:"text"`
	Source    text `json:"source"`    // of content: where it comes from
	Untrusted text `json:"untrusted"` // of content: yes, no, unknown
	Secrecy   text `json:"secrecy"`   // of content: a class of action.Secrecy
	Subject   text `json:"subject"`   // of content: whose data it is
}

type actionRequest struct {
	on
	Session text     `json:"session"`
	CallID  text     `json:"call_id"`
	Tool    toolName `json:"tool"`
	// Arguments keep their spelling: what was decided on is what must be executed.
	Arguments jsontext.Value `json:"arguments"`
	Reasoning text           `json:"reasoning"`
	Executor  text           `json:"executor"` // names the one execution that asks
}

type toolName struct {
	Server text `json:"server"`
	Name   text `json:"name"`
}

type outcomeRequest struct {
	on
	Status text           `json:"status"` // done, failed
	Result jsontext.Value `json:"result"`
	Opaque flag           `json:"opaque"`
}

type sessionAnswer struct {
	ID string `json:"id"`
}

type decisionAnswer struct {
	Effect action.Verdict `json:"effect"`
	Hint   string         `json:"hint"`
}

type approvalAnswer struct {
	ID      string    `json:"id"`
	Expires time.Time `json:"expires,omitzero"` // not told for held results
}

type actionAnswer struct {
	ID        string          `json:"id"`
	Session   string          `json:"session,omitempty"`
	Status    action.Status   `json:"status"`
	Decision  decisionAnswer  `json:"decision"`
	Arguments jsontext.Value  `json:"arguments,omitzero"`
	Approval  *approvalAnswer `json:"approval,omitempty"`
	Outcome   *releaseAnswer  `json:"outcome,omitempty"`
	Receipt   string          `json:"receipt"`
}

type releaseAnswer struct {
	ID       string          `json:"id"`
	Status   action.Status   `json:"status"`
	Decision decisionAnswer  `json:"decision"`
	Result   jsontext.Value  `json:"result,omitzero"`
	Approval *approvalAnswer `json:"approval,omitempty"`
	Receipt  string          `json:"receipt"`
}

// decided turns a verdict into what an agent may read. Anything that is not on the list reads as deny.
func decided(v action.Verdict, hint string) decisionAnswer {
	return decisionAnswer{Effect: v.Meet(action.Allow), Hint: hint}
}

// admitted is the answer of gate one. Arguments go out only with an allow whose action is not over.
func admitted(adm enforce.Admission) actionAnswer {
	a := actionAnswer{ID: adm.ID, Status: adm.Status, Decision: decided(adm.Verdict, adm.Hint), Receipt: adm.Receipt}
	switch a.Decision.Effect {
	case action.Allow:
		if adm.Release == nil && len(adm.Arguments) > 0 {
			a.Arguments = adm.Arguments
		}
	case action.Ask:
		if adm.Ticket != "" {
			a.Approval = &approvalAnswer{ID: adm.Ticket, Expires: adm.Expires.UTC().Truncate(time.Millisecond)}
		}
	}
	return a
}

// released is the answer of gate two. Content goes out only when it is released.
func released(rel enforce.Release) releaseAnswer {
	a := releaseAnswer{ID: rel.ID, Status: rel.Status, Decision: decided(rel.Verdict, rel.Hint), Receipt: rel.Receipt}
	if rel.Status == action.StatusReleased && len(rel.Content) > 0 {
		a.Result = rel.Content
	}
	if rel.Ticket != "" && rel.Status == action.StatusHeld {
		a.Approval = &approvalAnswer{ID: rel.Ticket}
	}
	return a
}

// checkID hides ids that we cannot have minted behind the same answer as unknown ones.
func checkID(id string) error {
	if id == "" || len(id) > 128 || strings.ContainsFunc(id, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		return enforce.ErrNotFound
	}
	return nil
}

// checkName refuses names that could read differently in a log, a policy or a terminal.
func checkName(member string, v text, max int) error {
	switch {
	case v == "":
		return gateway.Refuse(gateway.CodeMalformed, "member %q is required", member)
	case len(v) > max:
		return gateway.Refuse(gateway.CodeMalformed, "member %q holds more than %d bytes", member, max)
	case strings.ContainsFunc(string(v), func(r rune) bool { return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) }):
		return gateway.Refuse(gateway.CodeMalformed, "member %q holds a control character", member)
	}
	return nil
}
