// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway/egress"
	"github.com/sallyport/sallyport/gateway/egress/egresstest"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/ledger"
)

// proxied is an owner whose egress proxy reaches a world on loopback, with an agent and its token.
type proxied struct {
	*house
	world *egresstest.World
	addr  string // of the proxy
	open  *sallyport.Listeners
	agent string
	token string
	seen  *seen
}

// seen is what the hosts of the world were asked, and what they answer.
type seen struct {
	mu     sync.Mutex
	asked  []string // method, host and target
	bodies []string
	fields []http.Header
	answer http.HandlerFunc
}

func (s *seen) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.asked = append(s.asked, r.Method+" "+r.Host+r.URL.RequestURI())
	s.bodies, s.fields = append(s.bodies, string(b)), append(s.fields, r.Header.Clone())
	answer := s.answer
	s.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	fmt.Fprintf(w, "hello from %s over %s", r.Host, r.Proto)
}

func (s *seen) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func (s *seen) answers(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = h
}

func (s *seen) field(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fields[len(s.fields)-1].Get(name)
}

func openProxied(t testing.TB, change func(*sallyport.Config)) *proxied {
	t.Helper()
	return openLimited(t, egress.Limits{}, change)
}

func openLimited(t testing.TB, limits egress.Limits, change func(*sallyport.Config)) *proxied {
	t.Helper()
	x := &proxied{seen: &seen{}}
	var err error
	if x.world, err = egresstest.New(x.seen); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.world.Close)
	cfg := sallyport.PatientConfig()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Egress.Listen = "none", "none", "127.0.0.1:0"
	cfg.Ledger.SegmentBytes = 8 << 20
	if change != nil {
		change(&cfg)
	}
	s, err := sallyport.OpenIn(context.Background(), cfg, sallyport.World{Resolver: x.world, Dial: x.world.Dial, Roots: x.world.Roots, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	x.house = &house{Sallyport: s, t: t, cfg: cfg}
	t.Cleanup(x.stop)
	l, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	x.addr, x.open = l.Egress.Addr().String(), l
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	x.as("fetcher")
	return x
}

// as goes on as another agent.
func (x *proxied) as(name string) {
	x.t.Helper()
	x.agent = strings.Map(func(r rune) rune {
		if r == ' ' || r == '\'' {
			return '-'
		}
		return r
	}, name)
	x.token = x.issue(x.agent, action.ScopeAgent)
}

func (x *proxied) issue(agent string, scopes ...action.Scope) string {
	x.t.Helper()
	if _, err := x.Tokens.CreateAgent(context.Background(), identity.AgentSpec{ID: agent, By: "test"}); err != nil {
		x.t.Fatal(err)
	}
	secret, _, err := x.Tokens.Issue(context.Background(), identity.TokenSpec{Agent: agent, User: "ann", Scopes: scopes, By: "test"})
	if err != nil {
		x.t.Fatal(err)
	}
	return secret
}

// client returns a client behind the proxy that trusts what its agent's authority signs.
func (x *proxied) client(h2 bool) *http.Client {
	x.t.Helper()
	pem, err := x.Egress.CA("default", x.agent)
	if err != nil {
		x.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	tr := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", User: url.UserPassword("agent", x.token), Host: x.addr}),
		TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: h2, DisableCompression: true}
	x.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func fetch(t testing.TB, c *http.Client, method, target, body string, fields ...string) (int, string, *http.Response) {
	t.Helper()
	r, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	res, err := c.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return res.StatusCode, string(b), res
}

// codes are the codes of the records of a kind, joined.
func (x *proxied) codes(kind action.Kind) []string {
	x.t.Helper()
	var out []string
	err := x.Ledger.Records(context.Background(), func(e ledger.Entry) error {
		if e.Leaf.Kind == kind {
			out = append(out, strings.Join(e.Leaf.Codes, " "))
		}
		return nil
	})
	if err != nil {
		x.t.Fatal(err)
	}
	return out
}

func TestEgressPassesWhatThePolicyLetsPass(t *testing.T) {
	x := openProxied(t, nil)
	for _, c := range []struct {
		name, target string
		h2           bool
		want         string
	}{
		{"plain HTTP", "http://docs.example.org/a?q=1", false, "hello from docs.example.org over HTTP/1.1"},
		{"intercepted TLS", "https://docs.example.org/a?q=1", false, "hello from docs.example.org over HTTP/2.0"},
		{"intercepted HTTP/2", "https://docs.example.org/b%2Fc?q=1", true, "hello from docs.example.org over HTTP/2.0"},
		{"another port", "https://docs.example.org:8443/x", true, "hello from docs.example.org:8443 over HTTP/2.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, body, res := fetch(t, x.client(c.h2), "GET", c.target, "")
			if status != 200 || body != c.want {
				t.Fatalf("%d %q", status, body)
			}
			if c.h2 != (res.ProtoMajor == 2) {
				t.Errorf("the client spoke %s", res.Proto)
			}
		})
	}
	status, body, _ := fetch(t, x.client(true), "POST", "https://docs.example.org/notes", `{"title":"hello"}`, "Content-Type", "application/json")
	if status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	if n := len(x.codes(action.KindIntent)); n != 5 {
		t.Errorf("%d intents are on record, want 5", n)
	}
	if n := len(x.codes(action.KindOutcome)); n != 5 {
		t.Errorf("%d outcomes are on record, want 5", n)
	}
}
