// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"

	"github.com/sallyport/sallyport/internal/replaybench"
)

// adversaryReport is what bench replay --adversary prints.
type adversaryReport struct {
	Machine  machine               `json:"machine"`
	Detector string                `json:"detector"`
	Note     string                `json:"note"`
	Variants []replaybench.Variant `json:"adversary"`
	Notes    []string              `json:"notes"`
}

const adversaryNote = "Recorded runs in which the attack succeeded, with the attack hidden, moved or laundered; the agent obeys all the same. " +
	"Nobody answers what is asked. Each variant is compared with the same runs as recorded."

// adversaryRuns is how many runs of each suite the adversary changes unless --limit says otherwise.
const adversaryRuns = 40

func (a *app) replayAdversary(ctx context.Context, f *replayFlags, d *replaybench.Data, start replaybench.Start) error {
	most := f.limit
	if most == 0 {
		most = adversaryRuns
	}
	out := adversaryReport{Machine: thisMachine(), Detector: f.detector, Note: adversaryNote, Notes: d.Notes}
	var err error
	if out.Variants, err = replaybench.Adversary(ctx, d, start, f.workers, most, a.progress); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return a.print(out, out.text)
}

func (r *adversaryReport) text(w io.Writer) {
	fmt.Fprintf(w, "%s; detector %s\n%s\n\n%-16s %5s %6s %8s %9s %7s   %s\n", r.Machine, r.Detector, r.Note, "variant", "runs", "harm", "stopped", "recorded", "missed", "")
	for i := range r.Variants {
		v := &r.Variants[i]
		fmt.Fprintf(w, "%-16s %5d %6d %7.1f%% %8.1f%% %7d   %s\n", v.Name, v.Runs, v.Harm, 100*v.Rate, 100*v.Plain, v.Missed, v.What)
	}
	fmt.Fprintln(w, "\nharm      harm calls of the runs to which the variant can be applied\nstopped   share of them that did not run\nrecorded  the same, as recorded\nmissed    runs of which a harm call ran")
	for i := range r.Variants {
		for _, m := range r.Variants[i].Examples {
			fmt.Fprintf(w, "  %s: %s ran %s %s\n", r.Variants[i].Name, m.Run, m.Tool, m.Arguments)
		}
	}
}
