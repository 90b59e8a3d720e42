// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/internal/confine"
)

// maxRuns bounds how many confined programs an owner knows at a time.
const maxRuns = 1024

// wallBook knows the supervisors of confined programs, by the process that the kernel names at the other end of
// each of their connections. What a supervisor says of its walls counts only as far as confine.Prove finds it.
type wallBook struct {
	tokens *identity.Tokens

	mu   sync.Mutex
	runs map[gateway.Peer]*run // guarded by mu
}

// run is one confined program. It is not changed once it is in the book.
type run struct {
	walls gateway.Walls
	init  int    // process that holds the namespaces
	agent string // that the program is, by its supervisor's word; "" means the user's own
	token string // of the agent that it is instead; never told to the program

	leased bool // it has a credential of its lease, which databases ask for
}

func newWallBook(t *identity.Tokens) *wallBook {
	return &wallBook{tokens: t, runs: map[gateway.Peer]*run{}}
}

// find returns the run of a supervisor.
func (b *wallBook) find(p gateway.Peer) (*run, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.runs[p]
	return r, ok
}

// supervisor reports whether p holds a run.
func (b *wallBook) supervisor(p gateway.Peer) bool {
	_, ok := b.find(p)
	return ok
}

// of returns the run that a request comes from, nil if it comes from none. A request that names a run and does not
// come from its supervisor proves nobody.
func (b *wallBook) of(ctx context.Context, r *http.Request) (*run, error) {
	p, _ := gateway.PeerFrom(ctx)
	found, ok := b.find(p)
	named := r.Header.Values(gateway.RunHeader)
	if len(named) > 0 && (!ok || len(named) != 1 || named[0] != found.walls.Run) {
		return nil, gateway.ErrUnauthenticated
	}
	return found, nil
}

// put enters a run. A supervisor holds one; the same one again is the one that is there.
func (b *wallBook) put(p gateway.Peer, r *run) (*run, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if old, ok := b.runs[p]; ok {
		if old.walls.Run != r.walls.Run || old.init != r.init || old.agent != r.agent || old.token != r.token || old.leased != r.leased || !slices.Equal(old.walls.Held, r.walls.Held) {
			return nil, gateway.Refuse(gateway.CodeState, "the process supervises another run")
		}
		return old, nil
	}
	for q := range b.runs {
		if !confine.Alive(int(q.PID), q.Start) {
			delete(b.runs, q)
		}
	}
	if len(b.runs) >= maxRuns {
		return nil, gateway.Refuse(gateway.CodeBusy, "too many confined programs run")
	}
	b.runs[p] = r
	return r, nil
}

// caller is the program of a run. What a request says of a credential is its supervisor's word.
func (x *run) caller(ctx context.Context, b bearer, r *http.Request) (*gateway.Caller, error) {
	if b.agents != nil && bound(r) { // a lease that the supervisor earned for the program; whatever the program sends it takes away
		c, err := b.agents.boundCaller(r)
		if err != nil {
			return nil, err
		}
		c.Walls = &x.walls
		return c, nil
	}
	if x.token != "" {
		probe := &http.Request{Method: r.Method, URL: r.URL, Header: http.Header{"Authorization": {"Bearer " + x.token}}, RemoteAddr: "127.0.0.1:0"}
		c, err := b.Authenticate(ctx, probe)
		if err != nil {
			return nil, err
		}
		c.Walls = &x.walls
		return c, nil
	}
	from, ok := gateway.PeerFrom(ctx)
	if !ok {
		return nil, gateway.ErrUnauthenticated
	}
	who, err := b.tokens.Peer(from.UID, from.PID)
	if err != nil {
		return nil, gateway.ErrUnauthenticated
	}
	if x.agent != "" {
		if _, err := b.tokens.Agent(who.Subject.Tenant, x.agent); err != nil {
			return nil, gateway.ErrUnauthenticated
		}
		who.Subject.ID = x.agent
	}
	who.Subject.Scopes = []action.Scope{action.ScopeAgent}
	return &gateway.Caller{Subject: who.Subject, Name: who.Name, Walls: &x.walls}, nil
}

// walledProxy proves callers of the egress proxy: programs behind supervisors by the kernel's word unless they send a
// credential, others by theirs.
type walledProxy struct {
	others gateway.Authenticator
	walls  *wallBook
	tokens *identity.Tokens
}

// Authenticate reads the credential of the request, or that of its connection.
func (w walledProxy) Authenticate(ctx context.Context, r *http.Request) (*gateway.Caller, error) {
	p, ok := gateway.PeerFrom(ctx)
	if !ok {
		return w.others.Authenticate(ctx, r)
	}
	x, ok := w.walls.find(p)
	if !ok {
		return nil, gateway.ErrUnauthenticated
	}
	if len(r.Header.Values("Authorization")) == 0 {
		return x.caller(ctx, bearer{w.tokens, nil}, r)
	}
	c, err := w.others.Authenticate(ctx, r)
	if err != nil {
		return nil, err
	}
	out := *c
	out.Walls = &x.walls
	return &out, nil
}

// atDatabase proves a program at the databases' door. One under a lease shows what was derived from it; any other needs
// nothing, for the connection is its supervisor's.
func (x *run) atDatabase(ctx context.Context, s *Sallyport, password string, from net.Conn) (*gateway.Caller, error) {
	if password == "" {
		if x.leased {
			return nil, gateway.ErrUnauthenticated
		}
		return x.caller(gateway.ConnContext(ctx, from), bearer{s.Tokens, nil}, &http.Request{Method: http.MethodConnect, URL: &url.URL{}, Header: http.Header{}})
	}
	c, err := s.passwordCaller(ctx, password)
	if err != nil {
		return nil, err
	}
	out := *c
	out.Walls = &x.walls
	return &out, nil
}

// RunRequest is what a supervisor says of the program that it is about to serve.
type RunRequest struct {
	Run   string         `json:"run"`             // its name, random: it stays the same under the next owner
	Init  int            `json:"init"`            // process that holds the namespaces, a child of the supervisor
	Walls []confine.Wall `json:"walls"`           // that it built
	Agent string         `json:"agent,omitempty"` // record of the agent that the program is
	Token string         `json:"token,omitempty"` // or its token; not both

	Leased bool `json:"leased,omitempty"` // the program has a credential that its lease earned
}

// RunAnswer is the run as the owner entered it.
type RunAnswer struct {
	Grade    action.Grade `json:"grade"` // of what the program does through doors that see what is executed
	Agent    string       `json:"agent"`
	UnixPath string       `json:"egress_socket"` // where the egress proxy takes the supervisor's connections; "" if there is none

	PostgresPath string `json:"postgres_socket"` // where databases take them; "" if there are none
}

// run is what a supervisor says, once it is well-formed.
func (b *RunRequest) run() (*run, error) {
	if b.Agent != "" && b.Token != "" {
		return nil, gateway.Refuse(gateway.CodeInvalid, "a run has an agent or a token, not both")
	}
	if len(b.Run) < 20 || len(b.Run) > 64 || strings.ContainsFunc(b.Run, func(r rune) bool { return r < '!' || r > '~' }) {
		return nil, gateway.Refuse(gateway.CodeInvalid, "run is no random name")
	}
	x := &run{init: b.Init, agent: b.Agent, token: b.Token, leased: b.Leased, walls: gateway.Walls{Run: b.Run, All: len(b.Walls) == len(confine.Walls)}}
	for i, wall := range b.Walls {
		if !slices.Contains(confine.Walls, wall) || slices.Contains(b.Walls[:i], wall) {
			return nil, gateway.Refuse(gateway.CodeInvalid, "%q is no wall, or stands twice", action.Clip(string(wall), 32))
		}
		x.walls.Held = append(x.walls.Held, string(wall))
	}
	return x, nil
}

// localWalls enters a confined program. Its supervisor is the process at the other end; the walls are proved here.
func (s *Sallyport) localWalls(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	var body RunRequest
	if err := gateway.ReadJSON(w, r, &body, 16384); err != nil {
		return err
	}
	p, ok := gateway.PeerFrom(r.Context())
	if !ok || p.Start == 0 {
		return gateway.Refuse(gateway.CodeScope, "the kernel does not name the supervisor")
	}
	x, err := body.run()
	if err != nil {
		return err
	}
	if err := confine.Prove(int(p.PID), p.Start, body.Init, body.Walls); err != nil {
		return gateway.Refuse(gateway.CodeState, "the walls are not proved: %v", err)
	}
	if x, err = s.walls.put(p, x); err != nil {
		return err
	}
	who, err := x.caller(r.Context(), bearer{s.Tokens, nil}, r)
	switch {
	case errors.Is(err, gateway.ErrUnauthenticated) && body.Token != "":
		return gateway.Refuse(gateway.CodeInvalid, "the token is not valid")
	case errors.Is(err, gateway.ErrUnauthenticated):
		return gateway.Refuse(gateway.CodeNotFound, "there is no agent %q", action.Clip(body.Agent, 64))
	case err != nil:
		return err
	}
	answer := RunAnswer{Grade: who.Grade(action.GradeProxy), Agent: who.Subject.ID}
	if s.Config.Egress.Listen != "" && s.Config.Egress.Listen != "none" {
		answer.UnixPath = EgressSocketPath(s.Config.Data)
	}
	if c := &s.Config.Postgres; len(c.Databases) > 0 && c.Listen != "none" && !s.Config.Policy.Alone {
		answer.PostgresPath = PostgresSocketPath(s.Config.Data)
	}
	return gateway.WriteJSON(w, http.StatusOK, answer)
}
