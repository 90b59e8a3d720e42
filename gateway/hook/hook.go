// SPDX-License-Identifier: Apache-2.0

// Package hook is the door for coding agents: it speaks the hook dialects of Claude Code, Codex, Gemini
// CLI, Cursor and VS Code.
//
// # What a hook can prove
//
// The host runs the tool, not this door: what was executed and what came back are claims (grade hook, not
// observed). Whoever controls the host can take the hook away. Tools of MCP servers carry the names that
// the MCP door gives them, and the record's door says that it is the hook's view.
//
// # Failure model
//
// Whatever goes wrong is answered in the event's block form: a call is denied, a prompt is refused, a
// result is replaced. An allow is answered with nothing, so that the host's own permission rules stay in
// force: the door only ever takes away.
//
// # Who speaks
//
// The subject comes from the channel. A caller that Host vouches for may say what the user typed and which
// folder the session works in; from any other caller a prompt counts as the agent's own words, and folders
// are not heard at all.
package hook

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

// MaxBytes bounds what a hook may send: arguments or a result as large as the path takes, and a frame.
const MaxBytes = 17 << 20

// ProjectHeader carries the project folder as the host told it to its hook process, percent-encoded.
const ProjectHeader = "Sallyport-Project"

// Enforcer is the path as this door needs it; *enforce.Enforcer is one.
type Enforcer interface {
	Session(ctx context.Context, s *action.Subject, host string, o enforce.SessionOptions) (string, error)
	Say(ctx context.Context, s *action.Subject, session string, said enforce.Said) error
	Before(ctx context.Context, a enforce.Attempt) (enforce.Admission, error)
	Wait(ctx context.Context, s *action.Subject, id string) (enforce.Admission, error)
	After(ctx context.Context, s *action.Subject, id string, o enforce.Outcome) (enforce.Release, error)
	Malformed(ctx context.Context, door action.Door, source, code string)
}

var _ Enforcer = (*enforce.Enforcer)(nil)

// Config is what the door needs.
type Config struct {
	// Enforcer is the path. Required.
	Enforcer Enforcer
	// Host reports whether a caller may state the user's words and the session's folders. Nil means the
	// scope host.
	Host func(c *gateway.Caller) bool
	// Answer hands in what the user of the host said to a question that the host asked for us. Nil: the
	// host asks nobody, and a person answers elsewhere.
	Answer func(ctx context.Context, ticket string, accept bool, s *action.Subject) error
	// Separation says what keeps the caller from approving its own asks. Nil means unknown.
	Separation func(c *gateway.Caller) action.Separation
	// Log gets what the answer must not hold. Nil means slog.Default().
	Log *slog.Logger
}

type door struct {
	cfg   Config
	calls calls
}

// Routes returns the door's routes, one for each host.
func Routes(cfg Config) ([]gateway.Route, error) {
	if cfg.Enforcer == nil {
		return nil, errors.New("hook: Enforcer is required")
	}
	if cfg.Host == nil {
		cfg.Host = func(c *gateway.Caller) bool { return c.Has(action.ScopeHost) }
	}
	if cfg.Separation == nil {
		cfg.Separation = func(*gateway.Caller) action.Separation { return action.SeparationUnknown }
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	d := &door{cfg: cfg}
	d.calls.init()
	var routes []gateway.Route
	for _, h := range Hosts {
		routes = append(routes, gateway.Route{Pattern: "POST " + Path(h), Scopes: []action.Scope{action.ScopeAgent},
			Door: action.DoorHook, Serve: func(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
				return d.serve(w, r, c, h)
			}})
	}
	return routes, nil
}

// Path is the path of a host's route.
func Path(h Host) string { return "/v1/hooks/" + string(h) }

// request is one event of one caller.
type request struct {
	*Event
	sub     action.Subject
	sep     action.Separation
	grade   action.Grade
	walls   []string
	host    bool // its word on the user and the folders counts
	project string
	session string
}

func (d *door) serve(w http.ResponseWriter, r *http.Request, c *gateway.Caller, h Host) error {
	if c.Subject.ID == "" {
		return gateway.Refuse(gateway.CodeSubject, "the credential belongs to no agent")
	}
	body, err := gateway.ReadBody(w, r, "application/json", MaxBytes)
	if err != nil {
		return err
	}
	var m members
	if err := gateway.ParseJSON(r.Context(), body, &m); err != nil {
		return err
	}
	ev, err := read(h, m)
	if err != nil {
		return gateway.Refuse(gateway.CodeMalformed, "%s", err)
	}
	q := &request{Event: ev, sub: c.Subject, sep: d.cfg.Separation(c), grade: c.Grade(action.GradeHook), walls: c.Held(), host: d.cfg.Host(c)}
	if q.host {
		q.project = project(r)
	}
	// A host that gives up waiting must not turn a decision into a fault.
	out, err := d.answer(context.WithoutCancel(r.Context()), q)
	if err != nil {
		out = d.fault(r.Context(), q, err)
	}
	return gateway.WriteJSON(w, http.StatusOK, jsontext.Value(out))
}

// fault answers an error in the event's block form.
func (d *door) fault(ctx context.Context, q *request, err error) []byte {
	p := gateway.FromError(err)
	d.cfg.Log.Error("a hook failed", "host", string(q.Host), "event", q.Name, "error", err.Error())
	if p.Recorded && !errors.Is(err, enforce.ErrMalformed) {
		d.cfg.Enforcer.Malformed(context.WithoutCancel(ctx), action.DoorHook, q.sub.ID, string(p.Code))
	}
	return q.Block(Blocked(q.Host, strings.ToLower(p.Title[:1])+p.Title[1:]))
}

// answer decides one event.
func (d *door) answer(ctx context.Context, q *request) ([]byte, error) {
	var err error
	if q.session, err = d.cfg.Enforcer.Session(ctx, &q.sub, "hook:"+string(q.Host)+":"+q.Session, d.options(q)); err != nil {
		return nil, err
	}
	switch q.Kind {
	case KindPre:
		return d.pre(ctx, q)
	case KindPost:
		return d.post(ctx, q)
	case KindPermission:
		return d.permission(ctx, q)
	case KindConfig:
		return d.config(ctx, q)
	case KindPrompt:
		return d.prompt(ctx, q)
	}
	return q.Pass(), d.note(ctx, q)
}

// options are the session's folders. The working folder follows the agent about, so it becomes a root
// only where the user speaks: at the start and with a prompt. What the host itself calls the project is a
// root at any time.
func (d *door) options(q *request) enforce.SessionOptions {
	var o enforce.SessionOptions
	if !q.host {
		return o
	}
	o.Cwd = folder(q.Cwd)
	o.Roots = slices.DeleteFunc(slices.Clone(q.Roots), func(r string) bool { return folder(r) == "" })
	switch {
	case folder(q.project) != "":
		o.Roots = append(o.Roots, q.project)
	case len(o.Roots) == 0 && o.Cwd != "" && q.Agent == "" && (q.Kind == KindStart || q.Kind == KindPrompt):
		o.Roots = []string{o.Cwd}
	}
	return o
}

// folder returns p if it can be a folder of a session: a clean absolute path, and not all of the disk.
func folder(p string) string {
	if !filepath.IsAbs(p) || filepath.Clean(p) != p || len(p) > 4096 || p == "/" || strings.ContainsRune(p, 0) {
		return ""
	}
	return p
}

func project(r *http.Request) string {
	h := r.Header.Values(ProjectHeader)
	if len(h) != 1 {
		return ""
	}
	p, err := unescape(h[0])
	if err != nil {
		return ""
	}
	return p
}

// prompt takes what the user typed. Somebody whose word does not count may be quoting anything, and what
// starts a subagent was written by an agent.
func (d *door) prompt(ctx context.Context, q *request) ([]byte, error) {
	said := enforce.Said{Kind: action.PartUserRequest, By: action.AssertedHook, Text: []byte(q.Prompt)}
	if !q.host || q.Agent != "" {
		said.By = action.AssertedAgent
	}
	if q.Prompt == "" {
		return q.Pass(), d.note(ctx, q)
	}
	return q.Pass(), d.cfg.Enforcer.Say(ctx, &q.sub, q.session, said)
}

// noted is how an event that is no action reaches the record: content with its labels.
type noted struct {
	Source  string        `json:"source"`
	Labels  action.Labels `json:"labels"`
	Content string        `json:"content"`
}

// note records an event that is no action.
func (d *door) note(ctx context.Context, q *request) error {
	b, err := action.Canonical(noted{Source: string(q.Host) + " hook", Labels: action.UnknownLabels(), Content: q.Note()})
	if err != nil {
		return err
	}
	by := action.AssertedAgent
	if q.host {
		by = action.AssertedHook
	}
	return d.cfg.Enforcer.Say(ctx, &q.sub, q.session, enforce.Said{Kind: action.PartDetail, By: by, Text: b})
}

// odd counts something in the record that no action shows.
func (d *door) odd(ctx context.Context, q *request, code string) {
	d.cfg.Enforcer.Malformed(ctx, action.DoorHook, q.sub.ID, code)
}
