// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/policy"
)

func (a *app) benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure, on this machine",
		Long: `Measure, on this machine. Every run makes its own data in a temporary folder and removes it. Nothing
here passes or fails: compare ratios of one run, not times of two machines.`,
		Example: "  sallyport bench latency\n  sallyport bench ledger --rates 1000 --json\n  sallyport bench policy",
	}
	cmd.AddCommand(a.benchLatencyCommand(), a.benchLedgerCommand(), a.benchPolicyCommand(), a.benchReplayCommand(), a.benchPassCommand(), a.benchEgressCommand(), a.benchProxyCommand(),
		a.benchDetectCommand(), a.benchMonitorCommand(), a.benchConstitutionCommand())
	return cmd
}

// machine is where a figure comes from.
type machine struct {
	Cores int    `json:"cores"`
	Arch  string `json:"arch"`
	Go    string `json:"go"`
}

func thisMachine() machine {
	return machine{Cores: runtime.GOMAXPROCS(0), Arch: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version()}
}

func (m machine) String() string {
	return fmt.Sprintf("%d cores, %s, %s", m.Cores, m.Arch, m.Go)
}

// scratch gives f a temporary folder in dir ("" means the system's) and removes it again.
func scratch(dir string, f func(dir string) error) error {
	dir, err := os.MkdirTemp(dir, "sallyport-bench-")
	if err != nil {
		return err
	}
	err = f(dir)
	return errors.Join(err, os.RemoveAll(dir))
}

// ledgerBench is one row for each rate. The closed loops are measured once.
type ledgerBench struct {
	Machine machine              `json:"machine"`
	Rates   []ledger.BenchResult `json:"rates"`
}

func (a *app) benchLedgerCommand() *cobra.Command {
	var rates, writers []int
	var length time.Duration
	var payload int
	var dir string
	cmd := &cobra.Command{
		Use: "ledger", Short: "Records a second, their latency, their size, and the speed of verification", Args: cobra.NoArgs,
		Long: `Append records to a fresh log. The open loop offers records at a rate, whether or not the log keeps
up, and counts each from the moment it was due; the closed loops have writers that wait for each record.
A record counts as done when it is sealed, hashed, signed for and synced to disk.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(rates) == 0 || slices.Min(rates) < 1 || len(writers) > 0 && slices.Min(writers) < 1 || payload < 1 || length <= 0 {
				return usage("bench ledger: rates, writers, payload and length are at least 1")
			}
			out := ledgerBench{Machine: thisMachine()}
			for i, rate := range rates {
				opt := ledger.BenchOptions{Rate: rate, For: length, Writers: writers, Closed: length / 2, PayloadBytes: payload}
				if i > 0 {
					opt.Writers = []int{}
				}
				a.progress("ledger: %d records a second for %s", rate, length)
				err := scratch(dir, func(dir string) error {
					collectLess() // as an owner does
					res, err := ledger.Bench(cmd.Context(), filepath.Join(dir, "log"), opt)
					out.Rates = append(out.Rates, res)
					return err
				})
				if err != nil {
					return err
				}
			}
			return a.print(out, out.text)
		},
	}
	f := cmd.Flags()
	f.IntSliceVar(&rates, "rates", []int{500, 1000, 5000}, "records a second that are offered")
	f.IntSliceVar(&writers, "writers", []int{1, 16, 256}, "writers of the closed loops")
	f.DurationVar(&length, "for", 5*time.Second, "length of each open loop; the closed loops take half of it")
	f.IntVar(&payload, "payload", 1024, "bytes of a record's sealed parts")
	f.StringVar(&dir, "dir", "", "measure the disk under this folder (default: the system's temporary folder)")
	return cmd
}

func (b *ledgerBench) text(w io.Writer) {
	fmt.Fprintf(w, "%s\n\n%-10s %10s %9s %9s %9s %9s %9s   %s\n", b.Machine, "offered/s", "done/s", "p50 µs", "p95 µs", "p99 µs", "max µs", "CPU µs", "generator p99 µs, CPU µs")
	for _, r := range b.Rates {
		fmt.Fprintf(w, "%-10d %10.0f %9d %9d %9d %9d %9.0f   %d, %.0f\n", r.Rate, r.Achieved, r.Open.P50, r.Open.P95, r.Open.P99, r.Open.Max, r.OpenCPU,
			r.Floor.P99, r.FloorCPU)
	}
	if len(b.Rates) == 0 {
		return
	}
	r := b.Rates[0]
	fmt.Fprintf(w, "\n%-10s %10s %9s %9s %9s %9s %9s   %s\n", "writers", "done/s", "p50 µs", "p95 µs", "p99 µs", "max µs", "CPU µs", "records a batch")
	for _, c := range r.Closed {
		fmt.Fprintf(w, "%-10d %10.0f %9d %9d %9d %9d %9.1f   %.1f\n", c.Writers, c.PerSecond, c.Us.P50, c.Us.P95, c.Us.P99, c.Us.Max, c.CPU, c.RecordsBatch)
	}
	fmt.Fprintf(w, "\nfdatasync p50        %d µs\n", r.FdatasyncUs)
	fmt.Fprintf(w, "disk a record        %.0f bytes in segments, %.0f in tiles; the leaf has %.0f, the sealed parts %d\n", r.DiskPerRecord, r.TilesPerRecord, r.LeafBytes, r.PayloadBytes)
	fmt.Fprintf(w, "verification         %.0f records a second, of %d\n", r.VerifyPerSecond, r.Records)
}

// policyBench is what policy.Bench measured, with the machine.
type policyBench struct {
	Machine machine `json:"machine"`
	policy.BenchResult
}

func (a *app) benchPolicyCommand() *cobra.Command {
	var opt policy.BenchOptions
	var stages bool
	cmd := &cobra.Command{
		Use: "policy", Short: "The time of a decision, for both engines and the embedded pack", Args: cobra.NoArgs,
		Long: `Decide generated policies of both engines and the embedded baseline, from the typed query to the
decision, the building of the engine's input included. One goroutine; nothing is recorded. With --stages split
what Sallyport adds to an MCP call into parse, facts, decide, record, wait and transport instead, and say what an accelerator
of each could gain at most.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(opt.Rules) == 0 || slices.Min(opt.Rules) < 1 || opt.Decisions < 1 {
				return usage("bench policy: rules and decisions are at least 1")
			}
			if stages {
				out, err := a.measureStages(cmd.Context(), min(opt.Decisions, 1000))
				if err != nil {
					return fmt.Errorf("bench: %w", err)
				}
				return a.print(out, out.text)
			}
			a.progress("policy: %d decisions a row", opt.Decisions)
			res, err := policy.Bench(cmd.Context(), opt)
			if err != nil {
				return err
			}
			out := policyBench{thisMachine(), res}
			return a.print(out, func(w io.Writer) {
				fmt.Fprintf(w, "%s\n\n%-20s %6s %9s %9s %9s %9s %12s %12s %9s\n", out.Machine, "engine", "rules", "p50 µs", "p99 µs", "p99.9 µs", "mean µs", "allocations", "bytes", "load ms")
				for _, r := range res.Rows {
					us := func(ns int64) float64 { return float64(ns) / 1000 }
					fmt.Fprintf(w, "%-20s %6d %9.1f %9.1f %9.1f %9.1f %12d %12d %9.1f\n", r.Engine, r.Rules, us(r.P50), us(r.P99), us(r.P999), us(r.Mean), r.Allocs, r.Bytes, us(r.LoadNs)/1000)
				}
			})
		},
	}
	cmd.Flags().IntSliceVar(&opt.Rules, "rules", []int{40, 100}, "sizes of the generated policies")
	cmd.Flags().IntVar(&opt.Decisions, "decisions", 20000, "decisions of each row")
	cmd.Flags().BoolVar(&stages, "stages", false, "the stages of a whole call instead")
	return cmd
}

// progress says on standard error what goes on, for commands that take longer than a second.
func (a *app) progress(format string, args ...any) {
	fmt.Fprintln(a.err, a.colour(a.err, dim, fmt.Sprintf(format, args...)))
}
