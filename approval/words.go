// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

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
}

// Need is what one asking rule demands.
type Need struct {
	Rule    string      `json:"rule"`
	Channel action.Rank `json:"channel"`
	Quorum  int         `json:"quorum"`
	Group   string      `json:"group"`
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
	dirty    bool          // the stored row is behind; memory is right
	actions  []string      // the latest actions that wait for it
	turn     chan struct{} // holds one token; taken while an answer is recorded
	changed  chan struct{} // closed and replaced whenever the answer changes
	ready    chan struct{} // closed once the opening is recorded or has failed
	failed   error         // why the opening failed; read after ready
	ownTried bool          // the asking agent has tried to approve it
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

// bound is what a grant of the ask holds for. Shown carries a random nonce, so the digest tells nothing
// about the arguments.
func (r *row) bound() (string, error) {
	return digest(struct {
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
	}{r.Binding, r.ID, r.Session, r.Agent, r.User, r.UID, r.Needs, r.OpenedMs, r.ExpiresMs, r.GrantMs, r.Shown})
}

// proof is the digest of all answers so far; it stands in the record of the last one.
func (r *row) proof() (string, error) {
	return digest(struct {
		Digest  string  `json:"digest"`
		Answers []Given `json:"answers"`
	}{r.Digest, r.Answers})
}

func digest(v any) (string, error) {
	b, err := action.Canonical(v)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// enough reports whether answers satisfy every need, and with which answers it does: the fewest, the
// strongest channels kept.
func enough(needs []Need, answers []Given) ([]Given, bool) {
	var use []Given
	for _, g := range answers {
		if g.Approve {
			use = append(use, g)
		}
	}
	if len(needs) == 0 || !satisfied(needs, use) {
		return nil, false
	}
	ranks := action.Rank("").Values()
	slices.SortStableFunc(use, func(a, b Given) int {
		return slices.Index(ranks, string(a.Channel)) - slices.Index(ranks, string(b.Channel))
	})
	for i := 0; i < len(use); {
		rest := slices.Delete(slices.Clone(use), i, i+1)
		if satisfied(needs, rest) {
			use = rest
			continue
		}
		i++
	}
	return use, true
}

func satisfied(needs []Need, use []Given) bool {
	for _, n := range needs {
		people := map[string]bool{}
		for _, g := range use {
			if g.Channel.AtLeast(n.Channel) && (n.Group == "" || slices.Contains(g.Groups, n.Group)) {
				people[g.Approver] = true
			}
		}
		if len(people) < max(n.Quorum, 1) {
			return false
		}
	}
	return true
}
