// SPDX-License-Identifier: Apache-2.0

// Package authzen is the door for other people's gateways: the OpenID AuthZEN Authorization API 1.0.
//
// # What an evaluation is
//
// A policy enforcement point asks whether a subject may take an action on a resource, and carries the
// decision out itself. The action that passes our two gates is the giving of that decision: it is recorded
// before it is given, as a call of the tool "authzen/NAME", where NAME is the name of the action. Its
// arguments are the evaluated subject, action, resource and context, so that policy sees every property.
//
// # Who speaks
//
// The agent is the enforcement point itself, by its credential. Whoever it asks about is what it says: a
// subject of type "user" becomes the user that it acts for, recorded as asserted, and gives no rights.
//
// # Answers
//
// A decision is a 200. It is true only after an allow at both gates. An ask is false, and its context says
// that a person can grant it; the same evaluation, repeated after the grant, is true once. Members that the
// specification does not know are ignored, as it demands; everything else is read strictly.
package authzen

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

// Server is the name under which policies and records know what is evaluated here.
const Server = "authzen"

// Enforcer is the path as this door needs it; *enforce.Enforcer is one.
type Enforcer interface {
	Session(ctx context.Context, s *action.Subject, host string, o enforce.SessionOptions) (string, error)
	Before(ctx context.Context, a enforce.Attempt) (enforce.Admission, error)
	After(ctx context.Context, s *action.Subject, id string, o enforce.Outcome) (enforce.Release, error)
}

var _ Enforcer = (*enforce.Enforcer)(nil)

// Config is what the door needs.
type Config struct {
	// Enforcer is the path. Required.
	Enforcer Enforcer
	// Separation says what keeps the caller from approving its own asks. Nil means unknown.
	Separation func(c *gateway.Caller) action.Separation
	// URL is our base address as enforcement points know it, for the metadata; "" takes it from each request.
	URL string
	// BodyBytes bounds a request; 0 means 1 MiB.
	BodyBytes int64
	// MaxEvaluations bounds what one request may ask; 0 means 256.
	MaxEvaluations int
}

type door struct{ cfg Config }

// Routes returns the door's routes.
func Routes(cfg Config) ([]gateway.Route, error) {
	if cfg.Enforcer == nil {
		return nil, errors.New("authzen: Enforcer is required")
	}
	if cfg.Separation == nil {
		cfg.Separation = func(*gateway.Caller) action.Separation { return action.SeparationUnknown }
	}
	if cfg.BodyBytes <= 0 {
		cfg.BodyBytes = 1 << 20
	}
	if cfg.MaxEvaluations <= 0 {
		cfg.MaxEvaluations = 256
	}
	d := &door{cfg: cfg}
	scope := []action.Scope{action.ScopeAuthZEN}
	return []gateway.Route{
		{Pattern: "POST /access/v1/evaluation", Scopes: scope, Door: action.DoorAuthZEN, Serve: d.one},
		{Pattern: "POST /access/v1/evaluations", Scopes: scope, Door: action.DoorAuthZEN, Serve: d.many},
		{Pattern: "GET /.well-known/authzen-configuration", Scopes: scope, Door: action.DoorAuthZEN, Serve: d.metadata},
	}, nil
}

// requestID is the header by which callers tell their requests apart.
const requestID = "X-Request-Id"

// read returns the members of the body. The specification wants a 400 where the media type is wrong, too.
func (d *door) read(w http.ResponseWriter, r *http.Request, c *gateway.Caller) (members, error) {
	if ids := r.Header[requestID]; len(ids) == 1 && printable(ids[0], 256) {
		w.Header().Set(requestID, ids[0])
	}
	if c.Subject.ID == "" {
		return nil, gateway.Refuse(gateway.CodeSubject, "the credential belongs to no agent")
	}
	body, err := gateway.ReadBody(w, r, "application/json", d.cfg.BodyBytes)
	var p *gateway.Problem
	if errors.As(err, &p) && p.Code == gateway.CodeMediaType {
		return nil, gateway.Refuse(gateway.CodeMalformed, "%s", p.Detail)
	}
	if err != nil {
		return nil, err
	}
	if jsontext.Value(body).Kind() != jsontext.KindBeginObject {
		return nil, gateway.Refuse(gateway.CodeMalformed, "the body must be a JSON object")
	}
	m := members{}
	return m, gateway.ParseJSON(r.Context(), body, &m)
}

func (d *door) one(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	m, err := d.read(w, r, c)
	if err != nil {
		return err
	}
	return d.single(w, r, c, m)
}

func (d *door) single(w http.ResponseWriter, r *http.Request, c *gateway.Caller, m members) error {
	e, err := evaluationOf(m, nil)
	if err != nil {
		return gateway.Refuse(gateway.CodeMalformed, "%s", err)
	}
	a, err := d.evaluate(r.Context(), c, e)
	if err != nil {
		return err
	}
	return gateway.WriteJSON(w, http.StatusOK, a)
}

// semantics is when a batch ends: after each of them, after the first deny, after the first permit.
type semantics string

const (
	executeAll    semantics = "execute_all"
	denyOnDeny    semantics = "deny_on_first_deny"
	permitOnFirst semantics = "permit_on_first_permit"
)

func (s semantics) ends(decision bool) bool {
	return s == denyOnDeny && !decision || s == permitOnFirst && decision
}

func (d *door) many(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	m, err := d.read(w, r, c)
	if err != nil {
		return err
	}
	list, how, err := batchOf(m, d.cfg.MaxEvaluations)
	if err != nil {
		return gateway.Refuse(gateway.CodeMalformed, "%s", err)
	}
	if len(list) == 0 { // as the specification says: like the single endpoint
		return d.single(w, r, c, m)
	}
	answers := make([]answer, 0, len(list))
	for _, item := range list {
		a := answer{}
		e, err := evaluationOf(item, m)
		if err != nil {
			a.Context = &reasons{Error: &failure{Status: http.StatusBadRequest, Message: err.Error()}}
		} else if a, err = d.evaluate(r.Context(), c, e); err != nil {
			p := gateway.FromError(err)
			a = answer{Context: &reasons{Error: &failure{Status: p.Status, Message: p.Title}}}
		}
		answers = append(answers, a)
		if how.ends(a.Decision) {
			break
		}
	}
	return gateway.WriteJSON(w, http.StatusOK, struct {
		Evaluations []answer `json:"evaluations"`
	}{answers})
}

// metadata tells an enforcement point where the endpoints are. Like everything here it needs a credential.
func (d *door) metadata(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
	base := strings.TrimSuffix(d.cfg.URL, "/")
	if base == "" {
		base = "http://" + r.Host
	}
	return gateway.WriteJSON(w, http.StatusOK, struct {
		PDP         string `json:"policy_decision_point"`
		Evaluation  string `json:"access_evaluation_endpoint"`
		Evaluations string `json:"access_evaluations_endpoint"`
	}{base, base + "/access/v1/evaluation", base + "/access/v1/evaluations"})
}
