// SPDX-License-Identifier: Apache-2.0

// Package llm is the door between an agent and the API of its model: OpenAI's chat completions and
// responses, and Anthropic's messages, streamed or not.
//
// # What is gated
//
// The answer as such is an action of effect respond, decided before the request leaves. Each complete call
// of a tool in the answer is judged: the frames of a call are held until it is complete, and then go out as
// they came, or a message that refuses stands in their place. Text streams on, unless policy obliges to
// "scan" the answer: then none of it goes out before gate two has seen all of it. The end of an answer is
// held until its outcome is recorded.
//
// What no answer would show is gated on the request: tools that the provider runs itself, content that only
// the provider has, addresses that it would fetch, parameters and endpoints that nobody here knows.
//
// Results pass gate two when the next request brings them back, whether their calls were judged here or not;
// what it takes away does not reach the model. What the provider's own tools gave, and the model's reasoning, is
// shown to policy as it comes; it is never edited.
//
// # What a verdict here is worth
//
// The agent runs its tools elsewhere. A call that passes here passes nowhere else for it: each door that
// executes decides on its own.
//
// # Who speaks
//
// The agent's own credential comes as Authorization or x-api-key and goes no further; the provider's is ours.
// What stands in the role of the user counts as the user's word only from a caller that Host vouches for.
package llm

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

// Enforcer is the path as this door needs it; *enforce.Enforcer is one.
type Enforcer interface {
	Session(ctx context.Context, s *action.Subject, host string, o enforce.SessionOptions) (string, error)
	Say(ctx context.Context, s *action.Subject, session string, said enforce.Said) error
	Before(ctx context.Context, a enforce.Attempt) (enforce.Admission, error)
	After(ctx context.Context, s *action.Subject, id string, o enforce.Outcome) (enforce.Release, error)
	Chunk(ctx context.Context, s *action.Subject, id string, o enforce.Outcome) (enforce.Release, error)
	Called(ctx context.Context, s *action.Subject, session, callID string) (string, error)
}

var _ Enforcer = (*enforce.Enforcer)(nil)

// Upstream is the API of a provider.
type Upstream struct {
	// URL is its base address: with OpenAI's /v1, without Anthropic's. "" closes the door to it.
	URL string
	// Key returns the provider's credential. Nil sends none.
	Key func() (string, error)
}

// Config is what the door needs.
type Config struct {
	// Enforcer is the path. Required.
	Enforcer Enforcer
	// OpenAI and Anthropic are the providers.
	OpenAI, Anthropic Upstream
	// Host reports whether a caller may state the user's words. Nil means the scope host.
	Host func(c *gateway.Caller) bool
	// Separation says what keeps the caller from approving its own asks. Nil means unknown.
	Separation func(c *gateway.Caller) action.Separation
	// ToolServer is the server of tools whose name tells none; "" means "llm".
	ToolServer string
	// Transport reaches the providers; nil means one of its own.
	Transport http.RoundTripper
	// BodyBytes bounds a request; 0 means 16 MiB, which is what the path takes.
	BodyBytes int64
	// Log gets what the answer must not hold. Nil means slog.Default().
	Log *slog.Logger
}

// The headers by which a caller says more than the API has a place for.
const (
	// SessionHeader names a session that POST /v1/sessions has opened; without it the credential's own is used.
	SessionHeader = "Sallyport-Session"
	// ToolServerHeader names the server of tools whose name tells none.
	ToolServerHeader = "Sallyport-Tool-Server"
)

// Prefix is where the door's routes begin.
const Prefix = "/llm/"

type door struct {
	cfg    Config
	client *http.Client
	said   recent[struct{}] // texts that stand in a session already
	calls  recent[string]   // actions by session and call id, minted and not
	seen   recent[[]byte]   // what stands in the place of a result; nil keeps it
}

// provider is one of the two.
type provider struct {
	name string
	up   Upstream
	apis map[string]api // by path
	// sign puts the credential on a request.
	sign func(h http.Header, key string)
	// fault is an error in the provider's words.
	fault func(message string) any
}

// api is one endpoint that we know.
type api struct {
	ask     func(body []byte) (*asked, error)
	machine func() machine
}

// Routes returns the door's routes.
func Routes(cfg Config) ([]gateway.Route, error) {
	if cfg.Enforcer == nil {
		return nil, errors.New("llm: Enforcer is required")
	}
	if cfg.Host == nil {
		cfg.Host = func(c *gateway.Caller) bool { return c.Has(action.ScopeHost) }
	}
	if cfg.Separation == nil {
		cfg.Separation = func(*gateway.Caller) action.Separation { return action.SeparationUnknown }
	}
	if cfg.ToolServer == "" {
		cfg.ToolServer = "llm"
	}
	if cfg.BodyBytes <= 0 {
		cfg.BodyBytes = 16 << 20
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Transport == nil {
		cfg.Transport = transport()
	}
	d := &door{cfg: cfg, client: &http.Client{Transport: cfg.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	var routes []gateway.Route
	for _, p := range providers(cfg) {
		if p.up.URL == "" {
			continue
		}
		for _, method := range []string{"GET", "POST", "DELETE"} {
			routes = append(routes, gateway.Route{Pattern: method + " " + Prefix + p.name + "/{path...}", Scopes: []action.Scope{action.ScopeAgent},
				Door: action.DoorLLM, Wait: -1, Serve: func(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
					return d.serve(w, r, c, p)
				}})
		}
	}
	return routes, nil
}

func providers(cfg Config) []*provider {
	return []*provider{
		{name: "openai", up: cfg.OpenAI,
			apis: map[string]api{
				"chat/completions": {askedChat, func() machine { return &chat{} }},
				"responses":        {askedResponses, func() machine { return &responses{} }},
			},
			sign: func(h http.Header, key string) { h.Set("Authorization", "Bearer "+key) },
			fault: func(message string) any {
				return map[string]any{"error": map[string]any{"message": message, "type": "permission_error", "param": nil, "code": "sallyport_refused"}}
			}},
		{name: "anthropic", up: cfg.Anthropic,
			apis: map[string]api{
				"messages":              {askedMessages, func() machine { return &messages{} }},
				"messages/count_tokens": {askedMessages, func() machine { return &messages{} }},
			},
			sign: func(h http.Header, key string) { h.Set("X-Api-Key", key) },
			fault: func(message string) any {
				return map[string]any{"type": "error", "error": map[string]any{"type": "permission_error", "message": message}}
			}},
	}
}

func transport() *http.Transport {
	return &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, DisableCompression: true, MaxIdleConnsPerHost: 64,
		IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 10 * time.Minute,
		MaxResponseHeaderBytes: 64 << 10}
}

// endpoint is a path below a provider, with and without the version that its clients put before it.
func endpoint(r *http.Request) string {
	p := r.PathValue("path")
	if rest, ok := strings.CutPrefix(p, "v1/"); ok {
		p = rest
	}
	return p
}
