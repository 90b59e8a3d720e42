// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// contractCase is one shared case of testdata/contract, as far as the wire shows it. The SDKs run all of them;
// what a gateway that lies or is down does to a client is theirs alone.
type contractCase struct {
	Name      string         `json:"name"`
	Agent     string         `json:"agent"`
	Gateway   string         `json:"gateway"`
	Tool      string         `json:"tool"`
	Arguments jsontext.Value `json:"arguments"`
	Returns   jsontext.Value `json:"returns"`
	Raises    string         `json:"raises"`
	People    string         `json:"people"`
	Comment   string         `json:"comment"`
	Again     string         `json:"again"`
	Expect    struct {
		Waits     bool           `json:"waits"`
		Ran       int            `json:"ran"`
		Answer    string         `json:"answer"`
		Arguments jsontext.Value `json:"arguments"`
		Result    jsontext.Value `json:"result"`
		Says      []string       `json:"says"`
		Never     []string       `json:"never"`
	} `json:"expect"`
}

// contractAnswer is what the door says of an action, or of its outcome.
type contractAnswer struct {
	ID       string `json:"id"`
	Status   string `json:"status"`
	Decision struct {
		Effect string `json:"effect"`
	} `json:"decision"`
	Approval struct {
		ID string `json:"id"`
	} `json:"approval"`
	Arguments jsontext.Value  `json:"arguments"`
	Result    jsontext.Value  `json:"result"`
	Outcome   *contractAnswer `json:"outcome"`
}

// contractRun hands one call in, as often as the case wants, and executes what it is told.
type contractRun struct {
	*doors
	c        contractCase
	token    string
	session  string
	ran      int
	executed jsontext.Value
}

func (r *contractRun) ask(executor string, arguments jsontext.Value) answer {
	return r.send("POST", r.agents+"/v1/actions", r.token, `{"session":"`+r.session+`","call_id":"call-1","executor":"`+executor+
		`","tool":{"server":"contract","name":"`+r.c.Tool+`"},"arguments":`+string(arguments)+`}`)
}

// attempt is what a client does between two looks at the inbox. It returns the kind of the answer, all that the
// agent may read, the result, and the ticket if it waits.
func (r *contractRun) attempt(executor string) (kind, text, result, ticket string) {
	got := r.ask(executor, r.c.Arguments)
	if r.c.Gateway == "loses" {
		got = r.ask(executor, r.c.Arguments)
	}
	if got.status >= 300 {
		return "refused", got.body, "", ""
	}
	var a contractAnswer
	if err := json.Unmarshal([]byte(got.body), &a); err != nil {
		r.p.t.Fatal(err)
	}
	switch {
	case a.Outcome != nil:
		a = *a.Outcome
	case a.Decision.Effect == "ask":
		return "waiting", got.body, "", a.Approval.ID
	case a.Decision.Effect != "allow":
		return "refused", got.body, "", ""
	default:
		r.ran, r.executed = r.ran+1, a.Arguments
		body := `{"status":"done","result":` + string(r.c.Returns) + `}`
		if r.c.Raises != "" {
			body = `{"status":"failed","result":"` + r.c.Raises + `"}`
		}
		got = r.send("POST", r.agents+"/v1/actions/"+a.ID+"/outcome", r.token, body)
		a = contractAnswer{}
		if err := json.Unmarshal([]byte(got.body), &a); err != nil {
			r.p.t.Fatal(err)
		}
	}
	switch {
	case a.Status == "held":
		return "waiting", got.body, "", a.Approval.ID
	case a.Status != "released":
		return "withheld", got.body, "", ""
	case r.c.Raises != "":
		return "failed", got.body, "", ""
	}
	return "result", got.body, string(a.Result), ""
}

// people answers as the case says.
func (r *contractRun) people(approver, ticket string) {
	url := r.doors.people + "/v1/approvals/" + ticket
	switch r.c.People {
	case "approve", "deny":
		body := `{}`
		if r.c.Comment != "" {
			body = `{"comment":"` + r.c.Comment + `"}`
		}
		if got := r.send("POST", url+"/"+r.c.People, approver, body, "If-Match", r.send("GET", url, approver, "").etag); got.status != 200 {
			r.p.t.Fatal(got.body)
		}
	case "expire":
		for strings.Contains(r.send("GET", url, approver, "").body, `"state":"pending"`) {
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func TestDoorKeepsTheContractOfTheSDKs(t *testing.T) {
	dir, err := filepath.Abs("../../testdata/contract")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	p := newPlace(t, "")
	p.write("config/sallyport/sallyport.yaml", "version: 1\nledger: {segment_bytes: 8388608}\npolicy: {dir: "+filepath.Join(dir, "policy")+"}\n")
	d := p.listen()
	approver := d.token(`{"name":"ann","scopes":["approver","viewer"]}`)
	for i, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c contractCase
		if err := json.Unmarshal(raw, &c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if c.Gateway != "" && c.Gateway != "loses" {
			continue // about the client alone
		}
		t.Run(c.Name, func(t *testing.T) {
			agent := c.Agent
			if agent == "" {
				agent = "bot-" + string(rune('a'+i%26)) + string(rune('a'+i/26))
			}
			own := *d.p
			own.t = t
			r := &contractRun{doors: &doors{p: &own, agents: d.agents, people: d.people, admin: d.admin}, c: c}
			r.token = r.agent(agent)
			r.session = read[said](r.doors, 200, r.send("POST", r.agents+"/v1/sessions", r.token, `{}`)).ID
			r.check(approver)
		})
	}
}

func (r *contractRun) check(approver string) {
	t := r.p.t
	t.Helper()
	switch r.c.Again {
	case "taken":
		r.ask("another", r.c.Arguments)
	case "other-arguments":
		r.ask("another", jsontext.Value(`{"id":"other"}`))
	}
	kind, text, result, ticket := r.attempt("one")
	if r.c.Expect.Waits {
		if kind != "waiting" {
			t.Fatalf("it does not wait: %s", text)
		}
		r.people(approver, ticket)
		kind, text, result, _ = r.attempt("two")
	}
	if r.c.Again == "ended" {
		kind, text, result, _ = r.attempt("two")
	}
	if kind != r.c.Expect.Answer || r.ran != r.c.Expect.Ran {
		t.Errorf("%s, ran %d, want %s, %d: %s", kind, r.ran, r.c.Expect.Answer, r.c.Expect.Ran, text)
	}
	if r.c.Expect.Result != nil && !sameJSON(t, jsontext.Value(result), r.c.Expect.Result) {
		t.Errorf("result %s, want %s", result, r.c.Expect.Result)
	}
	if r.c.Expect.Arguments != nil && !sameJSON(t, r.executed, r.c.Expect.Arguments) {
		t.Errorf("executed %s, want %s", r.executed, r.c.Expect.Arguments)
	}
	for _, s := range r.c.Expect.Says {
		if !strings.Contains(text, s) {
			t.Errorf("%q does not stand in %s", s, text)
		}
	}
	for _, s := range r.c.Expect.Never {
		if strings.Contains(text, s) {
			t.Errorf("%q stands in %s", s, text)
		}
	}
}

func sameJSON(t testing.TB, a, b jsontext.Value) bool {
	t.Helper()
	a, b = a.Clone(), b.Clone()
	if a.Canonicalize() != nil || b.Canonicalize() != nil {
		return false
	}
	return string(a) == string(b)
}
