// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/examples/notes"
)

// stdio is a client's end of a relayed server, with everything between that is there in earnest: pipes,
// relay, a connection, the gate.
type stdio struct {
	in      *io.PipeWriter // to the relay
	out     *io.PipeReader // from the relay
	owner   net.Conn       // the relay's connection, to be cut by tests
	relayed chan error
	served  chan error
}

// guard puts a gate before a server that reads in and writes out.
func guard(t testing.TB, g *Gate, server func(in io.ReadCloser, out io.WriteCloser)) *stdio {
	t.Helper()
	return guardAs(t, g, testPeer, server)
}

func guardAs(t testing.TB, g *Gate, p Peer, server func(in io.ReadCloser, out io.WriteCloser)) *stdio {
	t.Helper()
	relayEnd, ownerEnd := net.Pipe()
	clientIn, in := io.Pipe()
	out, clientOut := io.Pipe()
	serverIn, toServer := io.Pipe()
	fromServer, serverOut := io.Pipe()
	s := &stdio{in: in, out: out, owner: relayEnd, relayed: make(chan error, 1), served: make(chan error, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		server(serverIn, serverOut)
		_ = serverIn.Close()
		_ = serverOut.Close()
	}()
	go func() {
		s.served <- g.ServeRelay(context.Background(), ownerEnd, func(context.Context, Hello) (Peer, Upstream, error) {
			return p, testUpstream, nil
		})
	}()
	go func() {
		r := &Relay{Conn: relayEnd, Hello: Hello{Version: HelloVersion, Command: []string{"notes"}}, ClientIn: clientIn, ClientOut: clientOut,
			ServerIn: toServer, ServerOut: fromServer, Drain: 200 * time.Millisecond}
		err := r.Run(context.Background())
		_ = clientOut.Close()
		s.relayed <- err
	}()
	t.Cleanup(func() {
		_ = in.Close()
		_ = out.Close()
		_ = relayEnd.Close()
		<-s.served
		<-ended
	})
	return s
}

// notesServer serves examples/notes over dir.
func notesServer(t testing.TB, dir string) func(io.ReadCloser, io.WriteCloser) {
	return func(in io.ReadCloser, out io.WriteCloser) { _ = notes.Run(context.Background(), in, out, dir) }
}

// connect is an official client, of the newest revision unless version says otherwise.
func (s *stdio) connect(t testing.TB, version string, o *sdk.ClientOptions) *sdk.ClientSession {
	t.Helper()
	c := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, o)
	var so *sdk.ClientSessionOptions
	if version != "" {
		so = &sdk.ClientSessionOptions{ProtocolVersion: version}
	}
	cs, err := c.Connect(context.Background(), &sdk.IOTransport{Reader: s.out, Writer: s.in}, so)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cs.Close() })
	return cs
}

func call(t testing.TB, cs *sdk.ClientSession, tool string, args map[string]any) (string, bool) {
	t.Helper()
	res, err := cs.CallTool(context.Background(), &sdk.CallToolParams{Name: tool, Arguments: args})
	if err != nil {
		t.Fatalf("%s: %v", tool, err)
	}
	var b strings.Builder
	for _, c := range res.Content {
		if x, ok := c.(*sdk.TextContent); ok {
			b.WriteString(x.Text)
		}
	}
	return b.String(), res.IsError
}

func TestStdioOfficialClientGetsWhatPolicyLetsThrough(t *testing.T) {
	for _, version := range []string{"2026-07-28", "2025-11-25"} {
		t.Run(version, func(t *testing.T) {
			p := newPath()
			p.verdicts["delete_note"] = action.Deny
			p.verdicts["send_note"] = action.Ask
			cs := guard(t, newGate(t, p, nil), notesServer(t, t.TempDir())).connect(t, version, nil)
			if s, bad := call(t, cs, "write_note", map[string]any{"name": "todo", "text": "milk <&> 9007199254740991"}); bad {
				t.Fatalf("write: %s", s)
			}
			if s, bad := call(t, cs, "read_note", map[string]any{"name": "todo"}); bad || s != "milk <&> 9007199254740991" {
				t.Fatalf("read: %q %v", s, bad)
			}
			if s, bad := call(t, cs, "delete_note", map[string]any{"name": "todo"}); !bad || !strings.Contains(s, "Not this one.") {
				t.Fatalf("a denied call answered %q, error %v", s, bad)
			}
			s, bad := call(t, cs, "send_note", map[string]any{"name": "todo", "to": "a@b.example"})
			i := strings.Index(s, "Ticket ")
			if !bad || i < 0 {
				t.Fatalf("an asked call answered %q, error %v", s, bad)
			}
			p.approve(strings.Fields(s[i:])[1])
			if s, bad := call(t, cs, "send_note", map[string]any{"name": "todo", "to": "a@b.example"}); bad {
				t.Fatalf("an approved call answered %q", s)
			}
			if s, bad := call(t, cs, "send_note", map[string]any{"name": "todo", "to": "a@b.example"}); !bad {
				t.Fatalf("one approval let two calls pass: %q", s)
			}
			if cs.InitializeResult().Instructions == "" {
				t.Error("the server's instructions got lost")
			}
		})
	}
}

func TestStdioListShowsOnlyWhatTheAgentMaySee(t *testing.T) {
	p := newPath()
	var seen []string
	g := newGate(t, p, func(c *Config) {
		c.Observe = func(_ context.Context, o Observation) ([]string, error) {
			for _, x := range o.Tools {
				seen = append(seen, x.Name)
			}
			return nil, nil
		}
		c.Visible = func(_ context.Context, _ *action.Subject, _ string, x Tool) bool { return x.Name != "send_note" }
	})
	cs := guard(t, g, notesServer(t, t.TempDir())).connect(t, "", nil)
	res, err := cs.ListTools(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) != 6 || len(res.Tools) != 5 {
		t.Fatalf("observed %d, shown %d", len(seen), len(res.Tools))
	}
	if res.CacheScope != "private" {
		t.Errorf("cacheScope is %q", res.CacheScope)
	}
}

func TestStdioClientIsToldThatItsListChanged(t *testing.T) {
	g := newGate(t, newPath(), nil)
	told := make(chan struct{}, 8)
	cs := guard(t, g, notesServer(t, t.TempDir())).connect(t, "2025-11-25", &sdk.ClientOptions{
		ToolListChangedHandler: func(context.Context, *sdk.ToolListChangedRequest) { told <- struct{}{} }})
	if _, err := cs.ListTools(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	if !cs.InitializeResult().Capabilities.Tools.ListChanged {
		t.Fatal("the server does not say that its list may change")
	}
	g.Relist()
	<-told
}

// serve serves any official server.
func serve(s *sdk.Server) func(io.ReadCloser, io.WriteCloser) {
	return func(in io.ReadCloser, out io.WriteCloser) {
		_ = s.Run(context.Background(), &sdk.IOTransport{Reader: in, Writer: out})
	}
}
