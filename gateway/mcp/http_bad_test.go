// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/sallyport/sallyport/action"
)

func TestHTTPHeadersMustSayWhatTheBodySays(t *testing.T) {
	var reached atomic.Int32
	p := newPath()
	url := door(t, newGate(t, p, nil), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`)
	}))
	body := modern("1", "tools/call", `"name":"größe","arguments":{"a":"b"},`)
	good := []string{"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", encodeHeader("größe")}
	for _, c := range []struct {
		name    string
		body    string
		headers []string
		status  int
		code    string
	}{
		{"all agree", body, good, 200, ""},
		{"no version", body, good[2:], 400, "-32020"},
		{"another version", body, append([]string{"Mcp-Protocol-Version", "2025-11-25"}, good[2:]...), 400, "-32020"},
		{"an unknown version", body, append([]string{"Mcp-Protocol-Version", "2999-01-01"}, good[2:]...), 400, "-32020"},
		{"no method", body, append(good[:2:2], good[4:]...), 400, "-32020"},
		{"another method", body, append(good[:2:2], "Mcp-Method", "tools/list", good[4], good[5]), 400, "-32020"},
		{"two methods", body, append(good, "Mcp-Method", "tools/list"), 400, ""},
		{"no name", body, good[:4], 400, "-32020"},
		{"another name", body, append(good[:4:4], "Mcp-Name", "read"), 400, "-32020"},
		{"a name in broken base64", body, append(good[:4:4], "Mcp-Name", "=?base64?!?="), 400, "-32020"},
		{"an old request with a method that differs", requestLine(1, "x"), []string{"Mcp-Method", "ping"}, 400, "-32020"},
		{"a duplicate member", `{"jsonrpc":"2.0","id":1,"id":1,"method":"ping"}`, nil, 400, "-32700"},
		{"a batch", "[" + requestLine(1, "x") + "]", nil, 400, "-32600"},
		{"an unknown session", requestLine(1, "x"), []string{"Mcp-Session-Id", "abc"}, 404, ""},
		{"a form", requestLine(1, "x"), []string{"Content-Type", "text/plain"}, 415, ""},
		{"a page of the web", requestLine(1, "x"), []string{"Origin", "https://evil.example"}, 403, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			reached.Store(0)
			status, out := send(t, url, "alice", c.body, c.headers...)
			if status != c.status || string(member([]byte(out), "error", "code")) != c.code {
				t.Errorf("%d %s", status, out)
			}
			if (reached.Load() > 0) != (c.status == 200) {
				t.Errorf("the server was reached %d times", reached.Load())
			}
		})
	}
}

func TestHTTPNothingLeavesInHeadersThatWasNotJudged(t *testing.T) {
	got := make(chan http.Header, 1)
	url := door(t, newGate(t, newPath(), nil), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Clone()
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`)
	}))
	send(t, url, "alice", modern("1", "tools/call", `"name":"x","arguments":{"region":"eu","n":42},`), "Mcp-Protocol-Version", "2026-07-28",
		"Mcp-Method", "tools/call", "Mcp-Name", "x", "Mcp-Param-Region", "eu", "Mcp-Param-N", "42.0", "Mcp-Param-Note", "SECRET", "Cookie", "SECRET",
		"Baggage", "SECRET", "X-Forwarded-For", "SECRET", "User-Agent", "SECRET")
	h := <-got
	if h.Get("Mcp-Param-Region") != "eu" || h.Get("Mcp-Param-N") != "42.0" || h.Get("Mcp-Method") != "tools/call" {
		t.Errorf("lost: %v", h)
	}
	if s := fmt.Sprint(h); strings.Contains(s, "SECRET") || strings.Contains(s, "alice") {
		t.Errorf("left: %s", s)
	}
}

func TestHTTPRewrittenArgumentsAreMirroredAnew(t *testing.T) {
	p := newPath()
	got := make(chan http.Header, 2)
	url := door(t, newGate(t, p, nil), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Clone()
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{"jsonrpc":"2.0","id":1,"result":{"content":[],"tools":[{"name":"x","inputSchema":{"type":"object",`+
			`"properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}]}}`)
	}))
	send(t, url, "alice", modern("1", "tools/list", ``), "Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/list")
	<-got
	p.set(func() { p.rewrite["x"] = []byte(`{"region":"größe"}`) })
	headers := []string{"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "x"}
	body := modern("1", "tools/call", `"name":"x","arguments":{"region":"eu"},`)
	if status, out := send(t, url, "alice", body, append(headers, "Mcp-Param-Region", "us")...); status != 400 {
		t.Fatalf("a mirrored parameter that differs: %d %s", status, out)
	}
	send(t, url, "alice", body, append(headers, "Mcp-Param-Region", "eu")...)
	if v := (<-got).Get("Mcp-Param-Region"); v != encodeHeader("größe") {
		t.Errorf("the server gets %q", v)
	}
}

func TestHTTPSessionsBelongToTheCallerThatTheyWereMintedFor(t *testing.T) {
	url := door(t, newGate(t, newPath(), nil), notesUpstream(t, false, nil))
	cs := dial(t, url, "alice", "2025-11-25", nil)
	id := cs.ID()
	if id == "" {
		t.Fatal("no session id")
	}
	body := `{"jsonrpc":"2.0","id":77,"method":"tools/list"}`
	if status, out := send(t, url, "alice", body, "Mcp-Session-Id", id); status != 200 || !strings.Contains(out, "read_note") {
		t.Fatalf("alice: %d %s", status, out)
	}
	for _, who := range []string{"bob", "alice2"} {
		if status, out := send(t, url, who, body, "Mcp-Session-Id", id); status != 404 {
			t.Errorf("%s: %d %s", who, status, out)
		}
	}
	if err := cs.Close(); err != nil {
		t.Fatal(err)
	}
	if status, _ := send(t, url, "alice", body, "Mcp-Session-Id", id); status != 404 {
		t.Errorf("an ended session answers %d", status)
	}
}

// asker is a server whose tool asks the client's user and says what it heard, with progress and a log line
// on the way.
func asker() *sdk.Server {
	s := sdk.NewServer(&sdk.Implementation{Name: "asker", Version: "1"}, nil)
	sdk.AddTool(s, &sdk.Tool{Name: "ask"}, func(ctx context.Context, r *sdk.CallToolRequest, _ struct{}) (*sdk.CallToolResult, any, error) {
		_ = r.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Progress: 1, Message: "half way"})
		res, err := r.Session.Elicit(ctx, &sdk.ElicitParams{Message: "Your name?"})
		if err != nil {
			return nil, nil, err
		}
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: fmt.Sprint(res.Action, " ", res.Content["name"])}}}, nil, nil
	})
	return s
}

func TestServersOfTheOlderRevisionAskTheClientsUser(t *testing.T) {
	for _, transport := range []string{"stdio", "http"} {
		for _, c := range []struct {
			name   string
			change func(*path)
			want   string
		}{
			{"permitted", func(*path) {}, "accept Ada"},
			{"its question is refused", func(p *path) { p.verdicts[methodElicit] = action.Deny }, "not permitted"},
			{"the answer may not leave", func(p *path) { p.withhold = []byte("Ada") }, "may not leave"},
		} {
			t.Run(transport+" "+c.name, func(t *testing.T) {
				p := newPath()
				c.change(p)
				progress := make(chan string, 4)
				o := &sdk.ClientOptions{
					ElicitationHandler: func(context.Context, *sdk.ElicitRequest) (*sdk.ElicitResult, error) {
						return &sdk.ElicitResult{Action: "accept", Content: map[string]any{"name": "Ada"}}, nil
					},
					ProgressNotificationHandler: func(_ context.Context, r *sdk.ProgressNotificationClientRequest) { progress <- r.Params.Message },
				}
				var cs *sdk.ClientSession
				if transport == "http" {
					h := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return asker() }, nil)
					cs = dial(t, door(t, newGate(t, p, nil), h), "alice", "2025-11-25", o)
				} else {
					cs = guard(t, newGate(t, p, nil), serve(asker())).connect(t, "2025-11-25", o)
				}
				params := &sdk.CallToolParams{Name: "ask"}
				params.SetProgressToken("t1")
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				defer cancel()
				res, err := cs.CallTool(ctx, params)
				if err != nil {
					t.Fatal(err)
				}
				if s := res.Content[0].(*sdk.TextContent).Text; !strings.Contains(s, c.want) {
					t.Errorf("the tool says %q", s)
				}
				if s := <-progress; s != "half way" {
					t.Errorf("progress %q", s)
				}
			})
		}
	}
}

func TestChangesReachAClientThatListens(t *testing.T) {
	for _, transport := range []string{"stdio", "http"} {
		t.Run(transport, func(t *testing.T) {
			p := newPath()
			s := asker()
			changed := make(chan struct{}, 4)
			o := &sdk.ClientOptions{ToolListChangedHandler: func(context.Context, *sdk.ToolListChangedRequest) { changed <- struct{}{} }}
			if transport == "http" {
				h := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return s }, &sdk.StreamableHTTPOptions{Stateless: true})
				dial(t, door(t, newGate(t, p, nil), h), "alice", "", o)
			} else {
				guard(t, newGate(t, p, nil), serve(s)).connect(t, "", o)
			}
			deadline := time.After(20 * time.Second)
			for n := 0; ; n++ {
				sdk.AddTool(s, &sdk.Tool{Name: fmt.Sprintf("new%d", n)}, func(context.Context, *sdk.CallToolRequest, struct{}) (*sdk.CallToolResult, any, error) {
					return nil, nil, nil
				})
				select {
				case <-changed:
					if p.count(methodListen) != 1 {
						t.Errorf("%d subscriptions were judged", p.count(methodListen))
					}
					return
				case <-time.After(200 * time.Millisecond): // the subscription may not be there yet
				case <-deadline:
					t.Fatal("no change came through")
				}
			}
		})
	}
}
