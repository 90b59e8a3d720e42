// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/sallyport/sallyport/action"
)

// far puts a gate before a server that is reached over HTTP.
func far(t testing.TB, g *Gate, upstream http.Handler) *stdio {
	t.Helper()
	up := httptest.NewServer(upstream)
	t.Cleanup(up.Close)
	relayEnd, ownerEnd := net.Pipe()
	clientIn, in := io.Pipe()
	out, clientOut := io.Pipe()
	s := &stdio{in: in, out: out, owner: relayEnd, relayed: make(chan error, 1), served: make(chan error, 1)}
	go func() {
		s.served <- g.ServeRelay(context.Background(), ownerEnd, func(context.Context, Hello) (Peer, Upstream, error) {
			return testPeer, Upstream{Name: "notes", URL: up.URL}, nil
		})
	}()
	go func() {
		r := &Relay{Conn: relayEnd, Hello: Hello{Version: HelloVersion, URL: up.URL}, ClientIn: clientIn, ClientOut: clientOut,
			Remote: &Remote{URL: up.URL + "/?q=1", Header: http.Header{"X-Stored": {"secret"}}}, MessageBytes: 1 << 20, Drain: 200 * time.Millisecond}
		err := r.Run(context.Background())
		_ = clientOut.Close()
		s.relayed <- err
	}()
	t.Cleanup(func() {
		_ = in.Close()
		go func() { _, _ = io.Copy(io.Discard, out) }()
		<-s.relayed
		<-s.served
	})
	return s
}

func TestRemoteServerWorksForAStdioClient(t *testing.T) {
	for _, version := range []string{"2026-07-28", "2025-11-25"} {
		t.Run(version, func(t *testing.T) {
			p := newPath()
			p.verdicts["delete_note"] = action.Deny
			var mu sync.Mutex
			ended, calls := false, 0
			s := far(t, newGate(t, p, nil), notesUpstream(t, version == "2026-07-28", func(r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				if r.Header.Get("X-Stored") != "secret" || r.URL.RawQuery != "q=1" {
					t.Errorf("the server got %v %v", r.URL, r.Header)
				}
				if r.Method == http.MethodDelete {
					ended = true
				}
				if r.Header.Get("Mcp-Name") == "delete_note" {
					calls++
				}
			}))
			cs := s.connect(t, version, nil)
			if v := cs.InitializeResult().ProtocolVersion; v != version {
				t.Fatalf("negotiated %s", v)
			}
			if _, err := cs.ListTools(context.Background(), nil); err != nil {
				t.Fatal(err)
			}
			if text, bad := call(t, cs, "write_note", map[string]any{"name": "todo", "text": "milk"}); bad {
				t.Fatalf("write: %s", text)
			}
			if text, bad := call(t, cs, "read_note", map[string]any{"name": "todo"}); bad || text != "milk" {
				t.Fatalf("read: %q %v", text, bad)
			}
			if text, bad := call(t, cs, "delete_note", map[string]any{"name": "todo"}); !bad || !strings.Contains(text, "Not this one.") {
				t.Fatalf("a denied call answered %q, error %v", text, bad)
			}
			_ = cs.Close()
			_ = s.in.Close()
			if err := <-s.relayed; err != nil {
				t.Error(err)
			}
			s.relayed <- nil
			mu.Lock()
			defer mu.Unlock()
			if version == "2025-11-25" && !ended || calls != 0 {
				t.Errorf("session ended %v, denied calls that arrived %d", ended, calls)
			}
		})
	}
}

func TestRemoteServerCanAskReportAndNotify(t *testing.T) {
	for _, version := range []string{"2026-07-28", "2025-11-25"} {
		t.Run(version, func(t *testing.T) {
			server := sdk.NewServer(&sdk.Implementation{Name: "asker", Version: "1"}, nil)
			sdk.AddTool(server, &sdk.Tool{Name: "ask"}, func(ctx context.Context, r *sdk.CallToolRequest, _ struct{}) (*sdk.CallToolResult, any, error) {
				if err := r.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Progress: 1}); err != nil {
					return nil, nil, err
				}
				if version == "2026-07-28" {
					return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: "blue"}}}, nil, nil
				}
				res, err := r.Session.Elicit(ctx, &sdk.ElicitParams{Message: "colour?"})
				if err != nil {
					return nil, nil, err
				}
				return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: fmt.Sprint(res.Content["colour"])}}}, nil, nil
			})
			handler := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return server }, &sdk.StreamableHTTPOptions{Stateless: version == "2026-07-28"})
			progress, changed := make(chan struct{}, 8), make(chan struct{}, 8)
			cs := far(t, newGate(t, newPath(), nil), handler).connect(t, version, &sdk.ClientOptions{
				ElicitationHandler: func(context.Context, *sdk.ElicitRequest) (*sdk.ElicitResult, error) {
					return &sdk.ElicitResult{Action: "accept", Content: map[string]any{"colour": "blue"}}, nil
				},
				ProgressNotificationHandler: func(context.Context, *sdk.ProgressNotificationClientRequest) { progress <- struct{}{} },
				ToolListChangedHandler:      func(context.Context, *sdk.ToolListChangedRequest) { changed <- struct{}{} },
			})
			params := &sdk.CallToolParams{Name: "ask", Arguments: map[string]any{}}
			params.SetProgressToken("p1")
			res, err := cs.CallTool(context.Background(), params)
			if err != nil || res.IsError || res.Content[0].(*sdk.TextContent).Text != "blue" {
				t.Fatalf("%+v, %v", res, err)
			}
			select {
			case <-progress:
			case <-time.After(10 * time.Second):
				t.Error("no progress arrived")
			}
			if version == "2026-07-28" {
				return
			}
			for range 100 { // the stream outside of requests may open a little later
				sdk.AddTool(server, &sdk.Tool{Name: "more"}, func(context.Context, *sdk.CallToolRequest, struct{}) (*sdk.CallToolResult, any, error) {
					return nil, nil, errors.New("none")
				})
				select {
				case <-changed:
					return
				case <-time.After(100 * time.Millisecond):
				}
			}
			t.Error("no change of the list was told")
		})
	}
}

// raw speaks to a scripted HTTP server, line by line.
func raw(t testing.TB, serve http.HandlerFunc) (write func(string), read func() string) {
	t.Helper()
	s := far(t, newGate(t, newPath(), nil), serve)
	lines := newLineReader(s.out, 4<<20)
	return func(l string) { s.write(t, l) }, func() string {
		t.Helper()
		l, err := lines.next()
		if err != nil {
			t.Fatal(err)
		}
		return string(l.bytes)
	}
}

func TestRemoteFaultsAreAnswered(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	for _, c := range []struct {
		name  string
		serve http.HandlerFunc
		want  string
	}{
		{"no credential", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, "--header-file"},
		{"a message under an error status", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			fmt.Fprint(w, `{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"no such thing"}}`)
		}, `"id":7,"error":{"code":-32602,"message":"no such thing"}`},
		{"a redirect is not followed", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(307)
		}, "status 307"},
		{"an empty answer", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202) }, "status 202"},
		{"a stream without the answer", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, ": hello\n\n")
		}, "without an answer"},
		{"a stream that is cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: {\"jsonrpc\":\"2.0\",\"id\":7,")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, "without an answer"},
		{"an answer that is no JSON", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "status 200"},
		{"an answer over several lines", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "{\"jsonrpc\":\"2.0\",\n\"id\":7,\n\"result\":{\"content\":[]}}\n")
		}, `"result":{"content":[]}`},
		{"an answer beyond the limit", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":%q}]}}`, big)
		}, "larger than may be held"},
		{"an event beyond the limit", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"content\":[{\"type\":\"text\",\"text\":%q}]}}\n\n", big)
		}, "larger than may be held"},
	} {
		t.Run(c.name, func(t *testing.T) {
			write, read := raw(t, c.serve)
			write(requestLine(7, "read_note"))
			if got := read(); !strings.Contains(got, c.want) || strings.Contains(got, "secret") || strings.Contains(got, "q=1") {
				t.Errorf("the client reads %.300q", got)
			}
		})
	}
}

func TestRemoteStreamIsResumedWhereItBroke(t *testing.T) {
	write, read := raw(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		switch {
		case r.Method == http.MethodPost:
			fmt.Fprint(w, "id: e1\nretry: 10\ndata:\n\n")
		case r.Header.Get("Last-Event-Id") == "e1":
			fmt.Fprint(w, "id: e2\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"content\":[]}}\n\n")
		default:
			w.WriteHeader(405)
		}
	})
	write(requestLine(7, "read_note"))
	if got := read(); !strings.Contains(got, `"content":[]`) {
		t.Errorf("the client reads %q", got)
	}
}

func TestRemoteRequestIsTakenBack(t *testing.T) {
	gone := make(chan struct{})
	write, _ := raw(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(200)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(gone)
	})
	write(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"read_note","arguments":{},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`)
	time.Sleep(100 * time.Millisecond) // let it go out; a request that has not is cancelled all the same
	write(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`)
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("the server still works on it")
	}
}

func TestAddressesAndHeadersOfRemoteServers(t *testing.T) {
	for raw, want := range map[string]string{
		"https://a.example/mcp":         "https://a.example/mcp",
		"https://a.example/mcp?key=abc": "https://a.example/mcp?",
		"http://127.0.0.1:80":           "http://127.0.0.1:80",
		"ftp://a.example/":              "", "https://u:p@a.example/": "", "https://a.example/#x": "", "https:///x": "", "a.example": "", "": "",
		"https://u@a.example/?q": "", "http:a.example": "", "https://a.example/\n": "",
	} {
		got, err := ToldURL(raw)
		if (err == nil) != (want != "") || got != want || err != nil && raw != "" && strings.Contains(err.Error(), raw) {
			t.Errorf("%q: %q, %v", raw, got, err)
		}
	}
	dir := t.TempDir()
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		ok   bool
	}{
		"headers, a comment and a blank line": {"# mine\n\nAuthorization: Bearer abc\r\nX-Team: a: b\n", 0o600, true},
		"a file that others may read":         {"Authorization: Bearer abc\n", 0o644, false},
		"no colon":                            {"Bearer hunter2\n", 0o600, false},
		"a header of the protocol":            {"Mcp-Session-Id: hunter2\n", 0o600, false},
		"a header of the connection":          {"transfer-encoding: hunter2\n", 0o600, false},
		"a control character":                 {"X: hunter2\x01\n", 0o600, false},
	} {
		path := filepath.Join(dir, "h")
		if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, []byte(c.text), c.mode), os.Chmod(path, c.mode)); err != nil {
			t.Fatal(err)
		}
		h, err := ReadHeaders(path)
		if (err == nil) != c.ok || err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, %v", name, h, err)
		}
		if c.ok && (h.Get("Authorization") != "Bearer abc" || h.Get("X-Team") != "a: b" || len(h) != 2) {
			t.Errorf("%s: %v", name, h)
		}
	}
	some := http.Header{"Authorization": {"x"}}
	if Exposed("https://a.example/", some) || Exposed("http://127.0.0.1:1/", some) || Exposed("http://a.example/", nil) || !Exposed("http://a.example/", some) {
		t.Error("what would go over the network in the clear is told wrongly")
	}
	for raw, want := range map[string]string{"https://MCP.example.com/x": "mcp.example.com", "http://127.0.0.1:99/mcp": "127.0.0.1-99"} {
		if got := RemoteName(raw); got != want {
			t.Errorf("%q is named %q", raw, got)
		}
	}
}

func TestRemoteServerMayAskBeforeItAnswersInitialize(t *testing.T) {
	answered := make(chan struct{})
	write, read := raw(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if !strings.Contains(string(b), "initialize") {
			close(answered)
			w.WriteHeader(202)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n\n")
		_ = http.NewResponseController(w).Flush()
		<-answered
		fmt.Fprint(w, "data: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"protocolVersion\":\"2025-11-25\"}}\n\n")
	})
	write(`{"jsonrpc":"2.0","id":7,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}`)
	if got := read(); !strings.Contains(got, "ping") {
		t.Fatalf("the client reads %q", got)
	}
	write(`{"jsonrpc":"2.0","id":1,"result":{}}`)
	if got := read(); !strings.Contains(got, "protocolVersion") {
		t.Errorf("the client reads %q", got)
	}
}

func FuzzRemoteAddress(f *testing.F) {
	for _, s := range []string{"https://a.example/mcp?key=abc", "http://u:p@h/", "https://h/#x", "https://[::1]:1/?", "//h", "https://h/%3f?x@y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		told, err := ToldURL(raw)
		if err != nil {
			if len(raw) > 8 && strings.Contains(err.Error(), raw) {
				t.Errorf("the error quotes %q", raw)
			}
			return
		}
		u, err := url.Parse(told)
		if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Hostname() == "" || !strings.HasPrefix(raw, strings.TrimSuffix(told, "?")) {
			t.Errorf("%q is told as %q", raw, told)
		}
		h := Hello{URL: told}
		if _, _, err := h.upstream(); err != nil {
			t.Errorf("the owner refuses %q: %v", told, err)
		}
	})
}

func FuzzHeaders(f *testing.F) {
	f.Add("Authorization: Bearer abc\n# x\n\nX-A:b")
	f.Add("Host: x\nMcp-Name: y\r\n:z")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := parseHeaders(text)
		if err != nil {
			return
		}
		for n, vs := range h {
			if n != http.CanonicalHeaderKey(n) || strings.HasPrefix(n, "Mcp-") || n == "Host" || n == "Content-Length" || len(vs) == 0 {
				t.Errorf("%q", n)
			}
			for _, v := range vs {
				if strings.ContainsAny(v, "\r\n\x00") {
					t.Errorf("%q: %q", n, v)
				}
			}
		}
	})
}
