// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
)

// TestToolsThatPolicyCanNeverPassAreNotListed lists one server for two agents, and calls what is hidden all the same.
func TestToolsThatPolicyCanNeverPassAreNotListed(t *testing.T) {
	l := &lister{}
	tools := ""
	for _, name := range []string{"read_stuff", "drop_stuff", "other"} {
		tools += fmt.Sprintf(`,{"name":%q,"inputSchema":{"type":"object"}}`, name)
	}
	tools = tools[1:]
	l.tools.Store(&tools)
	up := httptest.NewServer(l)
	t.Cleanup(up.Close)
	dir := t.TempDir()
	for name, text := range map[string]string{"sallyport-bundle.yaml": "version: 1\nname: own\nsequence: 1\n", "a.rego": `package sallyport.own
import rego.v2
allow contains {"id": "messages"} if input.resource.type == "message"
allow contains {"id": "results"} if input.phase == "after"
allow contains {"id": "read"} if {
	input.resource.name == "read_stuff"
	input.action.effect == "read"
}
ask contains {"id": "drop", "code": "drop", "reason": "It is gone then."} if {
	input.subject.id == "janitor"
	input.resource.name == "drop_stuff"
}
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := open(t, func(c *sallyport.Config) {
		c.Policy.Dir = dir
		c.Gateway.Servers = []sallyport.MCPServer{{Name: "files", URL: up.URL, Zone: "inside"}}
	})
	who := map[string]action.Subject{}
	for _, agent := range []string{"bot", "janitor"} {
		who[agent], _ = h.agent(agent)
	}
	post := func(agent, body string) string {
		t.Helper()
		handler, err := h.Agents(as(who[agent]))
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/mcp/files", strings.NewReader(body))
		r.Host = "localhost"
		r.Header.Set("Content-Type", "application/json")
		handler.ServeHTTP(w, r)
		b, err := io.ReadAll(w.Result().Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for agent, want := range map[string]string{"bot": "read_stuff", "janitor": "read_stuff drop_stuff"} {
		got := post(agent, `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}`)
		var shown []string
		for _, name := range []string{"read_stuff", "drop_stuff", "other"} {
			if strings.Contains(got, `"`+name+`"`) {
				shown = append(shown, name)
			}
		}
		if strings.Join(shown, " ") != want {
			t.Errorf("%s is shown %q of %s", agent, shown, got)
		}
	}
	post("bot", `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"other","arguments":{}}}`)
	denied := false
	for i := range h.Ledger.Checkpoint().Size {
		e, err := h.Ledger.Read(i)
		if err != nil {
			t.Fatal(err)
		}
		denied = denied || e.Leaf.Kind == action.KindDecision && e.Leaf.Verdict == action.Deny && e.Leaf.Phase == action.Before
	}
	if !denied || l.calls.Load() != 0 {
		t.Errorf("a call of a hidden tool: denied %v, %d calls reached the server", denied, l.calls.Load())
	}
}
