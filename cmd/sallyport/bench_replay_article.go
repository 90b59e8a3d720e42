// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/sallyport/sallyport/internal/replaybench"
	"github.com/sallyport/sallyport/ledger"
)

// replayArticle is the table that agent gateways are compared by: what governing costs and what it
// prevents. Rates are fractions.
type replayArticle struct {
	// LatencyMs is what both gates add to a call, median, the durable records included.
	LatencyMs    float64             `json:"latency_ms"`
	LatencyAll   replaybench.Latency `json:"latency_added_us"`
	Incidents    replayIncidents     `json:"incidents_per_10k"`
	Violations   float64             `json:"violations_prevented"` // harm calls that did not run
	Completion   replayCompletion    `json:"completion"`
	Auditability replayAuditability  `json:"auditability"`
}

// replayIncidents mixes attacked runs into others so that ungoverned agents have 45 incidents in 10,000
// actions, and counts what is left of them.
type replayIncidents struct {
	Ungoverned float64 `json:"ungoverned"`
	Governed   float64 `json:"governed"`
	Mix        float64 `json:"mix"` // share of the actions that belong to attacked runs
}

// replayCompletion is of runs without an attack.
type replayCompletion struct {
	Ungoverned float64 `json:"ungoverned"` // solved as recorded
	Governed   float64 `json:"governed"`   // ... and lost no call; a lower bound
}

type replayAuditability struct {
	Recorded  float64 `json:"recorded"`        // calls with their decision and outcome on record
	Proved    float64 `json:"proved"`          // entries whose inclusion proof holds offline, of a sample
	Tampering float64 `json:"tampering_found"` // damaged copies of a log that no longer verify
	Rederived float64 `json:"rederived"`       // decisions that their recorded input gives again
	Whole     bool    `json:"log_verifies"`    // the untouched logs
	Copies    int     `json:"tampered_copies"`
	Entries   uint64  `json:"tampered_entries"` // of the log that was damaged
}

const incidentsUngoverned = 45

func articleOf(r *replaybench.Result, t tampered) replayArticle {
	o := &r.Overall
	a := replayArticle{LatencyMs: float64(o.Latency.P50) / 1000, LatencyAll: o.Latency, Violations: o.Harm,
		Completion: replayCompletion{Ungoverned: r.Solved.Value(), Governed: r.Solved.Value() * o.Intact},
		Auditability: replayAuditability{Recorded: r.Audit.Recorded.Value(), Proved: r.Audit.Proved.Value(), Rederived: r.Audit.Rederived.Value(),
			Tampering: t.found.Value(), Whole: r.Audit.Whole && t.whole, Copies: t.found.Of, Entries: t.entries}}
	if o.Ungoverned > 0 {
		a.Incidents = replayIncidents{Ungoverned: incidentsUngoverned, Governed: incidentsUngoverned * o.Strict / o.Ungoverned}
		incidents := float64(o.Counts["asr_ungoverned"][0]) / float64(r.Calls) // an action of an attacked run
		a.Incidents.Mix = min(1, incidentsUngoverned/10000.0/incidents)
	}
	return a
}

func (t *replayArticle) text(w io.Writer) {
	a := &t.Auditability
	fmt.Fprintf(w, "\nan action of 120 ms takes %.1f ms (median; p95 %.1f ms)\n", 120+t.LatencyMs, 120+float64(t.LatencyAll.P95)/1000)
	fmt.Fprintf(w, "incidents in 10,000 actions: %.0f ungoverned, %.2f governed, with %.1f %% of the actions in attacked runs\n",
		t.Incidents.Ungoverned, t.Incidents.Governed, 100*t.Incidents.Mix)
	fmt.Fprintf(w, "harm calls prevented: %.2f %%\n", 100*t.Violations)
	fmt.Fprintf(w, "completion in replay, without an attack: %.1f %% ungoverned, %.1f %% governed (lower bound)\n", 100*t.Completion.Ungoverned, 100*t.Completion.Governed)
	fmt.Fprintf(w, "auditability: recorded %.2f %%, proved offline %.2f %%, decided again the same %.2f %%; %.1f %% of %d damaged copies of a log of %d entries found; untouched logs verify: %t\n",
		100*a.Recorded, 100*a.Proved, 100*a.Rederived, 100*a.Tampering, a.Copies, a.Entries, a.Whole)
}

// tampered says how many of them were found out.
type tampered struct {
	found   replaybench.Rate
	entries uint64
	whole   bool // the copy that nobody touched
}

// tamper records a few runs, ends the owner, and damages copies of its log, each in one place. Each is
// held against the key and the last checkpoint, as an auditor keeps them.
func tamper(ctx context.Context, d *replaybench.Data, f *replayFlags) (t tampered, err error) {
	o, err := startReplayOwner(ctx, f)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	few := *d
	few.Runs = map[string][]replaybench.Run{}
	few.Suites = d.Suites[:1]
	all := d.Runs[d.Suites[0]]
	few.Runs[d.Suites[0]] = all[:min(len(all), 20)]
	b := o.bench()
	b.Close = o.stop
	_, err = replaybench.Replay(ctx, &few, func(context.Context) (*replaybench.Owner, error) { return b, nil }, replaybench.Options{}, nil)
	if err != nil {
		return t, err
	}
	cp := o.Ledger.Checkpoint()
	t.entries = cp.Size
	check := func(dir string) (bool, error) {
		rep, err := ledger.Verify(ctx, ledger.Source{Dir: dir}, ledger.Options{Vkey: o.Ledger.Vkey(), Old: [][]byte{cp.Note}, Problems: 1})
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		return err == nil && rep.OK, nil
	}
	if t.whole, err = check(o.dir); err != nil {
		return t, err
	}
	return t, t.damage(filepath.Join(o.dir, "wal"), f.copies, func() (bool, error) { return check(o.dir) })
}

// damage damages the segments in wal again and again, each time in one place.
func (t *tampered) damage(wal string, copies int, sound func() (bool, error)) error {
	segments, err := filepath.Glob(filepath.Join(wal, "*"))
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(1, 2))
	for t.found.Of < copies {
		if len(segments) == 0 {
			return errors.New("the log holds nothing that could be damaged")
		}
		i := random.IntN(len(segments))
		was, err := os.ReadFile(segments[i])
		if err != nil {
			return err
		}
		now := damaged(random, t.found.Of, was)
		if now == nil {
			segments = slices.Delete(segments, i, i+1) // nothing was written to it
			continue
		}
		if err := os.WriteFile(segments[i], now, 0o600); err != nil {
			return err
		}
		holds, err := sound()
		if err = errors.Join(err, os.WriteFile(segments[i], was, 0o600)); err != nil {
			return err
		}
		t.found.Of++
		if !holds {
			t.found.N++
		}
	}
	return nil
}

// damaged changes one place of a segment: a bit, bytes that are taken out, exchanged or cleared, or its end.
// Only what was written counts: the rest of a segment is empty space. It returns nil for an empty one.
func damaged(random *rand.Rand, kind int, b []byte) []byte {
	end := len(b)
	for end > 0 && b[end-1] == 0 {
		end--
	}
	if end < 4096 {
		return nil
	}
	out := append([]byte(nil), b...)
	at, n := random.IntN(end-1024), 1+random.IntN(512)
	switch kind % 5 {
	case 0:
		out[at] ^= 1 << random.IntN(8)
	case 1:
		copy(out[at:], b[at+n:])
		clear(out[len(out)-n:])
	case 2:
		copy(out[at:at+n], b[at+n:at+2*n])
		copy(out[at+n:at+2*n], b[at:at+n])
	case 3:
		clear(out[at : at+n])
	case 4:
		clear(out[end-n:])
	}
	if string(out) == string(b) {
		out[at] ^= 1
	}
	return out
}
