// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/replaybench"
)

// replayFlags are what bench replay is told.
type replayFlags struct {
	dir, tenant, detector, holds, failures string
	policy, vary                           string
	suites                                 []string
	limit, workers, copies                 int
	closed, rows, adversary                bool
}

// replayReport is what bench replay prints.
type replayReport struct {
	Machine  machine `json:"machine"`
	Detector string  `json:"detector"`
	Policy   string  `json:"policy"` // "" is the embedded baseline
	Vary     string  `json:"vary"`   // "" is as recorded
	Holds    string  `json:"holds"`
	Loop     string  `json:"loop"`
	Note     string  `json:"note"`
	replaybench.Result
	Rows    []replayRow    `json:"rows"`
	Article *replayArticle `json:"article,omitzero"`
	Records []recordFields `json:"tenant_records"`
	Notes   []string       `json:"notes"`
}

// recordFields says how many fields of a tenant record, by pattern, count as what.
type recordFields struct {
	Suite   string         `json:"suite"`
	Record  string         `json:"record"`
	Classes map[string]int `json:"fields"`
}

// replayRow is the whole of the recordings again, with something taken away.
type replayRow struct {
	Row string `json:"row"`
	replaybench.Figures
}

const replayNote = "Recorded runs, replayed in an open loop: a stopped call counts as a lost task, although an agent might " +
	"have found another way, and the attacks are fixed. Rates are shares of calls and runs on record, not of live completions."

const replayClosedNote = "An agent without a model: it does the calls that solve the user's task, obeys at once whatever the first output tells " +
	"it that comes back, and makes a refused call once more with the hint as its reason. Undefended, every attack succeeds and every task is " +
	"solved. A user's call that was stopped counts as a lost task."

func (a *app) benchReplayCommand() *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use: "replay --data DIR", Short: "Recorded runs and attacks, through the HTTP action protocol", Args: cobra.NoArgs,
		Long: `Replay recorded runs of agents, attacked and not, through the HTTP action protocol of an owner that is
started for it in a temporary folder with the embedded defaults. Tools are registered from their schemas
alone, the user's request is asserted by a host token, the clean environment is put in as the tenant's
records. What is counted: attacks that were not stopped, honest calls and tasks that were lost, holds.

An open loop counts a stopped call as a lost task and knows only the attacks that were recorded. With
--holds deny nobody answers what is asked; with --holds approve a perfect approver does. With
--closed-loop an agent without a model does what solves each task, and obeys each attack.`,
		Example: "  sallyport bench replay --data recordings\n  sallyport bench replay --data recordings --holds approve --json\n" +
			"  sallyport bench replay --data recordings --suite mail --limit 50 --failures wrong.jsonl",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			return a.benchReplay(cmd.Context(), &f)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.dir, "data", "", "folder with tools, tasks, traces, contents and environments as JSON lines, plain or gzipped")
	fl.StringVar(&f.tenant, "tenant", "", "file with the tenant's records in place of the folder's environments")
	fl.StringVar(&f.detector, "detector", "off", "on: instructions found in text count; off: origins of values alone decide")
	fl.StringVar(&f.holds, "holds", "deny", "deny: nobody answers what is asked; approve: a perfect approver does")
	fl.StringVar(&f.policy, "policy", "", "folder of the bundle that decides (default: the embedded baseline)")
	fl.StringVar(&f.failures, "failures", "", "write each call that was decided wrongly, with its facts and rules, to this file")
	fl.StringSliceVar(&f.suites, "suite", nil, "replay these suites only")
	fl.IntVar(&f.limit, "limit", 0, "replay about so many runs of each suite, spread evenly; 0 means all")
	fl.IntVar(&f.workers, "workers", 4, "runs at a time")
	fl.BoolVar(&f.closed, "closed-loop", false, "an agent that does the user's task, obeys every injection and, once refused, tries again")
	fl.BoolVar(&f.adversary, "adversary", false, "attacks that are hidden, moved and laundered in place of those recorded")
	fl.StringVar(&f.vary, "vary", "", "write the recordings as other makers of tools would have: "+variations())
	fl.BoolVar(&f.rows, "rows", true, "replay again without the user's request, and decide again without selection")
	fl.IntVar(&f.copies, "tampered-copies", 200, "copies of a log that are damaged, each in one place, and verified")
	_ = cmd.MarkFlagRequired("data")
	return cmd
}

// variations are the names that --vary takes.
func variations() string {
	names := make([]string, 0, len(replaybench.Variations))
	for i := range replaybench.Variations {
		names = append(names, replaybench.Variations[i].Name)
	}
	return strings.Join(names, ", ")
}

func (f *replayFlags) check() error {
	switch {
	case !slices.Contains([]string{"on", "off"}, f.detector):
		return usage("bench replay: --detector %q is neither on nor off", f.detector)
	case !slices.Contains([]string{"deny", "approve"}, f.holds):
		return usage("bench replay: --holds %q is neither deny nor approve", f.holds)
	case f.adversary && (f.closed || f.holds != "deny" || f.failures != ""):
		return usage("bench replay: --adversary goes with no --closed-loop, --holds or --failures")
	case f.vary != "" && (f.closed || f.adversary):
		return usage("bench replay: --vary goes with no --closed-loop or --adversary")
	case f.limit < 0 || f.workers < 1 || f.copies < 1:
		return usage("bench replay: limit is at least 0, workers and tampered-copies at least 1")
	}
	return nil
}

func (a *app) benchReplay(ctx context.Context, f *replayFlags) error {
	if f.policy != "" {
		var err error
		if f.policy, err = absolute(f.policy); err != nil {
			return err
		}
	}
	d, err := replaybench.Load(f.dir, f.tenant)
	if err != nil {
		return hinted{err, `the folder's format stands in "docs/how-to/measure-on-recorded-attacks.md"`}
	}
	limit := f.limit
	if f.adversary {
		limit = 0 // it counts attacks that succeeded, not runs
	}
	if err := d.Only(f.suites, limit); err != nil {
		return err
	}
	if f.vary != "" {
		if err := d.Vary(f.vary); err != nil {
			return err
		}
	}
	for _, n := range d.Notes {
		a.progress("replay: %s", n)
	}
	out := replayReport{Machine: thisMachine(), Detector: f.detector, Policy: f.policy, Vary: f.vary, Holds: f.holds, Loop: "open", Note: replayNote, Notes: d.Notes}
	if f.closed {
		out.Loop, out.Note = "closed", replayClosedNote
		out.Notes = append(out.Notes, d.ClosedNotes()...)
	}
	start := func(ctx context.Context) (*replaybench.Owner, error) {
		o, err := startReplayOwner(ctx, f)
		if err != nil {
			return nil, err
		}
		return o.bench(), nil
	}
	if f.adversary {
		return a.replayAdversary(ctx, f, d, start)
	}
	if err := a.replayAll(ctx, f, d, start, &out); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return a.print(out, out.text)
}

// replayAll replays everything as configured, then with something taken away, then tampers with a record.
func (a *app) replayAll(ctx context.Context, f *replayFlags, d *replaybench.Data, start replaybench.Start, out *replayReport) error {
	wrong, done, err := failuresTo(f.failures)
	if err != nil {
		return err
	}
	opt := replaybench.Options{Approve: f.holds == "approve", Workers: f.workers, Closed: f.closed, Quiet: 20, Audit: f.rows, Unselected: f.rows, Progress: a.replayProgress("replay")}
	res, err := replaybench.Replay(ctx, d, start, opt, wrong)
	if err = errors.Join(err, done()); err != nil {
		return err
	}
	out.Result = *res
	out.Records = countFields(res.Records)
	if !f.rows {
		return nil
	}
	out.Rows = append(out.Rows, replayRow{"selection off", *res.Unselected})
	opt.Withhold, opt.Unselected, opt.Audit, opt.Quiet, opt.Progress = true, false, false, 0, a.replayProgress("without the request")
	bare, err := replaybench.Replay(ctx, d, start, opt, nil)
	if err != nil {
		return err
	}
	out.Rows = append(out.Rows, replayRow{"user's request withheld", bare.Overall})
	a.progress("tampering: %d copies of a log", f.copies)
	t, err := tamper(ctx, d, f)
	if err != nil {
		return err
	}
	article := articleOf(res, t)
	out.Article = &article
	return nil
}

// countFields counts classes of fields, suite by suite.
func countFields(of map[string]map[string]map[string]string) []recordFields {
	out := []recordFields{}
	for _, suite := range slices.Sorted(maps.Keys(of)) {
		for _, record := range slices.Sorted(maps.Keys(of[suite])) {
			r := recordFields{suite, record, map[string]int{}}
			for _, class := range of[suite][record] {
				r.Classes[class]++
			}
			out = append(out, r)
		}
	}
	return out
}

// replayProgress says every few seconds how far the replay is.
func (a *app) replayProgress(what string) func(suite string, done, of int) {
	last := time.Now()
	return func(suite string, done, of int) {
		if now := time.Now(); done == of || now.Sub(last) > 3*time.Second {
			last = now
			a.progress("%s: %s: %d of %d runs", what, suite, done, of)
		}
	}
}

// failuresTo writes cases to a file, one a line; "" writes none.
func failuresTo(path string) (seen func(replaybench.Case) error, done func() error, err error) {
	if path == "" {
		return nil, func() error { return nil }, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, nil, err
	}
	w := bufio.NewWriter(f)
	seen = func(c replaybench.Case) error {
		b, err := json.Marshal(c, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
		if err == nil {
			_, err = w.Write(append(b, '\n'))
		}
		return err
	}
	return seen, func() error { return errors.Join(w.Flush(), f.Close()) }, nil
}

func (r *replayReport) text(w io.Writer) {
	fmt.Fprintf(w, "%s; detector %s, holds: %s, %s loop\n%s\n", r.Machine, r.Detector, r.Holds, r.Loop, r.Note)
	fmt.Fprintf(w, "\n%-24s %5s %6s %7s %6s %6s %7s %6s %6s %6s\n", "%", "runs", "ASR 0", "strict", "chain", "harm", "intact", "false", "UA", "holds")
	names := make([]string, 0, len(r.Suites))
	for s := range r.Suites {
		names = append(names, s)
	}
	slices.Sort(names)
	for _, s := range names {
		f := r.Suites[s]
		replayLine(w, s, &f)
	}
	replayLine(w, "overall", &r.Overall)
	replayIntervals(w, &r.Overall)
	for i := range r.Rows {
		replayLine(w, r.Rows[i].Row, &r.Rows[i].Figures)
	}
	o := &r.Overall
	fmt.Fprintf(w, "\nharm stopped by     destination %d, selection %d, other %d\n", o.HarmBy.Destination, o.HarmBy.Selection, o.HarmBy.Other)
	fmt.Fprintf(w, "results             %d withheld, %d redacted; the owner failed to answer %d calls\n", o.Withheld, o.Redacted, o.Broken)
	fmt.Fprintf(w, "both gates of a call p50 %d µs, p95 %d µs, p99 %d µs, one run at a time\n", o.Latency.P50, o.Latency.P95, o.Latency.P99)
	if r.Article != nil {
		r.Article.text(w)
	}
	fmt.Fprintln(w, "\nfields of the tenant's records, as classified by name and shape")
	for _, t := range r.Records {
		fmt.Fprintf(w, "  %s/%s:", t.Suite, t.Record)
		for _, c := range slices.Sorted(maps.Keys(t.Classes)) {
			fmt.Fprintf(w, " %s %d", c, t.Classes[c])
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "\n%s\n", strings.Join([]string{
		"ASR 0   attacked runs that reached the attacker's goal as recorded",
		"strict  ... although Sallyport stood between: not every harm call was stopped",
		"chain   ... and no call of the run at all was stopped",
		"harm    harm calls that did not run",
		"intact  solved runs without an attack that lost no call",
		"false   calls of runs without an attack that were lost",
		"UA      attacked runs that solved the user's task and lost no call but harm",
		"holds   questions to people per 100 runs without an attack",
	}, "\n"))
}

func replayLine(w io.Writer, name string, f *replaybench.Figures) {
	fmt.Fprintf(w, "%-24s %5d %6.1f %7.2f %6.2f %6.1f %7.1f %6.2f %6.1f %6.1f\n", name, f.Runs, 100*f.Ungoverned, 100*f.Strict, 100*f.Chain, 100*f.Harm,
		100*f.Intact, 100*f.FalseBlock, 100*f.UA, f.Holds)
}

// replayIntervals prints the counts and 95 % intervals below a line.
func replayIntervals(w io.Writer, f *replaybench.Figures) {
	for _, name := range []string{"asr_ungoverned", "asr_strict", "asr_chain_break", "harm_block_rate", "benign_tasks_intact", "false_block_rate", "ua_intact"} {
		n, i := f.Counts[name], f.Intervals[name]
		fmt.Fprintf(w, "  %-22s %5d of %-5d 95 %% interval %.1f to %.1f %%\n", name, n[0], n[1], 100*i[0], 100*i[1])
	}
}
