// SPDX-License-Identifier: Apache-2.0

// Package admin is the people's listener: the operator API, the event stream, the log's files and the
// metrics. Agents have a listener of their own.
//
// # Who may do what
//
// Every route stands in one table with the scopes that open it; there is no other way in. What needs
// judgement stays with the columns: admin reads strictly, checks scopes and preconditions, names the
// actor, and translates. docs/api/operator.yaml is the contract, and a test holds the two together.
//
// A write that answers what somebody was shown needs If-Match with the revision he saw, or names the
// digest he saw. Kills need neither: stopping must never fail on a race.
package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/index"
	"github.com/sallyport/sallyport/tools"
)

// Approvals is the desk; *approval.Desk is one.
type Approvals interface {
	List(ctx context.Context, f approval.Filter) ([]approval.View, error)
	Show(ctx context.Context, id string) (approval.View, error)
	Approve(ctx context.Context, id string, who approval.Actor, comment string) (approval.View, error)
	Deny(ctx context.Context, id string, who approval.Actor, comment string) (approval.View, error)
	Revoke(ctx context.Context, id string, who approval.Actor, comment string) (approval.View, error)
	RevokeAll(ctx context.Context, f approval.Filter, who approval.Actor, comment string) (int, error)
	Edit(ctx context.Context, id string, who approval.Actor, comment string, arguments []byte) (approval.View, error)
	Challenge(ctx context.Context, id, verb, comment string, edit []byte, among ...string) ([]byte, approval.View, error)
	Seen(id, person string)
	Away(ctx context.Context, who approval.Actor, a approval.Absence) (approval.Absence, error)
	Back(ctx context.Context, who approval.Actor, id string) error
	Absences() []approval.Absence
}

// Identities keeps agents and tokens; *identity.Tokens is one.
type Identities interface {
	CreateAgent(ctx context.Context, s identity.AgentSpec) (identity.Agent, error)
	Agent(tenant, id string) (identity.Agent, error)
	Agents(tenant, after string, limit int) []identity.Agent
	Issue(ctx context.Context, s identity.TokenSpec) (string, identity.Token, error)
	List(tenant, after string, limit int) []identity.Token
	Revoke(ctx context.Context, id, by string) (identity.Token, error)
	Revoked(id string) bool
}

// Switch is the kill switch; *identity.Switch is one.
type Switch interface {
	Kill(ctx context.Context, by identity.Actor, t identity.Target, reason string) (identity.Order, error)
	Release(ctx context.Context, by identity.Actor, t identity.Target, reason string) error
	Orders() []identity.Order
}

// Tools is the registry of definitions; *tools.Registry is one.
type Tools interface {
	SignedOnly() bool
	List(tenant, server, after string, limit int) []tools.Pin
	Observe(ctx context.Context, up tools.Upstream, defs []tools.Definition) ([]tools.Seen, error)
	Approve(ctx context.Context, tenant, server, name, digest, actor string) (tools.Pin, error)
}

// Index is the searchable view of the ledger; *index.Index is one.
type Index interface {
	Sessions(ctx context.Context, f index.Filter, limit int, cursor string) (index.Page[index.Session], error)
	Session(ctx context.Context, id string) (index.Session, error)
	Steps(ctx context.Context, session string, limit int, cursor string) (index.Page[index.Step], error)
	Records(ctx context.Context, f index.Filter, limit int, cursor string) (index.Page[index.Step], error)
	Search(ctx context.Context, text string, f index.Filter, limit int, cursor string) (index.Page[index.Step], error)
	Alerts(ctx context.Context, f index.Filter, limit int, cursor string) (index.Page[index.Step], error)
}

var (
	_ Approvals  = (*approval.Desk)(nil)
	_ Identities = (*identity.Tokens)(nil)
	_ Switch     = (*identity.Switch)(nil)
	_ Tools      = (*tools.Registry)(nil)
	_ Index      = (*index.Index)(nil)
)

// Policy is a bundle that decides now.
type Policy struct {
	Name      string      `json:"name"`
	Digest    string      `json:"digest"`
	Sequence  int64       `json:"sequence"`
	ExpiresMs int64       `json:"expires_ms"` // 0 means it does not expire
	Mode      action.Mode `json:"mode"`

	Observe []Watched `json:"observe"` // what it only watches now
}

// Watched is what a bundle only watches: what it would deny or ask about runs, and is recorded.
type Watched struct {
	Agent   string `json:"agent"` // an id, or "*"
	Tool    string `json:"tool"`  // "server/name", "server/*" or "*"
	UntilMs int64  `json:"until_ms"`
	Reason  string `json:"reason"`
}

// Config is what the listener needs. New requires Gate; Approvals, Identities, Switch, Tools, Index,
// Follow and Shown are required throughout. Where Policies, Alerts, Log or Metrics is nil, its route says that nothing is
// there.
type Config struct {
	// Tenant is whose columns these are; callers of other tenants are refused. "" means "default".
	Tenant     string
	Gate       *gateway.Gate
	Approvals  Approvals
	Identities Identities
	Switch     Switch
	Tools      Tools
	Index      Index

	// Follow is as index.Config.Follow, and feeds the stream.
	Follow   func(ctx context.Context, from uint64, fn func(index.Entry) error) error
	Policies func(ctx context.Context) ([]Policy, error)
	Bundles  Bundles // nil: none can be put in force or handed out

	// Actor says how a caller counts as an approver. Nil means ActorOf.
	Actor func(c *gateway.Caller) approval.Actor

	// Shown puts on record that pieces of sealed parts are shown to a caller, and where; if it errs nothing is
	// shown. Required.
	Shown func(ctx context.Context, c *gateway.Caller, where string, parts []index.PartAt) error
	// Signers keeps people's passkeys and SSH keys. Nil means that nobody can have any.
	Signers *identity.Signers

	// Records keeps the organisation's own records. Nil means that there are none.
	Records TenantRecords
	Facts   Facts // nil: nothing can be forgotten, and there are no canaries

	Sessions *Sessions // logins of browsers; nil: nobody can log in. The listener's Gate must ask them too

	// LoginClosed puts on record that by ended a login of of, before it ends. Nil means that nobody can.
	LoginClosed func(ctx context.Context, by, of *gateway.Caller) error

	SignIn    SignIn    // nil: nobody signs in through a provider
	Origins   []string  // where browsers find the console; the first is preferred. SignIn needs one
	Channels  Channels  // nil: nobody is told elsewhere
	Workbench Workbench // nil: nothing can be compared, tried, replayed or proved

	Log       http.Handler // serves the paths of C2SP tlog-tiles below /log/: /log/checkpoint, /log/tile/...
	LogPublic bool         // serves Log to everybody, without any credential
	Metrics   http.Handler
	Alerts    Alerts  // nil: no alert can be shown or answered
	Reviews   Reviews // nil: nothing can be called wrong

	StreamFor   time.Duration // how long one stream lasts before the reader has to come again; 0 means 5 min
	StreamQuiet time.Duration // after which a comment is sent; 0 means 15 s
}

type desk struct{ cfg Config }

// New returns the handler of the people's listener.
func New(cfg Config) (http.Handler, error) {
	if cfg.Gate == nil {
		return nil, errors.New("admin: Gate is required")
	}
	routes, err := Routes(cfg)
	if err != nil {
		return nil, err
	}
	h, err := cfg.Gate.Handler(routes...)
	if err != nil {
		return nil, err
	}
	return Public(cfg, h), nil
}

// publicWrite is how long one file of a public log may take to leave; behind the gate its own limits hold.
const publicWrite = time.Minute

// Public serves the log's files to everybody where the operator made them public, and leaves everything
// else to next.
func Public(cfg Config, next http.Handler) http.Handler {
	if !cfg.LogPublic || cfg.Log == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/log/") && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(publicWrite))
			cfg.Log.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Routes returns the table, for a listener that serves more than this.
func Routes(cfg Config) ([]gateway.Route, error) {
	for name, missing := range map[string]bool{"Approvals": cfg.Approvals == nil, "Identities": cfg.Identities == nil,
		"Switch": cfg.Switch == nil, "Tools": cfg.Tools == nil, "Index": cfg.Index == nil, "Follow": cfg.Follow == nil, "Shown": cfg.Shown == nil} {
		if missing {
			return nil, fmt.Errorf("admin: %s is required", name)
		}
	}
	if cfg.Tenant == "" {
		cfg.Tenant = "default"
	}
	if cfg.Actor == nil {
		cfg.Actor = ActorOf
	}
	if cfg.StreamFor <= 0 {
		cfg.StreamFor = 5 * time.Minute
	}
	if cfg.StreamQuiet <= 0 {
		cfg.StreamQuiet = 15 * time.Second
	}
	d := &desk{cfg}
	routes := d.table()
	for i := range routes {
		routes[i].Serve = d.own(routes[i].Serve)
	}
	routes = append(routes, d.signInRoutes()...)
	routes = append(routes, d.channelRoutes()...)
	return routes, nil
}

// own keeps callers of other tenants out of columns that are not theirs.
func (d *desk) own(next gateway.Handler) gateway.Handler {
	return func(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
		if c.Subject.Tenant != d.cfg.Tenant {
			return gateway.Refuse(gateway.CodeSubject, "the credential belongs to another tenant")
		}
		return next(w, r, c)
	}
}

func (d *desk) table() []gateway.Route {
	const (
		viewer   = action.ScopeViewer
		approver = action.ScopeApprover
		author   = action.ScopeAuthor
		polApp   = action.ScopePolicyApprover
		auditor  = action.ScopeAuditor
		admin    = action.ScopeAdmin
		toolAdm  = action.ScopeToolAdmin
		tenant   = action.ScopeTenantData
	)
	to := func(s ...action.Scope) []action.Scope { return s }
	return []gateway.Route{
		{Pattern: "GET /v1/approvals", Scopes: to(viewer, approver), Serve: d.listApprovals},
		{Pattern: "GET /v1/approvals/{id}", Scopes: to(viewer, approver), Serve: d.showApproval},
		{Pattern: "POST /v1/approvals/{id}/approve", Scopes: to(approver), Serve: d.answer("approve", d.cfg.Approvals.Approve)},
		{Pattern: "POST /v1/approvals/{id}/deny", Scopes: to(approver), Serve: d.answer("deny", d.cfg.Approvals.Deny)},
		{Pattern: "POST /v1/approvals/{id}/revoke", Scopes: to(approver), Serve: d.answer("revoke", d.cfg.Approvals.Revoke)},

		{Pattern: "POST /v1/approvals/{id}/challenge", Scopes: to(approver), Serve: d.challenge},

		{Pattern: "POST /v1/known/forget", Scopes: to(approver, admin), Serve: d.forgetKnown},
		{Pattern: "POST /v1/canaries", Scopes: to(admin), Serve: d.makeCanary},

		{Pattern: "GET /v1/absences", Scopes: to(viewer, approver), Serve: d.listAbsences},
		{Pattern: "POST /v1/absences", Scopes: to(approver), Serve: d.addAbsence},
		{Pattern: "DELETE /v1/absences/{id}", Scopes: to(approver), Serve: d.endAbsence},
		{Pattern: "GET /v1/signers", Scopes: to(viewer, approver, admin), Serve: d.listSigners},
		{Pattern: "POST /v1/signers/challenge", Scopes: to(approver, admin), Serve: d.beginSigner},
		{Pattern: "POST /v1/signers", Scopes: to(approver, admin), Serve: d.addSigner},
		{Pattern: "DELETE /v1/signers/{id}", Scopes: to(approver, admin), Serve: d.removeSigner},

		{Pattern: "GET /v1/approvals/{id}/similar", Scopes: to(approver), Serve: d.listSimilar},

		{Pattern: "POST /v1/login", Scopes: peopleScopes, Serve: d.login},
		{Pattern: "POST /v1/logout", Scopes: peopleScopes, Serve: d.logout},
		{Pattern: "GET /v1/logins", Scopes: to(admin), Serve: d.listLogins},
		{Pattern: "DELETE /v1/logins/{id}", Scopes: to(admin), Serve: d.endLogin},
		{Pattern: "GET /v1/me", Scopes: peopleScopes, Serve: d.showMe},

		{Pattern: "GET /v1/activity", Scopes: to(viewer, auditor), Serve: d.listActivity},
		{Pattern: "GET /v1/destinations", Scopes: to(viewer, auditor), Serve: d.listDestinations},
		{Pattern: "POST /v1/sessions/{id}/replay", Scopes: to(auditor), Wait: time.Minute, Serve: d.replaySession},
		{Pattern: "POST /v1/policies/playground", Scopes: to(author, polApp), Wait: 10 * time.Second, Serve: d.tryPolicy},
		{Pattern: "POST /v1/policies/difference", Scopes: to(author, polApp), Wait: time.Minute, Serve: d.diffPolicy},
		{Pattern: "GET /v1/ledger", Scopes: to(viewer, auditor), Serve: d.showLedger},
		{Pattern: "POST /v1/ledger/{index}/disclose", Scopes: to(auditor), Serve: d.disclose},

		{Pattern: "GET /v1/sessions", Scopes: to(viewer, auditor), Serve: d.listSessions},
		{Pattern: "GET /v1/sessions/{id}", Scopes: to(viewer, auditor), Serve: d.showSession},
		{Pattern: "GET /v1/sessions/{id}/steps", Scopes: to(viewer, auditor), Serve: d.listSteps},
		{Pattern: "GET /v1/records", Scopes: to(viewer, auditor), Serve: d.listRecords},
		{Pattern: "GET /v1/records/{name}", Scopes: to(tenant, auditor), Serve: d.showRecord},
		{Pattern: "PUT /v1/records/{name}", Scopes: to(tenant), Serve: d.putRecord},
		{Pattern: "DELETE /v1/records/{name}", Scopes: to(tenant), Serve: d.deleteRecord},
		{Pattern: "GET /v1/stream", Scopes: to(viewer, auditor), Wait: -1, Serve: d.stream},
		{Pattern: "GET /v1/alerts", Scopes: to(viewer, auditor), Serve: d.listAlerts},
		{Pattern: "GET /v1/alerts/{index}", Scopes: to(viewer, auditor), Serve: d.showAlert},
		{Pattern: "POST /v1/alerts/{index}/acknowledge", Scopes: to(approver), Serve: d.acknowledgeAlert},
		{Pattern: "POST /v1/ledger/{index}/wrong", Scopes: to(approver, author, auditor), Serve: d.callWrong},
		{Pattern: "GET /v1/reviews", Scopes: to(author, auditor), Serve: d.listReviews},
		{Pattern: "GET /v1/reviewers", Scopes: to(admin, auditor), Serve: d.listReviewers},
		{Pattern: "POST /v1/seeds", Scopes: to(admin), Serve: d.addSeed},
		{Pattern: "GET /v1/standing", Scopes: to(author, polApp), Wait: time.Minute, Serve: d.listRuns},
		{Pattern: "POST /v1/standing", Scopes: to(author, polApp), Wait: time.Minute, Serve: d.propose},
		{Pattern: "GET /v1/rules", Scopes: to(viewer, author, auditor), Serve: d.listAccuracy},
		{Pattern: "GET /v1/policies", Scopes: to(viewer, author, polApp, auditor), Serve: d.listPolicies},
		{Pattern: "POST /v1/policies", Scopes: to(polApp), Wait: 2 * time.Minute, Serve: d.activatePolicy},
		{Pattern: "GET /v1/policies/{digest}", Scopes: to(author, polApp, auditor), Serve: d.showPolicy},

		{Pattern: "GET /v1/agents", Scopes: to(viewer, admin), Serve: d.listAgents},
		{Pattern: "POST /v1/agents", Scopes: to(admin), Serve: d.createAgent},
		{Pattern: "GET /v1/agents/{id}", Scopes: to(viewer, admin), Serve: d.showAgent},
		{Pattern: "GET /v1/tokens", Scopes: to(admin), Serve: d.listTokens},
		{Pattern: "POST /v1/tokens", Scopes: to(admin), Serve: d.issueToken},
		{Pattern: "DELETE /v1/tokens/{id}", Scopes: to(admin), Serve: d.revokeToken},

		{Pattern: "GET /v1/tools", Scopes: to(viewer, toolAdm), Serve: d.listTools},
		{Pattern: "PUT /v1/tools/{server}", Scopes: to(toolAdm), Serve: d.registerTools},
		{Pattern: "POST /v1/tools/{server}/approve", Scopes: to(toolAdm), Serve: d.approveTool},

		{Pattern: "GET /v1/kill", Scopes: to(viewer, admin), Serve: d.listKills},
		{Pattern: "POST /v1/kill", Scopes: to(admin), Serve: d.kill},
		{Pattern: "POST /v1/release", Scopes: to(admin), Serve: d.release},
		{Pattern: "POST /v1/kill/challenge", Scopes: to(admin), Serve: d.challengeOrder("kill")},
		{Pattern: "POST /v1/release/challenge", Scopes: to(admin), Serve: d.challengeOrder("release")},

		{Pattern: "GET /log/{path...}", Scopes: to(auditor), Serve: mounted(d.cfg.Log)},
		{Pattern: "GET /metrics", Scopes: to(viewer), Serve: mounted(d.cfg.Metrics)},
	}
}

// mounted serves another handler behind the gate.
func mounted(h http.Handler) gateway.Handler {
	return func(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
		if h == nil {
			return gateway.Refuse(gateway.CodeNotFound, "this is not served here")
		}
		h.ServeHTTP(w, r)
		return nil
	}
}

// ActorOf is how a caller counts as an approver where nothing else is said: a bearer token proves nobody
// and is a bearer; over the unix socket the kernel proves the login besides, which makes an operator, as
// a client certificate does. The rank is what policy compares with what it needs.
func ActorOf(c *gateway.Caller) approval.Actor {
	ch := &c.Subject.Channel
	a := approval.Actor{
		ID: nameOf(c), Channel: action.RankBearer, Credential: ch.CredID, Agent: c.Subject.ID,
		Groups: c.Subject.User.Groups, UID: ch.UID, HasUID: ch.UID >= 0,
	}
	if c.Peer != nil {
		a.UID, a.HasUID = c.Peer.UID, c.Peer.UID >= 0
	}
	if a.HasUID || ch.Credential == action.CredentialMTLS {
		a.Channel = action.RankOperator
	}
	return a
}

// nameOf is who acts, for the record.
func nameOf(c *gateway.Caller) string {
	for _, s := range []string{c.Name, c.Subject.User.ID, c.Subject.ID} {
		if s != "" {
			return s
		}
	}
	return c.Subject.Channel.CredID
}
