// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// Code names a kind of problem. Codes are stable: clients branch on them.
type Code string

// The codes. Decisions are not among them: a denied action is a 200 with effect "deny".
const (
	CodeMalformed       Code = "malformed"
	CodeUnauthenticated Code = "unauthenticated"
	CodeScope           Code = "scope"
	CodeSubject         Code = "subject"
	CodeEvidence        Code = "evidence"
	CodeHost            Code = "host"
	CodeOrigin          Code = "origin"
	CodeNotFound        Code = "not-found"
	CodeNoRoute         Code = "no-route"
	CodeMethod          Code = "method"
	CodeSlowBody        Code = "slow-body"
	CodeConflict        Code = "conflict"
	CodeState           Code = "state"
	CodePrecondition    Code = "precondition-failed"
	CodeTooLarge        Code = "too-large"
	CodeMediaType       Code = "media-type"
	CodeInvalid         Code = "invalid"
	CodeIfMatch         Code = "precondition-required"
	CodeRate            Code = "rate"
	CodeTooManyOpen     Code = "too-many-open"
	CodeInternal        Code = "internal"
	CodeBusy            Code = "busy"
	CodeUnrecorded      Code = "unrecorded"
	CodeInterrupted     Code = "interrupted"
)

// problemType is the prefix of the type member of RFC 9457.
const problemType = "urn:sallyport:problem:"

// Problem is one row of the closed registry and, with Detail set, one refusal on the wire (RFC 9457).
// It is an error, so that handlers return it. Start from Refuse: a Problem built by hand has no row.
type Problem struct {
	Code       Code
	Status     int    // HTTP
	Title      string // the same for every refusal of this code
	Cause      string // for the reference: what leads to it
	Remedy     string // what the caller can do
	Detail     string // of this refusal; never a secret, never a stack, never a rule of the policy
	RetryAfter time.Duration
	Recorded   bool // an attempt that gets this is counted in the ledger

	counted bool // somebody else has recorded it
	allow   string

	challenge string // of WWW-Authenticate; "" for a plain bearer token
}

// Error returns the code and the detail.
func (p *Problem) Error() string {
	if p.Detail == "" {
		return "gateway: " + string(p.Code)
	}
	return "gateway: " + string(p.Code) + ": " + p.Detail
}

// Type returns the URI of RFC 9457.
func (p *Problem) Type() string { return problemType + string(p.Code) }

var registry = []Problem{
	{Code: CodeMalformed, Status: 400, Title: "Malformed request", Recorded: true,
		Cause:  "The body, path or query is not what the contract says: broken or ambiguous JSON (duplicate names, names that differ only in case, numbers that do not survive a double, lone surrogates, nesting beyond 64), an unknown or missing member, a wrong type.",
		Remedy: "Correct the request at the place the detail names. Nothing was done."},
	{Code: CodeUnauthenticated, Status: 401, Title: "No valid credential", Recorded: true,
		Cause:  "The request carries no credential, or one that is unknown, expired or revoked. Which of these is not told.",
		Remedy: "Send a valid token as \"Authorization: Bearer ...\"; an administrator issues one with POST /v1/tokens."},
	{Code: CodeScope, Status: 403, Title: "The credential lacks a scope", Recorded: true,
		Cause:  "The credential is valid but does not hold the scope that this route or member needs.",
		Remedy: "Use a token that holds the scope the detail names. A token that a model can reach must never hold \"host\"."},
	{Code: CodeSubject, Status: 403, Title: "The credential does not cover this subject", Recorded: true,
		Cause:  "The body names an agent or user that is not the credential's own.",
		Remedy: "Leave the member out, or use the credential of that agent. The subject comes from the channel, never from a body."},
	{Code: CodeEvidence, Status: 403, Title: "A signature is missing or does not hold", Recorded: true,
		Cause:  "What was asked for needs the signature of a registered passkey or SSH key over a fresh challenge, and there was none, or it is of another person, key, challenge or answer.",
		Remedy: "Ask for a challenge again, sign exactly it, and answer within five minutes."},
	{Code: CodeHost, Status: 403, Title: "Host not allowed", Recorded: true,
		Cause:  "The Host header names neither this machine's loopback, nor the address that was connected to, nor a configured host: a sign of DNS rebinding.",
		Remedy: "Use the address that \"sallyport up\" printed, or add the name to the configured hosts."},
	{Code: CodeOrigin, Status: 403, Title: "Origin not allowed", Recorded: true,
		Cause:  "The request comes from a web page whose origin is not configured.",
		Remedy: "Call from outside a browser, or add the origin to the configured origins."},
	{Code: CodeNotFound, Status: 404, Title: "Not found",
		Cause:  "There is no such thing, or it belongs to somebody else. Which of the two is not told.",
		Remedy: "Check the id and use the credential that it was created with."},
	{Code: CodeNoRoute, Status: 404, Title: "No such route",
		Cause:  "The path is not part of this listener's contract. People and agents have different listeners.",
		Remedy: "Check the path and the port against the OpenAPI documents in docs/api."},
	{Code: CodeMethod, Status: 405, Title: "Method not allowed",
		Cause:  "The path exists, but not with this method.",
		Remedy: "Use one of the methods in the Allow header."},
	{Code: CodeSlowBody, Status: 408, Title: "The body came too slowly", Recorded: true,
		Cause:  "The body was not complete within the time limit, or the connection broke while it was sent.",
		Remedy: "Send it again at once. Nothing was done."},
	{Code: CodeConflict, Status: 409, Title: "Conflict with what is there",
		Cause:  "An id is in use for something else: a call id was sent again with another tool or other arguments, or a name is taken.",
		Remedy: "Use a new id for a new call; send exactly the same body to repeat one."},
	{Code: CodeState, Status: 409, Title: "Not in that state",
		Cause:  "The action is at another step of its life: an outcome before it was admitted, a second and different outcome, an approval that is already answered.",
		Remedy: "Read its state with a GET and go on from there. Do not repeat the action."},
	{Code: CodePrecondition, Status: 412, Title: "Changed in the meantime",
		Cause:  "The revision in If-Match is not the current one.",
		Remedy: "Read it again, decide again, and send the new ETag."},
	{Code: CodeTooLarge, Status: 413, Title: "Too large", Recorded: true,
		Cause:  "The body is larger than the route accepts.",
		Remedy: "Send less. Of a result that is too large, report the status without the result."},
	{Code: CodeMediaType, Status: 415, Title: "Unsupported media type", Recorded: true,
		Cause:  "The Content-Type is missing or is not the one of the route, or the body is compressed.",
		Remedy: "Send \"Content-Type: application/json\" in UTF-8 without a Content-Encoding."},
	{Code: CodeInvalid, Status: 422, Title: "Well formed, but not acceptable",
		Cause:  "The request can be read, but what it asks for contradicts itself or something that is configured.",
		Remedy: "Correct what the detail names."},
	{Code: CodeIfMatch, Status: 428, Title: "If-Match is required",
		Cause:  "A write by an operator did not say which revision it rests on.",
		Remedy: "Read it first and send its ETag as If-Match."},
	{Code: CodeRate, Status: 429, Title: "Too many requests",
		Cause:  "This caller sent more requests per second than its quota.",
		Remedy: "Wait for the seconds in Retry-After."},
	{Code: CodeTooManyOpen, Status: 429, Title: "Too many open requests",
		Cause:  "This caller has more requests, waiting polls or body bytes open than its quota.",
		Remedy: "Let open requests end first; poll each action with one request at a time."},
	{Code: CodeInternal, Status: 500, Title: "Internal fault", Recorded: true,
		Cause:  "A fault of ours. The owner's log has it; the answer does not.",
		Remedy: "Take it that nothing was permitted. Repeat with the same call id, and tell the operator."},
	{Code: CodeBusy, Status: 503, Title: "Busy",
		Cause:  "A bound on open actions, requests or memory is reached.",
		Remedy: "Wait for the seconds in Retry-After and repeat with the same call id."},
	{Code: CodeUnrecorded, Status: 503, Title: "It cannot be recorded",
		Cause:  "The ledger could not make the record durable. No record, no action: nothing was executed, or nothing is released.",
		Remedy: "Do not execute. An operator looks at \"sallyport doctor\"; then repeat with the same call id."},
	{Code: CodeInterrupted, Status: 503, Title: "Interrupted",
		Cause:  "The request was cancelled or ran out of time, or the owner is stopping.",
		Remedy: "Repeat with the same call id."},
}

// Problems returns the whole registry, ordered by status and code: the source of the reference page.
func Problems() []Problem {
	out := slices.Clone(registry)
	slices.SortFunc(out, func(a, b Problem) int {
		if a.Status != b.Status {
			return a.Status - b.Status
		}
		if a.Code < b.Code {
			return -1
		}
		return 1
	})
	return out
}

// Refuse returns the problem of code with its detail. A code that is not in the registry is an internal
// fault. The detail goes to the caller: it must not hold secrets, and is cut at 512 bytes.
func Refuse(code Code, format string, args ...any) *Problem {
	for i := range registry {
		if registry[i].Code == code {
			p := registry[i]
			p.Detail = action.Clip(strings.ToValidUTF8(fmt.Sprintf(format, args...), "?"), 512)
			return &p
		}
	}
	return Refuse(CodeInternal, "")
}

// After sets the time after which the caller may try again.
func (p *Problem) After(d time.Duration) *Problem {
	p.RetryAfter = d
	return p
}

// FromError translates what enforce and the readers return. Anything else is an internal fault without
// detail, so that nothing of our insides reaches a caller.
func FromError(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	switch {
	case errors.Is(err, ErrUnauthenticated):
		return Refuse(CodeUnauthenticated, "")
	case errors.Is(err, enforce.ErrMalformed):
		p = Refuse(CodeMalformed, "the attempt breaks the contract")
		p.counted = true
		return p
	case errors.Is(err, action.ErrStrict):
		return Refuse(CodeMalformed, "%s", err)
	case errors.Is(err, enforce.ErrNotFound):
		return Refuse(CodeNotFound, "no such action or session")
	case errors.Is(err, enforce.ErrConflict):
		return Refuse(CodeConflict, "the call id was used for another call")
	case errors.Is(err, enforce.ErrState):
		return Refuse(CodeState, "the action is not in the state that this step needs")
	case errors.Is(err, enforce.ErrBusy):
		return Refuse(CodeBusy, "too many actions are open").After(time.Second)
	case errors.Is(err, enforce.ErrUnrecorded):
		return Refuse(CodeUnrecorded, "")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Refuse(CodeInterrupted, "")
	}
	return Refuse(CodeInternal, "")
}

// wire is the RFC 9457 form.
type wire struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Code   Code   `json:"code"`
	Remedy string `json:"remedy"`
}

// WriteProblem answers with the problem that err translates to.
func WriteProblem(w http.ResponseWriter, err error) {
	p := FromError(err)
	h := w.Header()
	if p.RetryAfter > 0 {
		s := (p.RetryAfter + time.Second - 1) / time.Second
		h.Set("Retry-After", strconv.FormatInt(int64(s), 10))
	} else if p.Status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "5")
	}
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", cmp.Or(p.challenge, `Bearer realm="sallyport"`))
	case http.StatusMethodNotAllowed:
		h.Set("Allow", p.allow)
	}
	body := wire{Type: p.Type(), Title: p.Title, Status: p.Status, Detail: p.Detail, Code: p.Code, Remedy: p.Remedy}
	if writeJSON(w, p.Status, "application/problem+json", body) != nil {
		w.WriteHeader(p.Status) // a refusal never turns into the empty 200 of an answer that was not written
	}
}
