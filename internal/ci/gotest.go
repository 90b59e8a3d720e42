// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// module is stripped from import paths in what is printed.
const module = "github.com/sallyport/sallyport"

// event is one line of `go test -json`, see go doc test2json.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build output
	Test        string
	Elapsed     float64
	Output      string
	FailedBuild string
}

// tally is what all steps found together.
type tally struct {
	passed, failed int
	skips          []skip
	columns        map[string]float64 // seconds of test time by top folder

	defers bool                // tests that skip are not counted but put off
	later  map[string][]string // names of tests that were put off, by import path
}

func (t *tally) total() int { return t.passed + t.failed + len(t.skips) }

// skip is one skipped test, with the reason that it printed.
type skip struct {
	name, reason string
}

// reader folds one stream of events into a tally.
type reader struct {
	*tally
	out    io.Writer
	output map[string][]string // by package and test, until its end
	broken map[string]bool     // packages in which a test failed
}

// read consumes events until the stream ends. Lines that are none are passed on.
func (t *tally) read(events io.Reader, out io.Writer) error {
	r := &reader{tally: t, out: out, output: map[string][]string{}, broken: map[string]bool{}}
	in := bufio.NewReader(events)
	for {
		line, err := in.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) != nil {
				fmt.Fprint(out, line)
			} else {
				r.take(e)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *reader) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "output":
		if len(r.output[key]) < 2000 {
			r.output[key] = append(r.output[key], e.Output)
		}
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e)
		} else {
			r.endTest(e, key)
		}
		delete(r.output, key)
	}
}

func (r *reader) endTest(e event, key string) {
	seed := strings.HasPrefix(e.Test, "Fuzz") && strings.Contains(e.Test, "/")
	switch {
	case e.Action == "fail":
		r.failed++
		r.broken[e.Package] = true
		fmt.Fprintf(r.out, "FAIL %s %s\n%s", short(e.Package), e.Test, strings.Join(r.output[key], ""))
	case seed:
	case e.Action == "skip" && r.defers && !strings.Contains(e.Test, "/"):
		if r.later == nil {
			r.later = map[string][]string{}
		}
		r.later[e.Package] = append(r.later[e.Package], e.Test)
	case e.Action == "skip":
		r.skips = append(r.skips, skip{short(e.Package) + " " + e.Test, reason(r.output[key])})
	default:
		r.passed++
	}
}

func (r *reader) endPackage(e event) {
	name := short(e.Package)
	column, _, _ := strings.Cut(name, "/")
	if r.columns == nil {
		r.columns = map[string]float64{}
	}
	r.columns[column] += e.Elapsed
	if e.Action == "fail" && !r.broken[e.Package] { // did not build, panicked outside of a test, ran out of time
		r.failed++
		fmt.Fprintf(r.out, "%s", strings.Join(r.output[e.Package+" "], ""))
	}
	if e.Action == "fail" { // of tests without an end one may hold the panic or the stacks of a time-out
		for _, key := range sortedKeys(r.output) {
			if test, ok := strings.CutPrefix(key, e.Package+" "); ok && test != "" {
				fmt.Fprintf(r.out, "UNFINISHED %s %s\n%s", name, test, strings.Join(r.output[key], ""))
				delete(r.output, key)
			}
		}
	}
	if e.Action != "skip" { // no test files
		fmt.Fprintf(r.out, "%-4s %8.1f s  %s\n", map[string]string{"pass": "ok", "fail": "FAIL"}[e.Action], e.Elapsed, name)
	}
}

// reason is what a test said when it skipped: the last line that is not the frame of the report.
func reason(output []string) string {
	for _, l := range slices.Backward(output) {
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "---") || strings.HasPrefix(l, "===") {
			continue
		}
		if file, rest, ok := strings.Cut(l, ": "); ok && strings.Contains(file, ".go:") {
			return rest
		}
		return l
	}
	return ""
}

func short(pkg string) string {
	if pkg == module {
		return "(root)"
	}
	return strings.TrimPrefix(pkg, module+"/")
}

// gotest runs `go test -json` and folds what it says into the tally. Failing tests are counted there; the
// error is only for the step.
func (r *run) gotest(args ...string) error { return r.gotestIn(".", args...) }

// gotestIn is gotest in another module's folder.
func (r *run) gotestIn(dir string, args ...string) error {
	full := []string{"-C", dir, "test", "-json", "-vet=off"}
	if os.Getenv("CI") != "" {
		full = append(full, "-count=1")
	}
	cmd := r.command("go", append(full, args...)...)
	cmd.Stdout = nil
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = r.tally.read(pipe, r.out)
	return errors.Join(err, cmd.Wait())
}

// print lists skips and the time of the columns, and turns skips that nobody allowed into failures.
func (t *tally) print(out io.Writer) {
	if len(t.columns) > 0 {
		budgets, err := readBudgets("scripts/budgets")
		t.complain(out, err)
		fmt.Fprintf(out, "\nseconds of test time per column (budget)\n")
		for _, c := range sortedKeys(t.columns) {
			b := budgets.of(c)
			note := ""
			if t.columns[c] > b {
				note = "  WARNING over budget"
			}
			fmt.Fprintf(out, "%8.1f (%4.0f)  %s%s\n", t.columns[c], b, c, note)
		}
	}
	if len(t.skips) > 0 {
		allowed, err := readAllowed("scripts/allowed-skips")
		t.complain(out, err)
		fmt.Fprintf(out, "\nskipped\n")
		for _, s := range t.skips {
			why, ok := allowed.permit(s)
			if !ok {
				t.failed++
				why = "NOT ALLOWED: it is not in scripts/allowed-skips"
			}
			fmt.Fprintf(out, "  %s: %s (%s)\n", s.name, s.reason, why)
		}
	}
	fmt.Fprintln(out)
}

func (t *tally) complain(out io.Writer, err error) {
	if err != nil {
		t.failed++
		fmt.Fprintln(out, "FAIL", err)
	}
}
