// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
)

// byHeader authenticates whoever names himself in the Authorization header; "nobody" has no name,
// "broken" is a store that is down.
type byHeader struct{}

func (byHeader) Authenticate(_ context.Context, r *http.Request) (*Caller, error) {
	switch name := r.Header.Get("Authorization"); name {
	case "":
		return nil, ErrUnauthenticated
	case "nil":
		return nil, nil
	case "nobody":
		return &Caller{Subject: action.Subject{Tenant: "default"}}, nil
	case "homeless":
		return &Caller{Name: "x"}, nil
	case "broken":
		return nil, errors.New("store: /secret is gone")
	default:
		return &Caller{Name: name, Subject: action.Subject{Tenant: "default", ID: name, Scopes: []action.Scope{action.ScopeAgent}}}, nil
	}
}

type log struct {
	mu   sync.Mutex
	rows []string
}

func (l *log) malformed(_ context.Context, d action.Door, source, code string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows = append(l.rows, fmt.Sprint(d, " ", source, " ", code))
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.rows, "\n")
}

func newHandler(t testing.TB, cfg Config, serve Handler) (http.Handler, *log) {
	t.Helper()
	l := &log{}
	cfg.Auth, cfg.Malformed, cfg.Log = byHeader{}, l.malformed, slog.New(slog.DiscardHandler)
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h, err := g.Handler(Route{Pattern: "POST /x", Scopes: []action.Scope{action.ScopeAgent}, Serve: serve},
		Route{Pattern: "GET /x", Scopes: []action.Scope{action.ScopeAgent}, Serve: serve, Door: action.DoorMCP})
	if err != nil {
		t.Fatal(err)
	}
	return h, l
}

func listen(t testing.TB, h http.Handler) *httptest.Server {
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = Server(h)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv
}

func ok(w http.ResponseWriter, _ *http.Request, _ *Caller) error {
	return WriteJSON(w, 200, map[string]string{"b": "<&>", "a": "1"})
}

func request(method, host, auth string) *http.Request {
	r := httptest.NewRequest(method, "/x", nil)
	r.Host, r.RemoteAddr = host, "127.0.0.1:4000"
	if auth != "" {
		r.Header.Set("Authorization", auth)
	}
	return r
}

func TestGateDeniesByDefault(t *testing.T) {
	for _, cfg := range []Config{{}, {Auth: byHeader{}}, {Malformed: (&log{}).malformed}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
	g, err := New(Config{Auth: byHeader{}, Malformed: (&log{}).malformed})
	if err != nil {
		t.Fatal(err)
	}
	for _, rt := range []Route{
		{Pattern: "GET /x", Serve: ok}, // no scope: nobody
		{Pattern: "GET /x", Scopes: []action.Scope{action.ScopeAgent}},
		{Pattern: "/x", Serve: ok, Scopes: []action.Scope{action.ScopeAgent}},
	} {
		if _, err := g.Handler(rt); err == nil {
			t.Errorf("route %+v is accepted", rt)
		}
	}
}

func TestCallersAreProved(t *testing.T) {
	h, l := newHandler(t, Config{}, ok)
	for _, c := range []struct {
		auth   string
		status int
	}{{"", 401}, {"nil", 401}, {"nobody", 401}, {"homeless", 401}, {"broken", 500}, {"ann", 200}} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request("GET", "localhost", c.auth))
		if w.Code != c.status || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%q: %d %s", c.auth, w.Code, w.Body)
		}
		if c.status == 200 && w.Body.String() != `{"a":"1","b":"<&>"}`+"\n" {
			t.Errorf("answer %s", w.Body)
		}
	}
	if want := strings.Repeat("mcp 127.0.0.1 unauthenticated\n", 4) + "mcp 127.0.0.1 internal"; l.String() != want {
		t.Errorf("records %s", l)
	}
}

func TestHostsAndOriginsAreChecked(t *testing.T) {
	loop := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7117}
	lan := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 7117}
	sock := &net.UnixAddr{Name: "/run/x.sock", Net: "unix"}
	for _, c := range []struct {
		name   string
		local  net.Addr
		host   string
		header map[string]string
		same   bool
		status int
	}{
		{"loopback by name", loop, "localhost:7117", nil, false, 200},
		{"loopback by a name in capitals", loop, "LOCALHOST", nil, false, 200},
		{"loopback by address", loop, "127.0.0.1:7117", nil, false, 200},
		{"loopback by the other address", loop, "[::1]:7117", nil, false, 200},
		{"a configured host", loop, "gate.example", nil, false, 200},
		{"a rebound name", loop, "evil.example:7117", nil, false, 403},
		{"no host", loop, "", nil, false, 403},
		{"user information", loop, "localhost@evil.example", nil, false, 403},
		{"the wide address", loop, "0.0.0.0:7117", nil, false, 403},
		{"the network's own address", lan, "192.0.2.7:7117", nil, false, 200},
		{"another address on the network", lan, "192.0.2.8:7117", nil, false, 403},
		{"loopback on the network", lan, "localhost:7117", nil, false, 403},
		{"the loopback address on the network", lan, "127.0.0.1:7117", nil, false, 403},
		{"anything on a unix socket", sock, "whatever", nil, false, 200},
		{"a page on a unix socket", sock, "whatever", map[string]string{"Origin": "https://evil.example"}, false, 403},
		{"a configured origin", loop, "localhost", map[string]string{"Origin": "https://ui.example", "Sec-Fetch-Site": "cross-site"}, false, 200},
		{"an origin that ends alike", loop, "localhost", map[string]string{"Origin": "https://evil-ui.example"}, false, 403},
		{"a page of ours where none is served", loop, "localhost:7117", map[string]string{"Origin": "http://localhost:7117"}, false, 403},
		{"a page of ours", loop, "localhost:7117", map[string]string{"Origin": "http://localhost:7117", "Sec-Fetch-Site": "same-origin"}, true, 200},
		{"a page of another port", loop, "localhost:7117", map[string]string{"Origin": "http://localhost:7118", "Sec-Fetch-Site": "same-site"}, true, 403},
		{"a page of ours over another scheme", loop, "localhost:7117", map[string]string{"Origin": "https://localhost:7117"}, true, 403},
		{"an image on another page", loop, "localhost:7117", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, true, 403},
		{"a link on another page", loop, "localhost:7117", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, true, 200},
		{"a link to a listener without pages", loop, "localhost:7117", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, false, 403},
	} {
		h, l := newHandler(t, Config{Hosts: []string{"Gate.example:443"}, Origins: []string{"https://ui.example"}, SameOrigin: c.same}, ok)
		r := request("GET", c.host, "ann")
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, c.local))
		for k, v := range c.header {
			r.Header.Set(k, v)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.status || (l.String() != "") != (c.status != 200) {
			t.Errorf("%s: %d %s %s", c.name, w.Code, w.Body, l)
		}
	}
}

func TestChannelComesFromTheConnection(t *testing.T) {
	var got action.Channel
	h, _ := newHandler(t, Config{}, func(w http.ResponseWriter, r *http.Request, c *Caller) error {
		got = c.Subject.Channel
		return ok(w, r, c)
	})
	r := request("GET", "localhost", "ann")
	h.ServeHTTP(httptest.NewRecorder(), r)
	if got.UID != -1 || got.PID != -1 || got.Remote != action.No || got.Door != action.DoorMCP {
		t.Errorf("loopback: %+v", got)
	}
	r.RemoteAddr = "192.0.2.9:4000"
	h.ServeHTTP(httptest.NewRecorder(), r)
	if got.Remote != action.Yes {
		t.Errorf("remote: %+v", got)
	}
	for addr, want := range map[string]string{"192.0.2.9:1": "192.0.2.9", "[2001:db8:1:2:3:4:5:6]:1": "2001:db8:1:2::/64",
		"[::1]:1": "::1", "[::ffff:192.0.2.9]:1": "192.0.2.9", "?": "unknown"} {
		r.RemoteAddr = addr
		if got := source(r); got != want {
			t.Errorf("%s is counted as %s", addr, got)
		}
	}
	r.RemoteAddr = "?"
	h.ServeHTTP(httptest.NewRecorder(), r)
	if got.Remote != action.TriUnknown {
		t.Errorf("nowhere: %+v", got)
	}
}

func TestPeerIsTheProcessAtTheOtherEnd(t *testing.T) {
	for _, c := range []struct {
		name  string
		allow func(Peer) bool
		in    bool
	}{
		{"this process's own uid", nil, true},
		{"nobody", func(Peer) bool { return false }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got Peer
			var channel action.Channel
			h, _ := newHandler(t, Config{}, func(w http.ResponseWriter, r *http.Request, c *Caller) error {
				got, _ = PeerFrom(r.Context())
				channel = c.Subject.Channel
				return ok(w, r, c)
			})
			path := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			srv := Server(h)
			var wg sync.WaitGroup
			wg.Go(func() { _ = srv.Serve(&PeerListener{Listener: l, Allow: c.allow}) })
			defer wg.Wait()
			defer srv.Close()
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return (&net.Dialer{}).DialContext(ctx, "unix", path)
				}}}
			req, _ := http.NewRequest("GET", "http://sallyport/x", nil)
			req.Header.Set("Authorization", "ann")
			res, err := client.Do(req)
			if (err == nil) != c.in {
				t.Fatal(err)
			}
			if err != nil {
				return
			}
			defer res.Body.Close()
			if got.UID != int64(os.Getuid()) || got.PID != int64(os.Getpid()) || got.Start == 0 {
				t.Errorf("peer %+v", got)
			}
			if channel.UID != got.UID || channel.PID != got.PID || channel.Remote != action.No {
				t.Errorf("channel %+v", channel)
			}
		})
	}
}

func TestAnAnswerThatHasBegunIsCut(t *testing.T) {
	for _, panics := range []bool{false, true} {
		h, l := newHandler(t, Config{}, func(w http.ResponseWriter, _ *http.Request, _ *Caller) error {
			_, _ = w.Write([]byte(strings.Repeat("half an answer ", 1000)))
			if panics {
				panic("secret")
			}
			return errors.New("secret")
		})
		srv := listen(t, h)
		req, _ := http.NewRequest("GET", srv.URL+"/x", nil)
		req.Header.Set("Authorization", "ann")
		res, err := srv.Client().Do(req)
		if err == nil {
			var body []byte
			body, err = io.ReadAll(res.Body)
			res.Body.Close()
			if strings.Contains(string(body), "secret") {
				t.Errorf("answer %s", body)
			}
		}
		if err == nil {
			t.Error("half an answer looks whole")
		}
		if !strings.Contains(l.String(), "internal") {
			t.Errorf("records %q", l)
		}
	}
}

func TestConnectionCanBeTakenOver(t *testing.T) {
	for _, fails := range []bool{false, true} {
		left := make(chan struct{})
		h, l := newHandler(t, Config{}, func(w http.ResponseWriter, _ *http.Request, _ *Caller) error {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return err
			}
			defer conn.Close()
			_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"))
			if fails {
				return errors.New("the other side went away")
			}
			return nil
		})
		srv := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(left)
			h.ServeHTTP(w, r)
		}))
		req, _ := http.NewRequest("GET", srv.URL+"/x", nil)
		req.Header.Set("Authorization", "ann")
		res, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		<-left
		if string(body) != "hi" || err != nil || (l.String() != "") != fails {
			t.Errorf("%q, %v, records %q", body, err, l)
		}
	}
}

func TestSilenceIsNotAnAnswer(t *testing.T) {
	h, l := newHandler(t, Config{}, func(http.ResponseWriter, *http.Request, *Caller) error { return nil })
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request("GET", "localhost", "ann"))
	if w.Code != 500 || l.String() == "" {
		t.Errorf("%d %s", w.Code, l)
	}
}

func TestSlowBodiesEnd(t *testing.T) {
	h, l := newHandler(t, Config{Limits: Limits{BodyTimeout: 50 * time.Millisecond}}, func(w http.ResponseWriter, r *http.Request, c *Caller) error {
		var v map[string]string
		if err := ReadJSON(w, r, &v, 1024); err != nil {
			return err
		}
		return ok(w, r, c)
	})
	srv := listen(t, h)
	for _, c := range []struct{ name, auth, status string }{
		{"of a caller", "Authorization: ann\r\n", "HTTP/1.1 408"},
		{"of nobody, whose body is not read at all", "", "HTTP/1.1 401"},
	} {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /x HTTP/1.1\r\nHost: localhost\r\n%sContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", c.auth)
		br := bufio.NewReader(conn)
		if line, err := br.ReadString('\n'); err != nil || !strings.HasPrefix(line, c.status) {
			t.Errorf("%s: %q, %v", c.name, line, err)
		}
		if _, err := io.Copy(io.Discard, br); err != nil { // ends only if the server lets go
			t.Errorf("%s: %v", c.name, err)
		}
		conn.Close()
	}
	if !strings.Contains(l.String(), "slow-body") {
		t.Errorf("records %q", l)
	}
}

// A deadline for the body that stayed after it was read would cancel whoever then waits.
func TestBodyDeadlineEndsWithTheBody(t *testing.T) {
	const limit = 30 * time.Millisecond
	h, _ := newHandler(t, Config{Limits: Limits{BodyTimeout: limit}}, func(w http.ResponseWriter, r *http.Request, c *Caller) error {
		var v map[string]string
		if err := ReadJSON(w, r, &v, 1024); err != nil {
			return err
		}
		select {
		case <-r.Context().Done():
			return r.Context().Err()
		case <-time.After(5 * limit):
			return ok(w, r, c)
		}
	})
	srv := listen(t, h)
	req, _ := http.NewRequest("POST", srv.URL+"/x", strings.NewReader(`{}`))
	req.Header.Set("Authorization", "ann")
	req.Header.Set("Content-Type", "application/json")
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		t.Error(res.Status)
	}
}

func TestServerBoundsHeaders(t *testing.T) {
	h, _ := newHandler(t, Config{}, ok)
	s := Server(h)
	if s.ReadHeaderTimeout <= 0 || s.IdleTimeout <= 0 || s.MaxHeaderBytes <= 0 || s.ConnContext == nil {
		t.Errorf("%+v", s)
	}
	srv := listen(t, h)
	req, _ := http.NewRequest("GET", srv.URL+"/x", nil)
	req.Header.Set("Authorization", strings.Repeat("a", 64<<10))
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 431 {
		t.Error(res.Status)
	}
}

func TestHealthAnswersOneWord(t *testing.T) {
	ready := false
	h, l := newHandler(t, Config{Ready: func() bool { return ready }}, ok)
	for _, c := range []struct {
		path   string
		ready  bool
		status int
		word   string
	}{{"/healthz", false, 200, "ok"}, {"/readyz", false, 503, "no"}, {"/readyz", true, 200, "ok"}} {
		ready = c.ready
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", c.path, nil))
		if w.Code != c.status || w.Body.String() != c.word+"\n" {
			t.Errorf("%+v: %d %q", c, w.Code, w.Body)
		}
	}
	if l.String() != "" {
		t.Errorf("records %s", l)
	}
}
