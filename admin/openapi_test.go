// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/tools"
)

// document loads docs/api/operator.yaml. For the tests its answers are closed, so that a member that
// nobody wrote down is found; clients have to ignore what they do not know.
func document(t *testing.T) (*openapi3.T, routers.Router) {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile("../docs/api/operator.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, s := range doc.Components.Schemas {
		closeObjects(s.Value)
	}
	doc.Servers = nil
	router, err := legacy.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return doc, router
}

func closeObjects(s *openapi3.Schema) {
	if s == nil {
		return
	}
	if len(s.Properties) > 0 {
		closed := false
		s.AdditionalProperties = openapi3.BoolSchema{Has: &closed}
	}
	for _, p := range s.Properties {
		if p.Ref == "" {
			closeObjects(p.Value)
		}
	}
	if s.Items != nil && s.Items.Ref == "" {
		closeObjects(s.Items.Value)
	}
}

func TestOpenAPINamesExactlyOurRoutes(t *testing.T) {
	doc, _ := document(t)
	b := start(t)
	routes, err := Routes(b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"GET /healthz []", "GET /readyz []"}
	for _, r := range routes {
		want = append(want, fmt.Sprintf("%s %v", strings.Replace(r.Pattern, "{path...}", "{path}", 1), r.Scopes))
	}
	var got []string
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			scopes, _ := op.Extensions["x-scopes"].([]any)
			got = append(got, fmt.Sprintf("%s %s %v", method, path, scopes))
			for _, s := range scopes {
				if !strings.Contains(op.Description, fmt.Sprintf("`%v`", s)) {
					t.Errorf("%s %s does not say that it needs %v", method, path, s)
				}
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the document has\n%s\nthe listener has\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestOpenAPIHoldsForRealAnswers(t *testing.T) {
	_, router := document(t)
	b := start(t)
	one, two := b.ask("a", 1), b.ask("b", 2)
	b.ask("c", 1)
	raw, err := tools.ReadDefinition([]byte(`{"name":"read","description":"Reads","inputSchema":{"type":"object"}}`))
	if err != nil {
		t.Fatal(err)
	}
	seen, err := b.cfg.Tools.Observe(t.Context(), tools.Upstream{Server: "fs", Transport: tools.Stdio, Command: []string{"fs"}}, []tools.Definition{raw})
	if err != nil {
		t.Fatal(err)
	}
	_, spare, err := b.ids.Issue(t.Context(), identity.TokenSpec{Name: "spare", Scopes: []action.Scope{action.ScopeViewer}})
	if err != nil {
		t.Fatal(err)
	}
	var etag string
	for _, c := range []struct {
		name, as, method, target, body string
		status                         int
		invalid                        bool // the document, too, must refuse the request
	}{
		{"health", "", "GET", "/healthz", "", 200, false},
		{"readiness", "", "GET", "/readyz", "", 200, false},
		{"approvals", "viewer", "GET", "/v1/approvals?state=pending&limit=2&agent=bot&session=s1", "", 200, false},
		{"approvals of no state", "viewer", "GET", "/v1/approvals?state=open", "", 400, true},
		{"an approval", "viewer", "GET", "/v1/approvals/" + one, "", 200, false},
		{"a grant", "operator", "POST", "/v1/approvals/" + one + "/approve", `{"comment":"ok"}`, 200, false},
		{"a revocation", "operator", "POST", "/v1/approvals/" + one + "/revoke", `{}`, 200, false},
		{"another approval", "approver", "GET", "/v1/approvals/" + two, "", 200, false},
		{"half a grant", "operator", "POST", "/v1/approvals/" + two + "/approve", `{}`, 202, false},
		{"a denial", "second", "POST", "/v1/approvals/" + two + "/deny", `{"comment":"no"}`, 200, false},
		{"an answer without a revision", "operator", "POST", "/v1/approvals/" + two + "/deny", `{}`, 428, true},
		{"all approvals", "viewer", "GET", "/v1/approvals", "", 200, false},
		{"sessions", "viewer", "GET", "/v1/sessions?verdict=deny&since=1&until=2", "", 200, false},
		{"a session", "auditor", "GET", "/v1/sessions/s1", "", 200, false},
		{"no session", "auditor", "GET", "/v1/sessions/s2", "", 404, false},
		{"steps", "auditor", "GET", "/v1/sessions/s1/steps?limit=3", "", 200, false},
		{"records", "auditor", "GET", "/v1/records?kind=approval&limit=200", "", 200, false},
		{"a search", "viewer", "GET", "/v1/records?q=mail*&cursor=c1", "", 200, false},
		{"records of no kind", "viewer", "GET", "/v1/records?kind=x", "", 400, true},
		{"a record of the organisation", "tenant-data", "PUT", "/v1/records/staff", `{"data":[{"email":"a@b.example"}],"fields":{"/*/email":"party"}}`, 200, false},
		{"the same again, unseen", "tenant-data", "PUT", "/v1/records/staff", `{"data":[]}`, 428, false},
		{"what it vouches for", "tenant-data", "GET", "/v1/records/staff", "", 200, false},
		{"a record that is none", "tenant-data", "PUT", "/v1/records/other", `{"data":1}`, 422, true},
		{"its end, unseen", "tenant-data", "DELETE", "/v1/records/staff", "", 428, true},
		{"what is forgotten", "operator", "POST", "/v1/known/forget", `{"agent":"bot"}`, 200, false},
		{"what is forgotten of nobody", "operator", "POST", "/v1/known/forget", `{}`, 422, true},
		{"a viewer who forgets", "viewer", "POST", "/v1/known/forget", `{"agent":"bot"}`, 403, false},
		{"a canary", "admin", "POST", "/v1/canaries", `{"name":"vault"}`, 200, false},
		{"a canary without a name", "admin", "POST", "/v1/canaries", `{"name":""}`, 422, true},
		{"an auditor's canary", "auditor", "POST", "/v1/canaries", `{"name":"vault"}`, 403, false},
		{"alerts", "viewer", "GET", "/v1/alerts", "", 200, false},
		{"an alert", "viewer", "GET", "/v1/alerts/7", "", 200, false},
		{"no alert", "auditor", "GET", "/v1/alerts/8", "", 404, false},
		{"an alert of no index", "viewer", "GET", "/v1/alerts/x", "", 404, true},
		{"a seen alert", "approver", "POST", "/v1/alerts/7/acknowledge", `{}`, 200, false},
		{"a wrong alert", "approver", "POST", "/v1/alerts/7/acknowledge", `{"wrong":true,"reason":"month's end"}`, 200, false},
		{"a wrong alert without a reason", "approver", "POST", "/v1/alerts/7/acknowledge", `{"wrong":true}`, 422, false},
		{"a viewer's verdict", "viewer", "POST", "/v1/alerts/7/acknowledge", `{}`, 403, false},
		{"a denial called wrong", "author", "POST", "/v1/ledger/7/wrong", `{"reason":"ours"}`, 200, false},
		{"a record that decided nothing", "auditor", "POST", "/v1/ledger/8/wrong", `{"reason":"x","expect":"ask"}`, 409, false},
		{"wrong without a reason", "approver", "POST", "/v1/ledger/7/wrong", `{"expect":"deny"}`, 422, true},
		{"wrong, and another verdict", "approver", "POST", "/v1/ledger/7/wrong", `{"reason":"x","expect":"quarantine"}`, 422, true},
		{"a viewer calls it wrong", "viewer", "POST", "/v1/ledger/7/wrong", `{"reason":"x"}`, 403, false},
		{"what was called wrong", "author", "GET", "/v1/reviews?since=1", "", 200, false},
		{"how rules did", "viewer", "GET", "/v1/rules", "", 200, false},
		{"how people answer", "admin", "GET", "/v1/reviewers?since=1", "", 200, false},
		{"how people answer, to an approver", "approver", "GET", "/v1/reviewers", "", 403, false},
		{"a test for reviewers", "admin", "POST", "/v1/seeds", `{"server":"mail","tool":"send","arguments":{"to":"x"},"facts":{}}`, 200, false},
		{"a test of no tool", "admin", "POST", "/v1/seeds", `{"tool":""}`, 422, true},
		{"an approver's own test", "approver", "POST", "/v1/seeds", `{"tool":"send"}`, 403, false},
		{"runs of approvals", "author", "GET", "/v1/standing", "", 200, false},
		{"a standing rule", "author", "POST", "/v1/standing", `{"agent":"bot","tool":"mail/send","days":7,"least":5}`, 200, false},
		{"a standing rule for nobody", "author", "POST", "/v1/standing", `{"agent":"","tool":"mail/send"}`, 422, true},
		{"a standing rule that cannot be", "author", "POST", "/v1/standing", `{"agent":"bot","tool":"secret/send"}`, 422, false},
		{"policies", "author", "GET", "/v1/policies", "", 200, false},
		{"an agent", "admin", "POST", "/v1/agents", `{"id":"mailer","owner":"ann","lease":false}`, 200, false},
		{"an agent with an unknown member", "admin", "POST", "/v1/agents", `{"id":"m2","tenant":"x"}`, 400, true},
		{"an agent that exists", "admin", "POST", "/v1/agents", `{"id":"mailer"}`, 409, false},
		{"agents", "viewer", "GET", "/v1/agents?limit=1", "", 200, false},
		{"one agent", "viewer", "GET", "/v1/agents/mailer", "", 200, false},
		{"a token", "admin", "POST", "/v1/tokens", `{"name":"n","agent":"mailer","user":"ann","scopes":["agent"],"ttl":"30d"}`, 200, false},
		{"a token for some seconds", "admin", "POST", "/v1/tokens", `{"scopes":["viewer"],"ttl":60}`, 200, false},
		{"a token of no scope", "admin", "POST", "/v1/tokens", `{"scopes":["root"]}`, 422, true},
		{"tokens", "admin", "GET", "/v1/tokens", "", 200, false},
		{"a withdrawal", "admin", "DELETE", "/v1/tokens/" + spare.ID, "", 200, false},
		{"a registration", "tool-admin", "PUT", "/v1/tools/bank", `{"tools":[{"name":"pay","description":"Pays","input_schema":{},"output":{},"annotations":{}}]}`, 200, false},
		{"a registration with its zone", "tool-admin", "PUT", "/v1/tools/bank2", `{"zone":"inside","tools":[{"name":"pay","description":"Pays","input_schema":{}}]}`, 200, false},
		{"a registration of nothing", "tool-admin", "PUT", "/v1/tools/bank", `{"tools":[]}`, 422, true},
		{"an approved tool", "tool-admin", "POST", "/v1/tools/fs/approve", `{"name":"read","digest":"` + seen[0].Digest + `"}`, 200, false},
		{"another digest", "tool-admin", "POST", "/v1/tools/fs/approve", `{"name":"read","digest":"sha256:0"}`, 412, false},
		{"tools", "viewer", "GET", "/v1/tools?server=bank", "", 200, false},
		{"a kill", "admin", "POST", "/v1/kill", `{"scope":"session","id":"s1","agent":"bot","reason":"odd"}`, 200, false},
		{"a kill of all", "admin", "POST", "/v1/kill", `{"scope":"all"}`, 200, false},
		{"a kill of a planet", "admin", "POST", "/v1/kill", `{"scope":"planet"}`, 422, true},
		{"kills", "viewer", "GET", "/v1/kill", "", 200, false},
		{"a release", "operator", "POST", "/v1/release", `{"scope":"session","id":"s1"}`, 200, false},
		{"half a release", "operator", "POST", "/v1/release", `{"scope":"all"}`, 202, false},
		{"the other half", "second", "POST", "/v1/release", `{"scope":"all"}`, 200, false},
		{"the log", "auditor", "GET", "/log/checkpoint", "", 200, false},
		{"metrics", "viewer", "GET", "/metrics", "", 200, false},
		{"a login", "operator", "POST", "/v1/login", `{}`, 200, false},
		{"a login with members", "operator", "POST", "/v1/login", `{"key":"x"}`, 400, true},
		{"an agent's login", "agent", "POST", "/v1/login", `{}`, 403, false},
		{"who calls", "viewer", "GET", "/v1/me", "", 200, false},
		{"a logout", "viewer", "POST", "/v1/logout", `{}`, 200, false},
		{"what is similar", "approver", "GET", "/v1/approvals/" + one + "/similar", "", 200, false},
		{"what is similar to nothing", "approver", "GET", "/v1/approvals/none/similar", "", 404, false},
		{"a viewer's look at other calls", "viewer", "GET", "/v1/approvals/" + one + "/similar", "", 403, false},
		{"activity", "viewer", "GET", "/v1/activity?limit=5", "", 200, false},
		{"destinations", "auditor", "GET", "/v1/destinations?since=1", "", 200, false},
		{"destinations since never", "auditor", "GET", "/v1/destinations?since=x", "", 400, true},
		{"a replay", "auditor", "POST", "/v1/sessions/s1/replay", `{}`, 200, false},
		{"a replay of nothing", "auditor", "POST", "/v1/sessions/s2/replay", `{}`, 404, false},
		{"a trial", "author", "POST", "/v1/policies/playground", `{"server":"mail","tool":"send","arguments":{"to":"x"},"facts":{},"params":"a: 1"}`, 200, false},
		{"a trial that cannot be decided", "author", "POST", "/v1/policies/playground", `{"server":"none"}`, 422, false},
		{"a draft over thirty days", "author", "POST", "/v1/policies/difference", `{"rules":"package sallyport.draft","params":"a: 1"}`, 200, false},
		{"a draft that is none", "author", "POST", "/v1/policies/difference", `{"rules":"x"}`, 422, false},
		{"a viewer's trial", "viewer", "POST", "/v1/policies/playground", `{}`, 403, false},
		{"the log's head", "viewer", "GET", "/v1/ledger", "", 200, false},
		{"an opened part", "auditor", "POST", "/v1/ledger/3/disclose", `{"part":"arguments","purpose":"ticket 7"}`, 200, false},
		{"an opened part without a purpose", "auditor", "POST", "/v1/ledger/3/disclose", `{"part":"arguments"}`, 422, true},
		{"a part that is not there", "auditor", "POST", "/v1/ledger/4/disclose", `{"part":"arguments","purpose":"p"}`, 404, false},
		{"an erased part", "auditor", "POST", "/v1/ledger/5/disclose", `{"part":"arguments","purpose":"p"}`, 409, false},
		{"a viewer's look into a part", "viewer", "POST", "/v1/ledger/3/disclose", `{"part":"arguments","purpose":"p"}`, 403, false},
		{"no credential", "", "GET", "/v1/records", "", 401, false},
		{"the wrong scope", "viewer", "POST", "/v1/kill", `{"scope":"all"}`, 403, false},
		{"a stream from nowhere", "viewer", "GET", "/v1/stream?after=x", "", 400, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := []string{}
			if strings.Contains(c.target, "/approvals/") && c.method == "POST" && c.status != 428 {
				header = []string{"If-Match", etag}
			}
			code, answer, res := b.call(c.as, c.method, c.target, c.body, header...)
			if code != c.status {
				t.Fatal(code, answer)
			}
			if tag := res.Header.Get("ETag"); tag != "" {
				etag = tag
			}
			in := requestInput(t, router, c.method, b.URL+c.target, c.body, header)
			if err := openapi3filter.ValidateRequest(t.Context(), in); (err != nil) != c.invalid {
				t.Errorf("the document says of the request: %v", err)
			}
			out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: code, Header: res.Header,
				Body: io.NopCloser(strings.NewReader(answer)), Options: &openapi3filter.Options{IncludeResponseStatus: true}}
			if err := openapi3filter.ValidateResponse(t.Context(), out); err != nil {
				t.Errorf("the document says of the answer %s: %v", answer, err)
			}
		})
	}
}

func requestInput(t *testing.T, router routers.Router, method, url, body string, header []string) *openapi3filter.RequestValidationInput {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for pair := range slices.Chunk(header, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	req.URL.Scheme, req.URL.Host = "", ""
	route, params, err := router.FindRoute(req)
	if err != nil {
		t.Fatal(err)
	}
	return &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}}
}
