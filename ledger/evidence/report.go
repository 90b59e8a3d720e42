// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
)

// The kinds of packages.
const (
	KindEvidence = "evidence" // for an auditor: a period
	KindIncident = "incident" // for an investigator: a session
	KindSubject  = "subject"  // for a person: what is recorded of it, and who read it
)

// About says what a report is about.
type About struct {
	Kind    string `json:"kind"`
	SinceMs int64  `json:"since_ms"` // of an evidence package: records of this time on; 0 means all
	Session string `json:"session"`  // of an incident
	Subject string `json:"subject"`  // of a subject's package: the pseudonym of the owner of the parts
	User    string `json:"user"`     // and of the user in the leaves
}

// Report is what the leaves of a log say. Equal leaves and the same About give an equal Report.
type Report struct {
	About
	Origin   string         `json:"origin"`
	Size     uint64         `json:"size"`
	FirstMs  int64          `json:"first_ms"` // of the records that it is about
	LastMs   int64          `json:"last_ms"`
	Records  map[string]int `json:"records"`  // by kind
	Verdicts map[string]int `json:"verdicts"` // by verdict
	Bundles  []BundleUse    `json:"bundles"`  // that decided, in order of their first use
	Open     []uint64       `json:"open"`     // intents without outcome
	Owners   []string       `json:"owners"`   // pseudonyms of whose data it is, of an incident
	Rows     []Found        `json:"rows"`     // of the mapping, of an evidence package
	Timeline []Event        `json:"timeline"` // of an incident or a subject
	Reads    []Read         `json:"reads"`    // of a subject's parts
	Mapping  string         `json:"mapping"`  // date of the mapping
	Notes    []string       `json:"notes"`

	open   map[string]uint64 // action -> index of its intent
	owners map[string]bool
	parts  []ledger.PartAt // of the subject
}

// BundleUse is a policy bundle that decided.
type BundleUse struct {
	Name      string `json:"name"`
	Digest    string `json:"digest"`
	Sequence  int64  `json:"sequence"`
	First     uint64 `json:"first"` // index of the first record that names it
	Last      uint64 `json:"last"`
	Decisions int    `json:"decisions"`
}

// Found is a row of the mapping with what the log holds for it.
type Found struct {
	Row
	Counts []Count `json:"counts"` // one for each source
}

// Count is how many records a source has. Metrics and tests stand elsewhere: their count is 0.
type Count struct {
	N     int    `json:"n"`
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// Event is one record on a timeline.
type Event struct {
	Index   uint64         `json:"index"`
	TimeMs  int64          `json:"time_ms"`
	Kind    action.Kind    `json:"kind"`
	Action  string         `json:"action"`
	Agent   string         `json:"agent"`
	User    string         `json:"user"`
	Actor   string         `json:"actor"`
	Server  string         `json:"server"`
	Tool    string         `json:"tool"`
	Effect  action.Effect  `json:"effect"`
	Verdict action.Verdict `json:"verdict"`
	Status  action.Status  `json:"status"`
	Rules   []string       `json:"rules"`
	Codes   []string       `json:"codes"`
	Subject string         `json:"subject"`
	Parts   []string       `json:"parts"` // of the subject, where the report is about one; else all
}

// Read is an access record that touches a subject's parts.
type Read struct {
	Index  uint64 `json:"index"`
	TimeMs int64  `json:"time_ms"`
	Actor  string `json:"actor"`
	Where  string `json:"where"`
	Parts  int    `json:"parts"` // of the subject
}

// NewReport returns an empty report.
func NewReport(a About, origin string, m *Mapping) *Report {
	r := &Report{About: a, Origin: origin, Records: map[string]int{}, Verdicts: map[string]int{}, Mapping: m.Date,
		Bundles: []BundleUse{}, Open: []uint64{}, Owners: []string{}, Rows: []Found{}, Timeline: []Event{}, Reads: []Read{}, Notes: []string{},
		open: map[string]uint64{}, owners: map[string]bool{}}
	if a.Kind == KindEvidence {
		r.Notes = append(r.Notes, m.Note)
		for _, row := range m.Rows {
			r.Rows = append(r.Rows, Found{row, make([]Count, len(row.From))})
		}
	}
	return r
}

// Add takes the next leaf, in the order of the log.
func (r *Report) Add(index uint64, l *ledger.Leaf) {
	r.Size = index + 1
	if r.Kind == KindSubject && l.Kind == action.KindAccess {
		r.read(index, l)
	}
	parts := r.partsOf(index, l)
	if !r.concerns(l, parts) {
		return
	}
	if r.FirstMs == 0 {
		r.FirstMs = l.LogMs
	}
	r.LastMs = l.LogMs
	r.Records[string(l.Kind)]++
	if l.Verdict != "" {
		r.Verdicts[string(l.Verdict)]++
		r.bundle(index, l)
	}
	switch l.Kind {
	case action.KindIntent:
		r.open[l.Action] = index
	case action.KindOutcome, action.KindUnknown, action.KindLate:
		delete(r.open, l.Action)
	}
	for i := range r.Rows {
		for j := range r.Rows[i].From {
			r.Rows[i].count(j, index, l)
		}
	}
	if r.Kind != KindEvidence {
		r.event(index, l, parts)
	}
}

// Finish closes the report.
func (r *Report) Finish() {
	for _, index := range r.open {
		r.Open = append(r.Open, index)
	}
	slices.Sort(r.Open)
	for o := range r.owners {
		r.Owners = append(r.Owners, o)
	}
	slices.Sort(r.Owners)
	r.open, r.owners, r.parts = nil, nil, nil
}

// concerns reports whether the report is about the leaf.
func (r *Report) concerns(l *ledger.Leaf, parts []string) bool {
	switch r.Kind {
	case KindIncident:
		return l.Session == r.Session || l.Kind == action.KindKill && l.Subject == r.Session
	case KindSubject:
		return l.User != "" && l.User == r.User || len(parts) > 0
	}
	return l.LogMs >= r.SinceMs
}

// partsOf names the parts of the leaf: of the subject, or all.
func (r *Report) partsOf(index uint64, l *ledger.Leaf) []string {
	out := []string{}
	for _, p := range l.Parts {
		owner, _, _ := strings.Cut(p.Kid, "/")
		if r.Kind != KindSubject {
			out = append(out, string(p.Name))
			if l.Session != "" && l.Session == r.Session {
				r.owners[owner] = true
			}
		} else if owner == r.Subject {
			out = append(out, string(p.Name))
			r.parts = append(r.parts, ledger.PartAt{Index: index, Part: p.Name})
		}
	}
	return out
}

// read notes who opened parts of the subject. An access follows what it opened.
func (r *Report) read(index uint64, l *ledger.Leaf) {
	n := 0
	for _, p := range r.parts {
		if l.Touches(p) {
			n++
		}
	}
	if n > 0 {
		r.Reads = append(r.Reads, Read{index, l.LogMs, l.Actor, l.Subject, n})
	}
}

func (r *Report) bundle(index uint64, l *ledger.Leaf) {
	i := slices.IndexFunc(r.Bundles, func(b BundleUse) bool { return b.Digest == l.Bundle.Digest })
	if i < 0 {
		i = len(r.Bundles)
		r.Bundles = append(r.Bundles, BundleUse{Name: l.Bundle.Name, Digest: l.Bundle.Digest, Sequence: l.Bundle.Sequence, First: index})
	}
	r.Bundles[i].Last = index
	r.Bundles[i].Decisions++
}

func (f *Found) count(j int, index uint64, l *ledger.Leaf) {
	s := &f.From[j]
	if s.Record != l.Kind || s.Verdict != "" && s.Verdict != l.Verdict || s.Status != "" && s.Status != l.Status {
		return
	}
	c := &f.Counts[j]
	if c.N == 0 {
		c.First = index
	}
	c.N++
	c.Last = index
}

func (r *Report) event(index uint64, l *ledger.Leaf, parts []string) {
	r.Timeline = append(r.Timeline, Event{Index: index, TimeMs: l.LogMs, Kind: l.Kind, Action: l.Action, Agent: l.Agent, User: l.User, Actor: l.Actor,
		Server: l.Server, Tool: l.Tool, Effect: l.Effect, Verdict: l.Verdict, Status: l.Status, Rules: none(l.Rules), Codes: none(l.Codes), Subject: l.Subject, Parts: parts})
}

// none makes a nil list an empty one, so that a report read back is equal.
func none(list []string) []string { return append([]string{}, list...) }
