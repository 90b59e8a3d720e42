// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/index"
	"github.com/sallyport/sallyport/internal/confine"
)

// TestMain serves the parts that tests play with processes of their own; see roles.
func TestMain(m *testing.M) {
	confine.Inside()
	if len(os.Args) > 2 && os.Args[1] == "role" {
		if err := roles[os.Args[2]](os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	_ = os.Setenv("SALLYPORT_GATEWAY_FACTS_DEADLINE", "30s") // for owners of a machine that does much else
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// roles are programs that tests start as processes: test.binary role NAME ARGUMENT...
var roles = map[string]func(args []string) error{}

func role(name string, args ...string) []string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return append([]string{exe, "role", name}, args...)
}

var built struct {
	once sync.Once
	dir  string
	err  error
}

// binary builds the program, once, and returns its path.
func binary(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "sp"); built.err != nil {
			return
		}
		if out, err := exec.Command("go", "build", "-o", filepath.Join(built.dir, "bin", "sallyport"), ".").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "bin", "sallyport")
}

// place is one user's machine: a home, a data directory below it, and the programs that act in it.
type place struct {
	t    testing.TB
	exe  string
	home string
	data string
	env  []string
}

// newPlace makes a place with an owner's configuration; the folders are short, because the kernel bounds
// the path of a socket.
func newPlace(t testing.TB, config string) *place {
	t.Helper()
	exe := binary(t)
	home, err := os.MkdirTemp("", "sp")
	if err != nil {
		t.Fatal(err)
	}
	p := &place{t: t, exe: exe, home: home, data: filepath.Join(home, "state", "sallyport")}
	p.env = []string{"HOME=" + home, "XDG_STATE_HOME=" + filepath.Join(home, "state"), "XDG_CONFIG_HOME=" + filepath.Join(home, "config"),
		"PATH=" + filepath.Dir(exe) + string(os.PathListSeparator) + os.Getenv("PATH"), "NO_COLOR=1"}
	t.Cleanup(func() {
		p.stopOwner()
		if t.Failed() {
			b, _ := os.ReadFile(sallyport.LogPath(p.data))
			t.Logf("the owner's log:\n%s", b)
		}
		_ = os.RemoveAll(home)
	})
	p.write("config/sallyport/sallyport.yaml", "version: 1\ngateway: {listen: none}\nadmin: {listen: none}\nledger: {segment_bytes: 8388608}\n"+config)
	return p
}

// write makes a file below the home.
func (p *place) write(name, text string) string {
	p.t.Helper()
	path := filepath.Join(p.home, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// folder makes a folder below the home.
func (p *place) folder(name string) string {
	p.t.Helper()
	path := filepath.Join(p.home, name)
	if err := os.MkdirAll(path, 0o700); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// command is a program of the place that has not started.
func (p *place) command(ctx context.Context, argv ...string) *exec.Cmd {
	if argv[0] == "sallyport" {
		argv[0] = p.exe
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = p.env, p.home
	return cmd
}

// run runs sallyport and returns what it printed and its exit code.
func (p *place) run(args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := p.command(ctx, append([]string{"sallyport"}, args...)...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

// must runs sallyport and returns what it printed; anything but exit code 0 ends the test.
func (p *place) must(args ...string) string {
	p.t.Helper()
	o, e, code := p.run(args...)
	if code != 0 {
		p.t.Fatalf("sallyport %s: exit %d\n%s%s", strings.Join(args, " "), code, o, e)
	}
	return o
}

// ask reads what a command answers with --json.
func ask[T any](p *place, args ...string) T {
	p.t.Helper()
	var v T
	if err := json.Unmarshal([]byte(p.must(append(args, "--json")...)), &v); err != nil {
		p.t.Fatalf("sallyport %s: %v", strings.Join(args, " "), err)
	}
	return v
}

// steps are the newest records, the oldest first.
func (p *place) steps() []index.Step {
	p.t.Helper()
	s := ask[[]index.Step](p, "ledger", "tail", "-n", "2000")
	for i, j := 0, len(s)-1; i < j; i, j = i+1, j-1 {
		s[i], s[j] = s[j], s[i]
	}
	return s
}

// up starts an owner in the foreground and returns its process; it is stopped with the place.
func (p *place) up(args ...string) *exec.Cmd {
	p.t.Helper()
	cmd := p.command(context.Background(), append([]string{"sallyport", "up"}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }() // whoever needs the end waits for the process id
	for range 1000 {
		if pid := ownerOf(p.data); pid == cmd.Process.Pid && p.ready() {
			return cmd
		}
		if !alive(cmd.Process.Pid) {
			p.t.Fatalf("the owner ended: %s", out.String())
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.t.Fatalf("the owner does not answer")
	return nil
}

func (p *place) ready() bool {
	o, _, _ := p.run("doctor")
	return strings.Contains(o, "ok    ledger")
}

// ownerOf returns the process that listens on the socket of a data directory, 0 for none: the kernel
// tells its id to whoever connects.
func ownerOf(data string) int {
	c, err := net.Dial("unix", sallyport.SocketPath(data))
	if err != nil {
		return 0
	}
	defer func() { _ = c.Close() }()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) {
		if cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}

func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// signalOwner sends the owner a signal and waits until it has ended.
func signalOwner(data string, sig syscall.Signal) bool {
	pid := ownerOf(data)
	if pid == 0 {
		return false
	}
	_ = syscall.Kill(pid, sig)
	for range 2000 {
		if !alive(pid) {
			return true
		}
		time.Sleep(5 * time.Millisecond)
	}
	return false
}

func (p *place) stopOwner() bool { return signalOwner(p.data, syscall.SIGTERM) }

// client is an MCP client with a server behind sallyport mcp. The process of the test is the client's.
type client struct {
	*mcp.ClientSession
	p *place
}

// connect starts sallyport mcp in dir with a server behind it.
func (p *place) connect(dir, name string, server ...string) *client {
	p.t.Helper()
	c, err := p.dial(dir, name, server...)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (p *place) dial(dir, name string, server ...string) (*client, error) {
	args := append([]string{"sallyport", "mcp", "--name", name, "--"}, server...)
	cmd := p.command(context.Background(), args...)
	said := &locked{}
	cmd.Dir, cmd.Stderr = dir, said
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(ctx, &mcp.CommandTransport{Command: cmd}, nil)
	if err != nil {
		return nil, fmt.Errorf("connect %s: %w: %s", name, err, said)
	}
	if _, err := s.ListTools(ctx, nil); err != nil { // as clients do; what was not listed is not known
		return nil, errors.Join(fmt.Errorf("tools of %s: %w: %s", name, err, said), s.Close())
	}
	return &client{s, p}, nil
}

// notes is the command of the small real server over a folder of notes.
func (p *place) notes(dir string) []string { return []string{p.exe, "example-server", dir} }

// call makes one call; text is what the model reads.
func (c *client) call(tool string, args map[string]any) (text string, stopped bool) {
	c.p.t.Helper()
	text, stopped, err := c.try(tool, args)
	if err != nil {
		c.p.t.Fatalf("%s: %v", tool, err)
	}
	return text, stopped
}

func (c *client) try(tool string, args map[string]any) (text string, stopped bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	res, err := c.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: args})
	if err != nil {
		return "", false, err
	}
	return textOf(res), res.IsError, nil
}

func textOf(res *mcp.CallToolResult) string {
	var b strings.Builder
	for _, c := range res.Content {
		if t, ok := c.(*mcp.TextContent); ok {
			b.WriteString(t.Text)
		}
	}
	return b.String()
}

var (
	ticketText = regexp.MustCompile(`Ticket (ap_[a-z0-9]+)`)
	actionText = regexp.MustCompile(`\(action ([0-9A-Z]+)\)`)
)

// ticket is the ticket that an asking answer names.
func ticket(t testing.TB, text string) string {
	t.Helper()
	m := ticketText.FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no ticket in %q", text)
	}
	return m[1]
}

// locked is what a running process has said so far.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
