// SPDX-License-Identifier: Apache-2.0

package authzen

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/enforce/enforcetest"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/store/memory"
)

// byToken proves callers whose token is their agent's name.
type byToken struct{}

func (byToken) Authenticate(_ context.Context, r *http.Request) (*gateway.Caller, error) {
	name, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, gateway.ErrUnauthenticated
	}
	s := action.NewQuery(action.Before).Subject
	s.ID, s.Scopes = name, []action.Scope{action.ScopeAuthZEN}
	if name == "agent" {
		s.Scopes = []action.Scope{action.ScopeAgent}
	}
	if name == "nobody" {
		s.ID = ""
	}
	s.Channel.Credential, s.Channel.CredID = action.CredentialToken, "t-"+name
	return &gateway.Caller{Subject: s}, nil
}

type bench struct {
	*httptest.Server
	log  *enforcetest.Log
	desk *enforcetest.Desk
	free *enforcetest.Free
}

// start serves the door on the real path, under the fixture policy of the certification scenario and a few
// actions more.
func start(t testing.TB, change func(*enforce.Config)) *bench {
	t.Helper()
	b := &bench{log: &enforcetest.Log{}, desk: &enforcetest.Desk{}, free: &enforcetest.Free{}}
	st := memory.Open(memory.Config{})
	t.Cleanup(func() { _ = st.Close() })
	cfg := enforcetest.Config(fixture, b.log, b.desk, st)
	cfg.Standing = b.free
	if change != nil {
		change(&cfg)
	}
	e, err := enforce.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	gate, err := gateway.New(gateway.Config{Auth: byToken{}, Malformed: e.Malformed, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	routes, err := Routes(Config{Enforcer: e, MaxEvaluations: 8})
	if err != nil {
		t.Fatal(err)
	}
	h, err := gate.Handler(routes...)
	if err != nil {
		t.Fatal(err)
	}
	b.Server = httptest.NewServer(h)
	t.Cleanup(b.Close)
	return b
}

// fixture decides by what arrives in the input document, as a policy would.
func fixture(q *action.Query) (action.Decision, error) {
	if q.Phase == action.After {
		if strings.Contains(string(q.Action.Arguments), "withhold") {
			return enforcetest.Rule(action.Deny, "test.withhold"), nil
		}
		return enforcetest.Rule(action.Allow, "test.release"), nil
	}
	var args struct {
		Subject  struct{ Properties map[string]any }
		Action   struct{ Properties map[string]any }
		Resource struct {
			ID         string
			Properties map[string]any
		}
	}
	if err := json.Unmarshal(q.Action.Arguments, &args, json.MatchCaseInsensitiveNames(true)); err != nil {
		return action.Decision{}, err
	}
	who, what := q.Subject.User.ID, q.Resource.Name
	permit := false
	switch {
	case what == "ask":
		return enforcetest.Rule(action.Ask, "test.ask"), nil
	case what == "read", what == "withhold":
		permit = true
	case what == "write" && args.Resource.Properties["status"] == "archived":
		permit = args.Subject.Properties["role"] == "admin"
	case what == "write":
		permit = who == "alice"
	case what == "delete":
		permit = args.Action.Properties["soft"] == true
	}
	if permit {
		return enforcetest.Rule(action.Allow, "test.permit"), nil
	}
	return enforcetest.Rule(action.Deny, "test.deny"), nil
}

func (b *bench) post(t testing.TB, path, body string, header ...string) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequest("POST", b.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer pep")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := b.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(got), res.Header
}

// said is an answer as a caller reads it.
type said struct {
	Decision    *bool
	Context     map[string]jsontext.Value
	Evaluations []said
}

func read(t testing.TB, body string) (s said) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &s, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return s
}

func (s said) decisions() string {
	if s.Evaluations == nil {
		if s.Decision == nil {
			return "none"
		}
		return fmt.Sprint(*s.Decision)
	}
	var out []string
	for _, e := range s.Evaluations {
		out = append(out, e.decisions())
	}
	return strings.Join(out, " ")
}

const (
	alice = `"subject":{"type":"user","id":"alice"}`
	bob   = `"subject":{"type":"user","id":"bob"}`
	one   = `"resource":{"type":"record","id":"record-1"}`
	old   = `"resource":{"type":"record","id":"record-2","properties":{"status":"archived"}}`
)

func act(name string) string { return `"action":{"name":"` + name + `"}` }

func TestEvaluationDecides(t *testing.T) {
	b := start(t, nil)
	for _, c := range []struct{ name, body, want string }{
		{"alice reads", `{` + alice + `,` + act("read") + `,` + one + `}`, "true"},
		{"alice writes", `{` + alice + `,` + act("write") + `,` + one + `}`, "true"},
		{"bob reads", `{` + bob + `,` + act("read") + `,` + one + `}`, "true"},
		{"bob writes", `{` + bob + `,` + act("write") + `,` + one + `}`, "false"},
		{"a property of the resource denies", `{` + alice + `,` + act("write") + `,` + old + `}`, "false"},
		{"a property of the subject permits", `{"subject":{"type":"user","id":"bob","properties":{"role":"admin"}},` + act("write") + `,` + old + `}`, "true"},
		{"a property of the action permits", `{` + alice + `,"action":{"name":"delete","properties":{"soft":true}},` + one + `}`, "true"},
		{"a property of the action denies", `{` + alice + `,"action":{"name":"delete","properties":{"soft":false}},` + one + `}`, "false"},
		{"a context", `{` + alice + `,` + act("read") + `,` + one + `,"context":{"time":"2025-06-27T18:03-07:00"}}`, "true"},
		{"members that nobody knows", `{` + alice + `,` + act("read") + `,` + one + `,"foo":"bar","futureField":{"nested":true}}`, "true"},
		{"unknown members of an entity say nothing", `{"subject":{"type":"user","id":"bob","role":"admin"},` + act("write") + `,` + old + `}`, "false"},
		{"a subject that is no user", `{"subject":{"type":"workload","id":"alice"},` + act("write") + `,` + one + `}`, "false"},
		{"gate two keeps it back", `{` + alice + `,` + act("withhold") + `,"resource":{"type":"record","id":"withhold"}}`, "false"},
	} {
		for range 2 {
			code, body, h := b.post(t, "/access/v1/evaluation", c.body, "X-Request-ID", "r-1")
			if got := read(t, body).decisions(); code != 200 || got != c.want || h.Get("X-Request-ID") != "r-1" || h.Get("Content-Type") != "application/json" {
				t.Errorf("%s: %d %s %v", c.name, code, body, h)
			}
			if code, body, _ = b.post(t, "/access/v1/evaluations", c.body); code != 200 || read(t, body).decisions() != c.want {
				t.Errorf("%s, through the other endpoint: %d %s", c.name, code, body)
			}
		}
	}
}

func TestEvaluationIsRecordedAsAsked(t *testing.T) {
	b := start(t, nil)
	b.post(t, "/access/v1/evaluation", `{`+alice+`,`+act("read")+`,`+one+`,"context":{"n":1e2}}`)
	in := b.log.Of(action.KindIntent)
	if len(in) != 1 || in[0].Agent != "pep" || in[0].User != "alice" || in[0].Door != action.DoorAuthZEN || in[0].Observed != action.No {
		t.Fatalf("%+v", in)
	}
	q, err := action.ReadQuery(in[0].Part(action.PartInputBefore))
	if err != nil {
		t.Fatal(err)
	}
	if u := q.Subject.User; u.Verified != action.No || u.Evidence != "asserted" || q.Resource.ID != "authzen/read" {
		t.Errorf("%+v %+v", u, q.Resource)
	}
	if got := string(in[0].Part(action.PartArguments)); got != `{"action":{"name":"read"},"context":{"n":1e2},"resource":{"id":"record-1","type":"record"},"subject":{"id":"alice","type":"user"}}` {
		t.Error(got)
	}
	if out := b.log.Of(action.KindOutcome); len(out) != 1 || string(out[0].Part(action.PartResult)) != `{"decision":true}` {
		t.Errorf("%+v", out)
	}
	b.post(t, "/access/v1/evaluation", `{`+bob+`,`+act("write")+`,`+one+`}`)
	if d := b.log.Of(action.KindDecision); len(d) != 1 || d[0].User != "bob" || d[0].Verdict != action.Deny {
		t.Errorf("%+v", d)
	}
}

func TestEvaluationRefusesWhatIsNoQuestion(t *testing.T) {
	b := start(t, nil)
	for _, c := range []struct {
		name, body string
		header     []string
		code       int
	}{
		{"no subject", `{` + act("read") + `,` + one + `}`, nil, 400},
		{"no action", `{` + alice + `,` + one + `}`, nil, 400},
		{"no resource", `{` + alice + `,` + act("read") + `}`, nil, 400},
		{"a subject without a type", `{"subject":{"id":"alice"},` + act("read") + `,` + one + `}`, nil, 400},
		{"a subject without an id", `{"subject":{"type":"user"},` + act("read") + `,` + one + `}`, nil, 400},
		{"an action without a name", `{` + alice + `,"action":{},` + one + `}`, nil, 400},
		{"a resource without a type", `{` + alice + `,` + act("read") + `,"resource":{"id":"1"}}`, nil, 400},
		{"a resource without an id", `{` + alice + `,` + act("read") + `,"resource":{"type":"record"}}`, nil, 400},
		{"another media type", `{` + alice + `,` + act("read") + `,` + one + `}`, []string{"Content-Type", "text/plain"}, 400},
		{"no JSON", `{"subject":`, nil, 400},
		{"nothing", ``, nil, 400},
		{"null", `null`, nil, 400},
		{"a list", `[]`, nil, 400},
		{"a subject that is a string", `{"subject":"alice",` + act("read") + `,` + one + `}`, nil, 400},
		{"a name that is a number", `{` + alice + `,"action":{"name":123},` + one + `}`, nil, 400},
		{"properties that are a list", `{"subject":{"type":"user","id":"a","properties":[]},` + act("read") + `,` + one + `}`, nil, 400},
		{"a context that is a string", `{` + alice + `,` + act("read") + `,` + one + `,"context":"x"}`, nil, 400},
		{"a name that stands twice", `{` + alice + `,` + bob + `,` + act("read") + `,` + one + `}`, nil, 400},
		{"a name in another case", `{"Subject":{"type":"user","id":"alice"},` + act("read") + `,` + one + `}`, nil, 400},
		{"an empty id", `{"subject":{"type":"user","id":""},` + act("read") + `,` + one + `}`, nil, 400},
		{"an id with a line break", `{"subject":{"type":"user","id":"a\nb"},` + act("read") + `,` + one + `}`, nil, 400},
		{"a long id", `{"subject":{"type":"user","id":"` + strings.Repeat("a", 300) + `"},` + act("read") + `,` + one + `}`, nil, 400},
		{"no credential", `{` + alice + `,` + act("read") + `,` + one + `}`, []string{"Authorization", "x"}, 401},
		{"an agent's credential", `{` + alice + `,` + act("read") + `,` + one + `}`, []string{"Authorization", "Bearer agent"}, 403},
		{"a credential of no agent", `{` + alice + `,` + act("read") + `,` + one + `}`, []string{"Authorization", "Bearer nobody"}, 403},
	} {
		for _, path := range []string{"/access/v1/evaluation", "/access/v1/evaluations"} {
			if code, body, _ := b.post(t, path, c.body, c.header...); code != c.code || strings.Contains(body, `"decision"`) {
				t.Errorf("%s at %s: %d %s", c.name, path, code, body)
			}
		}
	}
	if n := len(b.log.Of(action.KindIntent)); n != 0 {
		t.Errorf("%d were decided", n)
	}
}

func TestBatchKeepsOrderAndEnds(t *testing.T) {
	b := start(t, nil)
	reads := func(how string, names ...string) string {
		var list []string
		for _, n := range names {
			list = append(list, `{`+act(n)+`}`)
		}
		return `{` + bob + `,` + one + `,"options":{"evaluations_semantic":"` + how + `","other":1},"evaluations":[` + strings.Join(list, ",") + `]}`
	}
	for _, c := range []struct{ name, body, want string }{
		{"defaults", `{` + alice + `,` + act("read") + `,"evaluations":[{` + one + `},{"resource":{"type":"record","id":"record-2"}}]}`, "true true"},
		{"in the order of the request", reads("execute_all", "read", "write", "read"), "true false true"},
		{"ends after the first deny", reads("deny_on_first_deny", "read", "write", "read"), "true false"},
		{"ends after the first permit", reads("permit_on_first_permit", "write", "read", "write"), "false true"},
		{"an ask is a deny", reads("deny_on_first_deny", "ask", "read"), "false"},
		{"properties of each", `{` + alice + `,` + act("write") + `,"evaluations":[{` + one + `},{` + old + `}]}`, "true false"},
		{"subjects of each", `{` + act("write") + `,` + old + `,"evaluations":[{` + alice + `},{"subject":{"type":"user","id":"bob","properties":{"role":"admin"}}}]}`, "false true"},
		{"an entity replaces the default as a whole", `{` + alice + `,` + act("write") + `,` + old + `,"evaluations":[{` + one + `},{}]}`, "true false"},
		{"a required member comes from the default", `{` + alice + `,` + act("write") + `,"resource":{"type":"record"},"evaluations":[{"resource":{"id":"1"}},{` + old + `}]}`, "true false"},
		{"an empty default", `{` + alice + `,` + act("read") + `,"resource":{},"context":{},"evaluations":[{` + one + `}]}`, "true"},
		{"no defaults", `{"evaluations":[{` + alice + `,` + act("read") + `,` + one + `},{` + bob + `,` + act("write") + `,` + one + `}]}`, "true false"},
		{"one of them is no question", `{` + alice + `,` + act("read") + `,"evaluations":[{` + one + `},{}]}`, "true false"},
		{"an empty list is one question", `{` + alice + `,` + act("read") + `,` + one + `,"evaluations":[]}`, "true"},
	} {
		code, body, _ := b.post(t, "/access/v1/evaluations", c.body)
		if got := read(t, body).decisions(); code != 200 || got != c.want {
			t.Errorf("%s: %d %s", c.name, code, body)
		}
	}
	_, body, _ := b.post(t, "/access/v1/evaluations", `{`+alice+`,`+act("read")+`,"evaluations":[{`+one+`},{}]}`)
	if !strings.Contains(body, `"error":{"status":400,"message":"resource is missing"}`) {
		t.Error(body)
	}
	for name, body := range map[string]string{
		"a semantic that nobody knows": reads("whatever", "read"),
		"options that are a list":      `{"options":[],"evaluations":[{}]}`,
		"evaluations that are no list": `{` + alice + `,"evaluations":{}}`,
		"an evaluation that is a word": `{` + alice + `,"evaluations":["read"]}`,
		"a default that is a word":     `{"subject":"alice","evaluations":[{` + alice + `,` + act("read") + `,` + one + `}]}`,
		"too many":                     reads("execute_all", "read", "read", "read", "read", "read", "read", "read", "read", "read"),
	} {
		if code, answer, _ := b.post(t, "/access/v1/evaluations", body); code != 400 {
			t.Errorf("%s: %d %s", name, code, answer)
		}
	}
}

func TestAskIsADenialThatAPersonCanLift(t *testing.T) {
	b := start(t, nil)
	body := `{` + alice + `,` + act("ask") + `,` + one + `}`
	code, got, _ := b.post(t, "/access/v1/evaluation", body)
	a := read(t, got)
	if code != 200 || a.decisions() != "false" || string(a.Context["reason"]) != `"approval_required"` || a.Context["access_request"] == nil {
		t.Fatal(code, got)
	}
	var req accessRequest
	if err := json.Unmarshal(a.Context["access_request"], &req); err != nil || req.Status != "pending" || req.Expires.IsZero() {
		t.Fatal(got, err)
	}
	if _, again, _ := b.post(t, "/access/v1/evaluation", body); !strings.Contains(again, req.ID) {
		t.Errorf("the same question opens another request: %s", again)
	}
	if !b.desk.Decide(req.ID, true, action.RankOperator, "") {
		t.Fatal("nobody was asked")
	}
	for _, other := range []string{strings.Replace(body, "alice", "bob", 1), strings.Replace(body, "record-1", "record-9", 1)} {
		if _, got, _ := b.post(t, "/access/v1/evaluation", other); read(t, got).decisions() != "false" {
			t.Errorf("a grant holds for another question: %s", got)
		}
	}
	if _, got, _ = b.post(t, "/access/v1/evaluation", body); read(t, got).decisions() != "true" {
		t.Errorf("granted: %s", got)
	}
	if _, got, _ = b.post(t, "/access/v1/evaluation", body); read(t, got).decisions() != "false" {
		t.Errorf("a grant permits twice: %s", got)
	}
}

func TestFaultsNeverPermit(t *testing.T) {
	for name, change := range map[string]func(*enforce.Config){
		"the intent cannot be recorded": func(c *enforce.Config) {
			c.Recorder.(*enforcetest.Log).Fail = func(r *action.Record) (bool, error) {
				if r.Kind == action.KindIntent {
					return false, io.ErrShortWrite
				}
				return false, nil
			}
		},
		"the outcome cannot be recorded": func(c *enforce.Config) {
			c.Recorder.(*enforcetest.Log).Fail = func(r *action.Record) (bool, error) {
				if r.Kind == action.KindOutcome {
					return true, io.ErrShortWrite
				}
				return false, nil
			}
		},
		"the agent is stopped":       func(c *enforce.Config) { c.Standing.(*enforcetest.Free).Kill() },
		"it is stopped half-way":     func(c *enforce.Config) { c.Standing.(*enforcetest.Free).KillAfter = 2 },
		"the arguments are replaced": redactAll,
	} {
		b := start(t, change)
		body := `{` + alice + `,` + act("read") + `,` + one + `}`
		if code, got, _ := b.post(t, "/access/v1/evaluation", body); strings.Contains(got, "true") || code == 200 && read(t, got).decisions() != "false" {
			t.Errorf("%s: %d %s", name, code, got)
		}
		batch := `{` + alice + `,` + act("read") + `,"evaluations":[{` + one + `}]}`
		if code, got, _ := b.post(t, "/access/v1/evaluations", batch); code != 200 || read(t, got).decisions() != "false" {
			t.Errorf("%s, in a batch: %d %s", name, code, got)
		}
	}
}

// redactAll makes the policy permit with other arguments only.
func redactAll(c *enforce.Config) {
	c.Stages = [][]enforce.Source{{{Name: "detect", Informer: enforcetest.Facts{Part: func() action.Part {
		d := action.UnknownDetect()
		d.State, d.Secrets = action.StateKnown, []action.Secret{{Pointer: "/resource/id", Kind: "token", Length: 8}}
		return d
	}()}}}}
	c.Redact = func([]byte, []action.Secret) ([]byte, error) { return []byte(`{"resource":{"id":"x"}}`), nil }
	c.Decider = enforcetest.Policy(func(q *action.Query) (action.Decision, error) {
		d := enforcetest.Rule(action.Allow, "test.permit")
		if q.Phase == action.Before {
			d.Obligations = []action.Obligation{{Rule: "test.redact", Type: action.ObligeRedact, Params: map[string]string{"kind": "secret"}}}
		}
		return d, nil
	})
}

func TestMetadataNamesTheEndpoints(t *testing.T) {
	b := start(t, nil)
	r, _ := http.NewRequest("GET", b.URL+"/.well-known/authzen-configuration", nil)
	r.Header.Set("Authorization", "Bearer pep")
	res, err := b.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, _ := io.ReadAll(res.Body)
	want := `{"policy_decision_point":"` + b.URL + `","access_evaluation_endpoint":"` + b.URL + `/access/v1/evaluation","access_evaluations_endpoint":"` + b.URL + `/access/v1/evaluations"}`
	if strings.TrimSpace(string(got)) != want {
		t.Errorf("%s", got)
	}
}

// FuzzEvaluation finds bodies that panic, or that pass for a question without being one.
func FuzzEvaluation(f *testing.F) {
	f.Add([]byte(`{` + alice + `,` + act("read") + `,` + one + `}`))
	f.Add([]byte(`{` + alice + `,"resource":{},"evaluations":[{` + one + `},{}],"options":{"evaluations_semantic":"execute_all"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		m := members{}
		if action.Read(body, &m, action.Limits{}) != nil {
			return
		}
		questions := []members{m}
		if list, _, err := batchOf(m, 16); err == nil {
			questions = append(questions, list...)
		}
		for _, q := range questions {
			e, err := evaluationOf(q, m)
			if err != nil {
				continue
			}
			if e.action == "" || e.subjectID == "" || action.Check(e.arguments, action.Limits{}) != nil {
				t.Errorf("%s gives %+v", body, e)
			}
		}
	})
}
