// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/sallyport/sallyport/action"
)

// State is where an ask stands.
type State string

// The states. Only pending and granted are live; the others are final.
const (
	Pending State = "pending"
	Granted State = "granted" // and unused
	Used    State = "used"
	Refused State = "refused"
	Revoked State = "revoked" // a grant withdrawn before use
	Expired State = "expired"
)

// Live reports whether s can still change.
func (s State) Live() bool { return s == Pending || s == Granted }

// Actor is who answers, proved by the channel he came through.
type Actor struct {
	ID         string      // of the person or system; required
	Channel    action.Rank // how well that was proved
	UID        int64       // of the peer process, if HasUID
	HasUID     bool
	Credential string   // id of the token or certificate, never the secret
	Agent      string   // the agent that the credential belongs to; "" for people
	Session    string   // for channel client: the session whose user was asked
	Groups     []string // for rules that name a group
	Seen       uint64   // revision of the View that is answered; 0 skips the check

	// SignIn is what the identity provider says of how he proved himself; zero without one.
	SignIn SignIn

	// Evidence is the person's own signature over what Desk.Challenge gave for this very answer, as
	// Config.Prove reads it; "" where he signed nothing.
	Evidence string

	// Among are equal requests that were shown as one with the request that is answered, see View.Equal: the
	// answer is given to each of them. Empty answers the one request only.
	Among []string

	among  []string  // the digests of all that he answers together, sorted; the evidence is checked then
	rest   bool      // this is one of the others that are answered with the first
	edit   string    // arguments that he approves in place of those shown
	absent []Absence // people whom he stands in for now
}

// SignIn is how somebody proved himself to an identity provider.
type SignIn struct {
	ACR string    // level (acr)
	AMR []string  // methods (amr)
	At  time.Time // auth_time; zero when it was not said
}

// Need is what one asking rule demands.
type Need struct {
	Rule    string      `json:"rule"`
	Channel action.Rank `json:"channel"`
	Quorum  int         `json:"quorum"`
	Group   string      `json:"group"`
	Apart   bool        `json:"apart"`       // the user for whom the agent acts does not count
	AfterS  int         `json:"escalate_s"`  // after so many seconds EscalateTo counts too; 0 means never
	To      string      `json:"escalate_to"` // group that takes over

	// See action.Approver.
	ACR     string `json:"acr,omitzero"`
	AMR     string `json:"amr,omitzero"`
	MaxAgeS int    `json:"max_age_s,omitzero"`
}

// Given is one recorded answer.
type Given struct {
	Approver   string      `json:"approver"`
	Channel    action.Rank `json:"channel"`
	Approve    bool        `json:"approve"`
	UID        int64       `json:"uid"` // -1 when not known
	SameUID    action.Tri  `json:"same_uid"`
	Credential string      `json:"credential"`
	Groups     []string    `json:"groups"`
	Comment    string      `json:"comment"`
	TimeMs     int64       `json:"time_ms"`
	Own        action.Tri  `json:"own"`      // the approver is the user for whom the agent acts
	For        []string    `json:"for"`      // absent people whose groups he answers for
	Edited     string      `json:"edited"`   // salted digest of the arguments that he approves in place of those shown; "" for none
	Evidence   string      `json:"evidence"` // his signature over the challenge; "" if there is none
	SeenMs     int64       `json:"seen_ms"`  // since the approver first opened the request; -1 when not known

	// The sign-in behind it, as the identity provider says; zero without one.
	ACR     string   `json:"acr,omitzero"`      // its level
	AMR     []string `json:"amr,omitzero"`      // its methods
	AuthnMs int64    `json:"authn_ms,omitzero"` // when the person proved himself

	Among []string `json:"among,omitzero"` // digests of all requests that got this answer together, sorted; nil for this one only
}

// View is an ask as people see it.
type View struct {
	ID        string  `json:"id"`
	Revision  uint64  `json:"revision"`
	State     State   `json:"state"`
	Title     string  `json:"title"`
	Agent     string  `json:"agent"`
	Session   string  `json:"session"`
	Action    string  `json:"action"`
	OpenedMs  int64   `json:"opened_ms"`
	ExpiresMs int64   `json:"expires_ms"` // of the ask, or of the unused grant
	Needs     []Need  `json:"needs"`
	Answers   []Given `json:"answers"`
	Reason    string  `json:"reason"` // why it is still pending, or how it ended
	Shown     *Shown  `json:"shown"`  // without arguments once the ask has ended
	Digest    string  `json:"digest"` // of what a grant binds
	Edit      string  `json:"edit"`   // arguments that somebody approves in place of those shown; "" for none
	Alike     string  `json:"alike"`  // the same for requests that differ in nothing a person could tell apart
	Requester string  `json:"user"`   // for whom the agent acts

	Test  string   `json:"test"`  // of a seeded request that has ended: caught, missed or expired; "" of all others
	Equal []string `json:"equal"` // ids of further requests that are equal to this one and wait behind it
}

// row is an ask as it is stored.
type row struct {
	Format    int     `json:"format"` // 1
	ID        string  `json:"id"`
	State     State   `json:"state"`
	Action    string  `json:"action"`
	Session   string  `json:"session"`
	Agent     string  `json:"agent"`
	User      string  `json:"user"`
	UID       int64   `json:"uid"`
	Binding   string  `json:"binding"`
	Digest    string  `json:"digest"` // over Binding, Needs, times and Shown
	Needs     []Need  `json:"needs"`
	OpenedMs  int64   `json:"opened_ms"`
	ExpiresMs int64   `json:"expires_ms"`
	GrantMs   int64   `json:"grant_ms"` // how long a grant holds
	Answers   []Given `json:"answers"`
	EndedMs   int64   `json:"ended_ms"` // when it was granted or ended
	UsedBy    string  `json:"used_by"`
	Reason    string  `json:"reason"`
	Comment   string  `json:"comment"` // of the refusal
	Round     int     `json:"round"`   // of the next record
	Near      string  `json:"near"`
	Sinks     string  `json:"sinks"`
	Frame     frame   `json:"frame"`
	Shown     *Shown  `json:"shown"`
	Edit      string  `json:"edit"`  // see Given.Edited
	Judge     string  `json:"judge"` // why no automated system may confirm; "" if it may
}

// frame is what every record about an ask repeats from its action.
type frame struct {
	Door       action.Door       `json:"door"`
	Server     string            `json:"server"`
	Tool       string            `json:"tool"`
	Effect     action.Effect     `json:"effect"`
	Phase      action.Phase      `json:"phase"`
	Bundle     action.Bundle     `json:"bundle"`
	Grade      action.Grade      `json:"grade"`
	Separation action.Separation `json:"separation"`
	Observed   action.Tri        `json:"observed"`
	Assurance  int               `json:"assurance"`
	Model      int               `json:"model"`
}

// ask is a row with what only this process knows.
type ask struct {
	row
	rev      uint64
	dirty    bool             // the stored row is behind; memory is right
	actions  []string         // the latest actions that wait for it
	turn     chan struct{}    // holds one token; taken while an answer is recorded
	changed  chan struct{}    // closed and replaced whenever the answer changes
	ready    chan struct{}    // closed once the opening is recorded or has failed
	failed   error            // why the opening failed; read after ready
	ownTried bool             // the asking agent has tried to approve it
	raised   bool             // its escalation is on record
	like     likeness         // what it is equal to; zero after a restart
	lead     *ask             // the equal request that it waits behind, nil if none; guarded by Desk.mu
	equal    []*ask           // those that wait behind it, being opened or open; guarded by Desk.mu
	light    bool             // it waits behind another and counts as no request of its session
	seen     map[string]int64 // when each person first opened it, ms; guarded by Desk.mu
}

func (a *ask) deadline() int64 {
	if a.State == Granted {
		return a.EndedMs + a.GrantMs
	}
	return a.ExpiresMs
}

func (a *ask) rules() []string {
	out := make([]string, 0, len(a.Needs))
	for _, n := range a.Needs {
		out = append(out, n.Rule)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// terms is what a grant of the ask holds for. Shown carries a random nonce, so the digest tells nothing
// about the arguments.
type terms struct {
	Binding   string `json:"binding"`
	ID        string `json:"id"`
	Session   string `json:"session"`
	Agent     string `json:"agent"`
	User      string `json:"user"`
	UID       int64  `json:"uid"`
	Needs     []Need `json:"needs"`
	OpenedMs  int64  `json:"opened_ms"`
	ExpiresMs int64  `json:"expires_ms"`
	GrantMs   int64  `json:"grant_ms"`
	Shown     *Shown `json:"shown"`
	Judge     string `json:"judge"`
}

func (r *row) terms() terms {
	return terms{r.Binding, r.ID, r.Session, r.Agent, r.User, r.UID, r.Needs, r.OpenedMs, r.ExpiresMs, r.GrantMs, r.Shown, r.Judge}
}

func (r *row) bound() (string, error) { return digest(r.terms()) }

// proof is the digest of all answers so far.
func (r *row) proof() (string, error) { return Proof(r.Digest, r.Answers) }

// Proof is the subject of the record of the last of answers to the ask whose digest is given.
func Proof(bound string, answers []Given) (string, error) {
	return digest(struct {
		Digest  string  `json:"digest"`
		Answers []Given `json:"answers"`
	}{bound, answers})
}

func digest(v any) (string, error) {
	b, err := action.Canonical(v)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}
