// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

// fill puts something into the wildcards of a pattern.
func fill(pattern string) (method, path string) {
	method, path, _ = strings.Cut(pattern, " ")
	return method, strings.NewReplacer("{id}", "x", "{server}", "x", "{path...}", "checkpoint").Replace(path)
}

func TestOnlyTheTableAnswers(t *testing.T) {
	b := start(t)
	routes, err := Routes(b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	// What stands open tells nothing: how one may log in, the two ends of a sign-in, and what brings its own proof.
	open := []string{"GET /v1/login/options", "GET /console/sign-in", "GET /console/signed-in",
		"POST /v1/tickets/show", "POST /v1/tickets/refuse", "POST /v1/channels/{name}/press"}
	for _, rt := range routes {
		method, path := fill(rt.Pattern)
		if rt.Auth != nil && slices.Contains(open, rt.Pattern) {
			continue
		}
		t.Run(rt.Pattern, func(t *testing.T) {
			for _, as := range []string{"", "nobody"} {
				if code, body, _ := b.call(as, method, path, ""); code != http.StatusUnauthorized {
					t.Errorf("as %q it answers %d %s", as, code, body)
				}
			}
			for as := range b.secret {
				if as == "operator" || as == "second" || as == "stranger" || as == "cheat" {
					continue
				}
				if slices.Contains(rt.Scopes, action.Scope(as)) {
					continue // served, see the other tests
				}
				if code, body, _ := b.call(as, method, path, ""); code != http.StatusForbidden {
					t.Errorf("with scope %q it answers %d %s", as, code, body)
				}
			}
			if code, body, _ := b.call("stranger", method, path, ""); code != http.StatusForbidden {
				t.Errorf("to another tenant it answers %d %s", code, body)
			}
		})
	}
	for _, path := range []string{"/", "/v1", "/v1/", "/v1/approvals/", "/log", "/debug/pprof/", "/console/none", "/v1/actions", "/mcp/x",
		"//v1/approvals", "/v1/../v1/approvals", "/metrics/"} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "HEAD"} {
			if code, body, _ := b.call("", method, path, ""); code != http.StatusUnauthorized {
				t.Errorf("%s %s answers %d %s", method, path, code, body)
			}
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if got := b.want(200, "", "GET", path, ""); got != "ok\n" {
			t.Errorf("%s says %q", path, got)
		}
	}
}

func TestLogIsPublicOnlyWhereSaid(t *testing.T) {
	b := start(t)
	b.want(401, "", "GET", "/log/checkpoint", "")
	b.want(403, "viewer", "GET", "/log/checkpoint", "")
	if got := b.want(200, "auditor", "GET", "/log/tile/0/000", ""); got != "file /log/tile/0/000" {
		t.Errorf("the log says %q", got)
	}
	p := start(t, func(c *Config) { c.LogPublic = true })
	if got := p.want(200, "", "GET", "/log/checkpoint", ""); got != "file /log/checkpoint" {
		t.Errorf("the public log says %q", got)
	}
	p.want(401, "", "POST", "/log/checkpoint", "")
	p.want(401, "", "GET", "/v1/records", "")
	p.want(401, "", "GET", "/metrics", "")
	n := start(t, func(c *Config) { c.Log, c.Metrics, c.LogPublic = nil, nil, true })
	n.want(404, "auditor", "GET", "/log/checkpoint", "")
	n.want(401, "", "GET", "/log/checkpoint", "")
	n.want(404, "viewer", "GET", "/metrics", "")
}

func TestForeignPagesAndHostsAreRefused(t *testing.T) {
	b := start(t)
	for _, c := range []struct{ name, header, value string }{
		{"another origin", "Origin", "https://evil.example"},
		{"no origin", "Origin", "null"},
		{"a page elsewhere", "Sec-Fetch-Site", "cross-site"},
	} {
		b.want(403, "operator", "POST", "/v1/kill", `{"scope":"all"}`, c.header, c.value)
	}
	req, _ := http.NewRequest("GET", b.URL+"/v1/approvals", nil)
	req.Host = "evil.example"
	req.Header.Set("Authorization", "Bearer "+b.secret["operator"])
	res, err := b.Client().Do(req)
	if err != nil || res.StatusCode != 403 {
		t.Fatalf("%v, %v", res.StatusCode, err)
	}
	if len(b.cfg.Switch.Orders()) != 0 {
		t.Error("a foreign page has killed")
	}
}

func TestBadRequestsChangeNothing(t *testing.T) {
	b := start(t)
	id := b.ask("a", 1)
	long := strings.Repeat("x", 70<<10)
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		header                   []string
	}{
		{"an unknown member", "POST", "/v1/agents", `{"id":"x","tenant":"other"}`, 400, nil},
		{"a member twice", "POST", "/v1/agents", `{"id":"x","id":"y"}`, 400, nil},
		{"a member in capitals too", "POST", "/v1/agents", `{"id":"x","ID":"y"}`, 400, nil},
		{"two values", "POST", "/v1/agents", `{"id":"x"}{}`, 400, nil},
		{"a body that is too long", "POST", "/v1/agents", `{"id":"` + long + `"}`, 413, nil},
		{"a nest", "POST", "/v1/agents", strings.Repeat("[", 10_000), 400, nil},
		{"another type", "POST", "/v1/agents", `{"id":1}`, 400, nil},
		{"an id that is none", "POST", "/v1/agents", `{"id":"a b"}`, 422, nil},
		{"an agent that exists", "POST", "/v1/agents", `{"id":"BOT"}`, 409, nil},
		{"a token of no agent", "POST", "/v1/tokens", `{"agent":"nobody","scopes":["agent"]}`, 404, nil},
		{"a token of no scope", "POST", "/v1/tokens", `{}`, 422, nil},
		{"a token of a scope nobody knows", "POST", "/v1/tokens", `{"scopes":["root"]}`, 422, nil},
		{"a token of the unknown scope", "POST", "/v1/tokens", `{"scopes":["unknown"]}`, 422, nil},
		{"an agent that approves", "POST", "/v1/tokens", `{"agent":"bot","scopes":["agent","approver"]}`, 422, nil},
		{"an agent that administers", "POST", "/v1/tokens", `{"agent":"bot","scopes":["admin"]}`, 422, nil},
		{"a life that is none", "POST", "/v1/tokens", `{"scopes":["viewer"],"ttl":"soon"}`, 422, nil},
		{"a negative life", "POST", "/v1/tokens", `{"scopes":["viewer"],"ttl":-5}`, 422, nil},
		{"a life of ages", "POST", "/v1/tokens", `{"scopes":["viewer"],"ttl":"9000d"}`, 422, nil},
		{"a token that is not there", "DELETE", "/v1/tokens/none", ``, 404, nil},
		{"an answer without a revision", "POST", "/v1/approvals/" + id + "/approve", `{}`, 428, nil},
		{"an answer to any revision", "POST", "/v1/approvals/" + id + "/approve", `{}`, 400, []string{"If-Match", "*"}},
		{"an answer to no revision", "POST", "/v1/approvals/" + id + "/approve", `{}`, 400, []string{"If-Match", `"0"`}},
		{"an answer to another revision", "POST", "/v1/approvals/" + id + "/approve", `{}`, 412, []string{"If-Match", `"999999"`}},
		{"an answer to nothing", "POST", "/v1/approvals/ap_x/deny", `{}`, 404, []string{"If-Match", `"1"`}},
		{"a parameter nobody knows", "GET", "/v1/approvals?all=1", ``, 400, nil},
		{"a parameter twice", "GET", "/v1/approvals?limit=1&limit=2", ``, 400, nil},
		{"a limit that is none", "GET", "/v1/approvals?limit=0", ``, 400, nil},
		{"a limit beyond", "GET", "/v1/records?limit=201", ``, 400, nil},
		{"a limit with a sign", "GET", "/v1/records?limit=%2B5", ``, 400, nil},
		{"a state nobody knows", "GET", "/v1/approvals?state=open", ``, 400, nil},
		{"a kind nobody knows", "GET", "/v1/records?kind=x", ``, 400, nil},
		{"a verdict nobody knows", "GET", "/v1/records?verdict=maybe", ``, 400, nil},
		{"a time that is none", "GET", "/v1/records?since=yesterday", ``, 400, nil},
		{"a search without words", "GET", "/v1/records?q=--", ``, 422, nil},
		{"a query that cannot be read", "GET", "/v1/records?q=%zz", ``, 400, nil},
		{"a parameter where none is", "GET", "/v1/sessions/s1?x=1", ``, 400, nil},
		{"a session that is not there", "GET", "/v1/sessions/s2", ``, 404, nil},
		{"steps of a session that is not there", "GET", "/v1/sessions/s2/steps", ``, 404, nil},
		{"an agent that is not there", "GET", "/v1/agents/nobody", ``, 404, nil},
		{"a kill of nothing", "POST", "/v1/kill", `{}`, 422, nil},
		{"a kill of a planet", "POST", "/v1/kill", `{"scope":"planet"}`, 422, nil},
		{"a kill of an agent without a name", "POST", "/v1/kill", `{"scope":"agent"}`, 422, nil},
		{"a kill of all with a name", "POST", "/v1/kill", `{"scope":"all","id":"bot"}`, 422, nil},
		{"a release of what runs", "POST", "/v1/release", `{"scope":"agent","id":"bot"}`, 409, nil},
		{"an approval of no tool", "POST", "/v1/tools/x/approve", `{"name":"y","digest":"sha256:0"}`, 404, nil},
		{"an approval of no digest", "POST", "/v1/tools/x/approve", `{"name":"y"}`, 422, nil},
		{"a registration of nothing", "PUT", "/v1/tools/x", `{"tools":[]}`, 422, nil},
		{"a zone that is none", "PUT", "/v1/tools/x", `{"zone":"here","tools":[{"name":"n"}]}`, 422, nil},
		{"a kind that no pack describes", "PUT", "/v1/tools/x", `{"kind":"nothing","tools":[{"name":"n"}]}`, 422, nil},
		{"a tool without a name", "PUT", "/v1/tools/x", `{"tools":[{"description":"d"}]}`, 422, nil},
		{"a schema that is none", "PUT", "/v1/tools/x", `{"tools":[{"name":"n","input_schema":[]}]}`, 422, nil},
		{"the same tool twice", "PUT", "/v1/tools/x", `{"tools":[{"name":"n","input_schema":{}},{"name":"n","input_schema":{}}]}`, 422, nil},
		{"another method", "PATCH", "/v1/agents", `{}`, 405, nil},
		{"a stream from nowhere", "GET", "/v1/stream?after=x", ``, 400, nil},
		{"a stream from before the start", "GET", "/v1/stream", ``, 400, []string{"Last-Event-ID", "-1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(b.book.records)
			code, body, res := b.call("operator", c.method, c.path, c.body, c.header...)
			if code != c.status || res.Header.Get("Content-Type") != "application/problem+json" ||
				!strings.Contains(body, `"type":"urn:sallyport:problem:`) {
				t.Errorf("%d %s %s, want %d", code, res.Header.Get("Content-Type"), body, c.status)
			}
			if len(body) > 2000 {
				t.Errorf("the answer holds %d bytes", len(body))
			}
			if after := len(b.book.records); after != before {
				t.Errorf("%d records were written", after-before)
			}
		})
	}
}
