// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/enforce/enforcetest"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/store/memory"
)

// real is the door on the real path, with the log and the desk in memory.
type real struct {
	*bench
	log  *enforcetest.Log
	desk *enforcetest.Desk
}

func startReal(t *testing.T, change func(*enforce.Config)) *real {
	t.Helper()
	r := &real{log: &enforcetest.Log{}, desk: &enforcetest.Desk{}}
	st := memory.Open(memory.Config{})
	t.Cleanup(func() { _ = st.Close() })
	cfg := enforcetest.Config(func(q *action.Query) (action.Decision, error) {
		text := q.Resource.Name
		if q.Phase == action.After {
			text = string(q.Context.Result.Content)
		}
		switch {
		case strings.Contains(text, "ask"):
			return enforcetest.Rule(action.Ask, "test.ask"), nil
		case strings.Contains(text, "deny"):
			return enforcetest.Rule(action.Deny, "test.deny"), nil
		}
		return enforcetest.Rule(action.Allow, "test.allow"), nil
	}, r.log, r.desk, st)
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
	r.bench = serve(t, e, func(g *gateway.Config) { g.Malformed = e.Malformed })
	return r
}

func (r *real) kinds() string {
	var out []string
	for _, rec := range r.log.Records() {
		out = append(out, string(rec.Kind))
	}
	return strings.Join(out, " ")
}

func TestRealPathRecordsBeforeItAnswers(t *testing.T) {
	r := startReal(t, nil)
	code, body, _ := r.call(t, "both", "POST", "/v1/sessions", `{"user_request":"tidy up"}`)
	if code != 200 {
		t.Fatal(code, body)
	}
	session := decode[sessionAnswer](t, body).ID
	req := strings.Replace(act("c1", "read", `{"a": 1}`), "{", `{"session":"`+session+`",`, 1)
	code, body, _ = r.call(t, "both", "POST", "/v1/actions", req)
	a := decode[actionAnswer](t, body)
	if code != 200 || a.Status != action.StatusIntended || string(a.Arguments) != `{"a":1}` || a.Receipt == "" || r.kinds() != "session context intent" {
		t.Fatal(code, body, r.kinds())
	}
	if code, body, _ = r.call(t, "both", "POST", "/v1/actions/"+a.ID+"/heartbeat", ""); code != 200 {
		t.Fatal(code, body)
	}
	code, body, _ = r.call(t, "both", "POST", "/v1/actions/"+a.ID+"/outcome", `{"status":"done","result":{"n":1e2}}`)
	if rel := decode[releaseAnswer](t, body); code != 200 || string(rel.Result) != `{"n":1e2}` || r.kinds() != "session context intent outcome" {
		t.Fatal(code, body, r.kinds())
	}
	if rec := r.log.Of(action.KindOutcome)[0]; rec.Observed != action.No {
		t.Errorf("a claim is recorded as observed: %q", rec.Observed)
	}
	for range 2 { // repeats answer from the store and record nothing
		code, body, _ = r.call(t, "both", "POST", "/v1/actions", req)
		if o := decode[actionAnswer](t, body).Outcome; code != 200 || o == nil || string(o.Result) != `{"n":1e2}` {
			t.Error(code, body)
		}
	}
	if r.kinds() != "session context intent outcome" {
		t.Error(r.kinds())
	}
}

func TestRealPathDeliversAGrantOnce(t *testing.T) {
	r := startReal(t, nil)
	code, body, _ := r.call(t, "agent", "POST", "/v1/actions", act("c1", "ask", `{"to":"bob"}`))
	a := decode[actionAnswer](t, body)
	if code != 202 || a.Approval == nil || a.Approval.Expires.IsZero() || a.Arguments != nil {
		t.Fatal(code, body)
	}
	if code, body, _ = r.call(t, "agent", "POST", "/v1/actions/"+a.ID+"/outcome", `{"status":"done"}`); code != 409 {
		t.Fatal("an outcome before the intent", code, body)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			code, body, _ := r.call(t, "agent", "GET", "/v1/actions/"+a.ID+"?wait=60s", "")
			if g := decode[actionAnswer](t, body); code != 200 || string(g.Arguments) != `{"to":"bob"}` {
				t.Error(code, body)
			}
		})
	}
	if !r.desk.Decide(a.Approval.ID, true, action.RankOperator, "") {
		t.Error("there is nothing to approve")
	}
	wg.Wait()
	if n := len(r.log.Of(action.KindIntent)); n != 1 {
		t.Errorf("%d intents", n)
	}
}

func TestRealPathRefusalReachesTheAgent(t *testing.T) {
	r := startReal(t, nil)
	_, body, _ := r.call(t, "agent", "POST", "/v1/actions", act("c1", "ask", `{}`))
	a := decode[actionAnswer](t, body)
	r.desk.Decide(a.Approval.ID, false, action.RankOperator, "not on a Friday")
	code, body, _ := r.call(t, "agent", "GET", "/v1/actions/"+a.ID, "")
	if g := decode[actionAnswer](t, body); code != 200 || g.Decision.Effect != action.Deny || !strings.Contains(g.Decision.Hint, "not on a Friday") {
		t.Error(code, body)
	}
}

func TestRealPathHoldsAndReleases(t *testing.T) {
	r := startReal(t, nil)
	_, body, _ := r.call(t, "agent", "POST", "/v1/actions", act("c1", "read", `{}`))
	id := decode[actionAnswer](t, body).ID
	code, body, _ := r.call(t, "agent", "POST", "/v1/actions/"+id+"/outcome", `{"status":"done","result":"ask about this"}`)
	rel := decode[releaseAnswer](t, body)
	if code != 202 || rel.Status != action.StatusHeld || rel.Result != nil || rel.Approval == nil {
		t.Fatal(code, body)
	}
	if code, body, _ = r.call(t, "agent", "GET", "/v1/actions/"+id, ""); code != 202 {
		t.Fatal(code, body)
	}
	r.desk.Decide(rel.Approval.ID, true, action.RankOperator, "")
	code, body, _ = r.call(t, "agent", "GET", "/v1/actions/"+id, "")
	if o := decode[actionAnswer](t, body).Outcome; code != 200 || o == nil || string(o.Result) != `"ask about this"` {
		t.Fatal(code, body)
	}
}

func TestRealPathWaitsForTheReleaseOfAResult(t *testing.T) {
	r := startReal(t, nil)
	for i := range 8 {
		_, body, _ := r.call(t, "agent", "POST", "/v1/actions", act(fmt.Sprintf("w%d", i), "read", `{}`))
		id := decode[actionAnswer](t, body).ID
		_, body, _ = r.call(t, "agent", "POST", "/v1/actions/"+id+"/outcome", fmt.Sprintf(`{"status":"done","result":"ask about this %d"}`, i))
		rel := decode[releaseAnswer](t, body)
		if code, body, _ := r.call(t, "agent", "GET", "/v1/actions/"+id+"?wait=20ms", ""); code != 202 {
			t.Fatal(code, body)
		}
		answered := make(chan string, 1)
		go func() {
			code, body, _ := r.call(t, "agent", "GET", "/v1/actions/"+id+"?wait=60s", "")
			answered <- fmt.Sprint(code, " ", body)
		}()
		r.desk.Decide(rel.Approval.ID, i%2 == 0, action.RankOperator, "")
		want := `"status":"withheld"`
		if i%2 == 0 {
			want = fmt.Sprintf("ask about this %d", i)
		}
		if got := <-answered; !strings.HasPrefix(got, "200 ") || !strings.Contains(got, want) {
			t.Errorf("%d: %s", i, got)
		}
	}
}

func TestRealPathKeepsCallersApart(t *testing.T) {
	r := startReal(t, nil)
	_, body, _ := r.call(t, "agent", "POST", "/v1/actions", act("c1", "read", `{}`))
	a := decode[actionAnswer](t, body)
	in := func(session, call string) string {
		return strings.Replace(act(call, "read", `{}`), "{", `{"session":"`+session+`",`, 1)
	}
	for _, c := range []struct{ token, method, target, body string }{
		{"other", "GET", "/v1/actions/" + a.ID, ""},
		{"other", "POST", "/v1/actions/" + a.ID + "/outcome", `{"status":"done"}`},
		{"other", "POST", "/v1/actions/" + a.ID + "/heartbeat", ``},
		{"other", "POST", "/v1/sessions/" + a.Session + "/context", `{"kind":"reasoning","text":"x"}`},
		{"other", "POST", "/v1/actions", in(a.Session, "d")},
		{"other", "POST", "/v1/actions", in(a.Session, "c1")}, // a repeat of somebody else's call
		{"ann", "GET", "/v1/actions/" + a.ID, ""},             // the same agent for another user
		{"ann", "POST", "/v1/actions", in(a.Session, "c1")},
	} {
		if code, body, _ := r.call(t, c.token, c.method, c.target, c.body); code != 404 {
			t.Errorf("%s %s %s %s: %d %s", c.token, c.method, c.target, c.body, code, body)
		}
	}
}

func TestRealPathCountsAttemptsOnce(t *testing.T) {
	r := startReal(t, nil)
	for i := range 50 {
		if code, body, _ := r.call(t, fmt.Sprintf("forged-%d", i), "POST", "/v1/actions", act("c", "read", `{}`)); code != 401 {
			t.Fatal(code, body)
		}
	}
	if n := len(r.log.Records()); n > 1 {
		t.Errorf("50 forged tokens made %d records at once", n)
	}
}

func TestRealPathCapHoldsAgainstParallelCalls(t *testing.T) {
	total := &enforcetest.Cap{Cost: func(*action.Query) int64 { return 10 }}
	r := startReal(t, func(c *enforce.Config) {
		c.Stages = [][]enforce.Source{{{Name: "monitor", Informer: total}}}
		c.Decider = enforcetest.Policy(func(q *action.Query) (action.Decision, error) {
			if h := q.Context.History.Counters; q.Phase == action.Before && (len(h) != 1 || h[0].Value+10 > 100) {
				return enforcetest.Rule(action.Deny, "test.cap"), nil
			}
			return enforcetest.Rule(action.Allow, "test.allow"), nil
		})
	})
	var mu sync.Mutex
	allowed := 0
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			code, body, _ := r.call(t, "agent", "POST", "/v1/actions", act(fmt.Sprint(i), "pay", `{"amount":10}`))
			if code != 200 {
				t.Error(code, body)
			}
			if decode[actionAnswer](t, body).Decision.Effect == action.Allow {
				mu.Lock()
				allowed++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if allowed != 10 {
		t.Errorf("%d payments of 10 passed a cap of 100", allowed)
	}
}

func TestRealPathOutlivesACallerThatLeaves(t *testing.T) {
	inside, left := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r := startReal(t, func(c *enforce.Config) {
		c.InformDeadline = time.Minute
		c.Stages = [][]enforce.Source{{{Name: "monitor", Informer: enforcetest.Facts{Func: func(ctx context.Context, _ *action.Query) (action.Part, error) {
			once.Do(func() {
				close(inside)
				<-left
			})
			return action.UnknownMonitor(), ctx.Err()
		}}}}}
	})
	served := make(chan struct{})
	watch := func(w http.ResponseWriter, req *http.Request, h http.Handler) {
		go func() {
			<-req.Context().Done()
			close(left)
		}()
		h.ServeHTTP(w, req)
		close(served)
	}
	r.around.Store(&watch)
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-inside
		leave()
	}()
	req, _ := http.NewRequestWithContext(ctx, "POST", r.URL+"/v1/actions", strings.NewReader(act("c", "read", `{}`)))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer agent")
	if res, err := r.Client().Do(req); err == nil {
		res.Body.Close()
		t.Fatal("the caller did not leave")
	}
	<-served
	r.around.Store(nil)
	code, body, _ := r.call(t, "agent", "POST", "/v1/actions", act("c", "read", `{}`))
	if a := decode[actionAnswer](t, body); code != 200 || a.Decision.Effect != action.Allow {
		t.Error(code, body)
	}
	if n := len(r.log.Of(action.KindIntent)); n != 1 {
		t.Errorf("%d intents", n)
	}
}
