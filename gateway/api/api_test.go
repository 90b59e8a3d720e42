// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

func act(callID, tool, args string) string {
	return fmt.Sprintf(`{"call_id":%q,"tool":{"server":"fs","name":%q},"arguments":%s}`, callID, tool, args)
}

// decode reads an answer; its zero values fail the checks that follow.
func decode[T any](t testing.TB, body string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("answer %s: %v", body, err)
	}
	return v
}

func TestActionGoesThroughBothGates(t *testing.T) {
	b := start(t, nil)
	code, body, _ := b.call(t, "both", "POST", "/v1/sessions", `{"user_request":"read <a> & b","roots":["/w"],"cwd":"/w"}`)
	if code != 200 {
		t.Fatal(code, body)
	}
	session := decode[sessionAnswer](t, body).ID
	if len(b.path.said) != 1 || string(b.path.said[0].Text) != "read <a> & b" || b.path.said[0].By != action.AssertedSDK {
		t.Fatalf("said %+v", b.path.said)
	}
	if o := b.path.options[0]; o.Cwd != "/w" || len(o.Roots) != 1 {
		t.Fatalf("options %+v", o)
	}
	// Spelling of numbers and strings, and the order of names, stay as they were.
	req := strings.Replace(act("c1", "read", `{"z": 1e2, "a":"<&\u0041>"}`), "{", `{"session":"`+session+`",`, 1)
	code, body, res := b.call(t, "both", "POST", "/v1/actions", req)
	a := decode[actionAnswer](t, body)
	if code != 200 || a.Decision.Effect != action.Allow || string(a.Arguments) != `{"z":1e2,"a":"<&\u0041>"}` || a.Session != session {
		t.Fatal(code, body)
	}
	if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Fatal(res.Header)
	}
	att := b.path.attempts[0]
	if string(att.Arguments) != `{"z": 1e2, "a":"<&\u0041>"}` || !att.Claimed || att.Grade != action.GradeHook ||
		att.Subject.ID != "bot" || att.Subject.Channel.Door != action.DoorAPI || att.Subject.Channel.UID != -1 ||
		att.Subject.Channel.Remote != action.No {
		t.Fatalf("attempt %+v", att)
	}
	if code, body, _ = b.call(t, "both", "POST", "/v1/actions/"+a.ID+"/heartbeat", ""); code != 200 || b.path.beats != 1 {
		t.Fatal(code, body)
	}
	code, body, _ = b.call(t, "both", "POST", "/v1/actions/"+a.ID+"/outcome", `{"status":"done","result":{"ok":true}}`)
	if r := decode[releaseAnswer](t, body); code != 200 || r.Status != action.StatusReleased || string(r.Result) != `{"ok":true}` {
		t.Fatal(code, body)
	}
	code, again, _ := b.call(t, "both", "POST", "/v1/actions/"+a.ID+"/outcome", `{"status":"done","result":{"ok":true}}`)
	if code != 200 || again != body {
		t.Fatal("a repeated outcome answers differently", code, again)
	}
	if code, body, _ = b.call(t, "both", "POST", "/v1/actions/"+a.ID+"/outcome", `{"status":"done","result":{}}`); code != 409 {
		t.Fatal(code, body)
	}
	code, body, _ = b.call(t, "both", "GET", "/v1/actions/"+a.ID, "")
	got := decode[actionAnswer](t, body)
	if code != 200 || got.Arguments != nil || got.Outcome == nil || string(got.Outcome.Result) != `{"ok":true}` {
		t.Fatal("an action that is over must not be handed out for execution", code, body)
	}
}

func TestDecisionsAre200AndPendingIs202(t *testing.T) {
	b := start(t, nil)
	for _, c := range []struct {
		tool   string
		status int
		effect action.Verdict
	}{
		{"read", 200, action.Allow}, {"deny.x", 200, action.Deny}, {"quarantine.x", 200, action.Quarantine}, {"ask.x", 202, action.Ask},
	} {
		code, body, _ := b.call(t, "agent", "POST", "/v1/actions", act("c-"+c.tool, c.tool, `{}`))
		a := decode[actionAnswer](t, body)
		if code != c.status || a.Decision.Effect != c.effect || (a.Arguments != nil) != (c.effect == action.Allow) ||
			(a.Approval != nil) != (c.effect == action.Ask) {
			t.Errorf("%s: %d %s", c.tool, code, body)
		}
	}
}

func TestWaitDeliversTheGrant(t *testing.T) {
	b := start(t, nil)
	_, body, _ := b.call(t, "agent", "POST", "/v1/actions", act("c", "ask.x", `{"a":1}`))
	a := decode[actionAnswer](t, body)
	if code, body, _ := b.call(t, "agent", "GET", "/v1/actions/"+a.ID, ""); code != 202 {
		t.Fatal(code, body)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		code, body, _ := b.call(t, "agent", "GET", "/v1/actions/"+a.ID+"?wait=60s", "")
		if g := decode[actionAnswer](t, body); code != 200 || g.Decision.Effect != action.Allow || string(g.Arguments) != `{"a":1}` {
			t.Error(code, body)
		}
	})
	b.path.approve(a.ID, `{"a":1}`)
	wg.Wait()
}

func TestWaitIsBounded(t *testing.T) {
	for _, c := range []struct {
		query string
		want  time.Duration
		bad   bool
	}{
		{"", 0, false}, {"wait=0s", 0, false}, {"wait=250ms", 250 * time.Millisecond, false}, {"wait=60s", time.Minute, false},
		{"wait=61s", time.Minute, false}, {"wait=100000h", time.Minute, false}, {"wait=9999999999h", 0, true}, {"wait=-1s", 0, true},
		{"wait=", 0, true}, {"wait=60", 0, true}, {"wait=1s&wait=2s", 0, true}, {"Wait=1s", 0, true}, {"other=1", 0, true},
		{"wait=1s;x", 0, true}, {"%zz", 0, true},
	} {
		got, _, err := waitQuery(c.query)
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%q: %v, %v", c.query, got, err)
		}
	}
}

func TestPollsOfOneCallerAreBounded(t *testing.T) {
	b := start(t, func(c *gateway.Config) { c.Limits.Polls = 2 })
	_, body, _ := b.call(t, "agent", "POST", "/v1/actions", act("c", "ask.x", `{}`))
	id := decode[actionAnswer](t, body).ID
	// Three at once: whichever comes last finds the room taken, the others end with the grant.
	codes := make(chan int, 3)
	for range 3 {
		go func() {
			code, _, _ := b.call(t, "agent", "GET", "/v1/actions/"+id+"?wait=60s", "")
			codes <- code
		}()
	}
	if code := <-codes; code != 429 {
		t.Fatal("a third poll got", code)
	}
	// Another caller is not touched.
	if code, body, _ := b.call(t, "other", "POST", "/v1/actions", act("c", "read", `{}`)); code != 200 {
		t.Fatal(code, body)
	}
	b.path.approve(id, `{}`)
	if a, c := <-codes, <-codes; a != 200 || c != 200 {
		t.Fatal(a, c)
	}
}

func TestResultsOutOfGateTwoStayBehindIt(t *testing.T) {
	b := start(t, nil)
	for _, c := range []struct {
		result string
		status int
		state  action.Status
	}{{`"HOLD this"`, 202, action.StatusHeld}, {`"a SECRET"`, 200, action.StatusWithheld}} {
		_, body, _ := b.call(t, "agent", "POST", "/v1/actions", act(c.result, "read", `{}`))
		id := decode[actionAnswer](t, body).ID
		code, body, _ := b.call(t, "agent", "POST", "/v1/actions/"+id+"/outcome", `{"status":"done","result":`+c.result+`}`)
		if r := decode[releaseAnswer](t, body); code != c.status || r.Status != c.state || r.Result != nil {
			t.Error(code, body)
		}
		code, body, _ = b.call(t, "agent", "GET", "/v1/actions/"+id, "")
		if a := decode[actionAnswer](t, body); code != c.status || a.Outcome == nil || a.Outcome.Result != nil {
			t.Error(code, body)
		}
	}
}

func TestCallIDIsIdempotent(t *testing.T) {
	b := start(t, nil)
	bodies := make(chan string, 32)
	var wg sync.WaitGroup
	for range cap(bodies) {
		wg.Go(func() {
			_, body, _ := b.call(t, "agent", "POST", "/v1/actions", act("same", "read", `{"a":1}`))
			bodies <- body
		})
	}
	wg.Wait()
	first := <-bodies
	for range cap(bodies) - 1 {
		if got := <-bodies; got != first {
			t.Fatalf("parallel repeats differ: %s and %s", first, got)
		}
	}
	if len(b.path.actions) != 1 {
		t.Fatalf("%d actions", len(b.path.actions))
	}
	if code, body, _ := b.call(t, "agent", "POST", "/v1/actions", act("same", "read", `{"a":2}`)); code != 409 || !strings.Contains(body, `"conflict"`) {
		t.Fatal(code, body)
	}
}

func TestOthersCannotTouchAnAction(t *testing.T) {
	b := start(t, nil)
	_, body, _ := b.call(t, "agent", "POST", "/v1/actions", act("c", "read", `{}`))
	a := decode[actionAnswer](t, body)
	for _, c := range []struct{ method, target, body string }{
		{"GET", "/v1/actions/" + a.ID, ""},
		{"POST", "/v1/actions/" + a.ID + "/outcome", `{"status":"done"}`},
		{"POST", "/v1/actions/" + a.ID + "/heartbeat", ``},
		{"POST", "/v1/sessions/" + a.Session + "/context", `{"kind":"reasoning","text":"x"}`},
		{"POST", "/v1/actions", strings.Replace(act("d", "read", `{}`), "{", `{"session":"`+a.Session+`",`, 1)},
		{"GET", "/v1/actions/" + strings.Repeat("A", 200), ""},
		{"GET", "/v1/actions/%2e%2e%2fx", ""},
	} {
		if code, body, _ := b.call(t, "other", c.method, c.target, c.body); code != 404 {
			t.Errorf("%s %s: %d %s", c.method, c.target, code, body)
		}
	}
}

func TestFaultsTellNothingOfOurInsides(t *testing.T) {
	for _, c := range []struct {
		name   string
		err    error
		status int
		code   gateway.Code
		retry  bool
	}{
		{"malformed", enforce.ErrMalformed, 400, gateway.CodeMalformed, false},
		{"unknown", enforce.ErrNotFound, 404, gateway.CodeNotFound, false},
		{"used for another call", enforce.ErrConflict, 409, gateway.CodeConflict, false},
		{"wrong state", enforce.ErrState, 409, gateway.CodeState, false},
		{"busy", enforce.ErrBusy, 503, gateway.CodeBusy, true},
		{"unrecorded", enforce.ErrUnrecorded, 503, gateway.CodeUnrecorded, true},
		{"a fault of ours", fmt.Errorf("open /secret/path: %w", http.ErrBodyNotAllowed), 500, gateway.CodeInternal, false},
	} {
		b := start(t, nil)
		b.path.fail = fmt.Errorf("inside /secret/path: %w", c.err)
		code, body, res := b.call(t, "agent", "POST", "/v1/actions", act("c", "read", `{}`))
		if code != c.status || !strings.Contains(body, `"code":"`+string(c.code)+`"`) || strings.Contains(body, "secret") ||
			(res.Header.Get("Retry-After") != "") != c.retry || res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s %v", c.name, code, body, res.Header)
		}
	}
	b := start(t, nil)
	for _, tool := range []string{"broken.x", "panic.x"} {
		code, body, _ := b.call(t, "agent", "POST", "/v1/actions", act(tool, tool, `{}`))
		if code != 500 || strings.Contains(body, "secret") || strings.Contains(body, "/var") || strings.Contains(body, ".go") {
			t.Errorf("%s: %d %s", tool, code, body)
		}
	}
	if !strings.Contains(b.records(), "credential:tok-bot internal") {
		t.Errorf("records %q", b.records())
	}
	if code, _, _ := b.call(t, "agent", "POST", "/v1/actions", act("after", "read", `{}`)); code != 200 {
		t.Error("the door does not serve after a panic", code)
	}
}
