// SPDX-License-Identifier: Apache-2.0

// Package enforce is the enforcement point: the one path that every action takes.
package enforce

import (
	"context"
	"errors"

	"github.com/sallyport/sallyport/action"
)

// Enforcer is the path. Its methods are safe for concurrent use.
type Enforcer struct{}

var errStub = errors.New("enforce: under construction")

// Session returns the id of the session of (subject, door, host), minting one if there is none or if the
// last one was idle for 30 minutes. host is what the door knows of the conversation: a header, a hook
// host's id, a client process; "" falls back to (credential, user).
func (e *Enforcer) Session(ctx context.Context, s *action.Subject, host string, o SessionOptions) (string, error) {
	return "", errStub
}

// SessionOptions is what a host-scoped door knows of a session. Empty fields leave what is known.
type SessionOptions struct {
	Roots []string // resolved folders
	Cwd   string
}

// Say adds text to a session: the user's request, reasoning, labelled content. What the agent itself
// asserts is recorded but raises no trust.
func (e *Enforcer) Say(ctx context.Context, s *action.Subject, session string, said Said) error {
	return errStub
}

// Before passes a through the first gate. A nil error with any verdict but allow means: do not execute.
func (e *Enforcer) Before(ctx context.Context, a Attempt) (Admission, error) {
	return Admission{}, errStub
}

// Wait returns the admission of an asked action once it is no longer pending, or its pending admission
// when ctx ends. The intent of a granted action is recorded at the first Wait that delivers it.
func (e *Enforcer) Wait(ctx context.Context, s *action.Subject, id string) (Admission, error) {
	return Admission{}, errStub
}

// Chunk passes one message that comes back while an admitted action runs (progress, log, elicitation,
// sampling, a stream's piece) through the second gate. The first chunk writes a durable round record.
func (e *Enforcer) Chunk(ctx context.Context, s *action.Subject, id string, o Outcome) (Release, error) {
	return Release{}, errStub
}

// Heartbeat puts off the outcome deadline of a running action.
func (e *Enforcer) Heartbeat(s *action.Subject, id string) error { return errStub }

// After passes the outcome of an admitted action through the second gate. Repeats return the stored
// answer.
func (e *Enforcer) After(ctx context.Context, s *action.Subject, id string, o Outcome) (Release, error) {
	return Release{}, errStub
}

// Held returns the result of an action whose release a person has approved since, or the held release.
func (e *Enforcer) Held(ctx context.Context, s *action.Subject, id string) (Release, error) {
	return Release{}, errStub
}

// Do is Before, execute, After for doors that execute themselves. execute gets the bytes that must be
// executed; it is called at most once, and never without a durable intent.
func (e *Enforcer) Do(ctx context.Context, a Attempt, execute func(ctx context.Context, adm Admission) (Outcome, error)) (Admission, Release, error) {
	return Admission{}, Release{}, errStub
}

// Malformed records an attempt that a door refused before it became an Attempt: one counted record per
// (source, code) and window.
func (e *Enforcer) Malformed(ctx context.Context, door action.Door, source, code string) {}
