// SPDX-License-Identifier: Apache-2.0

//go:build unix

package mcp

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// family starts a launcher that ignores the end of its input, with a server of its own, and returns the
// server's process.
func family(t *testing.T, ctx context.Context) (*Child, int) {
	t.Helper()
	c, err := Start(ctx, []string{"sh", "-c", "sleep 1000 & echo $!; wait"}, []string{"PATH=/usr/bin:/bin"}, "", io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	l, err := bufio.NewReader(c.Out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(l))
	if err != nil {
		t.Fatal(err)
	}
	return c, pid
}

// ends waits until a process is gone, or is dead and waits for its parent.
func ends(t *testing.T, pid int) {
	t.Helper()
	for range 500 {
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return
		}
		if f, err := stat(ProcFS, pid); err == nil && f[0] == "Z" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	t.Fatalf("process %d lives on", pid)
}

func TestKilledServerTakesItsGroupAlong(t *testing.T) {
	for name, kill := range map[string]func(c *Child, cancel func()){
		"by Kill":              func(c *Child, _ func()) { c.Kill() },
		"with its context":     func(_ *Child, cancel func()) { cancel() },
		"when its grace ended": func(*Child, func()) {},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			c, server := family(t, ctx)
			kill(c, cancel)
			if code := c.Wait(50 * time.Millisecond); code != 128+int(syscall.SIGKILL) {
				t.Errorf("exit code %d", code)
			}
			ends(t, server)
			c.Kill() // after the end it must hit nobody
		})
	}
}

func TestServerThatOutlivesItsClientIsKilled(t *testing.T) {
	for name, open := range map[string]bool{"nothing is open": false, "an answer is open": true} {
		t.Run(name, func(t *testing.T) {
			relayEnd, ownerEnd := net.Pipe()
			p := newPath()
			served := make(chan error, 1)
			go func() {
				served <- newGate(t, p, nil).ServeRelay(context.Background(), ownerEnd, func(context.Context, Hello) (Peer, Upstream, error) {
					return testPeer, testUpstream, nil
				})
			}()
			client, write := io.Pipe()
			serverIn, toServer := io.Pipe()
			fromServer, serverOut := io.Pipe()
			killed := make(chan struct{})
			answer := make(chan struct{})
			r := &Relay{Conn: relayEnd, Hello: Hello{Version: HelloVersion, Command: []string{"x"}}, ClientIn: client, ClientOut: io.Discard,
				ServerIn: toServer, ServerOut: fromServer, Grace: 20 * time.Millisecond,
				Kill: func() { close(killed); _ = serverOut.Close() }}
			done := make(chan error, 1)
			go func() { done <- r.Run(context.Background()) }()
			go func() { // a server that ignores the end of its input
				lines := newLineReader(serverIn, 1<<20)
				l, err := lines.next()
				if err != nil {
					return
				}
				<-answer
				_, _ = io.WriteString(serverOut, answerLine(string(l.bytes), `{"content":[]}`)+"\n")
			}()
			if open {
				if _, err := io.WriteString(write, requestLine(1, "read_note")+"\n"); err != nil {
					t.Fatal(err)
				}
				for p.count(methodCall) == 0 {
					time.Sleep(time.Millisecond)
				}
			}
			_ = write.Close()
			if open {
				select {
				case <-killed:
					t.Fatal("it was killed while it worked")
				case <-time.After(200 * time.Millisecond):
				}
				close(answer)
			}
			select {
			case <-killed:
			case <-time.After(10 * time.Second):
				t.Fatal("it lives on")
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			<-served
			_ = serverIn.Close()
		})
	}
}

func TestRelaysOfOneClientDoNotShareRoots(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for name, c := range map[string]struct {
		hello Hello
		want  int
		bad   bool
	}{
		"the folders of a server":        {Hello{Command: []string{"server", a, b}}, 2, false},
		"a server without folders":       {Hello{Command: []string{"server"}}, 0, false},
		"a remote server":                {Hello{URL: "https://a.example/mcp"}, 0, false},
		"a remote server with a command": {Hello{URL: "https://a.example/mcp", Command: []string{"server", a}}, 0, true},
		"nothing":                        {Hello{}, 0, true},
		"an address with a query":        {Hello{URL: "https://a.example/mcp?key=x"}, 0, true},
		"an address with a password":     {Hello{URL: "https://u:p@a.example/mcp"}, 0, true},
		"a name with a slash":            {Hello{Name: "a/b", Command: []string{"server"}}, 0, true},
	} {
		up, folders, err := c.hello.upstream()
		if (err != nil) != c.bad || len(folders) != c.want || err == nil && folders == nil {
			t.Errorf("%s: %+v, folders %q, %v", name, up, folders, err)
		}
	}
	p := newPath()
	g := newGate(t, p, nil)
	for _, roots := range [][]string{{a}, {}} {
		peer := testPeer
		peer.Roots = roots
		conn := g.Conn(peer, testUpstream)
		conn.FromClient(context.Background(), []byte(requestLine(1, "read_note")))
		conn.Close(context.Background(), "")
	}
	first, second := p.attempts[0], p.attempts[1]
	if len(first.Roots) != 1 || second.Roots == nil || len(second.Roots) != 0 || first.Session != second.Session {
		t.Errorf("attempts of one session: roots %q and %q", first.Roots, second.Roots)
	}
}
