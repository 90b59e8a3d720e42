// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/internal/idp"
)

// front is an owner whose people sign in through a provider.
type front struct {
	t   *testing.T
	op  *idp.Provider
	in  *chat
	s   *Sallyport
	at  string
	dir string

	ends []func()

	mu   sync.Mutex
	skew time.Duration // of the sign-in's clock
}

func (f *front) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Add(f.skew)
}

func (f *front) later(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.skew += d
}

func openFront(t *testing.T) *front {
	t.Helper()
	f := &front{t: t, dir: filepath.Join(t.TempDir(), "data")}
	f.op = idp.New("sallyport", "", nil)
	t.Cleanup(f.op.Server.Close)
	f.in = openChat(t)
	t.Cleanup(func() {
		for _, end := range f.ends {
			end()
		}
	})
	f.open()
	return f
}

// open starts the owner, again over the same data where there are some.
func (f *front) open() {
	f.t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	_, port, _ := strings.Cut(srv.Listener.Addr().String(), ":")
	f.at = "http://localhost:" + port
	cfg := PatientConfig()
	cfg.Data, cfg.Gateway.Listen, cfg.Ledger.SegmentBytes = f.dir, "none", 8<<20
	cfg.Admin.Listen = srv.Listener.Addr().String()
	cfg.Admin.Login = LoginConfig{Name: "Example", Issuer: f.op.Server.URL, ClientID: "sallyport", Roles: []LoginRole{
		{Role: "viewer", Groups: []string{"staff"}}, {Role: "approver", Groups: []string{"payments"}},
		{Role: "admin", Groups: []string{"6f1cf0a2-8f5e-4e2e-9a7b-2f5e9d8f4b11"}}}}
	cfg.Approval.Groups = []Group{{Name: "treasury", Claims: []string{"payments"}}, {Name: "payments", Members: []string{"bob"}}}
	cfg.Approval.Channels = f.in.channels()
	s, err := Open(context.Background(), cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	f.s = s
	s.signIn.now = f.now
	h, err := s.people(bearer{s.Tokens, nil}, false)
	if err != nil {
		f.t.Fatal(err)
	}
	srv.Config.Handler = h
	srv.Config.ConnContext = gateway.ConnContext
	srv.Start()
	f.ends = append(f.ends, func() { srv.Close(); _ = s.Close() })
}

// as sets whom the provider signs in next.
func (f *front) as(sub string, claims map[string]any) {
	f.op.With(func(p *idp.Provider) { p.Login, p.Claims = sub, claims })
}

// browser keeps cookies and the key, as the console does.
type browser struct {
	f   *front
	c   *http.Client
	key string
}

func (f *front) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return &browser{f: f, c: &http.Client{Jar: jar, Timeout: 30 * time.Second,
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			if r.URL.Fragment != "" {
				return http.ErrUseLastResponse
			}
			return nil
		}}}
}

// visit follows redirects and returns the page of the console that it ends at.
func (b *browser) visit(where string) string {
	b.f.t.Helper()
	resp, err := b.c.Get(where)
	if err != nil {
		b.f.t.Fatal(err)
	}
	_ = resp.Body.Close()
	_, page, ok := strings.Cut(resp.Header.Get("Location"), "/console/#/")
	if !ok {
		b.f.t.Fatalf("the browser ends at %d %s", resp.StatusCode, resp.Request.URL)
	}
	return page
}

func (b *browser) call(method, path, bearer string, out any) int {
	b.f.t.Helper()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader("{}")
	}
	r, err := http.NewRequestWithContext(b.f.t.Context(), method, b.f.at+path, body)
	if err != nil {
		b.f.t.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if b.key != "" {
		r.Header.Set(admin.KeyHeader, b.key)
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := b.c.Do(r)
	if err != nil {
		b.f.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if out != nil && resp.StatusCode == http.StatusOK {
		if err := json.UnmarshalRead(resp.Body, out); err != nil {
			b.f.t.Fatal(err)
		}
	}
	return resp.StatusCode
}

// who is what /v1/me tells.
type who struct {
	Name    string         `json:"name"`
	Roles   []admin.Role   `json:"roles"`
	Scopes  []action.Scope `json:"scopes"`
	Rank    action.Rank    `json:"rank"`
	Through string         `json:"through"`
	ACR     string         `json:"acr"`
	AMR     []string       `json:"amr"`
	AuthnMs int64          `json:"authn_ms"`
	Key     string         `json:"key"`
}

func (b *browser) signIn() who {
	b.f.t.Helper()
	page := b.visit(b.f.at + "/console/sign-in")
	code, ok := strings.CutPrefix(page, "signed-in/")
	if !ok {
		b.f.t.Fatalf("the browser ends at %q", page)
	}
	var me who
	if status := b.call(http.MethodPost, "/v1/login", code, &me); status != http.StatusOK {
		b.f.t.Fatalf("the code gives %d", status)
	}
	b.key = me.Key
	return me
}

// codes are those of the key records so far.
func (f *front) codes() (out []string) {
	err := f.s.past(f.t.Context(), func(r *action.Record) error {
		if r.Kind == action.KindKey {
			out = append(out, r.Codes...)
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

// TestSignIn shares one owner, which starts once more on the way: each start costs seconds under the race detector.
func TestSignIn(t *testing.T) {
	f := openFront(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *front)
	}{
		{"groups give roles", signInGivesTheRolesOfTheGroups},
		{"who has no role is turned away", signInTurnsAwayWhoHasNoRole},
		{"the code is for the browser that began", theCodeOfASignInIsForItsBrowser},
		{"a quiet sign-in asks nobody", quietSignInAsksNobody},
		{"a group that is taken away ends what it opened", aGroupThatIsTakenAwayEndsWhatItOpened},
		{"a sign-in lends its level to no other browser", aSignInLendsItsLevelToNoOtherBrowser},
		{"a stream ends with its login", aStreamEndsWithItsLogin},
		{"groups approve together only where the configuration says so", groupsOfTheProviderAreApprovalGroupsOnlyWhereTheConfigurationSaysSo},
		{"what waits is told in chats, which can refuse it", chatsTellAndRefuse},
		{"the first admin ends the bootstrap token", theFirstAdminEndsTheBootstrapToken},
		{"breaking the glass is loud and short", breakingTheGlassIsLoudAndShort},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.t = t
			c.run(t, f)
		})
	}
}

func signInGivesTheRolesOfTheGroups(t *testing.T, f *front) {
	f.as("ann", map[string]any{"groups": []string{"staff", "payments", "others"}})
	b := f.browser()
	me := b.signIn()
	if me.Name != "ann" || me.Rank != action.RankOperator || me.Through != "Example" || !slices.Equal(me.Roles, []admin.Role{admin.Viewer, admin.Approver}) {
		t.Errorf("%+v", me)
	}
	if b.call(http.MethodGet, "/v1/approvals", "", nil) != 200 || b.call(http.MethodGet, "/v1/tokens", "", nil) != 403 {
		t.Error("the login opens something else than its roles do")
	}
	if other := f.browser(); other.call(http.MethodGet, "/v1/me", "", nil) != 401 {
		t.Error("a browser that did not sign in is somebody")
	}
	if b.call(http.MethodPost, "/v1/logout", "", nil) != 200 || b.call(http.MethodGet, "/v1/me", "", nil) != 401 {
		t.Error("the login goes on after the logout")
	}
	if !slices.Contains(f.codes(), codeLoginBegan) {
		t.Error("the login is not on record")
	}
}

func signInTurnsAwayWhoHasNoRole(t *testing.T, f *front) {
	for _, c := range []struct {
		name, login string
		claims      map[string]any
		page        string
	}{
		{"in no group with a role", "eve", map[string]any{"groups": []string{"others"}}, "not-signed-in/role"},
		{"a group in another spelling", "eve", map[string]any{"groups": []string{"Staff"}}, "not-signed-in/role"},
		{"more groups than a token holds", "max", map[string]any{"_claim_names": map[string]string{"groups": "src1"}}, "not-signed-in/groups"},
		{"more than it holds, and one with a role", "max", map[string]any{"groups": []string{"staff"}, "_claim_names": map[string]string{"groups": "src1"}}, "not-signed-in/groups"},
		{"no claim", "kim", map[string]any{}, "not-signed-in/groups"},
		{"who declines", "", nil, "not-signed-in/refused"},
	} {
		f.as(c.login, c.claims)
		if page := f.browser().visit(f.at + "/console/sign-in"); page != c.page {
			t.Errorf("%s: %q", c.name, page)
		}
	}
	if page := f.browser().visit(f.at + "/console/signed-in?code=x&state=y"); page != "not-signed-in/again" {
		t.Errorf("a browser that never began: %q", page)
	}
	if n := len(slices.DeleteFunc(f.codes(), func(c string) bool { return c != codeLoginRefused })); n != 3 {
		t.Errorf("%d people are recorded as turned away, of 3", n)
	}
}

func quietSignInAsksNobody(t *testing.T, f *front) {
	f.as("ann", map[string]any{"groups": []string{"staff"}})
	b := f.browser()
	if page := b.visit(f.at + "/console/sign-in?quiet=1"); !strings.HasPrefix(page, "signed-in/") {
		t.Errorf("somebody whom the provider knows: %q", page)
	}
	f.as("", nil)
	if page := b.visit(f.at + "/console/sign-in?quiet=1"); page != "not-signed-in/refused" {
		t.Errorf("somebody whom it would have to ask: %q", page)
	}
	f.op.With(func(p *idp.Provider) {
		p.Login, p.NoRefresh, p.Claims = "ann", true, map[string]any{"groups": []string{"staff"}}
	})
	defer f.op.With(func(p *idp.Provider) { p.NoRefresh = false })
	b.signIn()
	f.later(vouchedAgain + time.Second)
	if err := f.s.signIn.again(t.Context()); err != nil || b.call(http.MethodGet, "/v1/me", "", nil) != 200 {
		t.Errorf("without a refresh token, within five minutes: %v", err)
	}
	f.later(vouchedFor)
	if b.call(http.MethodGet, "/v1/me", "", nil) != 401 {
		t.Error("without a refresh token the login outlives the provider's word")
	}
}

func theCodeOfASignInIsForItsBrowser(t *testing.T, f *front) {
	f.as("ann", map[string]any{"groups": []string{"staff"}})
	b := f.browser()
	code := strings.TrimPrefix(b.visit(f.at+"/console/sign-in"), "signed-in/")
	if status := f.browser().call(http.MethodPost, "/v1/login", code, nil); status != 401 {
		t.Errorf("another browser: %d", status)
	}
	if status := b.call(http.MethodPost, "/v1/login", code, nil); status != 401 {
		t.Errorf("after another browser has tried: %d", status)
	}
}

// A removed group, a withdrawn person, and a provider that is away end what they must within five minutes, streams too.
func aGroupThatIsTakenAwayEndsWhatItOpened(t *testing.T, f *front) {
	f.as("ann", map[string]any{"groups": []string{"staff", "payments"}})
	b := f.browser()
	b.signIn()
	f.op.With(func(p *idp.Provider) { p.Claims["groups"] = []string{"staff"} })
	if err := f.s.signIn.again(t.Context()); err != nil || b.call(http.MethodGet, "/v1/approvals", "", nil) != 200 {
		t.Fatalf("the provider is asked at once: %v", err)
	}
	f.later(vouchedAgain + time.Second)
	if err := f.s.signIn.again(t.Context()); err != nil {
		t.Fatal(err)
	}
	var me who
	if b.call(http.MethodGet, "/v1/me", "", &me); !slices.Equal(me.Roles, []admin.Role{admin.Viewer}) {
		t.Errorf("after a group was taken away: %v", me.Roles)
	}
	f.op.With(func(p *idp.Provider) { p.Down = true })
	f.later(vouchedAgain + time.Second)
	if err := f.s.signIn.again(t.Context()); err != nil || b.call(http.MethodGet, "/v1/me", "", nil) != 200 {
		t.Errorf("a provider that is away for a moment ends logins: %v", err)
	}
	f.later(vouchedFor - vouchedAgain)
	if b.call(http.MethodGet, "/v1/me", "", nil) != 401 {
		t.Error("a provider that is away for five minutes still vouches")
	}
	f.op.With(func(p *idp.Provider) { p.Down = false })
	b.signIn()
	f.op.Withdraw()
	f.later(vouchedAgain + time.Second)
	if err := f.s.signIn.again(t.Context()); err != nil || b.call(http.MethodGet, "/v1/me", "", nil) != 401 {
		t.Errorf("somebody whom the provider withdrew is still logged in: %v", err)
	}
	if codes := f.codes(); !slices.Contains(codes, codeLoginChanged) || !slices.Contains(codes, codeLoginEnded) {
		t.Errorf("on record: %v", codes)
	}
}

func aStreamEndsWithItsLogin(t *testing.T, f *front) {
	ctx, cancel := context.WithCancel(t.Context())
	followed := make(chan error, 1)
	go func() { followed <- f.s.Index.Run(ctx) }()
	defer func() { cancel(); <-followed }()
	f.as("ann", map[string]any{"groups": []string{"staff"}})
	b := f.browser()
	b.signIn()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.at+"/v1/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(admin.KeyHeader, b.key)
	b.c.Timeout = 0
	resp, err := b.c.Do(r)
	if err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	if !lines.Scan() {
		t.Fatal("the stream says nothing")
	}
	f.later(vouchedFor + time.Second)
	if err := f.s.recordKey(t.Context(), "test", "ann", "x", action.RankUnknown, struct{}{}); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "data: ") {
			t.Error("the stream tells somebody what nobody vouches for")
		}
	}
	if errors.Is(lines.Err(), context.DeadlineExceeded) {
		t.Error(lines.Err())
	}
}

func theFirstAdminEndsTheBootstrapToken(t *testing.T, f *front) {
	file := filepath.Join(f.dir, "tokens", "admin")
	secret, err := readToken(file)
	if err != nil {
		t.Fatal(err)
	}
	b := f.browser()
	f.as("ann", map[string]any{"groups": []string{"staff"}})
	b.signIn()
	other := f.browser()
	if other.call(http.MethodGet, "/v1/tokens", secret, nil) != 200 {
		t.Fatal("a viewer's login ends the first token")
	}
	f.as("root", map[string]any{"groups": []string{"6f1cf0a2-8f5e-4e2e-9a7b-2f5e9d8f4b11"}})
	if me := f.browser().signIn(); !slices.Contains(me.Roles, admin.Admin) || slices.Contains(me.Scopes, action.ScopeApprover) {
		t.Errorf("%+v", me)
	}
	if status := other.call(http.MethodGet, "/v1/tokens", secret, nil); status != 401 {
		t.Errorf("the first token after the first admin's login: %d", status)
	}
	f.ends[0]()
	f.ends = nil
	f.open()
	if status := f.browser().call(http.MethodGet, "/v1/tokens", secret, nil); status != 401 {
		t.Errorf("the first token after a restart: %d", status)
	}
	if again, err := readToken(file); err == nil {
		t.Errorf("a start makes another one: %q", again[:6])
	}
	if !f.s.Tokens.BootstrapEnded() || len(f.s.Tokens.Both(action.ScopeAdmin, action.ScopeAdmin)) != 0 {
		t.Error("the restart forgot it")
	}
}

// The glass is broken over the socket, with a reason, an alert, and an end.
func breakingTheGlassIsLoudAndShort(t *testing.T, f *front) {
	f.as("root", map[string]any{"groups": []string{"6f1cf0a2-8f5e-4e2e-9a7b-2f5e9d8f4b11"}})
	f.browser().signIn()
	sub := action.NewQuery(action.Before).Subject
	sub.Tenant, sub.Scopes, sub.Channel.Credential = "default", operatorScopes, action.CredentialPeer
	peer := gateway.Peer{UID: int64(os.Geteuid()), PID: 1}
	c := &gateway.Caller{Subject: sub, Name: "owner", Peer: &peer}
	for name, bad := range map[string]struct{ reason, seconds string }{"no reason": {"", ""}, "a reason of a word": {"x", ""}, "for a day": {"the provider is down", "86400"}, "for no time": {"the provider is down", "0"}} {
		if err := f.s.breakGlass(t.Context(), c, bad.reason, []byte(bad.seconds)); err == nil {
			t.Errorf("%s will do", name)
		}
	}
	before := f.s.Ledger.Checkpoint().Size
	if err := f.s.breakGlass(t.Context(), c, "the provider is down", []byte("600")); err != nil {
		t.Fatal(err)
	}
	var kinds []action.Kind
	for i := before; i < f.s.Ledger.Checkpoint().Size; i++ {
		e, err := f.s.Ledger.Read(i)
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, e.Leaf.Kind)
		if !slices.Equal(e.Leaf.Codes, []string{codeBreakGlass}) {
			t.Errorf("codes %v", e.Leaf.Codes)
		}
		if e.Leaf.Kind == action.KindAlert {
			if a, ok := alertIn(e); !ok || !strings.Contains(a.Summary, "broke the glass") || !strings.Contains(strings.Join(a.Reasons, " "), "the provider is down") {
				t.Errorf("%+v", a)
			}
		}
	}
	if !slices.Equal(kinds, []action.Kind{action.KindKey, action.KindAlert}) {
		t.Errorf("on record: %v", kinds)
	}
	code, _, err := f.s.logins.Code(c, "")
	if err != nil {
		t.Fatal(err)
	}
	b := f.browser()
	var me struct {
		Rank    action.Rank `json:"rank"`
		UntilMs int64       `json:"until_ms"`
		Through string      `json:"through"`
	}
	if status := b.call(http.MethodPost, "/v1/login", code, &me); status != 200 {
		t.Fatal(status)
	}
	if left := time.Until(time.UnixMilli(me.UntilMs)); left > 10*time.Minute || me.Rank != action.RankOperator || me.Through != "" {
		t.Errorf("%+v ends in %s", me, left)
	}
	_ = f.s.Ledger.Close() // from here on nothing can be recorded
	if err := f.s.breakGlass(t.Context(), c, "the provider is down", nil); err == nil {
		t.Error("the glass breaks off the record")
	}
}

func groupsOfTheProviderAreApprovalGroupsOnlyWhereTheConfigurationSaysSo(t *testing.T, f *front) {
	f.as("ann", map[string]any{"groups": []string{"payments", "treasury"}})
	f.browser().signIn()
	for id, v := range f.s.signIn.people {
		if v.person.Subject != "ann" {
			continue
		}
		sub := action.NewQuery(action.Before).Subject
		sub.Channel.Credential, sub.Channel.CredID = action.CredentialToken, id
		c := &gateway.Caller{Subject: sub, Name: "ann"}
		if !f.s.signIn.current(c) {
			t.Fatal("nobody")
		}
		if a := f.s.actor(c); !slices.Equal(a.Groups, []string{"treasury"}) || a.Channel != action.RankOperator || a.Agent != "" {
			t.Errorf("%+v", a)
		}
	}
}
