// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"
)

// stagesBench splits what Sallyport adds to an MCP call into its stages, by medians of one run.
type stagesBench struct {
	Machine machine    `json:"machine"`
	Total   int64      `json:"total_us"` // through Sallyport less direct to the server
	Stages  []stageRow `json:"stages"`
}

// stageRow is one stage. Gain is how many times faster the whole would be if the stage took no time at all: no
// accelerator of it gives more.
type stageRow struct {
	Stage string  `json:"stage"`
	Us    int64   `json:"us"`
	Share float64 `json:"share"`
	Gain  float64 `json:"gain_at_most"`
	What  string  `json:"what"`
}

// measureStages takes the transport from whole calls and the stages of the first gate from parts that run alone.
func (a *app) measureStages(ctx context.Context, calls int) (*stagesBench, error) {
	out := &stagesBench{Machine: thisMachine()}
	err := scratch("", func(dir string) error {
		paths := latencyBench{Calls: calls}
		a.progress("stages: %d calls direct, through a pass-through and through Sallyport", calls)
		if err := a.measurePaths(ctx, dir, calls, &paths); err != nil {
			return err
		}
		a.progress("stages: the parts of an action")
		in, err := measureInside(ctx, filepath.Join(dir, "inside"), calls, 100, time.Second)
		if err != nil {
			return err
		}
		out.split(paths.Sallyport.P50-paths.Direct.P50, in)
		return nil
	})
	return out, err
}

func (b *stagesBench) split(total int64, in *insideLatency) {
	us := map[string]int64{}
	for _, p := range in.Parts {
		name, _, _ := strings.Cut(p.Part, ":")
		us[name] += p.P50
	}
	record := us["canonical input"] + max(us["record"]-in.SyncUs, 0)
	rest := max(in.Intent.P50-us["parse"]-us["facts"]-us["decide"]-record-in.SyncUs, 0)
	b.Total = max(total, 1)
	for _, s := range []stageRow{
		{Stage: "parse", Us: us["parse"], What: "the arguments, strictly"},
		{Stage: "facts", Us: us["facts"], What: "tools, identity, detection, flow, habits; 1 MiB of session behind it"},
		{Stage: "decide", Us: us["decide"], What: "the embedded baseline"},
		{Stage: "record", Us: record, What: "the input in canonical form, sealing, leaf, hash, root, signature"},
		{Stage: "wait", Us: in.SyncUs, What: "fdatasync"},
		{Stage: "rest of the first gate", Us: rest, What: "locks, reservations, allocation, scheduling"},
		{Stage: "the second gate", Us: in.Outcome.P50, What: "the same for the result, a second fdatasync included"},
		{Stage: "transport", Us: max(total-in.Intent.P50-in.Outcome.P50, 0), What: "two more processes, a socket, JSON lines"},
	} {
		s.Share = float64(s.Us) / float64(b.Total)
		s.Gain = float64(b.Total) / float64(max(b.Total-s.Us, 1))
		b.Stages = append(b.Stages, s)
	}
}

func (b *stagesBench) text(w io.Writer) {
	fmt.Fprintf(w, "%s\n\n%-24s %8s %7s %13s\n", b.Machine, "stage", "p50 µs", "share", "gain at most")
	for _, s := range b.Stages {
		fmt.Fprintf(w, "%-24s %8d %6.1f%% %12.2fx  %s\n", s.Stage, s.Us, 100*s.Share, s.Gain, s.What)
	}
	fmt.Fprintf(w, "%-24s %8d\n\nMedians of parts that ran alone: they need not add up to the whole. The gain is of the call, if the stage took no time.\n", "added to a call", b.Total)
}
