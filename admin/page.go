// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/identity/factor"
	"github.com/sallyport/sallyport/index"
	"github.com/sallyport/sallyport/policy"
	"github.com/sallyport/sallyport/tools"
)

// Bounds of requests.
const (
	maxLimit      = 200
	maxParamBytes = 1024
	maxBodyBytes  = 64 << 10
	maxToolsBytes = 4 << 20
)

// Page is the part of a list that is asked for.
type Page struct {
	Tenant string
	After  string // the cursor: the list goes on behind it; "" starts
	Limit  int    // 1..200
}

// list is the answer of every list. Next is the cursor of the following page, "" on the last.
type list[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

// params reads the query: limit, cursor, and the names that the route knows, each at most once.
func params(r *http.Request, c *gateway.Caller, names ...string) (url.Values, Page, error) {
	p := Page{Tenant: c.Subject.Tenant, Limit: 50}
	q, err := queryOnly(r, append(slices.Clone(names), "limit", "cursor")...)
	if err != nil {
		return nil, p, err
	}
	if s := q.Get("limit"); q.Has("limit") {
		if p.Limit, err = strconv.Atoi(s); err != nil || p.Limit < 1 || p.Limit > maxLimit || strconv.Itoa(p.Limit) != s {
			return nil, p, gateway.Refuse(gateway.CodeMalformed, "limit is not 1 to %d", maxLimit)
		}
	}
	p.After = q.Get("cursor")
	return q, p, nil
}

// queryOnly reads the query, in which only names may stand, each at most once.
func queryOnly(r *http.Request, names ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, gateway.Refuse(gateway.CodeMalformed, "the query cannot be read")
	}
	for k, v := range q {
		if !slices.Contains(names, k) {
			return nil, gateway.Refuse(gateway.CodeMalformed, "unknown parameter %q", action.Clip(k, 64))
		}
		if len(v) != 1 || len(v[0]) > maxParamBytes {
			return nil, gateway.Refuse(gateway.CodeMalformed, "parameter %q is repeated or too long", k)
		}
	}
	return q, nil
}

// plain refuses any query, for routes that take none.
func plain(r *http.Request) error {
	if r.URL.RawQuery != "" {
		return gateway.Refuse(gateway.CodeMalformed, "this route takes no parameters")
	}
	return nil
}

// page answers with items, of which one more than the limit was asked for.
func page[T any](w http.ResponseWriter, items []T, limit int, cursor func(T) string) error {
	out := list[T]{Items: items}
	if len(items) > limit {
		out.Items = items[:limit]
		out.Next = cursor(items[limit-1])
	}
	return gateway.WriteJSON(w, http.StatusOK, out)
}

// ifMatch returns the revision that a write rests on.
func ifMatch(r *http.Request) (uint64, error) {
	v := r.Header["If-Match"]
	if len(v) == 0 {
		return 0, gateway.Refuse(gateway.CodeIfMatch, "")
	}
	s, ok := strings.CutPrefix(v[0], `"`)
	s, end := strings.CutSuffix(s, `"`)
	rev, err := strconv.ParseUint(s, 10, 64)
	if len(v) != 1 || !ok || !end || err != nil || rev == 0 || strconv.FormatUint(rev, 10) != s {
		return 0, gateway.Refuse(gateway.CodeMalformed, "If-Match is not one ETag of ours")
	}
	return rev, nil
}

func etag(w http.ResponseWriter, rev uint64) {
	w.Header().Set("ETag", `"`+strconv.FormatUint(rev, 10)+`"`)
}

// translate turns the errors of the columns into problems. Texts of approval, identity and tools name
// fields and states, never secrets or rules.
func translate(err error) error {
	is := func(targets ...error) bool {
		return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
	}
	switch {
	case err == nil:
		return nil
	case is(approval.ErrNotFound, identity.ErrNotFound, tools.ErrNotFound, index.ErrNotFound, ErrNoRecord, ErrNoAlert, ErrNoEntry):
		return gateway.Refuse(gateway.CodeNotFound, "")
	case is(ErrRecordUnseen):
		return gateway.Refuse(gateway.CodeIfMatch, "")
	case is(approval.ErrChanged, tools.ErrDigest, ErrRecordChanged):
		return gateway.Refuse(gateway.CodePrecondition, "")
	case is(approval.ErrState, tools.ErrSigned, identity.ErrNotKilled, ErrErased, ErrNotDecided):
		return gateway.Refuse(gateway.CodeState, "%s", text(err))
	case is(identity.ErrVouch, identity.ErrChallenge, identity.ErrFactor, approval.ErrEvidence, factor.ErrForged):
		return gateway.Refuse(gateway.CodeEvidence, "%s", text(err))
	case is(approval.ErrEdit, approval.ErrAbsence):
		return gateway.Refuse(gateway.CodeInvalid, "%s", text(err))
	case is(approval.ErrOwn):
		return gateway.Refuse(gateway.CodeSubject, "%s", text(err))
	case is(identity.ErrExists):
		return gateway.Refuse(gateway.CodeConflict, "%s", text(err))
	case is(identity.ErrMalformed, tools.ErrDefinition, tools.ErrUpstream, index.ErrQuery, ErrRecord, ErrTrial, policy.ErrStanding):
		return gateway.Refuse(gateway.CodeInvalid, "%s", text(err))
	case is(identity.ErrFull, ErrRecordsFull, approval.ErrSeeds):
		return gateway.Refuse(gateway.CodeBusy, "%s", text(err))
	}
	return err
}

// text is an error without the name of the package it comes from.
func text(err error) string {
	_, rest, ok := strings.Cut(err.Error(), ": ")
	if !ok {
		return err.Error()
	}
	return rest
}
