// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/identity/oidc"
)

// LoginConfig says which OpenID provider signs people in to the console, and what its groups may do.
type LoginConfig struct {
	Name       string      `yaml:"name" doc:"of the identity provider, as the button says; default: its host"`
	Issuer     string      `yaml:"issuer" doc:"of the identity provider (OpenID Connect); default: none, people log in with codes and tokens"`
	ClientID   string      `yaml:"client_id" doc:"what the provider calls us"`
	SecretFile string      `yaml:"secret_file" doc:"file with the client secret"`
	SecretEnv  string      `yaml:"secret_env" doc:"environment variable with the client secret; with neither we are a public client"`
	Scopes     []string    `yaml:"scopes" doc:"asked for besides openid; default offline_access, which gives the refresh token that groups are asked again with"`
	User       string      `yaml:"user_claim" doc:"claim that names the person in records; default sub; email counts only if it is verified"`
	Groups     string      `yaml:"groups_claim" doc:"claim with the person's groups or roles; default groups"`
	Roles      []LoginRole `yaml:"roles" doc:"what groups may do; who is in none of them is not let in"`
}

// LoginRole gives a role to groups.
type LoginRole struct {
	Role   string   `yaml:"role" doc:"viewer, approver, policy-author, policy-approver, auditor or admin"`
	Groups []string `yaml:"groups" doc:"groups of the provider, exactly as its tokens name them"`
}

func (c *LoginConfig) check() error {
	if c.Issuer == "" {
		if c.ClientID != "" || len(c.Roles) > 0 {
			return errors.New("config: admin.login.issuer: missing")
		}
		return nil
	}
	if !identity.SafeURL(c.Issuer) {
		return fmt.Errorf("config: admin.login.issuer: %q is no https address (or http on loopback)", c.Issuer)
	}
	if c.ClientID == "" {
		return errors.New("config: admin.login.client_id: missing")
	}
	if c.SecretFile != "" && c.SecretEnv != "" {
		return errors.New("config: admin.login: secret_file and secret_env exclude each other")
	}
	if len(c.Roles) == 0 {
		return errors.New("config: admin.login.roles: missing: nobody could sign in")
	}
	for _, r := range c.Roles {
		if !slices.Contains(admin.Roles(), admin.Role(r.Role)) {
			return fmt.Errorf("config: admin.login.roles: %q is none of %v", r.Role, admin.Roles())
		}
		if len(r.Groups) == 0 || slices.Contains(r.Groups, "") {
			return fmt.Errorf("config: admin.login.roles: %q has no group, or one without a name", r.Role)
		}
	}
	return nil
}

func (c *LoginConfig) secret() (string, error) {
	if c.SecretEnv != "" {
		if s := os.Getenv(c.SecretEnv); s != "" {
			return s, nil
		}
		return "", fmt.Errorf("admin.login.secret_env: %q is not set", c.SecretEnv)
	}
	if c.SecretFile == "" {
		return "", nil
	}
	b, err := os.ReadFile(c.SecretFile)
	if b = bytes.TrimSpace(b); err == nil && len(b) == 0 {
		err = errors.New("it is empty")
	}
	if err != nil {
		return "", fmt.Errorf("admin.login.secret_file: %w", err)
	}
	return string(b), nil
}

// How long a provider's word on somebody's groups is good, and how often it is asked for again before that.
const (
	vouchedFor   = 5 * time.Minute
	vouchedAgain = 2 * time.Minute
	vouchedEvery = 15 * time.Second
	signInGrace  = time.Minute // between a sign-in and the login that comes of it
	turnedFor    = 10 * time.Minute
	maxVouched   = 4096 // people
)

// vouchedPrefix begins the credential id of people who signed in; what follows names them and is no secret.
const vouchedPrefix = "oidc:"

// signIn keeps the people who signed in, each once however many browsers he uses.
type signIn struct {
	provider *oidc.Provider
	cfg      LoginConfig
	groups   []Group
	now      func() time.Time
	anybody  func(credential string) bool
	record   func(ctx context.Context, code string, v *vouched, why string) error
	first    func(ctx context.Context, who string) error // called when an admin has signed in, before anything opens to him

	mu     sync.Mutex // guards below; never held across I/O
	people map[string]*vouched
	turned map[string]time.Time // away: when it was recorded last
}

// vouched is somebody with what the provider says of him.
type vouched struct {
	id     string
	person oidc.Person
	roles  []admin.Role
	at     time.Time // when the provider said so
}

func (s *Sallyport) openSignIn() error {
	c := s.Config.Admin.Login
	if c.Issuer == "" {
		return nil
	}
	secret, err := c.secret()
	if err != nil {
		return err
	}
	p, err := oidc.New(oidc.Config{Issuer: c.Issuer, ClientID: c.ClientID, Secret: secret, Scopes: c.Scopes, UserClaim: c.User,
		GroupsClaim: c.Groups, Now: s.Ledger.Now})
	if err != nil {
		return fmt.Errorf("admin.login: %w", err)
	}
	if c.Name == "" {
		u, err := url.Parse(c.Issuer)
		if err != nil {
			return fmt.Errorf("admin.login: %w", err)
		}
		c.Name = u.Host
	}
	s.signIn = &signIn{provider: p, cfg: c, groups: s.Config.Approval.Groups, now: s.Ledger.Now, anybody: s.logins.Anybody,
		record: s.recordLogin, first: s.endBootstrap, people: map[string]*vouched{}, turned: map[string]time.Time{}}
	return nil
}

// Name implements admin.SignIn.
func (i *signIn) Name() string { return i.cfg.Name }

// Credentials implements admin.SignIn.
func (i *signIn) Credentials() string { return vouchedPrefix }

// Vouches implements admin.SignIn.
func (i *signIn) Vouches(c *gateway.Caller) bool {
	ch := &c.Subject.Channel
	return ch.Credential == action.CredentialToken && strings.HasPrefix(ch.CredID, vouchedPrefix)
}

// Begin implements admin.SignIn.
func (i *signIn) Begin(ctx context.Context, redirect string, how admin.SignInHow) (string, string, error) {
	st, err := i.provider.Begin(ctx, redirect, oidc.How{Quiet: how.Quiet, ACR: how.ACR, MaxAge: how.MaxAge})
	if err != nil {
		return "", "", i.worded(err)
	}
	return st.URL, st.Carry, nil
}

// worded says what a person can be told of an error.
func (i *signIn) worded(err error) error {
	for of, word := range map[error]admin.SignInError{oidc.ErrAnswer: admin.SignInAgain, oidc.ErrGone: admin.SignInAgain,
		oidc.ErrRefused: admin.SignInRefused, oidc.ErrProvider: admin.SignInProvider, oidc.ErrBusy: admin.SignInBusy} {
		if errors.Is(err, of) {
			return fmt.Errorf("%w: %w", word, err)
		}
	}
	return err
}

// Finish implements admin.SignIn. What opens to the person is on record before.
func (i *signIn) Finish(ctx context.Context, redirect, carry string, query url.Values) (*gateway.Caller, error) {
	p, err := i.provider.Finish(ctx, redirect, carry, query)
	if err != nil {
		return nil, i.worded(err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d:%s%s", len(p.Issuer), p.Issuer, p.Subject))
	v := &vouched{id: vouchedPrefix + hex.EncodeToString(sum[:12]), person: p, roles: i.rolesOf(p), at: i.now()}
	ctx = context.WithoutCancel(ctx)
	switch {
	case !p.Known:
		return nil, errors.Join(admin.SignInGroups, i.turnAway(ctx, v, "groups unknown"))
	case len(v.roles) == 0:
		return nil, errors.Join(admin.SignInRole, i.turnAway(ctx, v, "no role"))
	}
	i.mu.Lock()
	_, known := i.people[v.id]
	full := !known && len(i.people) >= maxVouched
	i.mu.Unlock()
	if full {
		return nil, admin.SignInBusy
	}
	if err := i.record(ctx, codeLoginBegan, v, ""); err != nil {
		return nil, err
	}
	if slices.Contains(v.roles, admin.Admin) {
		if err := i.first(ctx, p.Name); err != nil {
			return nil, err
		}
	}
	i.mu.Lock()
	i.people[v.id] = v
	i.mu.Unlock()
	sub := action.NewQuery(action.Before).Subject
	sub.Type, sub.Tenant = "operator", "default"
	sub.Channel.Credential, sub.Channel.CredID = action.CredentialToken, v.id
	c := &gateway.Caller{Subject: sub, Name: p.Name, SignIn: gateway.SignIn{ACR: p.ACR, AMR: p.AMR, At: p.Authn}}
	if !i.current(c) {
		return nil, admin.SignInAgain
	}
	return c, nil
}

// turnAway puts on record that somebody was not let in, once in a while for each.
func (i *signIn) turnAway(ctx context.Context, v *vouched, why string) error {
	i.mu.Lock()
	maps.DeleteFunc(i.turned, func(_ string, at time.Time) bool { return v.at.Sub(at) > turnedFor })
	_, lately := i.turned[v.id]
	full := len(i.turned) >= maxVouched
	if !full {
		i.turned[v.id] = v.at
	}
	i.mu.Unlock()
	if lately || full {
		return nil
	}
	return i.record(ctx, codeLoginRefused, v, why)
}

// rolesOf are the roles of a person. Groups that are not known are none.
func (i *signIn) rolesOf(p oidc.Person) (out []admin.Role) {
	for _, r := range i.cfg.Roles {
		if p.Known && slices.ContainsFunc(r.Groups, func(g string) bool { return slices.Contains(p.Groups, g) }) &&
			!slices.Contains(out, admin.Role(r.Role)) {
			out = append(out, admin.Role(r.Role))
		}
	}
	return out
}

// current brings a caller up to date, and reports whether the provider's word on him is fresh enough to count.
func (i *signIn) current(c *gateway.Caller) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	v := i.people[c.Subject.Channel.CredID]
	if v == nil || i.now().Sub(v.at) > vouchedFor {
		return false
	}
	c.Subject.Scopes, c.Subject.User.Groups = admin.ScopesOf(v.roles...), slices.Clone(v.person.Groups)
	return true
}

// actor is how somebody who signed in counts as an approver: as an operator, in those groups of ours that the
// configuration gives to groups of the provider.
func (i *signIn) actor(c *gateway.Caller, a approval.Actor) approval.Actor {
	a.Channel, a.Groups = action.RankOperator, nil
	a.SignIn = approval.SignIn{ACR: c.SignIn.ACR, AMR: c.SignIn.AMR, At: c.SignIn.At}
	for _, g := range i.groups {
		if slices.ContainsFunc(g.Claims, func(theirs string) bool { return slices.Contains(c.Subject.User.Groups, theirs) }) {
			a.Groups = append(a.Groups, g.Name)
		}
	}
	return a
}

// loginJobs ask the provider again what it says of those who are logged in.
func (s *Sallyport) loginJobs() []func(context.Context) error {
	if s.signIn == nil {
		return nil
	}
	return []func(context.Context) error{s.signIn.Run}
}

// Run keeps the provider's word fresh until ctx ends.
func (i *signIn) Run(ctx context.Context) error {
	tick := time.NewTicker(vouchedEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := i.again(ctx); err != nil {
				return err
			}
		}
	}
}

// again asks about everybody on whom the word is old, a few at a time. Who is logged in no longer is forgotten, and so
// is his refresh token.
func (i *signIn) again(ctx context.Context) error {
	now := i.now()
	var old []*vouched
	i.mu.Lock()
	all := slices.Collect(maps.Values(i.people))
	i.mu.Unlock()
	for _, v := range all {
		age := now.Sub(v.at)
		switch {
		case age > signInGrace && !i.anybody(v.id): // asked without mu: logins ask us under a lock of theirs
			i.mu.Lock()
			if i.people[v.id] == v {
				delete(i.people, v.id)
			}
			i.mu.Unlock()
		case age >= vouchedAgain && v.person.Refresh != "":
			old = append(old, v)
		}
	}
	slices.SortFunc(old, func(a, b *vouched) int { return cmp.Or(a.at.Compare(b.at), strings.Compare(a.id, b.id)) })
	places := make(chan struct{}, 4)
	errs := make(chan error, len(old))
	var wg sync.WaitGroup
	for _, v := range old {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			errs <- i.ask(ctx, v)
		})
	}
	wg.Wait()
	close(errs)
	var failed error
	for err := range errs {
		failed = errors.Join(failed, err)
	}
	return failed
}

// ask asks about one person. A provider that does not answer is asked again; its last word runs out by itself.
func (i *signIn) ask(ctx context.Context, v *vouched) error {
	began := i.now()
	p, err := i.provider.Refresh(ctx, v.person)
	next := &vouched{id: v.id, person: p, at: began}
	switch {
	case err == nil:
		next.roles = i.rolesOf(p)
	case errors.Is(err, oidc.ErrGone) || errors.Is(err, oidc.ErrAnswer):
		next.person = v.person
	default:
		return nil
	}
	i.mu.Lock()
	mine := i.people[v.id] == v // he may have signed in again meanwhile
	changed := !slices.Equal(v.roles, next.roles)
	switch {
	case mine && len(next.roles) == 0:
		delete(i.people, v.id)
	case mine:
		i.people[v.id] = next
	}
	i.mu.Unlock()
	switch {
	case !mine || !changed:
		return nil
	case len(next.roles) == 0:
		return i.record(ctx, codeLoginEnded, next, "the provider no longer gives the person a role")
	}
	return i.record(ctx, codeLoginChanged, next, "")
}
