// SPDX-License-Identifier: Apache-2.0

// Command peers measures other ways to keep a record durably, in one run beside the ledger: Tessera over POSIX
// files, SQLite and PostgreSQL. It is a module of its own, so that the binary carries none of their libraries.
//
//	go run -C bench/peers . [-rates 500,1000,5000] [-writers 1,16,256] [-for 5s] [-only NAME,...] [-json]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/ledger"
)

// peer is one way to keep records. Its append returns when the record has the property that the row's name
// states; it is called by many goroutines at once.
type peer struct {
	name   string
	open   func(ctx context.Context, dir string) (peerRun, error)
	reason string // why it is not run; "" if it is
}

// peerRun is a peer at work in one folder.
type peerRun struct {
	append func(ctx context.Context, writer int, n int64) error
	cpu    func() time.Duration // of processes beside our own; nil if there are none
	disk   func() int64         // bytes that it keeps
	close  func() error
}

type options struct {
	rates, writers []int
	length         time.Duration
	payload        int
	dir            string
	only           []string
}

// row is what one peer showed.
type row struct {
	Name          string               `json:"name"`
	NotRun        string               `json:"not_run,omitempty"`
	Rates         []ledger.BenchResult `json:"rates,omitempty"`
	Closed        []ledger.BenchLoop   `json:"closed,omitempty"`
	CPUPerRecord  float64              `json:"cpu_us_per_record,omitempty"` // over all loops, the generator's share included
	DiskPerRecord float64              `json:"disk_bytes_per_record,omitempty"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("peers", flag.ContinueOnError)
	rates := f.String("rates", "500,1000,5000", "records a second that are offered")
	writers := f.String("writers", "1,16,256", "writers of the closed loops")
	length := f.Duration("for", 5*time.Second, "length of each open loop; the closed loops take half of it")
	payload := f.Int("payload", 1024, "bytes of a record's contents")
	dir := f.String("dir", "", "measure the disk under this folder (default: the system's temporary folder)")
	only := f.String("only", "", "names of the peers to run, with commas between (default: all)")
	asJSON := f.Bool("json", false, "print JSON")
	if err := f.Parse(args); err != nil {
		return err
	}
	opt := options{length: *length, payload: *payload, dir: *dir}
	var err1, err2 error
	opt.rates, err1 = numbers(*rates)
	opt.writers, err2 = numbers(*writers)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if *only != "" {
		opt.only = strings.Split(*only, ",")
	}
	rows, err := measure(ctx, opt)
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(out).Encode(rows)
	}
	return text(out, opt, rows)
}

func numbers(list string) ([]int, error) {
	var out []int
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not a list of numbers from 1 on", list)
		}
		out = append(out, n)
	}
	return out, nil
}

// measure runs one peer after the other, each in a folder that is removed behind it.
func measure(ctx context.Context, opt options) ([]row, error) {
	all := peers(opt.payload)
	for _, name := range opt.only {
		if !slices.ContainsFunc(all, func(p peer) bool { return p.name == name }) {
			return nil, fmt.Errorf("no peer is called %q", name)
		}
	}
	var rows []row
	for _, p := range all {
		if len(opt.only) > 0 && !slices.Contains(opt.only, p.name) {
			continue
		}
		r := row{Name: p.name, NotRun: p.reason}
		if p.reason == "" {
			fmt.Fprintln(os.Stderr, "peers:", p.name)
			if err := r.measure(ctx, p, opt); err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func (r *row) measure(ctx context.Context, p peer, opt options) (err error) {
	dir, err := os.MkdirTemp(opt.dir, "peers-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	at, err := p.open(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, at.close()) }()
	spent := func() time.Duration {
		all := ownCPU()
		if at.cpu != nil {
			all += at.cpu()
		}
		return all
	}
	var records uint64
	from, before := spent(), at.disk()
	one := func(writer int, n int64) error { return at.append(ctx, writer, int64(records)+n) } // each loop counts from 1
	for _, rate := range opt.rates {
		res, err := ledger.Loops(ctx, ledger.BenchOptions{Rate: rate, For: opt.length, Beside: at.cpu}, one)
		if err != nil {
			return err
		}
		r.Rates = append(r.Rates, res)
		records += res.Records
	}
	res, err := ledger.Loops(ctx, ledger.BenchOptions{For: -1, Writers: opt.writers, Closed: opt.length / 2, Beside: at.cpu}, one)
	if err != nil {
		return err
	}
	r.Closed = res.Closed
	records += res.Records
	r.CPUPerRecord = float64((spent() - from).Microseconds()) / float64(max(records, 1))
	r.DiskPerRecord = float64(at.disk()-before) / float64(max(records, 1))
	return nil
}

// ownCPU is what this process has used, user and system.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// diskUse counts what the folder's files occupy, whatever their length says.
func diskUse(dir string) func() int64 {
	return func() (n int64) {
		_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil // what goes away meanwhile is not counted
			}
			if st, err := d.Info(); err == nil {
				n += st.Size()
			}
			return nil
		})
		return n
	}
}

func text(w io.Writer, opt options, rows []row) error {
	fmt.Fprintf(w, "contents of a record: %d bytes; latency in µs from when the record was due\n\n%-42s", opt.payload, "offered a second")
	for _, n := range opt.rates {
		fmt.Fprintf(w, " %22d", n)
	}
	fmt.Fprintf(w, "\n%-42s%s\n", "", strings.Repeat(fmt.Sprintf(" %22s", "done/s   p50   p99 CPU"), len(opt.rates)))
	for _, r := range rows {
		fmt.Fprintf(w, "%-42s", r.Name)
		for _, l := range r.Rates {
			fmt.Fprintf(w, " %22s", fmt.Sprintf("%.0f %d %d %.0f", l.Achieved, l.Open.P50, l.Open.P99, l.OpenCPU))
		}
		fmt.Fprintln(w, r.NotRun)
	}
	fmt.Fprintf(w, "\n%-42s", "writers (records a second, p99 µs, CPU µs)")
	for _, n := range opt.writers {
		fmt.Fprintf(w, " %22d", n)
	}
	fmt.Fprintf(w, " %12s %12s\n", "CPU µs", "disk bytes")
	for _, r := range rows {
		fmt.Fprintf(w, "%-42s", r.Name)
		if r.NotRun != "" {
			fmt.Fprintln(w, r.NotRun)
			continue
		}
		for _, l := range r.Closed {
			fmt.Fprintf(w, " %22s", fmt.Sprintf("%.0f %7d %6.1f", l.PerSecond, l.Us.P99, l.CPU))
		}
		fmt.Fprintf(w, " %12.1f %12.0f\n", r.CPUPerRecord, r.DiskPerRecord)
	}
	_, err := fmt.Fprintln(w, "\nThe last columns are per record over all loops; CPU includes the generator (the row \"nothing\").")
	return err
}
