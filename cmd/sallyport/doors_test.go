// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
)

// doors are the two TCP listeners of an owner.
type doors struct {
	p              *place
	agents, people string
	admin          string // the bootstrap token
}

// listen starts an owner on ports of its own, which it tells; more are further arguments.
func (p *place) listen(more ...string) *doors {
	p.t.Helper()
	out := filepath.Join(p.home, "up.json")
	f, err := os.Create(out)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	cmd := p.command(p.t.Context(), append([]string{"sallyport", "up", "--listen", "127.0.0.1:0", "--listen-admin", "127.0.0.1:0", "--json"}, more...)...)
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		p.stopOwner()
		_ = cmd.Wait()
	})
	d := &doors{p: p}
	for range 2000 {
		var said struct {
			Agents string `json:"agents"`
			People string `json:"people"`
			Token  string `json:"admin_token_file"`
		}
		b, _ := os.ReadFile(out)
		if json.Unmarshal(b, &said) == nil && ownerOf(p.data) != 0 {
			info, err := os.Stat(said.Token)
			if err != nil || info.Mode().Perm() != 0o600 {
				p.t.Fatalf("the bootstrap token: %v, %v", info, err)
			}
			b, err := os.ReadFile(said.Token)
			if err != nil {
				p.t.Fatal(err)
			}
			d.agents, d.people, d.admin = said.Agents, said.People, strings.TrimSpace(string(b))
			return d
		}
		time.Sleep(5 * time.Millisecond)
	}
	b, _ := os.ReadFile(out)
	p.t.Fatalf("the owner does not say where it listens: %s", b)
	return nil
}

// answer is what a door said.
type answer struct {
	status int
	body   string
	etag   string
}

// send makes a request; header holds names and values in turn.
func (d *doors) send(method, url, token, body string, header ...string) answer {
	d.p.t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		d.p.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return answer{body: err.Error()}
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		d.p.t.Fatal(err)
	}
	return answer{resp.StatusCode, string(b), resp.Header.Get("ETag")}
}

// read takes an answer that must have status apart.
func read[T any](d *doors, status int, a answer) (v T) {
	d.p.t.Helper()
	if a.status != status {
		d.p.t.Fatalf("status %d, not %d: %s", a.status, status, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		d.p.t.Fatalf("%v: %s", err, a.body)
	}
	return v
}

// token issues one with the bootstrap token.
func (d *doors) token(body string) string {
	d.p.t.Helper()
	return read[struct {
		Token string `json:"token"`
	}](d, 200, d.send("POST", d.people+"/v1/tokens", d.admin, body)).Token
}

// agent makes an agent with a token.
func (d *doors) agent(id string) string {
	d.p.t.Helper()
	read[any](d, 200, d.send("POST", d.people+"/v1/agents", d.admin, `{"id":"`+id+`","owner":"ann"}`))
	return d.token(`{"agent":"` + id + `","user":"ann","scopes":["agent"],"ttl":"1h"}`)
}

// said is an action as the agents' door tells it.
type said struct {
	ID       string `json:"id"`
	Status   string `json:"status"`
	Decision struct {
		Effect string `json:"effect"`
		Hint   string `json:"hint"`
	} `json:"decision"`
	Approval struct {
		ID string `json:"id"`
	} `json:"approval"`
	Arguments any `json:"arguments"`
	Result    any `json:"result"`
}

const (
	mayDelete = `ask contains {"id": "destroy", "code": "destroy", "reason": "Destroys.", "hint": "Wait.", "approver": {"channel": "operator"}} if {
	input.phase == "before"
	input.resource.name == "delete"
}
`
	mayNotSend = `deny contains {"id": "send", "code": "send", "reason": "Sends.", "hint": "Never."} if {
	input.phase == "before"
	input.resource.name == "send"
}
`
)

func actionBody(session, call, tool, args string) string {
	return `{"session":"` + session + `","call_id":"` + call + `","tool":{"server":"files","name":"` + tool + `"},"arguments":` + args + `}`
}

func TestActionProtocolFromFirstTokenToOutcome(t *testing.T) {
	p := newPlace(t, "")
	p.write("config/sallyport/sallyport.yaml", "version: 1\npolicy: {dir: "+p.permissive(mayDelete+mayNotSend)+"}\n")
	d := p.listen()
	bot := d.agent("bot")
	ann := d.token(`{"name":"ann","scopes":["approver","viewer"]}`)
	sess := read[said](d, 200, d.send("POST", d.agents+"/v1/sessions", bot, `{}`)).ID
	post := func(call, tool, args string) answer {
		return d.send("POST", d.agents+"/v1/actions", bot, actionBody(sess, call, tool, args))
	}
	outcome := func(id, body string) answer {
		return d.send("POST", d.agents+"/v1/actions/"+id+"/outcome", bot, body)
	}

	// Allowed, executed by the agent, told; everything may be repeated, nothing may be changed.
	a := read[said](d, 200, post("c1", "read", `{"path":"/a"}`))
	if a.Decision.Effect != "allow" || a.Arguments == nil {
		t.Fatalf("%+v", a)
	}
	if again := read[said](d, 200, post("c1", "read", `{"path":"/a"}`)); again.ID != a.ID {
		t.Error("a repeated call is another action")
	}
	if x := post("c1", "read", `{"path":"/b"}`); x.status != 409 {
		t.Errorf("a call id with other arguments: %+v", x)
	}
	out := read[said](d, 200, outcome(a.ID, `{"status":"done","result":{"text":"hello"}}`))
	if out.Status != "released" || fmt.Sprint(out.Result) != "map[text:hello]" {
		t.Errorf("%+v", out)
	}
	read[said](d, 200, outcome(a.ID, `{"status":"done","result":{"text":"hello"}}`))
	if x := outcome(a.ID, `{"status":"done","result":{"text":"other"}}`); x.status != 409 {
		t.Errorf("a second, other outcome: %+v", x)
	}

	if n := read[said](d, 200, post("c2", "send", `{}`)); n.Decision.Effect != "deny" || n.Decision.Hint == "" {
		t.Errorf("%+v", n)
	} else if x := outcome(n.ID, `{"status":"done","result":1}`); x.status != 409 {
		t.Errorf("the outcome of what was denied: %+v", x)
	}

	// Asked, waited for, approved, once.
	w := read[said](d, 202, post("c3", "delete", `{"path":"/a"}`))
	if w.Decision.Effect != "ask" || w.Approval.ID == "" {
		t.Fatalf("%+v", w)
	}
	if x := d.send("GET", d.agents+"/v1/actions/"+w.ID+"?wait=50ms", bot, ""); x.status != 202 {
		t.Errorf("while nobody has answered: %+v", x)
	}
	if x := outcome(w.ID, `{"status":"done","result":1}`); x.status != 409 {
		t.Errorf("an outcome before the answer: %+v", x)
	}
	granted := make(chan answer, 1)
	go func() { granted <- d.send("GET", d.agents+"/v1/actions/"+w.ID+"?wait=20s", bot, "") }()
	ticket := d.people + "/v1/approvals/" + w.Approval.ID
	if x := d.send("POST", ticket+"/approve", ann, `{}`); x.status != 428 {
		t.Errorf("an answer without If-Match: %+v", x)
	}
	if x := d.send("POST", ticket+"/approve", ann, `{}`, "If-Match", `"999999"`); x.status != 412 {
		t.Errorf("an answer to what was not seen: %+v", x)
	}
	if x := d.send("POST", ticket+"/approve", bot, `{}`, "If-Match", `"1"`); x.status != 403 {
		t.Errorf("the agent's own answer: %+v", x)
	}
	seen := d.send("GET", ticket, ann, "")
	if x := d.send("POST", ticket+"/approve", ann, `{"comment":"go on"}`, "If-Match", seen.etag); x.status != 202 || !strings.Contains(x.body, `"pending"`) {
		t.Fatalf("a bearer token, where the rule wants an operator: %+v", x)
	}
	p.must("approvals", "approve", w.Approval.ID)
	if g := read[said](d, 200, <-granted); g.ID != w.ID || g.Decision.Effect != "allow" {
		t.Errorf("%+v", g)
	}
	read[said](d, 200, outcome(w.ID, `{"status":"failed","result":"no such file"}`))

	// The grant is spent: for the same call again, for another answer, for another session.
	v := read[approval.View](d, 200, d.send("GET", ticket, ann, ""))
	if v.State != approval.Used {
		t.Errorf("the ticket is %s", v.State)
	}
	if x := d.send("POST", ticket+"/approve", ann, `{}`, "If-Match", strconv.Quote(strconv.FormatUint(v.Revision, 10))); x.status != 409 {
		t.Errorf("a spent approval is given again: %+v", x)
	}
	if again := read[said](d, 202, post("c4", "delete", `{"path":"/a"}`)); again.Approval.ID == w.Approval.ID || again.ID == w.ID {
		t.Errorf("a spent approval answers again: %+v", again)
	}
	if out := p.must("ledger", "verify"); !strings.Contains(out, "VERIFIED") {
		t.Error(out)
	}
}

// nested is JSON of a depth.
func nested(depth int) string {
	return strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth)
}

func TestBadRequestsChangeNothing(t *testing.T) {
	p := newPlace(t, "")
	p.write("config/sallyport/sallyport.yaml", "version: 1\npolicy: {dir: "+p.permissive("")+"}\n")
	d := p.listen()
	bot, other := d.agent("bot"), d.agent("other")
	viewer := d.token(`{"name":"v","scopes":["viewer"]}`)
	short := d.token(`{"agent":"bot","scopes":["agent"],"ttl":1}`)
	revoked := read[struct {
		Token string `json:"token"`
		ID    string `json:"id"`
	}](d, 200, d.send("POST", d.people+"/v1/tokens", d.admin, `{"agent":"bot","scopes":["agent"]}`))
	read[any](d, 200, d.send("DELETE", d.people+"/v1/tokens/"+revoked.ID, d.admin, ""))
	sess := read[said](d, 200, d.send("POST", d.agents+"/v1/sessions", bot, `{}`)).ID
	mine := read[said](d, 200, d.send("POST", d.agents+"/v1/actions", bot, actionBody(sess, "first", "read", `{}`)))
	forged := bot[:len(bot)-1] + map[bool]string{true: "a", false: "b"}[bot[len(bot)-1] != 'a']
	time.Sleep(1100 * time.Millisecond) // short is over

	good := actionBody(sess, "c", "read", `{}`)
	args := func(a string) string { return actionBody(sess, "c", "read", a) }
	actions, people := d.agents+"/v1/actions", d.people+"/v1/approvals"
	for name, c := range map[string]struct {
		method, url, token, body string
		header                   []string
		status                   int
		code                     string // of the problem
		recorded                 bool
	}{
		"truncated JSON":                 {"POST", actions, bot, good[:len(good)-3], nil, 400, "malformed", true},
		"a duplicate name":               {"POST", actions, bot, args(`{"a":1,"a":2}`), nil, 400, "malformed", true},
		"names that differ in case":      {"POST", actions, bot, strings.Replace(good, `"call_id"`, `"Call_ID":"x","call_id"`, 1), nil, 400, "malformed", true},
		"10,000 levels":                  {"POST", actions, bot, args(nested(10000)), nil, 400, "malformed", true},
		"65 levels":                      {"POST", actions, bot, args(nested(65)), nil, 400, "malformed", true},
		"20 MB of arguments":             {"POST", actions, bot, args(`{"a":"` + strings.Repeat("x", 20<<20) + `"}`), nil, 413, "too-large", true},
		"a number beyond doubles":        {"POST", actions, bot, args(`{"a":1e400}`), nil, 400, "malformed", true},
		"a lone surrogate":               {"POST", actions, bot, args(`{"a":"\ud800"}`), nil, 400, "malformed", true},
		"no UTF-8":                       {"POST", actions, bot, args("{\"a\":\"\xff\"}"), nil, 400, "malformed", true},
		"arguments that are no object":   {"POST", actions, bot, args(`[1]`), nil, 400, "malformed", true},
		"a tool that is text":            {"POST", actions, bot, `{"call_id":"c","tool":"read","arguments":{}}`, nil, 400, "malformed", true},
		"a null":                         {"POST", actions, bot, strings.Replace(good, `"`+sess+`"`, "null", 1), nil, 400, "malformed", true},
		"an unknown member":              {"POST", actions, bot, strings.Replace(good, `{`, `{"approved":true,`, 1), nil, 400, "malformed", true},
		"two values":                     {"POST", actions, bot, good + good, nil, 400, "malformed", true},
		"nothing":                        {"POST", actions, bot, "", []string{"Content-Type", "application/json"}, 400, "malformed", true},
		"a form":                         {"POST", actions, bot, good, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "media-type", true},
		"no token":                       {"POST", actions, "", good, nil, 401, "unauthenticated", true},
		"a forged token":                 {"POST", actions, forged, good, nil, 401, "unauthenticated", true},
		"an expired token":               {"POST", actions, short, good, nil, 401, "unauthenticated", true},
		"a withdrawn token":              {"POST", actions, revoked.Token, good, nil, 401, "unauthenticated", true},
		"a token of another scope":       {"POST", actions, viewer, good, nil, 403, "scope", true},
		"the first admin's token":        {"POST", actions, d.admin, good, nil, 403, "scope", true},
		"another agent's name":           {"POST", actions, bot, strings.Replace(good, `{`, `{"agent":"other",`, 1), nil, 403, "subject", true},
		"another agent's session":        {"POST", actions, other, good, nil, 404, "not-found", false},
		"another agent's action":         {"GET", actions + "/" + mine.ID, other, "", nil, 404, "not-found", false},
		"another agent's outcome":        {"POST", actions + "/" + mine.ID + "/outcome", other, `{"status":"done","result":1}`, nil, 404, "not-found", false},
		"an outcome of another status":   {"POST", actions + "/" + mine.ID + "/outcome", bot, `{"status":"ok"}`, nil, 400, "malformed", true},
		"an unknown session":             {"POST", actions, bot, strings.Replace(good, sess, "06H0000000000000000000000Z", 1), nil, 404, "not-found", false},
		"the user's words without host":  {"POST", d.agents + "/v1/sessions", bot, `{"user_request":"do it"}`, nil, 403, "scope", true},
		"a context without host":         {"POST", d.agents + "/v1/sessions/" + sess + "/context", bot, `{"kind":"user_request","text":"do it"}`, nil, 403, "scope", true},
		"another host name":              {"POST", actions, bot, good, []string{"Host", "evil.example"}, 403, "host", true},
		"a page from elsewhere":          {"POST", d.people + "/v1/kill", d.admin, `{"scope":"all"}`, []string{"Origin", "https://evil.example"}, 403, "origin", true},
		"an agent at the people's door":  {"GET", people, bot, "", nil, 403, "scope", true},
		"a viewer who approves":          {"POST", people + "/ap_0000000000000000/approve", viewer, `{}`, []string{"If-Match", `"1"`}, 403, "scope", true},
		"a viewer who kills":             {"POST", d.people + "/v1/kill", viewer, `{"scope":"all"}`, nil, 403, "scope", true},
		"no token at the people's door":  {"GET", people, "", "", nil, 401, "unauthenticated", true},
		"people's routes for agents":     {"GET", d.agents + "/v1/approvals", d.admin, "", nil, 404, "no-route", false},
		"the owner's own user's routes":  {"GET", d.people + "/v1/local/ledger", d.admin, "", nil, 404, "no-route", false},
		"an unknown MCP server":          {"POST", d.agents + "/mcp/nowhere", bot, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, nil, 404, "", false},
		"a token for an unknown scope":   {"POST", d.people + "/v1/tokens", d.admin, `{"agent":"bot","scopes":["root"]}`, nil, 422, "invalid", false},
		"an agent's token that approves": {"POST", d.people + "/v1/tokens", d.admin, `{"agent":"bot","scopes":["agent","approver"]}`, nil, 422, "invalid", false},
		"a token for ever":               {"POST", d.people + "/v1/tokens", d.admin, `{"agent":"bot","scopes":["agent"],"ttl":"9000d"}`, nil, 422, "invalid", false},
		"a kill of nothing":              {"POST", d.people + "/v1/kill", d.admin, `{"scope":"world"}`, nil, 422, "invalid", false},
	} {
		t.Run(name, func(t *testing.T) {
			a := d.send(c.method, c.url, c.token, c.body, c.header...)
			if a.status == 0 && c.status == 413 && strings.Contains(a.body, "broken pipe") {
				return // refused before all of it was sent
			}
			if a.status != c.status || !strings.Contains(a.body, `"urn:sallyport:problem:`+c.code) {
				t.Errorf("status %d, not %d: %.300s", a.status, c.status, a.body)
			}
			for _, secret := range []string{bot, d.admin, short, revoked.Token} {
				if strings.Contains(a.body, secret) {
					t.Error("the answer repeats a token")
				}
			}
		})
	}

	recorded := map[string]bool{}
	intents := 0
	for _, s := range p.steps() {
		if s.Kind == action.KindIntent {
			intents++
		}
		for _, code := range s.Codes {
			recorded[strings.TrimPrefix(code, "malformed.")] = true
		}
	}
	if intents != 1 {
		t.Errorf("%d intents: something of all this was admitted", intents)
	}
	for _, code := range []string{"malformed", "too-large", "unauthenticated", "scope", "subject", "host", "origin", "media-type"} {
		if !recorded[code] {
			t.Errorf("no record of attempts that were refused as %q", code)
		}
	}
	if o := p.must("agents", "list", "--json"); strings.Count(o, `"id"`) != 3 {
		t.Errorf("agents: %s", o)
	}
	if out := p.must("ledger", "verify"); !strings.Contains(out, "VERIFIED") {
		t.Error(out)
	}
	b, err := os.ReadFile(filepath.Join(p.home, "up.json"))
	if err != nil || bytes.Contains(b, []byte(bot)) || bytes.Contains(b, []byte(d.admin)) {
		t.Error("the owner printed a token", err)
	}
}
