// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
)

// The two halves of a login. The cookie is out of reach of scripts, but a browser sends it to every port of
// the host, other programs' among them. The key is kept by the page's own origin and sent in a header, which
// no other page can do. Either alone opens nothing.
const (
	CookieName = "sallyport_console"
	KeyHeader  = "Sallyport-Console"
)

// SessionsConfig is what Sessions needs. Live is required.
type SessionsConfig struct {
	// Live reports whether what the caller logged in with still holds, and may bring c up to date. It is asked at
	// every request, and must not call back.
	Live func(c *gateway.Caller) bool

	Idle    time.Duration    // a login that nobody uses ends after it; 0 means 1 h
	Max     time.Duration    // every login ends after it; 0 means 12 h
	MaxEach int              // logins with one credential; 0 means 8, the oldest makes room
	MaxOpen int              // logins in all; 0 means 1024, further ones are refused
	Now     func() time.Time // nil means time.Now
	Rand    io.Reader        // nil means crypto/rand
}

// Sessions are the logins of people's browsers. They live in memory: a restart ends them. All methods are
// safe for concurrent use.
type Sessions struct {
	cfg SessionsConfig

	mu    sync.Mutex                // guards below
	open  map[[32]byte]*loginHolder // by the hash of the cookie
	codes map[[32]byte]*loginHolder // by the hash of the code: logins that have not begun
}

type loginHolder struct {
	caller gateway.Caller
	key    [32]byte // hash of the key
	began  time.Time
	used   time.Time
	until  time.Time
	carry  [32]byte // of a code: hash of what the browser that may redeem it has in a cookie; zero for any browser
}

// Login is what a browser gets at a login. Cookie and Key are secrets.
type Login struct {
	Cookie string
	Key    string
	Until  time.Time
}

// errLogins means that too many people are logged in.
var errLogins = errors.New("admin: too many logins")

// NewSessions returns an empty set of logins.
func NewSessions(cfg SessionsConfig) (*Sessions, error) {
	if cfg.Live == nil {
		return nil, errors.New("admin: sessions: Live is required")
	}
	cfg.Idle, cfg.Max = cmp.Or(cfg.Idle, time.Hour), cmp.Or(cfg.Max, 12*time.Hour)
	cfg.MaxEach, cfg.MaxOpen = cmp.Or(cfg.MaxEach, 8), cmp.Or(cfg.MaxOpen, 1024)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	return &Sessions{cfg: cfg, open: map[[32]byte]*loginHolder{}, codes: map[[32]byte]*loginHolder{}}, nil
}

// Start logs c in.
func (s *Sessions) Start(c *gateway.Caller) (Login, error) {
	var b [64]byte
	if _, err := io.ReadFull(s.cfg.Rand, b[:]); err != nil {
		return Login{}, err
	}
	l := Login{Cookie: base64.RawURLEncoding.EncodeToString(b[:32]), Key: base64.RawURLEncoding.EncodeToString(b[32:])}
	now := s.cfg.Now()
	l.Until = now.Add(s.cfg.Max)
	if !c.Until.IsZero() && c.Until.Before(l.Until) {
		l.Until = c.Until
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var each []*loginHolder
	for id, h := range s.open {
		if !s.fresh(h, now) {
			delete(s.open, id)
		} else if h.caller.Subject.Channel.CredID == c.Subject.Channel.CredID && h.caller.Name == c.Name {
			each = append(each, h)
		}
	}
	if len(each) >= s.cfg.MaxEach {
		oldest := slices.MinFunc(each, func(a, b *loginHolder) int { return a.used.Compare(b.used) })
		for id, h := range s.open {
			if h == oldest {
				delete(s.open, id)
			}
		}
	}
	if len(s.open) >= s.cfg.MaxOpen {
		return Login{}, errLogins
	}
	held := *c
	held.Subject.Scopes = slices.Clone(c.Subject.Scopes)
	s.open[sha256.Sum256([]byte(l.Cookie))] = &loginHolder{caller: held, key: sha256.Sum256([]byte(l.Key)), began: now, used: now, until: l.Until}
	return l, nil
}

// The bounds of codes.
const (
	codePrefix = "sc_"
	codeFor    = 2 * time.Minute
	maxCodes   = 64
)

// Code returns a word with which a browser logs in as c, once and within two minutes. It is for somebody
// who was proved in another way than his browser can show by itself. If carry is not "", only a browser that has it
// in the cookie CarryName can use the word.
func (s *Sessions) Code(c *gateway.Caller, carry string) (string, time.Time, error) {
	var b [20]byte
	if _, err := io.ReadFull(s.cfg.Rand, b[:]); err != nil {
		return "", time.Time{}, err
	}
	code, now := codePrefix+strings.ToLower(base32.StdEncoding.EncodeToString(b[:])), s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, h := range s.codes {
		if again := carry != "" && h.caller.Subject.Channel.CredID == c.Subject.Channel.CredID; again || !now.Before(h.until) {
			delete(s.codes, id) // whoever signs in again means the newest
		}
	}
	if len(s.codes) >= maxCodes {
		return "", time.Time{}, errLogins
	}
	held := loginHolder{caller: *c, until: now.Add(codeFor)}
	held.caller.Subject.Scopes = slices.Clone(c.Subject.Scopes)
	if carry != "" {
		held.carry = sha256.Sum256([]byte(carry))
	}
	s.codes[sha256.Sum256([]byte(code))] = &held
	return code, now.Add(codeFor), nil
}

// redeem returns whom a code stands for, once.
func (s *Sessions) redeem(code, carry string) (*gateway.Caller, bool) {
	id, brought := sha256.Sum256([]byte(code)), sha256.Sum256([]byte(carry))
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.codes[id]
	delete(s.codes, id)
	if h == nil || !s.cfg.Now().Before(h.until) || !s.cfg.Live(&h.caller) {
		return nil, false
	}
	if h.carry != [32]byte{} && subtle.ConstantTimeCompare(h.carry[:], brought[:]) != 1 {
		return nil, false
	}
	return &h.caller, true
}

// Anybody reports whether a browser is logged in, or about to be, by a credential.
func (s *Sessions) Anybody(credential string) bool {
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.open {
		if h.caller.Subject.Channel.CredID == credential && s.fresh(h, now) {
			return true
		}
	}
	for _, h := range s.codes {
		if h.caller.Subject.Channel.CredID == credential && now.Before(h.until) {
			return true
		}
	}
	return false
}

// still returns who is logged in now by the login of a request that may have begun long ago. It is no use of it.
func (s *Sessions) still(cookie string) (gateway.Caller, bool) {
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.open[sha256.Sum256([]byte(cookie))]
	if h == nil || !now.Before(h.until) || !s.cfg.Live(&h.caller) {
		return gateway.Caller{}, false
	}
	c := h.caller
	c.Subject.Scopes = slices.Clone(c.Subject.Scopes)
	return c, true
}

// fresh reports whether a login has not run out. The caller holds mu.
func (s *Sessions) fresh(h *loginHolder, now time.Time) bool {
	return now.Before(h.until) && now.Sub(h.used) < s.cfg.Idle
}

// find returns who is logged in, with the end of the login, and counts as use of it.
func (s *Sessions) find(cookie, key string) (gateway.Caller, time.Time, bool) {
	id, now := sha256.Sum256([]byte(cookie)), s.cfg.Now()
	print := sha256.Sum256([]byte(key))
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.open[id]
	if h == nil {
		return gateway.Caller{}, time.Time{}, false
	}
	if subtle.ConstantTimeCompare(print[:], h.key[:]) != 1 {
		return gateway.Caller{}, time.Time{}, false
	}
	if !s.fresh(h, now) || !s.cfg.Live(&h.caller) {
		delete(s.open, id)
		return gateway.Caller{}, time.Time{}, false
	}
	h.used = now
	c := h.caller
	c.Subject.Scopes = slices.Clone(c.Subject.Scopes)
	return c, h.until, true
}

// End logs out.
func (s *Sessions) End(cookie string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, sha256.Sum256([]byte(cookie)))
}

// halves reads the two halves from a request, each of which must be there once.
func halves(r *http.Request) (cookie, key string, ok bool) {
	keys := r.Header[KeyHeader]
	for _, c := range r.CookiesNamed(CookieName) {
		if cookie != "" {
			return "", "", false
		}
		cookie = c.Value
	}
	if len(keys) != 1 || cookie == "" || keys[0] == "" {
		return "", "", false
	}
	return cookie, keys[0], true
}

// Authenticator proves callers by a login of theirs, or else asks next. A request with a credential of
// another kind is next's: a cookie that a browser adds by itself never replaces it.
func (s *Sessions) Authenticator(next gateway.Authenticator) gateway.Authenticator {
	return sessionAuth{s, next}
}

type sessionAuth struct {
	s    *Sessions
	next gateway.Authenticator
}

// Authenticate implements gateway.Authenticator.
func (a sessionAuth) Authenticate(ctx context.Context, r *http.Request) (*gateway.Caller, error) {
	cookie, key, ok := halves(r)
	if given := r.Header["Authorization"]; len(given) > 0 {
		if code, ok := strings.CutPrefix(given[0], "Bearer "+codePrefix); ok && len(given) == 1 && r.Method == http.MethodPost && r.URL.Path == "/v1/login" {
			if c, ok := a.s.redeem(codePrefix+code, carried(r)); ok {
				return c, nil
			}
			return nil, gateway.ErrUnauthenticated
		}
		return a.next.Authenticate(ctx, r)
	}
	if !ok {
		return a.next.Authenticate(ctx, r)
	}
	c, _, ok := a.s.find(cookie, key)
	if !ok {
		return nil, gateway.ErrUnauthenticated
	}
	return &c, nil
}

// me is who is logged in.
type me struct {
	Name    string         `json:"name"`
	Tenant  string         `json:"tenant"`
	Scopes  []action.Scope `json:"scopes"`
	Roles   []Role         `json:"roles"`   // whose scopes he has
	Through string         `json:"through"` // the provider that vouches for him; "" without one
	Rank    action.Rank    `json:"rank"`    // as what an approval by him counts
	ACR     string         `json:"acr"`     // level of the sign-in through it; "" when it did not say
	AMR     []string       `json:"amr"`     // methods
	AuthnMs int64          `json:"authn_ms"`
	UntilMs int64          `json:"until_ms"`
	Key     string         `json:"key"` // told at the login only
}

func (d *desk) me(c *gateway.Caller, until time.Time, key string) me {
	m := me{Name: nameOf(c), Tenant: c.Subject.Tenant, Scopes: []action.Scope{}, AMR: []string{}, Rank: d.cfg.Actor(c).Channel, Key: key,
		Roles: RolesOf(c)}
	if d.cfg.SignIn != nil && d.cfg.SignIn.Vouches(c) {
		m.Through, m.ACR, m.AMR = d.cfg.SignIn.Name(), c.SignIn.ACR, append(m.AMR, c.SignIn.AMR...)
		if !c.SignIn.At.IsZero() {
			m.AuthnMs = c.SignIn.At.UnixMilli()
		}
	}
	for _, s := range peopleScopes {
		if c.Has(s) {
			m.Scopes = append(m.Scopes, s)
		}
	}
	if !until.IsZero() {
		m.UntilMs = until.UnixMilli()
	}
	return m
}

// login exchanges the credential of this request for a login. One login cannot make the next: it would
// never end.
func (d *desk) login(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if d.cfg.Sessions == nil {
		return gateway.Refuse(gateway.CodeNotFound, "nobody logs in here")
	}
	if err := plain(r); err != nil {
		return err
	}
	if len(r.Header["Authorization"]) != 1 {
		return gateway.Refuse(gateway.CodeState, "a login begins with a token in the Authorization header")
	}
	if err := gateway.ReadJSON(w, r, &struct{}{}, 16); err != nil {
		return err
	}
	l, err := d.cfg.Sessions.Start(c)
	if errors.Is(err, errLogins) {
		return gateway.Refuse(gateway.CodeBusy, "too many people are logged in")
	}
	if err != nil {
		return err
	}
	SetCookie(w, r, l.Cookie)
	if carried(r) != "" {
		d.setCarry(w, r, "")
	}
	return gateway.WriteJSON(w, http.StatusOK, d.me(c, l.Until, l.Key))
}

// SetCookie hands a browser its half of a login, or takes it back where it is "".
func SetCookie(w http.ResponseWriter, r *http.Request, cookie string) {
	k := &http.Cookie{Name: CookieName, Value: cookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil}
	if cookie == "" {
		k.MaxAge = -1
	}
	http.SetCookie(w, k)
}

// logout ends a login. It may be repeated.
func (d *desk) logout(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	if err := gateway.ReadJSON(w, r, &struct{}{}, 16); err != nil {
		return err
	}
	if cookie, _, ok := halves(r); ok && d.cfg.Sessions != nil {
		d.cfg.Sessions.End(cookie)
	}
	SetCookie(w, r, "")
	return gateway.WriteJSON(w, http.StatusOK, d.me(c, time.Time{}, ""))
}

func (d *desk) showMe(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	var until time.Time
	if cookie, key, ok := halves(r); ok && d.cfg.Sessions != nil && len(r.Header["Authorization"]) == 0 {
		_, until, _ = d.cfg.Sessions.find(cookie, key)
	}
	return gateway.WriteJSON(w, http.StatusOK, d.me(c, until, ""))
}
