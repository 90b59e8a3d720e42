// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net/http"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/policy"
)

// Reviewer is how one person answers. Times are milliseconds, of the answers of which it is known.
type Reviewer struct {
	Person       string `json:"person"`
	Answers      int    `json:"answers"`
	Approved     int    `json:"approved"`
	ApproveMilli int    `json:"approve_milli"` // of the answers
	Timed        int    `json:"timed"`         // answers of which the think time is known
	ThinkMs      int64  `json:"think_ms"`      // median
	Quick        int    `json:"quick"`         // of the timed, within two seconds
	Seeded       int    `json:"seeded"`        // tests that he answered
	Caught       int    `json:"caught"`        // of these, denied
}

// Run is a tool that people approved for one agent again and again.
type Run struct {
	Agent     string `json:"agent"`
	Tool      string `json:"tool"`
	Effect    string `json:"effect"`
	Approvals int    `json:"approvals"`
	LastMs    int64  `json:"last_ms"`
}

// Proposal asks for a standing rule.
type Proposal struct {
	Agent, Tool string
	SinceMs     int64
	For         time.Duration // how long it holds; 0 means policy.StandingFor
	Least       int           // approvals that it needs; 0 means policy.LeastApprovals
}

// Proposed is a rule to be signed, and what it would have done.
type Proposed struct {
	policy.Standing

	Base     action.Bundle     `json:"base"`     // in force
	Bundle   action.Bundle     `json:"bundle"`   // with the rule; nothing was activated
	Files    map[string]string `json:"files"`    // that differ from base
	Replayed int               `json:"replayed"` // decisions that were taken again
	Unread   int               `json:"unread"`   // that could not be
	Admitted int               `json:"admitted"` // actions that it would have let by without asking
	Approved int               `json:"approved"` // of these, that a person approved
	Else     []Admitted        `json:"else"`     // the others, one by one
}

// Admitted is one action that a proposed rule would have let by.
type Admitted struct {
	Index    uint64         `json:"index"`
	TimeMs   int64          `json:"time_ms"`
	Session  string         `json:"session"`
	Was      action.Verdict `json:"was"`
	Approved bool           `json:"approved"`
}

func (d *desk) listReviewers(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
	since, err := d.since(r)
	if err != nil {
		return err
	}
	items, err := d.cfg.Reviews.Reviewers(r.Context(), since)
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, list[Reviewer]{Items: items})
}

func (d *desk) addSeed(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	if d.cfg.Reviews == nil {
		return gateway.Refuse(gateway.CodeNotFound, "this is not served here")
	}
	var body struct {
		Server    string         `json:"server"`
		Tool      string         `json:"tool"`
		Arguments jsontext.Value `json:"arguments"`
		Facts     jsontext.Value `json:"facts"`
	}
	if err := gateway.ReadJSON(w, r, &body, maxBodyBytes); err != nil {
		return err
	}
	if body.Tool == "" {
		return gateway.Refuse(gateway.CodeInvalid, "a tool must be named")
	}
	v, err := d.cfg.Reviews.Seed(r.Context(), c, Trial{Server: body.Server, Tool: body.Tool, Arguments: body.Arguments, Facts: body.Facts})
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, v)
}

func (d *desk) listRuns(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	since, err := d.since(r)
	if err != nil {
		return err
	}
	items, err := d.cfg.Reviews.Runs(r.Context(), c, since)
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, list[Run]{Items: items})
}

func (d *desk) propose(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	if d.cfg.Reviews == nil {
		return gateway.Refuse(gateway.CodeNotFound, "this is not served here")
	}
	var body struct {
		Agent   string `json:"agent"`
		Tool    string `json:"tool"`
		SinceMs int64  `json:"since_ms"`
		Days    int    `json:"days"`
		Least   int    `json:"least"`
	}
	if err := gateway.ReadJSON(w, r, &body, 4<<10); err != nil {
		return err
	}
	if body.Agent == "" || body.Tool == "" || body.SinceMs < 0 || body.Days < 0 || body.Days > 90 || body.Least < 0 || body.Least > 1000 {
		return gateway.Refuse(gateway.CodeInvalid, "an agent and a tool must be named, and a rule holds for at most 90 days")
	}
	got, err := d.cfg.Reviews.Propose(r.Context(), c, Proposal{Agent: body.Agent, Tool: body.Tool, SinceMs: body.SinceMs,
		For: time.Duration(body.Days) * 24 * time.Hour, Least: body.Least})
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, got)
}
