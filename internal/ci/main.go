// SPDX-License-Identifier: Apache-2.0

// Command ci runs everything that a change must pass, and the long versions of it.
//
//	go run ./internal/ci test       what `make test` and .ci/run call
//	go run ./internal/ci soak       minutes to hours: fuzzing, kill loops, repetition, the race detector everywhere
//	go run ./internal/ci bench      the package benchmarks and `sallyport bench`
//	go run ./internal/ci generate   every generated file anew
//
// What is counted: each test of Go once and each named case of it once, the seeds of a fuzz target as the
// target; a step that runs no such tests counts as one. A skip that is not in scripts/allowed-skips fails the run. Time fails nothing:
// a column over its budget in scripts/budgets gets a warning.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	what := "test"
	if len(os.Args) > 1 {
		what = os.Args[1]
	}
	r := &run{ctx: ctx, out: os.Stdout, began: time.Now()}
	var err error
	switch what {
	case "test":
		err = r.test()
	case "soak":
		err = r.soak()
	case "bench":
		err = r.bench()
	case "generate":
		err = r.generate()
	default:
		err = fmt.Errorf("%q is none of test, soak, bench, generate", what)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ci:", err)
		os.Exit(1)
	}
	if !r.close() {
		os.Exit(1)
	}
}

// run collects what the steps find.
type run struct {
	ctx   context.Context
	out   io.Writer
	began time.Time
	steps []step
	tally tally
}

// step is one line of the summary.
type step struct {
	name    string
	seconds float64
	failed  bool
}

// do runs one step. One that counts nothing itself counts as one test.
func (r *run) do(name string, f func() error) {
	if r.ctx.Err() != nil {
		return
	}
	fmt.Fprintf(r.out, "\n== %s\n", name)
	from, before, failed := time.Now(), r.tally.total(), r.tally.failed
	err := f()
	s := step{name: name, seconds: time.Since(from).Seconds(), failed: err != nil || r.tally.failed > failed}
	r.steps = append(r.steps, s)
	if err != nil {
		fmt.Fprintf(r.out, "FAIL %s: %v\n", name, err)
	}
	switch {
	case err != nil && r.tally.failed == failed:
		r.tally.failed++
	case err == nil && r.tally.total() == before:
		r.tally.passed++
	}
	fmt.Fprintf(r.out, "   %s: %.1f s\n", name, s.seconds)
}

// command is a program that writes to our output and reads nothing.
func (r *run) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(r.ctx, name, args...)
	cmd.Stdout, cmd.Stderr = r.out, r.out
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// output runs a program and returns what it writes to standard output.
func (r *run) output(name string, args ...string) (string, error) {
	cmd := r.command(name, args...)
	var b strings.Builder
	cmd.Stdout = &b
	err := cmd.Run()
	return b.String(), err
}

// close prints the summary, with the counts alone on the last line, and reports whether all went well.
func (r *run) close() bool {
	fmt.Fprintf(r.out, "\n== summary\n")
	for _, s := range r.steps {
		mark := "ok  "
		if s.failed {
			mark = "FAIL"
		}
		fmt.Fprintf(r.out, "%s %8.1f s  %s\n", mark, s.seconds, s.name)
	}
	fmt.Fprintf(r.out, "     %8.1f s  in all\n", time.Since(r.began).Seconds())
	r.tally.print(r.out)
	if r.ctx.Err() != nil {
		fmt.Fprintln(r.out, "FAIL interrupted")
		r.tally.failed++
	}
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", r.tally.passed, r.tally.failed, len(r.tally.skips))
	return r.tally.failed == 0
}
