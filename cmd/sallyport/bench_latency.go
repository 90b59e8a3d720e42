// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// latencyBench is what one run of `bench latency` measured. The three paths make the same calls in turn.
// Quantiles of a difference are differences of quantiles.
type latencyBench struct {
	Machine     machine        `json:"machine"`
	Calls       int            `json:"calls"` // per path, one half of each tool
	Direct      spread         `json:"direct_us"`
	Passthrough spread         `json:"passthrough_us"`
	Sallyport   spread         `json:"sallyport_us"`
	Added       spread         `json:"added_us"` // sallyport over passthrough
	Tools       []latencyRow   `json:"tools"`
	Inside      *insideLatency `json:"inside,omitzero"`
}

// latencyRow is the same for one tool.
type latencyRow struct {
	Tool        string `json:"tool"`
	Direct      spread `json:"direct_us"`
	Passthrough spread `json:"passthrough_us"`
	Sallyport   spread `json:"sallyport_us"`
	Added       spread `json:"added_us"`
}

func (a *app) benchLatencyCommand() *cobra.Command {
	var calls, rate int
	var length time.Duration
	var dir string
	cmd := &cobra.Command{
		Use: "latency", Short: "What a call costs: direct, through a pass-through proxy, and through Sallyport", Args: cobra.NoArgs,
		Long: `Make the same MCP tool calls on three paths, in turn, in one run: direct to the example server; through
a proxy with the same processes, socket and framing that judges and records nothing; and through
Sallyport. Then measure, in one process, the parts of an action and the first gate at a steady rate.`,
		Example: "  sallyport bench latency\n  sallyport bench latency --calls 5000 --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if calls < 1 || rate < 1 || length <= 0 {
				return usage("bench latency: calls, rate and length are at least 1")
			}
			out := latencyBench{Machine: thisMachine(), Calls: calls}
			err := scratch(dir, func(dir string) error {
				a.progress("latency: %d calls on each of three paths", calls)
				if err := a.measurePaths(cmd.Context(), dir, calls, &out); err != nil {
					return err
				}
				a.progress("latency: the parts of an action, then %d actions a second for %s", rate, length)
				inside, err := measureInside(cmd.Context(), filepath.Join(dir, "inside"), calls, rate, length)
				out.Inside = inside
				return err
			})
			if err != nil {
				return fmt.Errorf("bench: %w", err)
			}
			return a.print(out, out.text)
		},
	}
	cmd.Flags().IntVar(&calls, "calls", 1000, "calls on each path")
	cmd.Flags().IntVar(&rate, "rate", 1000, "actions a second that are offered to the first gate")
	cmd.Flags().DurationVar(&length, "for", 5*time.Second, "for how long")
	cmd.Flags().StringVar(&dir, "dir", "", "keep the ledger under this folder while measuring (default: the system's temporary folder)")
	return cmd
}

// latencyText is a note of 1 KiB.
var latencyText = strings.Repeat("plain words of a note. ", 44)

// latencyCalls are made in turn. Both intents and both outcomes are durable; one result has 1 KiB to scan.
var latencyCalls = []struct{ tool, params string }{
	{"read_note", `{"name":"read_note","arguments":{"name":"bench"}}`},
	{"list_notes", `{"name":"list_notes","arguments":{}}`},
}

func (a *app) measurePaths(ctx context.Context, dir string, calls int, out *latencyBench) (err error) {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	notes := filepath.Join(dir, "notes")
	if err := os.Mkdir(notes, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(notes, "bench.txt"), []byte(latencyText), 0o600); err != nil {
		return err
	}
	pass, err := a.startPart(ctx, exe, "bench", "passthrough")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pass.stop()) }()
	data := filepath.Join(dir, "data")
	owner, err := a.startPart(ctx, exe, "up", "--listen", "none", "--listen-admin", "none", "--data", data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, owner.stop()) }()

	server := []string{exe, "example-server", notes}
	commands := [3][]string{server,
		append([]string{exe, "mcp", "--data", pass.said, "--name", "notes", "--"}, server...),
		append([]string{exe, "mcp", "--data", data, "--name", "notes", "--"}, server...)}
	var paths [3]*lineClient
	for i, c := range commands {
		if paths[i], err = startClient(ctx, a.err, c...); err != nil {
			return err
		}
		defer func() { _ = paths[i].close() }()
	}
	return out.measure(ctx, paths, calls)
}

// measure makes the calls. Each round begins with another path, so that none always runs on caches that
// the same one left.
func (b *latencyBench) measure(ctx context.Context, paths [3]*lineClient, calls int) error {
	took := make([][3][]time.Duration, len(latencyCalls))
	warm := min(calls/10+2, 100)
	for n := range calls + warm {
		kind := n % len(latencyCalls)
		for i := range paths {
			p := (i + n) % len(paths)
			d, err := paths[p].call(latencyCalls[kind].params)
			if err = errors.Join(err, ctx.Err()); err != nil {
				return err
			}
			if n >= warm {
				took[kind][p] = append(took[kind][p], d)
			}
		}
	}
	var all [3][]time.Duration
	for kind, t := range took {
		for p := range t {
			all[p] = append(all[p], t[p]...)
		}
		b.Tools = append(b.Tools, rowOf(latencyCalls[kind].tool, t))
	}
	r := rowOf("all", all)
	b.Direct, b.Passthrough, b.Sallyport, b.Added = r.Direct, r.Passthrough, r.Sallyport, r.Added
	return nil
}

func rowOf(tool string, t [3][]time.Duration) latencyRow {
	r := latencyRow{Tool: tool, Direct: spreadOf(t[0]), Passthrough: spreadOf(t[1]), Sallyport: spreadOf(t[2])}
	r.Added = r.Sallyport.minus(r.Passthrough)
	return r
}

func (b *latencyBench) text(w io.Writer) {
	fmt.Fprintf(w, "%s\n\n%-14s %-14s %8s %8s %8s\n", b.Machine, fmt.Sprintf("%d calls", b.Calls), "path", "p50 µs", "p95 µs", "p99 µs")
	line := func(tool, path string, s spread) {
		fmt.Fprintf(w, "%-14s %-14s %8d %8d %8d\n", tool, path, s.P50, s.P95, s.P99)
	}
	for _, r := range append([]latencyRow{{"all", b.Direct, b.Passthrough, b.Sallyport, b.Added}}, b.Tools...) {
		line(r.Tool, "direct", r.Direct)
		line("", "pass-through", r.Passthrough)
		line("", "sallyport", r.Sallyport)
		line("", "added", r.Added)
	}
	if b.Inside != nil {
		b.Inside.text(w)
	}
}

// part is a process of ours that runs while something is measured.
type part struct {
	cmd  *exec.Cmd
	in   io.Closer
	said string // its first line
}

// startPart starts a process and waits for its first line.
func (a *app) startPart(ctx context.Context, command ...string) (*part, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Stderr = a.err
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	r := bufio.NewReader(out)
	line, err := r.ReadString('\n')
	p := &part{cmd: cmd, in: in, said: strings.TrimSpace(line)}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s did not start: %w", strings.Join(command[1:], " "), err), p.stop())
	}
	go func() { _, _ = io.Copy(io.Discard, r) }() // ends with the process
	return p, nil
}

// stop ends the process and waits for it.
func (p *part) stop() error {
	_ = p.in.Close()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && !exit.Exited() {
		return nil // ended by our signal
	}
	return err
}
