// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

func TestHTTPServersThatMisbehaveAreAnsweredForAndWithheld(t *testing.T) {
	body := requestLine(1, "x")
	ok := `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`
	stream := func(events ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for _, e := range events {
				_, _ = fmt.Fprint(w, e)
			}
		}
	}
	plain := func(status int, media, s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", media)
			w.WriteHeader(status)
			_, _ = fmt.Fprint(w, s)
		}
	}
	for _, c := range []struct {
		name   string
		up     http.HandlerFunc
		status int
		want   string // in the answer
	}{
		{"it answers as JSON", plain(200, "application/json", ok), 200, ok},
		{"it answers as a stream", stream("data: " + ok + "\n\n"), 200, ok},
		{"it answers over several data lines", stream("event: message\nid: 7\ndata: {\"jsonrpc\":\"2.0\",\ndata: \"id\":1,\"result\":{}}\n\n"), 200, "id: 7\ndata: {\"jsonrpc\":\"2.0\", \"id\":1,\"result\":{}}\n\n"},
		{"it says nothing", plain(200, "application/json", ""), 502, "unknown"},
		{"it answers in HTML", plain(200, "text/html", "<p>SECRET</p>"), 502, "unknown"},
		{"it fails with words", plain(500, "text/plain", "SECRET stack"), 500, "unknown"},
		{"it redirects", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "http://127.0.0.1:1/", 307) }, 502, "unknown"},
		{"it cuts its answer", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "1000")
			_, _ = fmt.Fprint(w, `{"jsonrpc":"2.0","id":1,"result":{"a":"SECRET`)
		}, 502, "unknown"},
		{"it answers another request", plain(200, "application/json", strings.Replace(ok, `"id":1`, `"id":2`, 1)), 502, "unknown"},
		{"it answers twice", stream("data: "+ok+"\n\n", "data: "+strings.Replace(ok, `[]`, `["SECRET"]`, 1)+"\n\n"), 200, ok},
		{"its stream ends early", stream(": hello\n\n"), 200, "stream ended"},
		{"its stream is garbage", stream("SECRET\n\ndata: {SECRET\n\n"), 200, "stream ended"},
		{"an event is cut off", stream("data: " + strings.Replace(ok, "[]", `["SECRET"]`, 1)), 200, "stream ended"},
		{"an event has a name of its own", stream("event: SECRET\ndata: SECRET\n\n", "data: "+ok+"\n\n"), 200, ok},
		{"an error carries no id", plain(400, "application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"bad"}}`), 400, `"id":1,"error":{"code":-32600`},
		{"its result is too large", plain(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":{"a":"`+strings.Repeat("SECRET", 3<<20)+`"}}`), 200, "withheld whole"},
		{"an event is too large", stream(`data: {"jsonrpc":"2.0","id":1,"result":{"a":"` + strings.Repeat("SECRET", 3<<20) + "\"}}\n\n"), 200, "withheld whole"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPath()
			status, out := send(t, door(t, newGate(t, p, nil), c.up), "alice", body)
			if status != c.status || !strings.Contains(out, c.want) || strings.Contains(out, "SECRET") {
				t.Errorf("%d %.400s", status, out)
			}
			if n := strings.Count(out, `"jsonrpc"`); n != 1 {
				t.Errorf("%d answers: %.400s", n, out)
			}
		})
	}
}

func TestHTTPServerThatIsGoneIsAnsweredFor(t *testing.T) {
	p := newPath()
	h, err := NewHTTP(HTTPConfig{Gate: newGate(t, p, nil), Upstream: nil})
	if err == nil || h != nil {
		t.Fatal("a door without upstreams was opened")
	}
	url := door(t, newGate(t, p, nil), http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	status, out := send(t, url, "alice", requestLine(1, "x"))
	if status != 502 || !strings.Contains(out, "do not repeat") {
		t.Errorf("%d %s", status, out)
	}
	if status, _ = send(t, strings.Replace(url, "notes", "other", 1), "alice", requestLine(1, "x")); status != 404 {
		t.Errorf("an unknown server answers %d", status)
	}
	if p.outcomes["act-1"].Status == action.ResultDone {
		t.Error("a call of which nothing is known was recorded as done")
	}
}
