// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/index"
)

// Reviews is what people say about decisions, and what it comes to for rules.
type Reviews interface {
	// Wrong records that the caller calls the denial, ask, finding or alert at index wrong. It changes no decision.
	// Its errors include ErrNoEntry and ErrNotDecided.
	Wrong(ctx context.Context, c *gateway.Caller, index uint64, w Wrong) (Called, error)
	// List returns what was called wrong since a time, the latest first, at most most.
	List(ctx context.Context, since int64, most int) ([]Review, error)
	// Accuracy counts by rule since a time.
	Accuracy(ctx context.Context, since int64) ([]RuleAccuracy, error)
	// Reviewers says how people answer.
	Reviewers(ctx context.Context, since int64) ([]Reviewer, error)
	// Seed shows reviewers a request that nobody made; approval.ErrSeeds if there are enough.
	Seed(ctx context.Context, c *gateway.Caller, t Trial) (approval.View, error)
	// Runs lists for whom people approve again and again. That their inputs are opened is recorded.
	Runs(ctx context.Context, c *gateway.Caller, since int64) ([]Run, error)
	// Propose makes a standing rule of such a run; policy.ErrStanding says why there can be none.
	Propose(ctx context.Context, c *gateway.Caller, p Proposal) (Proposed, error)
}

// ErrNotDecided means that the record is nothing that can be called wrong.
var ErrNotDecided = errors.New("admin: nothing was denied, asked or found there")

// Wrong is what a person says of a decision.
type Wrong struct {
	Reason string
	Expect action.Verdict // what would have been right
}

// Called is what came of it. Case is for a bundle's tests; "" where the input cannot be opened, and for alerts.
type Called struct {
	Index  uint64   `json:"index"` // of the review's record; 0 for an alert
	Record uint64   `json:"record"`
	Rules  []string `json:"rules"`
	Case   string   `json:"case"`
}

// Review is one decision or alert that somebody called wrong.
type Review struct {
	Index   uint64         `json:"index"`
	Record  uint64         `json:"record"` // what was called wrong
	TimeMs  int64          `json:"time_ms"`
	By      string         `json:"by"` // "" where it cannot be told
	Reason  string         `json:"reason"`
	Summary string         `json:"summary"` // of an alert
	Rules   []string       `json:"rules"`
	Server  string         `json:"server"`
	Tool    string         `json:"tool"`
	Verdict action.Verdict `json:"verdict"`
	Expect  action.Verdict `json:"expect"`
	Case    string         `json:"case"`
}

// RuleAccuracy is a rule with how often it was called wrong.
type RuleAccuracy struct {
	index.RuleCount

	Wrong      int64 `json:"wrong"`
	WrongMilli int64 `json:"wrong_milli"` // of the times it decided
}

func (d *desk) callWrong(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	n, err := strconv.ParseUint(r.PathValue("index"), 10, 63)
	if err != nil || d.cfg.Reviews == nil {
		return gateway.Refuse(gateway.CodeNotFound, "")
	}
	var body struct {
		Reason string `json:"reason"`
		Expect string `json:"expect"`
	}
	if err := gateway.ReadJSON(w, r, &body, 4<<10); err != nil {
		return err
	}
	expect := action.Verdict(body.Expect)
	if body.Expect == "" {
		expect = action.Allow
	}
	if body.Reason == "" || len(body.Reason) > maxReason {
		return gateway.Refuse(gateway.CodeInvalid, "a reason of at most %d bytes is needed", maxReason)
	}
	if expect != action.Allow && expect != action.Ask && expect != action.Deny {
		return gateway.Refuse(gateway.CodeInvalid, "expect is not one of allow, ask, deny")
	}
	got, err := d.cfg.Reviews.Wrong(r.Context(), c, n, Wrong{Reason: body.Reason, Expect: expect})
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, got)
}

// since reads the one parameter that lists of reviews take.
func (d *desk) since(r *http.Request) (int64, error) {
	q, err := queryOnly(r, "since")
	if err != nil {
		return 0, err
	}
	if d.cfg.Reviews == nil {
		return 0, gateway.Refuse(gateway.CodeNotFound, "this is not served here")
	}
	f, err := filter(q)
	return f.Since, err
}

func (d *desk) listReviews(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	since, err := d.since(r)
	if err != nil {
		return err
	}
	items, err := d.cfg.Reviews.List(r.Context(), since, maxLimit)
	if err != nil {
		return translate(err)
	}
	var parts []index.PartAt
	for _, v := range items {
		parts = append(parts, index.PartAt{Index: v.Index, Part: action.PartDetail})
		if v.Case != "" {
			parts = append(parts, index.PartAt{Index: v.Index, Part: action.PartExplanation})
		}
	}
	if len(parts) > 0 {
		if err := d.cfg.Shown(r.Context(), c, "reviews", parts); err != nil {
			return err
		}
	}
	return gateway.WriteJSON(w, http.StatusOK, list[Review]{Items: items})
}

func (d *desk) listAccuracy(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
	since, err := d.since(r)
	if err != nil {
		return err
	}
	items, err := d.cfg.Reviews.Accuracy(r.Context(), since)
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, list[RuleAccuracy]{Items: items})
}
