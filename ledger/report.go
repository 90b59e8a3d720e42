// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/ledger/anchor"
)

// Report is what Verify found. Its JSON form is stable: members are only added.
type Report struct {
	OK          bool              `json:"ok"`
	Origin      string            `json:"origin"`
	KeyFrom     string            `json:"key_from"` // "given", "directory" or "bundle": a key that comes with the log proves only that it is whole
	Size        uint64            `json:"size"`
	Root        string            `json:"root"`
	Checkpoints uint64            `json:"checkpoints"`
	Signatures  uint64            `json:"signatures"` // checked
	Held        int               `json:"held"`       // checkpoints held against the log that it continues
	Sessions    int               `json:"sessions"`
	Tiles       uint64            `json:"tiles"`
	Kinds       map[string]uint64 `json:"kinds"`
	Parts       PartCount         `json:"parts"`
	Witnessed   Witnessed         `json:"witnessed"`
	Open        []OpenIntent      `json:"open"` // intents without an outcome
	FirstMs     int64             `json:"first_ms"`
	LastMs      int64             `json:"last_ms"`
	Gaps        []Gap             `json:"gaps"`     // entries that were lost, before each epoch but the first
	Anchors     []Anchored        `json:"anchors"`  // tokens that hold
	Notes       []string          `json:"notes"`    // what is not proved, and why
	Found       int               `json:"found"`    // problems
	Problems    []Problem         `json:"problems"` // the first of them
	Seconds     float64           `json:"seconds"`
}

// Witnessed is how far witnesses vouch for the log: that nobody was shown another one up to Size.
type Witnessed struct {
	Size   uint64        `json:"size"`
	Quorum int           `json:"quorum"` // that was demanded
	By     []Cosignature `json:"by"`
}

// PartCount counts sealed parts.
type PartCount struct {
	Sealed uint64 `json:"sealed"` // that are the ones their leaves name
	Opened uint64 `json:"opened"` // of these, whose plaintext matches its commitment
	Erased uint64 `json:"erased"` // of these, whose key was destroyed
}

// OpenIntent is an intent without an outcome: running, or lost in a crash.
type OpenIntent struct {
	Index  uint64 `json:"index"`
	Action string `json:"action"`
}

// Problem is one thing that does not hold.
type Problem struct {
	Index *uint64 `json:"index"` // of the entry, where there is one
	Where string  `json:"where"`
	What  string  `json:"what"`
}

func (p Problem) String() string {
	if p.Index == nil {
		return p.Where + ": " + p.What
	}
	return fmt.Sprintf("entry %d: %s: %s", *p.Index, p.Where, p.What)
}

// Text returns the report for people, with a line break at the end.
func (r *Report) Text() string {
	var b strings.Builder
	verdict := "VERIFIED"
	if !r.OK {
		verdict = "FAILED"
	}
	fmt.Fprintf(&b, "%s  %s\n", verdict, r.Origin)
	fmt.Fprintf(&b, "  %d entries in %d sessions, root %s\n", r.Size, r.Sessions, r.Root)
	if r.FirstMs != 0 {
		fmt.Fprintf(&b, "  from %s to %s\n", stamp(r.FirstMs), stamp(r.LastMs))
	}
	fmt.Fprintf(&b, "  %d checkpoint signatures checked, %d held checkpoints continued, %d tiles compared\n", r.Signatures, r.Held, r.Tiles)
	fmt.Fprintf(&b, "  payload parts: %d sealed, %d opened and matching, %d erased\n", r.Parts.Sealed, r.Parts.Opened, r.Parts.Erased)
	if len(r.Witnessed.By) > 0 {
		var by []string
		for _, c := range r.Witnessed.By {
			by = append(by, c.Witness+" at "+stamp(c.TimeMs))
		}
		fmt.Fprintf(&b, "  witnessed up to %d entries by %d (%d demanded): %s\n", r.Witnessed.Size, len(by), r.Witnessed.Quorum, strings.Join(by, ", "))
	}
	r.anchors(&b)
	var kinds []string
	for k, n := range r.Kinds {
		kinds = append(kinds, fmt.Sprintf("%s %d", k, n))
	}
	slices.Sort(kinds)
	if len(kinds) > 0 {
		fmt.Fprintf(&b, "  records: %s\n", strings.Join(kinds, ", "))
	}
	for i, o := range r.Open {
		if i == 20 {
			fmt.Fprintf(&b, "  ... %d more intents without an outcome\n", len(r.Open)-i)
			break
		}
		fmt.Fprintf(&b, "  entry %d: intent of %s has no outcome\n", o.Index, o.Action)
	}
	if r.KeyFrom != "given" {
		fmt.Fprintf(&b, "  note: the public key came with the %s; give the one that you kept to prove who signed\n", r.KeyFrom)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "  note: %s\n", n)
	}
	for i, p := range r.Problems {
		if i == 50 {
			break
		}
		fmt.Fprintf(&b, "  problem: %s\n", p)
	}
	if shown := min(len(r.Problems), 50); r.Found > shown {
		fmt.Fprintf(&b, "  ... %d more problems\n", r.Found-shown)
	}
	return b.String()
}

func stamp(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05.000Z") }

// anchors says what the newest anchor proves that says a time, of those one that is trusted, and what
// transparency logs hold.
func (r *Report) anchors(b *strings.Builder) {
	var timed, waiting, logged *Anchored
	for i := range r.Anchors {
		a := &r.Anchors[i]
		switch {
		case a.Kind == anchor.KindRekor:
			if logged == nil || a.Trusted || !logged.Trusted {
				logged = a
			}
		case a.TimeMs == 0:
			waiting = a
		case timed == nil || a.Trusted || !timed.Trusted:
			timed = a
		}
	}
	if n := len(r.Anchors); n > 0 {
		fmt.Fprintf(b, "  %d anchors hold", n)
	}
	switch {
	case timed != nil && timed.Trusted:
		fmt.Fprintf(b, "; %d entries existed at %s, by %s", timed.Size, stamp(timed.TimeMs), timed.Signer)
	case timed != nil:
		fmt.Fprintf(b, "; %d entries existed at %s, by an authority that nobody asked about; give its roots", timed.Size, stamp(timed.TimeMs))
	case waiting != nil:
		fmt.Fprintf(b, ", and none says a time yet: %s", waiting.Signer)
	}
	switch {
	case logged != nil && logged.Trusted:
		fmt.Fprintf(b, "; %d entries are known to others by %s", logged.Size, logged.Signer)
	case logged != nil:
		fmt.Fprintf(b, "; %d entries are known by %s, a log that nobody asked about; give its key", logged.Size, logged.Signer)
	}
	if len(r.Anchors) > 0 {
		b.WriteString("\n")
	}
}
