// SPDX-License-Identifier: Apache-2.0

package llm_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/identity"
)

// model says thanks, and keeps what it was told last.
type model struct {
	mu   sync.Mutex
	last string
}

func (m *model) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	m.mu.Lock()
	m.last = string(body)
	m.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Thanks."},"finish_reason":"stop"}]}`)
}

func (m *model) told() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

// run is one life of an owner over a directory.
func run(t *testing.T, dir, upstream string) (s *sallyport.Sallyport, door string, stop func()) {
	t.Helper()
	cfg := sallyport.DefaultConfig()
	cfg.Data, cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Ledger.SegmentBytes = dir, "127.0.0.1:0", "none", 8<<20
	cfg.LLM.OpenAI.URL = upstream
	s, err := sallyport.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	errs := make(chan error, 2)
	wg.Go(func() { errs <- s.Run(ctx) })
	wg.Go(func() { errs <- s.Serve(ctx, l) })
	stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if err := errors.Join(<-errs, <-errs, s.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return s, "http://" + l.Agents.Addr().String() + "/llm/openai/v1/chat/completions", stop
}

// TestBaselineJudgesEveryResultAlsoAfterARestart has the baseline decide on results of calls that were never here.
func TestBaselineJudgesEveryResultAlsoAfterARestart(t *testing.T) {
	const secret = "ghp_aB3dE6gH9jK2mN5pQ8sT1vW4xY7zC0fL2hR6"
	m := &model{}
	up := httptest.NewServer(m)
	defer up.Close()
	dir := filepath.Join(t.TempDir(), "d")
	s, door, stop := run(t, dir, up.URL)
	if _, err := s.Tokens.CreateAgent(t.Context(), identity.AgentSpec{ID: "bot", By: "test"}); err != nil {
		t.Fatal(err)
	}
	token, _, err := s.Tokens.Issue(t.Context(), identity.TokenSpec{Agent: "bot", User: "ann", Scopes: []action.Scope{action.ScopeAgent, action.ScopeHost}, By: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(id, result string) {
		t.Helper()
		words, _ := json.Marshal(result)
		body := fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":"Go on"},{"role":"assistant","content":null,"tool_calls":[{"id":%q,"type":"function","function":{"name":"look","arguments":"{}"}}]},{"role":"tool","tool_call_id":%q,"content":%s}]}`, id, id, words)
		req, err := http.NewRequest(http.MethodPost, door, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		if said, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK || !strings.Contains(string(said), "Thanks.") {
			t.Fatalf("%d %s", res.StatusCode, said)
		}
	}
	check := func(when string) {
		t.Helper()
		ask("call_9", "the weather is fine "+when)
		if got := m.told(); !strings.Contains(got, "the weather is fine") {
			t.Errorf("%s: a harmless result does not reach the model: %s", when, got)
		}
		ask("call_8", "the key is "+secret+" "+when)
		if got := m.told(); strings.Contains(got, secret) || !strings.Contains(got, "the key is ") {
			t.Errorf("%s: the model is told %s", when, got)
		}
	}
	check("before")
	stop()
	_, door, stop = run(t, dir, up.URL)
	check("after")
	ask("call_8", "the key is "+secret+" before") // in the history, as the agent repeats it
	if got := m.told(); strings.Contains(got, secret) {
		t.Errorf("what was redacted before the restart is told after it: %s", got)
	}
	stop()
}
