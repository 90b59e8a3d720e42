// SPDX-License-Identifier: Apache-2.0

package llm_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/identity"
)

// BenchmarkFirstToken compares the time to the first text of a streamed answer through the door of a real owner, whose
// records reach the disk, with that of the same request to the provider itself: a stand-in that answers at once.
// Each request says something new, so that its words are recorded, too.
func BenchmarkFirstToken(b *testing.B) {
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"one"},"finish_reason":null}]}`+"\n\n")
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`+"\n\ndata: [DONE]\n\n")
	}))
	defer provider.Close()
	door, token := owned(b, provider.URL)
	ask := func(url, token string) time.Duration {
		said := strings.Repeat("word ", 40) + time.Now().Format(time.RFC3339Nano)
		req, err := http.NewRequest(http.MethodPost, url+"/chat/completions", strings.NewReader(`{"model":"m","stream":true,"messages":[{"role":"user","content":"`+said+`"}]}`))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+token)
		began := time.Now()
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		r := bufio.NewReader(resp.Body)
		line, err := r.ReadString('\n')
		took := time.Since(began)
		if rest, _ := io.ReadAll(r); err != nil || !strings.Contains(line, "one") || !strings.Contains(string(rest), "[DONE]") {
			b.Fatalf("%s %q %v", resp.Status, line, err)
		}
		return took
	}
	var direct, through []time.Duration
	for range 10 { // connections and caches
		ask(provider.URL, "x")
		ask(door, token)
	}
	for b.Loop() {
		direct, through = append(direct, ask(provider.URL, "x")), append(through, ask(door, token))
	}
	for name, list := range map[string][]time.Duration{"direct": direct, "door": through} {
		slices.Sort(list)
		b.ReportMetric(float64(list[len(list)/2].Microseconds()), name+"-p50-us")
		b.ReportMetric(float64(list[len(list)*99/100].Microseconds()), name+"-p99-us")
	}
	b.ReportMetric(float64((through[len(through)/2] - direct[len(direct)/2]).Microseconds()), "added-p50-us")
}

// owned is a real owner before url: the base address of its door for OpenAI's API, and a harness's token.
func owned(b *testing.B, url string) (door, token string) {
	b.Helper()
	cfg := sallyport.DefaultConfig()
	cfg.Data, cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Ledger.SegmentBytes = filepath.Join(b.TempDir(), "d"), "127.0.0.1:0", "none", 64<<20
	cfg.LLM.OpenAI.URL = url
	s, err := sallyport.Open(context.Background(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	l, err := s.Listen()
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	errs := make(chan error, 2)
	wg.Go(func() { errs <- s.Run(ctx) })
	wg.Go(func() { errs <- s.Serve(ctx, l) })
	b.Cleanup(func() {
		cancel()
		wg.Wait()
		if err := errors.Join(<-errs, <-errs, s.Close()); err != nil {
			b.Error(err)
		}
	})
	if _, err := s.Tokens.CreateAgent(ctx, identity.AgentSpec{ID: "bot", By: "test"}); err != nil {
		b.Fatal(err)
	}
	token, _, err = s.Tokens.Issue(ctx, identity.TokenSpec{Agent: "bot", User: "ann", Scopes: []action.Scope{action.ScopeAgent, action.ScopeHost}, By: "test"})
	if err != nil {
		b.Fatal(err)
	}
	return "http://" + l.Agents.Addr().String() + "/llm/openai/v1", token
}
