// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/examples/notes"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/tools"
)

// mcp starts sallyport mcp with args and connects an official client to it.
func (p *place) mcp(version string, args ...string) (*client, error) {
	cmd := p.command(context.Background(), append([]string{"sallyport", "mcp"}, args...)...)
	cmd.Stderr = &bytes.Buffer{}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(ctx, &mcp.CommandTransport{Command: cmd},
		&mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, cmd.Stderr)
	}
	p.t.Cleanup(func() { _ = s.Close() })
	_, err = s.ListTools(ctx, nil)
	return &client{s, p}, err
}

// remote serves the notes in dir over HTTP to those who know the token.
func remote(t *testing.T, dir, token string, stateless bool) (url string, refused *atomic.Int64) {
	t.Helper()
	s, err := notes.Server(dir)
	if err != nil {
		t.Fatal(err)
	}
	inner := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s }, &mcp.StreamableHTTPOptions{Stateless: stateless})
	refused = &atomic.Int64{}
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			refused.Add(1)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(up.Close)
	return up.URL + "/mcp", refused
}

func TestRemoteServerBehindTheCommand(t *testing.T) {
	const secret = "tok-7f3a9c1e5b"
	for _, version := range []string{"2026-07-28", "2025-11-25"} {
		t.Run(version, func(t *testing.T) {
			p := newPlace(t, "")
			dir := p.folder("w")
			p.write("w/todo.txt", "water the plants")
			url, refused := remote(t, dir, secret, version == "2026-07-28")
			headers := p.write("tracker.headers", "# the tracker's\nAuthorization: Bearer "+secret+"\n")
			c, err := p.mcp(version, "--url", url, "--name", "tracker", "--header-file", headers)
			if err != nil {
				t.Fatal(err)
			}
			if v := c.InitializeResult().ProtocolVersion; v != version {
				t.Errorf("negotiated %s", v)
			}
			if text, stopped := c.call("read_note", map[string]any{"name": "todo"}); stopped || text != "water the plants" {
				t.Fatalf("reading: %q", text)
			}
			text, stopped := c.call("delete_note", map[string]any{"name": "todo"})
			if !stopped {
				t.Fatalf("deleting passes unasked: %q", text)
			}
			p.must("approvals", "approve", ticket(t, text))
			if text, stopped := c.call("delete_note", map[string]any{"name": "todo"}); stopped {
				t.Errorf("the approved call: %q", text)
			}
			if _, err := os.Stat(filepath.Join(dir, "todo.txt")); err == nil {
				t.Error("the note is still there")
			}
			_ = c.Close()
			if refused.Load() != 0 {
				t.Errorf("%d requests without the token", refused.Load())
			}
			p.checkOutside("tracker", strings.TrimSuffix(url, "/mcp"), secret)
		})
	}
}

// checkOutside stops the owner and looks at what it knows of a remote server.
func (p *place) checkOutside(server, origin, secret string) {
	p.t.Helper()
	for _, pin := range ask[[]tools.Pin](p, "tools", "list") {
		if pin.Server == server && (pin.Transport != tools.HTTP || pin.Zone != action.ZoneOutside || pin.Upstream != origin) {
			p.t.Errorf("%s is known as %s %s at %q", pin.Name, pin.Transport, pin.Zone, pin.Upstream)
		}
	}
	seen := 0
	p.records(func(_ ledger.Entry, q *action.Query) {
		if q == nil || q.Resource.Server != server || q.Action.Name != "tools/call" {
			return
		}
		if seen++; q.Resource.Zone != action.ZoneOutside || len(q.Context.Session.Roots) != 0 {
			p.t.Errorf("judged in zone %s with roots %q", q.Resource.Zone, q.Context.Session.Roots)
		}
	})
	if seen == 0 {
		p.t.Error("no call is on record")
	}
	err := filepath.Walk(p.data, func(path string, info os.FileInfo, err error) error {
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(secret)) {
			p.t.Errorf("%s holds the server's token", path)
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

func TestConfigurationVetsRemoteServers(t *testing.T) {
	dir := t.TempDir()
	url, _ := remote(t, dir, "x", true)
	p := newPlace(t, "")
	p.write("config/sallyport/sallyport.yaml", "version: 1\ngateway: {listen: none, servers: [{name: tracker, url: \""+url+"\", zone: inside}]}\nadmin: {listen: none}\nledger: {segment_bytes: 8388608}\n")
	headers := p.write("h", "Authorization: Bearer x\n")
	zone := func(server string) action.Zone {
		t.Helper()
		pins := ask[[]tools.Pin](p, "tools", "list")
		i := slices.IndexFunc(pins, func(x tools.Pin) bool { return x.Server == server })
		if i < 0 {
			t.Fatalf("no tools of %s", server)
		}
		return pins[i].Zone
	}
	for name, c := range map[string]struct {
		args   []string
		server string // under which it is known; "" for refused
		zone   action.Zone
	}{
		"the vetted address under its name":     {[]string{"--url", url, "--name", "tracker"}, "tracker", action.ZoneInside},
		"the vetted address without a name":     {[]string{"--url", url}, "tracker", action.ZoneInside},
		"the vetted address under another name": {[]string{"--url", url, "--name", "other"}, "", ""},
		"another address under the name":        {[]string{"--url", url + "/", "--name", "tracker"}, "", ""},
		"the address with a query":              {[]string{"--url", url + "?to=elsewhere", "--name", "tracker"}, "", ""},
		"the address with a query, renamed":     {[]string{"--url", url + "?to=elsewhere", "--name", "query"}, "query", action.ZoneOutside},
		"a command under the name":              {[]string{"--name", "tracker", "--", p.exe, "example-server", dir}, "", ""},
	} {
		args := c.args
		if args[0] == "--url" {
			args = append([]string{"--header-file", headers}, args...)
		}
		_, err := p.mcp("2026-07-28", args...)
		switch {
		case (err != nil) != (c.server == ""):
			t.Errorf("%s: %v", name, err)
		case c.server != "" && zone(c.server) != c.zone:
			t.Errorf("%s: zone %s", name, zone(c.server))
		}
	}
	loose := p.write("loose", "Authorization: Bearer x\n")
	if err := os.Chmod(loose, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		code int
	}{
		"headers that others may read":  {[]string{"--url", url, "--header-file", loose}, 1},
		"a password in the address":     {[]string{"--url", "https://ann:hunter2@a.example/"}, 1},
		"headers in the clear":          {[]string{"--url", "http://a.example/", "--header-file", headers}, 1},
		"an address and a command":      {[]string{"--url", url, "--", "true"}, 2},
		"neither":                       {nil, 2},
		"headers for a command":         {[]string{"--header-file", headers, "--", "true"}, 2},
		"an environment for an address": {[]string{"--url", url, "--env", "A"}, 2},
		"too much patience":             {[]string{"--wait", "11m", "--", "true"}, 2},
		"negative patience":             {[]string{"--wait", "-1s", "--", "true"}, 2},
	} {
		if _, e, code := p.run(append([]string{"mcp"}, c.args...)...); code != c.code || strings.Contains(e, "hunter2") {
			t.Errorf("%s: exit %d, %s", name, code, e)
		}
	}
}

func TestCallWaitsForAnAnswer(t *testing.T) {
	p := newPlace(t, "")
	dir := p.folder("w")
	p.write("w/a.txt", "a")
	p.write("w/b.txt", "b")
	c, err := p.mcp("2026-07-28", append([]string{"--name", "notes", "--wait", "1m", "--"}, p.notes(dir)...)...)
	if err != nil {
		t.Fatal(err)
	}
	for note, person := range map[string]struct{ answer, want string }{"a": {"approve", ""}, "b": {"deny", "not run"}} {
		done := make(chan string, 1)
		go func() {
			text, stopped, err := c.try("delete_note", map[string]any{"name": note})
			done <- fmt.Sprintf("%v %v %s", stopped, err, text)
		}()
		var inbox []approval.View
		for range 500 {
			if inbox = ask[[]approval.View](p, "approvals", "list"); len(inbox) == 1 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if len(inbox) != 1 {
			t.Fatalf("inbox %+v", inbox)
		}
		select {
		case got := <-done:
			t.Fatalf("it did not wait: %s", got)
		default:
		}
		p.must("approvals", person.answer, inbox[0].ID)
		got := <-done
		if stopped := strings.HasPrefix(got, "true"); stopped != (person.answer == "deny") || strings.Contains(got, "Ticket") {
			t.Errorf("%s: %s", person.answer, got)
		}
		if _, err := os.Stat(filepath.Join(dir, note+".txt")); (err == nil) != (person.answer == "deny") {
			t.Errorf("%s: the note is there: %v", person.answer, err == nil)
		}
	}
}

func TestAnotherRelayWidensNothing(t *testing.T) {
	p := newPlace(t, "")
	w, elsewhere := p.folder("w"), p.folder("elsewhere")
	p.write("elsewhere/x.txt", "x")
	modules := p.node()
	server := filepath.Join(modules, "@modelcontextprotocol/server-filesystem/dist/index.js")
	c := p.connect(w, "files", "node", server, w)
	wide := p.connect(w, "wide", "node", server, elsewhere) // the same client, so the same session
	if text, stopped := wide.call("read_text_file", map[string]any{"path": filepath.Join(elsewhere, "x.txt")}); stopped {
		t.Fatalf("the other server reads in its own folder: %q", text)
	}
	there := map[string]any{"path": filepath.Join(elsewhere, "new.txt"), "content": "x"}
	if text, stopped := c.call("write_file", there); !stopped || !strings.Contains(text, "Sallyport did not run") {
		t.Errorf("a write in the other server's folder is not stopped by the gate: %q", text)
	}
	if text, stopped := c.call("write_file", map[string]any{"path": filepath.Join(w, "new.txt"), "content": "x"}); stopped {
		t.Errorf("a write in its own folder: %q", text)
	}
}
