// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
)

// lister is a server that lists what it is told to and counts the calls that reach it.
type lister struct {
	tools atomic.Pointer[string]
	calls atomic.Int64
}

func (l *lister) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var m struct {
		ID     int    `json:"id"`
		Method string `json:"method"`
	}
	if err := json.UnmarshalRead(r.Body, &m); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	result := `{"content":[]}`
	switch m.Method {
	case "tools/list":
		result = `{"tools":[` + *l.tools.Load() + `]}`
	case "tools/call":
		l.calls.Add(1)
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%d,"result":%s}`, m.ID, result)
}

// as is an authenticator that takes every caller for one subject.
type as action.Subject

func (a as) Authenticate(context.Context, *http.Request) (*gateway.Caller, error) {
	s := action.Subject(a)
	return &gateway.Caller{Subject: s, Name: s.ID}, nil
}

func TestToolThatCannotBeReadHidesItself(t *testing.T) {
	l := &lister{}
	up := httptest.NewServer(l)
	t.Cleanup(up.Close)
	h := open(t, func(c *sallyport.Config) {
		c.Gateway.Servers = []sallyport.MCPServer{{Name: "files", URL: up.URL, Zone: "inside"}}
		c.Tools.Kinds = []sallyport.ToolKind{{Server: "files", Kind: "server-filesystem"}}
	})
	sub, _ := h.agent("bot")
	handler, err := h.Agents(as(sub))
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(handler)
	t.Cleanup(front.Close)
	id := 0
	post := func(method, params string) string {
		t.Helper()
		id++
		res, err := http.Post(front.URL+"/mcp/files", "application/json", strings.NewReader(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, id, method, params)))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	list := func(tools string) string {
		l.tools.Store(&tools)
		return post("tools/list", "{}")
	}
	runs := func(tool string) bool {
		was := l.calls.Load()
		post("tools/call", `{"name":"`+tool+`","arguments":{}}`)
		return l.calls.Load() > was
	}
	const (
		good   = `{"name":"list_allowed_directories","inputSchema":{"type":"object"}}`
		reads  = `{"name":"read_stuff","description":"Reads stuff.","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}`
		broken = `{"name":"list_allowed_directories","inputSchema":7}`
	)
	if got := list(good + "," + reads); !strings.Contains(got, "list_allowed_directories") || !runs("list_allowed_directories") || !runs("read_stuff") {
		t.Fatalf("what can be read is listed and runs: %s", got)
	}
	for _, c := range []struct{ name, tool, tools string }{
		{"a tool that was never seen, named like one of the server's kind", "directory_tree", `{"name":"directory_tree","inputSchema":7}`},
		{"a tool that was never seen and says that it reads", "read_more", `{"name":"read_more","description":7,"annotations":{"readOnlyHint":true}}`},
		{"a number that readers differ over", "get_it", `{"name":"get_it","inputSchema":{"type":"object","maximum":1e400}}`},
		{"two definitions under one name", "read_both", `{"name":"read_both","inputSchema":{}},{"name":"read_both","inputSchema":{"type":"object"}}`},
		{"no name", "", `{"inputSchema":{}},{"name":7},"x"`},
		{"a name that cannot be pinned", "a\\nb", `{"name":"a\nb","inputSchema":{}}`},
		{"a reading tool, pending so far", "read_stuff", `{"name":"read_stuff","inputSchema":[]}`},
		{"a tool that was approved", "list_allowed_directories", broken},
	} {
		rest := good
		if c.tool == "list_allowed_directories" {
			rest = reads
		}
		got := list(c.tools + "," + rest)
		shown := strings.Count(got, `"name"`)
		if shown != 1 || !strings.Contains(rest, "list_allowed") == strings.Contains(got, "list_allowed") {
			t.Errorf("%s: the list is %s", c.name, got)
		}
		if c.tool != "" && runs(c.tool) {
			t.Errorf("%s: it runs unasked", c.name)
		}
	}
	if list(good); runs("list_allowed_directories") {
		t.Error("a tool that became unreadable runs again before a person has looked")
	}
	if p, err := h.Tools.Get("default", "files", "list_allowed_directories"); err != nil || p.State != action.DefinitionChanged || p.Receipt.Leaf == "" {
		t.Errorf("the change is not on record: %+v, %v", p, err)
	}
}
