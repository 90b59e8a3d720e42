// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

// path is an enforcer in memory that decides by the tool's name: deny.*, ask.*, quarantine.*, broken.*
// do what they say, panic.* panics, everything else is allowed. A result that holds "SECRET" is
// withheld, one that holds "HOLD" is held.
type path struct {
	mu       sync.Mutex
	now      func() time.Time
	sessions map[string]string // id to owner
	said     []enforce.Said
	options  []enforce.SessionOptions
	calls    map[string]*call // by session and call id
	actions  map[string]*call
	attempts []enforce.Attempt
	fail     error // returned by every method while set
	beats    int
}

type call struct {
	adm      enforce.Admission
	owner    string
	digest   [32]byte
	outcome  [32]byte
	content  []byte
	answered chan struct{}
}

func newPath() *path {
	return &path{now: time.Now, sessions: map[string]string{}, calls: map[string]*call{}, actions: map[string]*call{}}
}

func owner(s *action.Subject) string { return s.Tenant + "/" + s.ID + "/" + s.User.ID }

func (p *path) Session(_ context.Context, s *action.Subject, host string, o enforce.SessionOptions) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail != nil {
		return "", p.fail
	}
	id := fmt.Sprintf("S%x", sha256.Sum256([]byte(owner(s)+host)))[:26]
	p.sessions[id] = owner(s)
	p.options = append(p.options, o)
	return id, nil
}

func (p *path) Say(_ context.Context, s *action.Subject, session string, said enforce.Said) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sessions[session] != owner(s) {
		return enforce.ErrNotFound
	}
	p.said = append(p.said, said)
	return p.fail
}

func (p *path) Before(_ context.Context, a enforce.Attempt) (enforce.Admission, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attempts = append(p.attempts, a)
	kind, _, _ := strings.Cut(a.Tool, ".")
	switch {
	case p.fail != nil:
		return enforce.Admission{}, p.fail
	case p.sessions[a.Session] != owner(&a.Subject):
		return enforce.Admission{}, enforce.ErrNotFound
	case kind == "broken":
		return enforce.Admission{}, fmt.Errorf("disk /var/lib/x: %w", io.ErrShortWrite)
	case kind == "panic":
		panic("a secret of the inside")
	}
	digest := sha256.Sum256([]byte(a.Server + "\x00" + a.Tool + "\x00" + string(a.Arguments)))
	if c := p.calls[a.Session+a.CallID]; c != nil {
		if c.digest != digest {
			return enforce.Admission{}, enforce.ErrConflict
		}
		return c.adm, nil
	}
	c := &call{owner: owner(&a.Subject), digest: digest, answered: make(chan struct{})}
	c.adm = enforce.Admission{ID: fmt.Sprintf("A%025d", len(p.actions)), Receipt: "log/1"}
	switch kind {
	case "deny", "quarantine":
		c.adm.Verdict, c.adm.Status, c.adm.Hint = action.Verdict(kind), action.StatusRefused, "This call is not permitted."
	case "ask":
		c.adm.Verdict, c.adm.Status, c.adm.Hint = action.Ask, action.StatusAsked, "A person has to approve this call."
		c.adm.Ticket, c.adm.Expires, c.adm.Channel = "T"+c.adm.ID, p.now().Add(time.Hour), action.RankOperator
	default:
		c.adm.Verdict, c.adm.Status, c.adm.Arguments = action.Allow, action.StatusIntended, bytes.Clone(a.Arguments)
	}
	p.calls[a.Session+a.CallID], p.actions[c.adm.ID] = c, c
	return c.adm, nil
}

// approve grants what is asked.
func (p *path) approve(id string, args string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.actions[id]
	c.adm = enforce.Admission{ID: id, Verdict: action.Allow, Status: action.StatusIntended, Arguments: []byte(args), Receipt: "log/2"}
	close(c.answered)
}

func (p *path) find(s *action.Subject, id string) (*call, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail != nil {
		return nil, p.fail
	}
	c := p.actions[id]
	if c == nil || c.owner != owner(s) {
		return nil, enforce.ErrNotFound
	}
	return c, nil
}

func (p *path) Wait(ctx context.Context, s *action.Subject, id string) (enforce.Admission, error) {
	c, err := p.find(s, id)
	if err != nil {
		return enforce.Admission{}, err
	}
	p.mu.Lock()
	adm := c.adm
	p.mu.Unlock()
	if adm.Verdict != action.Ask {
		return adm, nil
	}
	select {
	case <-ctx.Done():
	case <-c.answered:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return c.adm, nil
}

func (p *path) After(_ context.Context, s *action.Subject, id string, o enforce.Outcome) (enforce.Release, error) {
	c, err := p.find(s, id)
	if err != nil {
		return enforce.Release{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	digest := sha256.Sum256(append([]byte(o.Status), o.Content...))
	switch {
	case c.adm.Release != nil && c.outcome != digest:
		return enforce.Release{}, enforce.ErrConflict
	case c.adm.Release == nil && c.adm.Status != action.StatusIntended:
		return enforce.Release{}, enforce.ErrState
	case c.adm.Release == nil:
		c.outcome, c.content = digest, bytes.Clone(o.Content)
		rel := enforce.Release{ID: id, Verdict: action.Allow, Status: action.StatusReleased, Receipt: "log/3"}
		switch {
		case bytes.Contains(o.Content, []byte("SECRET")):
			rel.Verdict, rel.Status, rel.Hint = action.Deny, action.StatusWithheld, "Executed; the result was withheld."
		case bytes.Contains(o.Content, []byte("HOLD")):
			rel.Verdict, rel.Status, rel.Ticket = action.Ask, action.StatusHeld, "TR"+id
		}
		c.adm.Release, c.adm.Status = &rel, action.StatusDone
	}
	return c.released(), nil
}

func (c *call) released() enforce.Release {
	rel := *c.adm.Release
	rel.Content = c.content // the door must not pass on what is not released
	return rel
}

func (p *path) WaitHeld(ctx context.Context, s *action.Subject, id string) (enforce.Release, error) {
	return p.Held(ctx, s, id)
}

func (p *path) Held(_ context.Context, s *action.Subject, id string) (enforce.Release, error) {
	c, err := p.find(s, id)
	if err != nil {
		return enforce.Release{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return c.released(), nil
}

func (p *path) Heartbeat(s *action.Subject, id string) error {
	_, err := p.find(s, id)
	p.beats++
	return err
}

// tokens is an authenticator over a fixed table.
type tokens map[string]gateway.Caller

func (t tokens) Authenticate(_ context.Context, r *http.Request) (*gateway.Caller, error) {
	got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, gateway.ErrUnauthenticated
	}
	var found *gateway.Caller
	for secret, c := range t {
		if subtle.ConstantTimeCompare([]byte(secret), []byte(got)) == 1 {
			found = &c
		}
	}
	if found == nil {
		return nil, gateway.ErrUnauthenticated
	}
	return found, nil
}

func caller(id, user string, scopes ...action.Scope) gateway.Caller {
	s := action.NewQuery(action.Before).Subject
	s.ID, s.User.ID, s.Scopes = id, user, scopes
	s.Channel.Credential, s.Channel.CredID = action.CredentialToken, "tok-"+id
	return gateway.Caller{Subject: s}
}

// bench is a running door.
type bench struct {
	*httptest.Server
	path   *path
	around atomic.Pointer[func(http.ResponseWriter, *http.Request, http.Handler)] // nil: nothing

	mu       sync.Mutex
	recorded []string // "source code"
}

func (b *bench) record(_ context.Context, _ action.Door, source, code string) {
	b.mu.Lock()
	b.recorded = append(b.recorded, source+" "+code)
	b.mu.Unlock()
}

func (b *bench) records() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.recorded, "\n")
}

// start serves a path in memory.
func start(t testing.TB, change func(*gateway.Config)) *bench {
	t.Helper()
	p := newPath()
	b := serve(t, p, change)
	b.path = p
	return b
}

// serve serves any path.
func serve(t testing.TB, e Enforcer, change func(*gateway.Config)) *bench {
	t.Helper()
	b := &bench{}
	cfg := gateway.Config{
		Auth: tokens{
			"agent": caller("bot", "", action.ScopeAgent), "both": caller("bot", "", action.ScopeAgent, action.ScopeHost),
			"other": caller("spy", "", action.ScopeAgent, action.ScopeHost), "viewer": {Name: "vera", Subject: caller("", "", action.ScopeViewer).Subject},
			"host": caller("bot", "", action.ScopeHost), "ann": caller("bot", "ann", action.ScopeAgent, action.ScopeHost),
		},
		Malformed: b.record,
		Log:       slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	gate, err := gateway.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h, err := New(Config{Enforcer: e, Gate: gate})
	if err != nil {
		t.Fatal(err)
	}
	srv := gateway.Server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := b.around.Load(); f != nil {
			(*f)(w, r, h)
			return
		}
		h.ServeHTTP(w, r)
	}))
	b.Server = httptest.NewUnstartedServer(nil)
	b.Config = srv
	b.Start()
	t.Cleanup(b.Close)
	return b
}

// call sends one request and returns status, body and response.
func (b *bench) call(t testing.TB, token, method, target, body string) (int, string, *http.Response) {
	t.Helper()
	req, err := http.NewRequest(method, b.URL+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return b.do(t, req)
}

func (b *bench) do(t testing.TB, req *http.Request) (int, string, *http.Response) {
	t.Helper()
	if req.ContentLength < 0 || req.ContentLength > 1<<20 {
		// A client that is still sending when it is refused may lose the answer with the connection.
		w := httptest.NewRecorder()
		b.Config.Handler.ServeHTTP(w, req)
		return w.Code, w.Body.String(), w.Result()
	}
	res, err := b.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(got), res
}
