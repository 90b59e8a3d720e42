// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/ledger"
)

// files is a remote server for the files below a folder, and for mail. It counts what it ran.
type files struct {
	mu  sync.Mutex
	ran map[string]int // guarded by mu
}

func (f *files) count(tool string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ran[tool]
}

func (f *files) handler(stateless bool) http.Handler {
	type args struct {
		Path    string `json:"path"`
		Content string `json:"content,omitempty"`
	}
	s := mcp.NewServer(&mcp.Implementation{Name: "files", Version: "1"}, nil)
	run := func(tool string) mcp.ToolHandlerFor[args, any] {
		return func(_ context.Context, _ *mcp.CallToolRequest, a args) (*mcp.CallToolResult, any, error) {
			f.mu.Lock()
			f.ran[tool]++
			f.mu.Unlock()
			text := "done"
			switch tool {
			case "write_file":
				if err := os.WriteFile(a.Path, []byte(a.Content), 0o600); err != nil {
					return nil, nil, err
				}
			case "read_text_file":
				b, err := os.ReadFile(a.Path)
				if err != nil {
					return nil, nil, err
				}
				text = string(b)
			}
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
		}
	}
	for _, tool := range []string{"write_file", "read_text_file", "send_mail"} {
		mcp.AddTool(s, &mcp.Tool{Name: tool, Description: "It does what it is called."}, run(tool))
	}
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s }, &mcp.StreamableHTTPOptions{Stateless: stateless})
}

// served is an owner whose doors are open.
type served struct {
	*house
	url   string
	token string
	root  string
	files *files
}

// serveFiles opens the doors of an owner under the baseline, with one remote server behind them.
func serveFiles(t *testing.T, stateless bool) *served { return serveFilesWith(t, stateless, nil) }

// serveFilesWith is serveFiles with more of the configuration.
func serveFilesWith(t *testing.T, stateless bool, more func(*sallyport.Config)) *served {
	s := &served{files: &files{ran: map[string]int{}}}
	up := httptest.NewServer(s.files.handler(stateless))
	t.Cleanup(up.Close)
	var err error
	if s.root, err = filepath.EvalSymlinks(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	params, err := os.ReadFile("policies/baseline/params.yaml")
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(t.TempDir(), "params.yaml")
	if err := os.WriteFile(own, bytes.Replace(params, []byte("roots: []"), fmt.Appendf(nil, "roots: [%q]", s.root), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	s.house = open(t, func(c *sallyport.Config) {
		c.Gateway.Listen, c.Policy.Params = "127.0.0.1:0", own
		c.Gateway.Servers = []sallyport.MCPServer{{Name: "files", URL: up.URL, Zone: "inside"}}
		c.Tools.Kinds = []sallyport.ToolKind{{Server: "files", Kind: "server-filesystem"}}
		if more != nil {
			more(c)
		}
	})
	l, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	s.url = fmt.Sprintf("http://%s/mcp/files", l.Agents.Addr())
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, job := range []func() error{func() error { return s.Run(ctx) }, func() error { return s.Serve(ctx, l) }} {
		wg.Go(func() {
			if err := job(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	if _, err := s.Tokens.CreateAgent(ctx, identity.AgentSpec{ID: "bot", By: "test"}); err != nil {
		t.Fatal(err)
	}
	if s.token, _, err = s.Tokens.Issue(ctx, identity.TokenSpec{Agent: "bot", User: "ann", Scopes: []action.Scope{action.ScopeAgent}, By: "test"}); err != nil {
		t.Fatal(err)
	}
	return s
}

type withToken string

func (w withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(w))
	return http.DefaultTransport.RoundTrip(r)
}

// dial connects an official client whose user answers with one word; "" cannot be asked.
func (s *served) dial(version, answer string, asked *int) (*mcp.ClientSession, error) {
	o := &mcp.ClientOptions{}
	if answer != "" {
		o.ElicitationHandler = func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			*asked++
			return &mcp.ElicitResult{Action: answer, Content: map[string]any{"approve": answer == "accept"}}, nil
		}
	}
	return mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, o).Connect(context.Background(),
		&mcp.StreamableClientTransport{Endpoint: s.url, HTTPClient: &http.Client{Transport: withToken(s.token)}, DisableStandaloneSSE: true},
		&mcp.ClientSessionOptions{ProtocolVersion: version})
}

var ticketOf = regexp.MustCompile(`Ticket (\S+) is open`)

func TestHTTPDoor(t *testing.T) {
	for _, version := range []string{"2026-07-28", "2025-11-25"} {
		t.Run(version, func(t *testing.T) {
			s := serveFiles(t, version == "2026-07-28")
			asked := 0
			cs, err := s.dial(version, "accept", &asked)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = cs.Close() }()
			call := func(tool, path, content string) (string, bool) {
				t.Helper()
				res, err := cs.CallTool(context.Background(), &mcp.CallToolParams{Name: tool, Arguments: map[string]any{"path": path, "content": content}})
				if err != nil {
					t.Fatalf("%s: %v", tool, err)
				}
				return res.Content[0].(*mcp.TextContent).Text, res.IsError
			}
			if list, err := cs.ListTools(context.Background(), nil); err != nil || len(list.Tools) != 3 {
				t.Fatalf("%+v, %v", list, err)
			}
			note := filepath.Join(s.root, "note.txt")
			if text, bad := call("write_file", note, "one"); bad || asked != 0 {
				t.Fatalf("a new file inside the root: %q, asked %d", text, asked)
			}
			elsewhere := filepath.Join(filepath.Dir(s.root), "x.txt")
			if text, bad := call("write_file", elsewhere, "x"); !bad || ticketOf.MatchString(text) || asked != 0 {
				t.Errorf("a write outside: %q, asked %d", text, asked)
			}

			// A write that may not be undone may be agreed to in the agent's own client, once for each call.
			text, bad := call("write_file", note, "two")
			if version == "2026-07-28" {
				if bad || asked != 1 || s.files.count("write_file") != 2 {
					t.Errorf("agreed to: %q, asked %d, ran %d", text, asked, s.files.count("write_file"))
				}
				if text, bad := call("write_file", note, "two"); bad || asked != 2 || s.files.count("write_file") != 3 {
					t.Errorf("the same call once more: %q, asked %d, ran %d", text, asked, s.files.count("write_file"))
				}
			} else if !bad || asked != 0 || !ticketOf.MatchString(text) {
				t.Errorf("a client that cannot be asked in a round trip: %q, asked %d", text, asked)
			}

			// What needs an operator gives a ticket, and the agent's own user cannot answer it.
			was := asked
			text, bad = call("send_mail", "ann", "hello")
			m := ticketOf.FindStringSubmatch(text)
			if !bad || m == nil || asked != was || s.files.count("send_mail") != 0 {
				t.Fatalf("%q, asked %d", text, asked)
			}
			operator := approval.Actor{ID: "operator:ben", Channel: action.RankOperator, UID: -1}
			if _, err := s.Approval.Approve(context.Background(), m[1], operator, ""); err != nil {
				t.Fatal(err)
			}
			if text, bad := call("send_mail", "ann", "hello"); bad || s.files.count("send_mail") != 1 {
				t.Errorf("the approved call: %q, ran %d", text, s.files.count("send_mail"))
			}
			if text, bad := call("send_mail", "ann", "hello"); !bad || s.files.count("send_mail") != 1 {
				t.Errorf("one approval let two calls pass: %q", text)
			}
			s.checkRecord(version)
		})
	}
}

// checkRecord compares what ran with what the ledger says ran, and through which channel it was agreed to.
func (s *served) checkRecord(version string) {
	s.t.Helper()
	ran, channels := map[string]int{}, map[action.Rank]int{}
	err := s.Ledger.Records(context.Background(), func(e ledger.Entry) error {
		if e.Leaf.Kind != action.KindIntent {
			return nil
		}
		b, err := e.Open(action.PartInputBefore)
		if err != nil {
			return err
		}
		q, err := action.ReadQuery(b)
		if err != nil || q.Action.Name != "tools/call" {
			return err
		}
		ran[q.Resource.Name]++
		if e.Leaf.Grant != "" {
			channels[e.Leaf.Channel]++
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if ran["write_file"] != s.files.count("write_file") || ran["send_mail"] != s.files.count("send_mail") {
		s.t.Errorf("recorded %v, ran %v", ran, s.files.ran)
	}
	if want := map[string]int{"2026-07-28": 2}[version]; channels[action.RankClient] != want || channels[action.RankOperator] != 1 {
		s.t.Errorf("agreed to through %v", channels)
	}
}

func TestHTTPDoorRefuses(t *testing.T) {
	s := serveFiles(t, true)
	asked := 0
	cs, err := s.dial("2026-07-28", "decline", &asked)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cs.Close() }()
	if _, err := cs.ListTools(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	note := filepath.Join(s.root, "note.txt")
	if err := os.WriteFile(note, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	res, err := cs.CallTool(context.Background(), &mcp.CallToolParams{Name: "write_file", Arguments: map[string]any{"path": note, "content": "two"}})
	if err != nil || !res.IsError || asked != 1 || s.files.count("write_file") != 0 {
		t.Errorf("a call that the user declined: %+v, %v, asked %d", res, err, asked)
	}

	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_text_file","arguments":{"path":"` + note + `"}}}`
	base := strings.TrimSuffix(s.url, "/mcp/files")
	for name, c := range map[string]struct {
		url    string
		header [2]string
		status int
	}{
		"no token":                           {s.url, [2]string{}, 401},
		"a token that was never issued":      {s.url, [2]string{"Authorization", "Bearer sp_nobody"}, 401},
		"a server that is not configured":    {base + "/mcp/other", [2]string{"Authorization", "Bearer " + s.token}, 404},
		"a page of another origin":           {s.url, [2]string{"Origin", "https://evil.example"}, 403},
		"a page of ours at the API's routes": {base + "/v1/actions", [2]string{"Origin", base}, 403},
		"its own origin, but no token":       {s.url, [2]string{"Origin", base}, 401},
	} {
		r, err := http.NewRequest(http.MethodPost, c.url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/json, text/event-stream")
		if c.header[0] != "" {
			r.Header.Set(c.header[0], c.header[1])
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != c.status {
			t.Errorf("%s: %s", name, res.Status)
		}
	}
	if n := s.files.count("read_text_file"); n != 0 {
		t.Errorf("%d refused calls ran", n)
	}
}
