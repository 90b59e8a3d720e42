// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/examples/notes"
	"github.com/sallyport/sallyport/gateway"
)

// TestMain lets the test binary be the server process: with SERVE_NOTES set it serves the folder in its
// last argument, and leaves with the code in EXIT.
func TestMain(m *testing.M) {
	if os.Getenv("SERVE_NOTES") == "" {
		os.Exit(m.Run())
	}
	if err := notes.Run(context.Background(), os.Stdin, os.Stdout, os.Args[len(os.Args)-1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := 0
	_, _ = fmt.Sscan(os.Getenv("EXIT"), &code)
	os.Exit(code)
}

// anyone takes every unix peer for the same agent.
type anyone struct{}

func (anyone) Authenticate(ctx context.Context, _ *http.Request) (*gateway.Caller, error) {
	p, ok := gateway.PeerFrom(ctx)
	if !ok {
		return nil, gateway.ErrUnauthenticated
	}
	s := testPeer.Subject
	s.ID, s.Scopes, s.Channel.Credential = fmt.Sprintf("uid-%d", p.UID), []action.Scope{action.ScopeAgent}, action.CredentialPeer
	return &gateway.Caller{Subject: s, Name: s.ID}, nil
}

// owner serves the relay door on a unix socket and returns its path.
func owner(t testing.TB, g *Gate) string {
	t.Helper()
	gate, err := gateway.New(gateway.Config{Auth: anyone{}, Malformed: g.cfg.Enforcer.Malformed, Door: action.DoorMCP})
	if err != nil {
		t.Fatal(err)
	}
	handler, err := gate.Handler((&RelayDoor{Gate: g}).Route())
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := gateway.Server(handler)
	ctx, cancel := context.WithCancel(context.Background())
	s.BaseContext = func(net.Listener) context.Context { return ctx }
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(&gateway.PeerListener{Listener: l}) }()
	t.Cleanup(func() { cancel(); _ = s.Close(); <-done })
	return socket
}

func TestRelayOverTheOwnersSocketGuardsARealProcess(t *testing.T) {
	p := newPath()
	p.verdicts["delete_note"] = action.Deny
	socket, dir := owner(t, newGate(t, p, nil)), t.TempDir()
	t.Setenv("SERVE_NOTES", "1")
	t.Setenv("EXIT", "7")
	t.Setenv("SALLYPORT_SECRET", "mine")
	env, err := Environ([]string{"SERVE_NOTES", "EXIT"})
	if err != nil {
		t.Fatal(err)
	}
	if s := strings.Join(env, " "); strings.Contains(s, "mine") || !strings.Contains(s, "EXIT=7") {
		t.Fatalf("environment of the server: %s", s)
	}
	command := []string{os.Args[0], dir}
	child, err := Start(context.Background(), command, env, "", os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := DialRelay(raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	parent, err := Parent(ProcFS, os.Getpid())
	if err != nil {
		t.Skip("the kernel shows no processes here")
	}
	clientIn, toRelay := io.Pipe()
	fromRelay, clientOut := io.Pipe()
	code := make(chan int, 1)
	go func() {
		r := &Relay{Conn: conn, Hello: Hello{Version: HelloVersion, Command: command, Parent: parent}, ClientIn: clientIn, ClientOut: clientOut,
			ServerIn: child.In, ServerOut: child.Out}
		if err := r.Run(context.Background()); err != nil {
			t.Errorf("relay: %v", err)
		}
		_ = clientOut.Close()
		code <- child.Wait(5 * time.Second)
	}()
	cs, err := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil).Connect(context.Background(),
		&sdk.IOTransport{Reader: fromRelay, Writer: toRelay}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s, bad := call(t, cs, "write_note", map[string]any{"name": "a", "text": "b"}); bad {
		t.Fatalf("write: %s", s)
	}
	if _, bad := call(t, cs, "delete_note", map[string]any{"name": "a"}); !bad {
		t.Fatal("a denied call passed")
	}
	if _, err := os.Stat(filepath.Join(dir, "a.txt")); err != nil {
		t.Fatalf("the server did not write, or the denied call ran: %v", err)
	}
	if err := cs.Close(); err != nil {
		t.Logf("close: %v", err)
	}
	select {
	case got := <-code:
		if got != 7 {
			t.Fatalf("exit code %d", got)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the relay did not end with its client")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.hosts) != 1 || !strings.HasPrefix(p.hosts[0], "stdio:") || len(p.roots) != 0 || len(p.attempts[0].Roots) != 1 {
		t.Errorf("session hosts %q, roots %q, of the call %q", p.hosts, p.roots, p.attempts[0].Roots)
	}
}

func TestRelayOfAnotherParentIsRefused(t *testing.T) {
	p := newPath()
	socket := owner(t, newGate(t, p, nil))
	raw, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := DialRelay(raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	fromServer, serverOut := io.Pipe()
	_ = serverOut.Close()
	r := &Relay{Conn: conn, Hello: Hello{Version: HelloVersion, Command: []string{"x"}, Parent: Process{PID: 1, Start: 5}},
		ClientIn: strings.NewReader(""), ClientOut: io.Discard, ServerIn: discard{}, ServerOut: fromServer, Drain: time.Millisecond}
	if err := r.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "not a child") {
		t.Fatalf("a relay that lies about its parent got %v", err)
	}
	if p.malformed["parent"] != 1 {
		t.Error("the lie was not recorded")
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }

// process writes what the kernel would show of a process.
func process(t *testing.T, proc string, pid, parent int, start int64, cmdline ...string) {
	t.Helper()
	dir := filepath.Join(proc, fmt.Sprint(pid))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	stat := fmt.Sprintf("%d (a) S 1 (x) S %d%s %d 0", pid, parent, strings.Repeat(" 0", 17), start)
	if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(stat), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cmdline"), []byte(strings.Join(cmdline, "\x00")+"\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestClientOfIsTheSameForAllServersOfOneClient(t *testing.T) {
	proc := t.TempDir()
	process(t, proc, 50, 1, 100, "claude")
	process(t, proc, 60, 50, 200, "sh", "-c", "sallyport mcp -- a")
	process(t, proc, 61, 60, 201, "sallyport", "mcp")
	process(t, proc, 62, 50, 202, "sallyport", "mcp")
	process(t, proc, 70, 1, 300, "bash")
	process(t, proc, 71, 70, 301, "sallyport", "mcp")
	for _, c := range []struct {
		name  string
		relay gateway.Peer
		claim Process
		want  string // "" is an error
	}{
		{"a relay under its client", gateway.Peer{UID: 7, PID: 62, Start: 202}, Process{50, 100}, "stdio:7:50:100"},
		{"a relay under a shell that runs it for the client", gateway.Peer{UID: 7, PID: 61, Start: 201}, Process{60, 200}, "stdio:7:50:100"},
		{"a relay that a person started in a shell", gateway.Peer{UID: 7, PID: 71, Start: 301}, Process{70, 300}, "stdio:7:70:300"},
		{"another process has the relay's pid by now", gateway.Peer{UID: 7, PID: 62, Start: 1}, Process{50, 100}, ""},
		{"the claimed parent started at another time", gateway.Peer{UID: 7, PID: 62, Start: 202}, Process{50, 99}, ""},
		{"the claimed parent is another process", gateway.Peer{UID: 7, PID: 62, Start: 202}, Process{70, 300}, ""},
		{"the relay is gone", gateway.Peer{UID: 7, PID: 99, Start: 1}, Process{50, 100}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ClientOf(proc, c.relay, c.claim)
			if got != c.want || (err != nil) != (c.want == "") {
				t.Fatalf("got %q, %v", got, err)
			}
		})
	}
}

func TestRootsAreTheServersOwnFolders(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	real := filepath.Join(dir, "real")
	if err := os.Mkdir(real, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	want, err := filepath.EvalSymlinks(real)
	if err != nil {
		t.Fatal(err)
	}
	got, args := Roots([]string{"/bin", "-y", "server", link, "--dir=" + real, "/", "/does/not/exist", "relative", "./real", "../" + filepath.Base(dir) + "/real"}, dir)
	if len(got) != 1 || got[0] != want || len(args) != 4 || args[0] != link {
		t.Fatalf("roots %q of %q, want %q", got, args, want)
	}
}
