// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
)

// Config is what one listener checks before any handler runs.
type Config struct {
	// Auth proves who is calling. Required.
	Auth Authenticator
	// Malformed records a refused attempt, counted per source, code and window. Required:
	// enforce.Enforcer.Malformed has its shape.
	Malformed func(ctx context.Context, door action.Door, source, code string)
	// Door is the door of requests that match no route, and of routes that name none. "" means api.
	Door action.Door
	// Hosts are names that the Host header may hold beside loopback names and the address itself.
	Hosts []string
	// Origins are web origins ("https://console.example") that may call. Nil means none.
	Origins []string
	// SameOrigin lets pages that this listener serves call it. Only for people.
	SameOrigin bool
	// Challenge is the value of WWW-Authenticate for a request that proves nobody; "" and nil say that a bearer
	// token is wanted. It sees requests whose Host was accepted.
	Challenge func(r *http.Request) string
	Limits    Limits
	// Ready answers /readyz. Nil means always ready.
	Ready func() bool
	Log   *slog.Logger     // nil means slog.Default()
	Now   func() time.Time // nil means time.Now
}

// Handler serves one authenticated request. An error that it returns before it has written anything
// becomes a problem; after that it cuts the connection.
type Handler func(w http.ResponseWriter, r *http.Request, c *Caller) error

// Route is one line of a listener's contract.
type Route struct {
	Pattern string         // of net/http.ServeMux, with a method: "POST /v1/actions/{id}"
	Scopes  []action.Scope // the caller must hold one of them; none named means that nobody may, but for Auth
	Door    action.Door    // "" means Config.Door
	Wait    time.Duration  // longest time the handler waits before it answers; negative for streams, which set their own write deadlines
	Serve   Handler

	// OwnOrigin accepts an Origin header that names the very address that was asked, as programs send it that
	// are no browsers. A page has that origin only if this listener serves pages; a listener of agents serves
	// none.
	OwnOrigin bool

	// Auth proves the callers of this route in the place of Config.Auth, and its word is enough where Scopes names
	// none: for what brings a proof of its own, such as a signed message, or has to be there before anybody is proved.
	Auth Authenticator
}

// Gate is what stands before the handlers of one listener. Several handlers may share one Gate, and
// then share its quotas. All methods are safe for concurrent use.
type Gate struct {
	cfg   Config
	hosts []string
	quota *quota
	heavy chan struct{} // one place for each large body that is being read as JSON
	fetch chan struct{} // one place for each stored result that is being fetched
}

// New returns a gate.
func New(cfg Config) (*Gate, error) {
	if cfg.Auth == nil || cfg.Malformed == nil {
		return nil, errors.New("gateway: Auth and Malformed are required")
	}
	if cfg.Door == "" {
		cfg.Door = action.DoorAPI
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Limits = cfg.Limits.withDefaults()
	g := &Gate{cfg: cfg, quota: newQuota(cfg.Limits), heavy: make(chan struct{}, max(2, runtime.GOMAXPROCS(0))), fetch: make(chan struct{}, fetches)}
	for _, h := range cfg.Hosts {
		g.hosts = append(g.hosts, strings.ToLower(hostname(h)))
	}
	return g, nil
}

// Handler returns the handler of a listener that serves routes, /healthz and /readyz, and nothing else.
// It errs on a route that nobody could use and panics, as ServeMux does, on patterns that clash.
func (g *Gate) Handler(routes ...Route) (http.Handler, error) {
	mux := http.NewServeMux()
	var methods []string
	for _, rt := range routes {
		method, _, ok := strings.Cut(rt.Pattern, " ")
		if !ok || rt.Serve == nil || len(rt.Scopes) == 0 && rt.Auth == nil {
			return nil, fmt.Errorf("gateway: route %q: a method, a scope and a handler are required", rt.Pattern)
		}
		if !slices.Contains(methods, method) {
			methods = append(methods, method)
		}
		if rt.Door == "" {
			rt.Door = g.cfg.Door
		}
		mux.Handle(rt.Pattern, g.serve(rt))
	}
	slices.Sort(methods)
	none := g.serve(Route{Door: g.cfg.Door, Serve: func(w http.ResponseWriter, r *http.Request, _ *Caller) error {
		return noRoute(mux, methods, r)
	}})
	mux.Handle("/", none)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/healthz" || r.URL.Path == "/readyz":
			g.health(w, r)
		case r.URL.Path != clean(r.URL.Path):
			none.ServeHTTP(w, r) // ServeMux would redirect before anyone is authenticated
		default:
			mux.ServeHTTP(w, r)
		}
	}), nil
}

// clean is the form of a path that ServeMux serves without a redirect.
func clean(p string) string {
	c := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") && c != "/" {
		c += "/"
	}
	return c
}

// noRoute tells a wrong method from a wrong path.
func noRoute(mux *http.ServeMux, methods []string, r *http.Request) error {
	var allow []string
	for _, m := range methods {
		probe := &http.Request{Method: m, URL: r.URL, Host: r.Host}
		if _, pattern := mux.Handler(probe); pattern != "/" && pattern != "" {
			allow = append(allow, m)
		}
	}
	if len(allow) == 0 || r.URL.Path != clean(r.URL.Path) {
		return Refuse(CodeNoRoute, "")
	}
	p := Refuse(CodeMethod, "")
	p.allow = strings.Join(allow, ", ")
	return p
}

func (g *Gate) health(w http.ResponseWriter, r *http.Request) {
	word, status := "ok", http.StatusOK
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		word, status = "no", http.StatusMethodNotAllowed
		w.Header().Set("Allow", "GET, HEAD")
	case r.URL.Path == "/readyz" && g.cfg.Ready != nil && !g.cfg.Ready():
		word, status = "no", http.StatusServiceUnavailable
	}
	g.deadlines(w, r, 0)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(word + "\n"))
}

// serve is the order of all checks: room, place, credential, quota, scope, handler.
func (g *Gate) serve(rt Route) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		x := &exchange{gate: g, door: rt.Door, source: source(r)}
		w := &watched{ResponseWriter: rw, x: x}
		g.deadlines(w, r, rt.Wait)
		if err := g.quota.arrive(); err != nil {
			WriteProblem(w, err)
			return
		}
		defer g.quota.depart()
		defer func() {
			if fault := recover(); fault != nil {
				if fault == http.ErrAbortHandler {
					panic(fault)
				}
				g.cfg.Log.Error("a handler panicked", "route", rt.Pattern, "panic", faultName(fault), "stack", string(debug.Stack()))
				g.refuse(w, r, x, Refuse(CodeInternal, ""))
			}
		}()
		err := g.pass(w, r, x, rt)
		if err == nil && !w.wrote {
			err = fmt.Errorf("gateway: route %q answered nothing", rt.Pattern) // the server would make it a 200
		}
		if err != nil {
			g.refuse(w, r, x, err)
		}
	})
}

// faultName keeps what a panic carries out of the log, unless the runtime itself made it.
func faultName(fault any) string {
	if err, ok := fault.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", fault)
}

// deadlines bound the time of the body and of the answer. A body that a handler leaves unread is drained
// by the server under the same deadline.
func (g *Gate) deadlines(w http.ResponseWriter, r *http.Request, wait time.Duration) {
	rc, now := http.NewResponseController(w), time.Now() // sockets know the wall clock only
	if r.ContentLength != 0 {
		_ = rc.SetReadDeadline(now.Add(g.cfg.Limits.BodyTimeout))
	}
	if wait < 0 {
		_ = rc.SetWriteDeadline(time.Time{})
		return
	}
	_ = rc.SetWriteDeadline(now.Add(g.cfg.Limits.WriteTimeout + wait))
}

func (g *Gate) pass(w http.ResponseWriter, r *http.Request, x *exchange, rt Route) error {
	if err := g.checkHost(r); err != nil {
		return err
	}
	if err := g.checkOrigin(r, rt.OwnOrigin); err != nil {
		return err
	}
	c, err := g.authenticate(r, rt)
	if err != nil {
		x.challenge = g.challenge(r)
		return err
	}
	if c.Subject.Channel.CredID != "" {
		x.source = "credential:" + c.Subject.Channel.CredID
	}
	if x.principal, err = g.quota.enter(principalKey(c), g.cfg.Now()); err != nil {
		return err
	}
	defer x.leave()
	if rt.Pattern != "" && (rt.Auth == nil || len(rt.Scopes) > 0) && !slices.ContainsFunc(rt.Scopes, c.Has) {
		return Refuse(CodeScope, "this route needs the scope %s", orList(rt.Scopes))
	}
	if err := checkMethod(r, rt); err != nil {
		return err
	}
	return rt.Serve(w, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x)), c)
}

func (g *Gate) challenge(r *http.Request) string {
	if g.cfg.Challenge == nil {
		return ""
	}
	return g.cfg.Challenge(r)
}

// checkMethod refuses what ServeMux would let through: a HEAD on a GET route would take the steps of the
// GET without delivering its answer, and the body of a GET is read by nobody.
func checkMethod(r *http.Request, rt Route) error {
	switch method, _, _ := strings.Cut(rt.Pattern, " "); {
	case rt.Pattern == "":
	case r.Method != method:
		p := Refuse(CodeMethod, "")
		p.allow = method
		return p
	case method == http.MethodGet && r.ContentLength != 0:
		return Refuse(CodeMalformed, "a GET takes no body")
	}
	return nil
}

// authenticate completes the caller with what only the gate knows: the door and the channel. A caller
// without a tenant, or without any name, is nobody.
func (g *Gate) authenticate(r *http.Request, rt Route) (*Caller, error) {
	if len(r.Header["Authorization"]) > 1 {
		return nil, ErrUnauthenticated
	}
	auth := g.cfg.Auth
	if rt.Auth != nil {
		auth = rt.Auth
	}
	found, err := auth.Authenticate(r.Context(), r)
	if err != nil {
		return nil, err
	}
	if found == nil || found.Subject.Tenant == "" || principalKey(found) == "" {
		return nil, ErrUnauthenticated
	}
	c := *found // an authenticator may hand out what it keeps
	ch := &c.Subject.Channel
	ch.Door, ch.Remote, ch.UID, ch.PID = rt.Door, remote(r), -1, -1
	if p, ok := PeerFrom(r.Context()); ok {
		ch.UID, ch.PID = p.UID, p.PID
	}
	return &c, nil
}

// principalKey names whose quota a request uses: the agent, however many credentials it has, else the
// person's credential. It is empty for nobody.
func principalKey(c *Caller) string {
	switch s := &c.Subject; {
	case s.ID != "":
		return s.Tenant + "/agent/" + s.ID
	case s.Channel.CredID != "":
		return s.Tenant + "/credential/" + s.Channel.CredID
	case c.Name != "":
		return s.Tenant + "/name/" + c.Name
	}
	return ""
}

func orList(scopes []action.Scope) string {
	words := make([]string, len(scopes))
	for i, s := range scopes {
		words[i] = string(s)
	}
	return strings.Join(words, " or ")
}

// Note records a refused attempt that a handler answers in another form than a problem's.
func (g *Gate) Note(r *http.Request, code string) {
	g.cfg.Malformed(context.WithoutCancel(r.Context()), g.cfg.Door, source(r), code)
}

// refuse answers with a problem and records the attempt where its kind is recorded. Once bytes are out
// the answer cannot be taken back, so the connection is cut.
func (g *Gate) refuse(w *watched, r *http.Request, x *exchange, err error) {
	p := FromError(err)
	if p.Code == CodeInternal && err != error(p) {
		g.cfg.Log.Error("a request failed", "door", string(x.door), "method", r.Method, "error", err.Error())
	}
	if p.Recorded && !p.counted {
		g.cfg.Malformed(context.WithoutCancel(r.Context()), x.door, x.source, string(p.Code))
	}
	if w.taken {
		return
	}
	if w.wrote {
		panic(http.ErrAbortHandler)
	}
	if p.Status == http.StatusUnauthorized && x.challenge != "" {
		told := *p // what a handler returned may be shared
		told.challenge = x.challenge
		p = &told
	}
	WriteProblem(w, p)
}
