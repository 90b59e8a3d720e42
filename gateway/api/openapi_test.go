// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/sallyport/sallyport/gateway/authzen"
	"github.com/sallyport/sallyport/gateway/hook"
	"github.com/sallyport/sallyport/gateway/llm"
)

// document loads docs/api/agents.yaml. For the tests its answers are closed, so that a member that
// nobody wrote down is found; clients have to ignore what they do not know.
func document(t *testing.T) (*openapi3.T, routers.Router) {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile("../../docs/api/agents.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		t.Fatal(err)
	}
	closed := false
	for _, name := range []string{"Named", "Decision", "Approval", "Action", "Release", "Problem", "EvaluationAnswer", "EvaluationsAnswer", "AuthZENMetadata"} {
		doc.Components.Schemas[name].Value.AdditionalProperties = openapi3.BoolSchema{Has: &closed}
	}
	doc.Servers = nil
	router, err := legacy.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return doc, router
}

func TestOpenAPINamesExactlyOurRoutes(t *testing.T) {
	doc, _ := document(t)
	own, err := Routes(Config{Enforcer: newPath()})
	if err != nil {
		t.Fatal(err)
	}
	hooks, err := hook.Routes(hook.Config{Enforcer: struct{ hook.Enforcer }{}})
	if err != nil {
		t.Fatal(err)
	}
	evaluations, err := authzen.Routes(authzen.Config{Enforcer: struct{ authzen.Enforcer }{}})
	if err != nil {
		t.Fatal(err)
	}
	up := llm.Upstream{URL: "https://models.example"}
	models, err := llm.Routes(llm.Config{Enforcer: struct{ llm.Enforcer }{}, OpenAI: up, Anthropic: up})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"GET /healthz", "GET /readyz"}
	for _, r := range slices.Concat(own, hooks, evaluations, models) {
		want = append(want, strings.Replace(r.Pattern, "...}", "}", 1))
	}
	var got []string
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			got = append(got, method+" "+path)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the document has\n%s\nthe door has\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestOpenAPIHoldsForRealAnswers(t *testing.T) {
	_, router := document(t)
	b := start(t, nil)
	var action, session string
	for _, c := range []struct {
		name, token, method, target, body string
		status                            int
		invalid                           bool // the document, too, must refuse the request
	}{
		{"health", "", "GET", "/healthz", "", 200, false},
		{"readiness", "", "GET", "/readyz", "", 200, false},
		{"a session", "both", "POST", "/v1/sessions", `{"user_request":"x","roots":["/w"],"cwd":"/w","agent":"bot","on_behalf_of":"ann"}`, 200, false},
		{"a plain session", "both", "POST", "/v1/sessions", `{}`, 200, false},
		{"a session with an unknown member", "both", "POST", "/v1/sessions", `{"scopes":["admin"]}`, 400, true},
		{"context", "both", "POST", "/v1/sessions/{session}/context", `{"kind":"content","text":"x","source":"mail","untrusted":"yes","secrecy":"internal","subject":"ann"}`, 200, false},
		{"context of no kind", "both", "POST", "/v1/sessions/{session}/context", `{"text":"x"}`, 400, true},
		{"an allow", "both", "POST", "/v1/actions", act("a", "read", `{"a":[1,null,"x"]}`), 200, false},
		{"an action in a session", "both", "POST", "/v1/actions", `{"session":"{session}","call_id":"s","tool":{"server":"fs","name":"read"},"arguments":{},"reasoning":"r"}`, 200, false},
		{"a heartbeat", "both", "POST", "/v1/actions/{action}/heartbeat", `{}`, 200, false},
		{"a result", "both", "POST", "/v1/actions/{action}/outcome", `{"status":"done","result":null,"opaque":true}`, 200, false},
		{"an action that is over", "both", "GET", "/v1/actions/{action}?wait=1s", "", 200, false},
		{"a deny", "both", "POST", "/v1/actions", act("d", "deny.x", `{}`), 200, false},
		{"an ask", "both", "POST", "/v1/actions", act("k", "ask.x", `{}`), 202, false},
		{"still asked", "both", "GET", "/v1/actions/{action}", "", 202, false},
		{"an outcome of nothing", "both", "POST", "/v1/actions/{action}/outcome", `{"status":"failed"}`, 409, false},
		{"for a result that is held", "both", "POST", "/v1/actions", act("h", "read", `{}`), 200, false},
		{"a held result", "both", "POST", "/v1/actions/{action}/outcome", `{"status":"done","result":"HOLD"}`, 202, false},
		{"for a result that is withheld", "both", "POST", "/v1/actions", act("w", "read", `{}`), 200, false},
		{"a withheld result", "both", "POST", "/v1/actions/{action}/outcome", `{"status":"done","result":"SECRET"}`, 200, false},
		{"arguments that are no object", "both", "POST", "/v1/actions", act("n", "read", `[]`), 400, true},
		{"a tool without a server", "both", "POST", "/v1/actions", `{"call_id":"x","tool":{"name":"read"},"arguments":{}}`, 400, true},
		{"a null where a string belongs", "both", "POST", "/v1/actions", `{"call_id":"x","session":null,"tool":{"server":"a","name":"read"},"arguments":{}}`, 400, true},
		{"no credential", "", "POST", "/v1/actions", act("x", "read", `{}`), 401, false},
		{"the wrong scope", "viewer", "POST", "/v1/actions", act("x", "read", `{}`), 403, false},
		{"somebody else's action", "other", "GET", "/v1/actions/{action}", "", 404, false},
		{"a wait that is no duration", "both", "GET", "/v1/actions/{action}?wait=soon", "", 400, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			fill := strings.NewReplacer("{action}", action, "{session}", session)
			target, body := fill.Replace(c.target), fill.Replace(c.body)
			code, answer, res := b.call(t, c.token, c.method, target, body)
			if code != c.status {
				t.Fatal(code, answer)
			}
			in := requestInput(t, router, c.method, b.URL+target, body)
			if err := openapi3filter.ValidateRequest(t.Context(), in); (err != nil) != c.invalid {
				t.Errorf("the document says of the request: %v", err)
			}
			out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: code, Header: res.Header,
				Body: io.NopCloser(strings.NewReader(answer)), Options: &openapi3filter.Options{IncludeResponseStatus: true}}
			if err := openapi3filter.ValidateResponse(t.Context(), out); err != nil {
				t.Errorf("the document says of the answer %s: %v", answer, err)
			}
			switch {
			case code >= 300:
			case c.target == "/v1/actions":
				action = decode[actionAnswer](t, answer).ID
			case c.target == "/v1/sessions":
				session = decode[sessionAnswer](t, answer).ID
			}
		})
	}
}

func requestInput(t *testing.T, router routers.Router, method, url, body string) *openapi3filter.RequestValidationInput {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	req.URL.Scheme, req.URL.Host = "", ""
	route, params, err := router.FindRoute(req)
	if err != nil {
		t.Fatal(err)
	}
	return &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}}
}
