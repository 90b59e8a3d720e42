// SPDX-License-Identifier: Apache-2.0

package attest

import "fmt"

// Code is the class of a refusal, for callers and records.
type Code string

// The classes of refusals.
const (
	Malformed   Code = "malformed"   // the bytes are no evidence of this kind
	Unsupported Code = "unsupported" // a real format that this verifier refuses on purpose
	Unproved    Code = "unproved"    // a signature, chain, binding or digest does not hold
	Stale       Code = "stale"       // a key or collateral is outside its window, or too old
	Missing     Code = "missing"     // collateral or material is not at hand
	Revoked     Code = "revoked"     // a key or the platform was withdrawn
	Mismatch    Code = "mismatch"    // proved, but about something else
	Debug       Code = "debug"       // the runtime can be read by its host
	Replayed    Code = "nonce"       // the evidence does not bind the nonce
	Stopped     Code = "stopped"     // the verification was cancelled
)

// Error is why evidence was refused.
type Error struct {
	Code  Code
	What  string // the subject and what is wrong with it
	Cause error
}

// Refuse returns an *Error.
func Refuse(c Code, format string, args ...any) error {
	return &Error{Code: c, What: fmt.Sprintf(format, args...)}
}

// RefuseFor returns an *Error with a cause.
func RefuseFor(cause error, c Code, format string, args ...any) error {
	return &Error{Code: c, What: fmt.Sprintf(format, args...), Cause: cause}
}

func (e *Error) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.What, e.Cause)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.What)
}

func (e *Error) Unwrap() error { return e.Cause }
