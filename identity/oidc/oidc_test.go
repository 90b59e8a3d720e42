// SPDX-License-Identifier: Apache-2.0

package oidc_test

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/identity/jose"
	"github.com/sallyport/sallyport/identity/oidc"
	"github.com/sallyport/sallyport/internal/idp"
)

const redirect = "http://localhost:7118/console/signed-in"

// bench is a provider with a client of it.
type bench struct {
	t  *testing.T
	op *idp.Provider
	rp *oidc.Provider

	mu  sync.Mutex
	now time.Time
}

func (b *bench) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bench) later(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

func start(t *testing.T, change func(*oidc.Config)) *bench {
	t.Helper()
	b := &bench{t: t, now: time.Unix(1_800_000_000, 0)}
	b.op = idp.New("sallyport", "not so secret", b.clock)
	t.Cleanup(b.op.Server.Close)
	b.op.With(func(p *idp.Provider) { p.Login, p.Claims["groups"] = "ann", []string{"payments"} })
	cfg := oidc.Config{Issuer: b.op.Server.URL, ClientID: "sallyport", Secret: "not so secret", Now: b.clock}
	if change != nil {
		change(&cfg)
	}
	var err error
	if b.rp, err = oidc.New(cfg); err != nil {
		t.Fatal(err)
	}
	return b
}

// visit is what a browser does: it goes where it is sent, and returns with what it is given.
func (b *bench) visit(where string) url.Values {
	b.t.Helper()
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Get(where)
	if err != nil {
		b.t.Fatal(err)
	}
	_ = resp.Body.Close()
	back, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || resp.StatusCode != http.StatusFound {
		b.t.Fatalf("the provider answers %d: %v", resp.StatusCode, err)
	}
	return back.Query()
}

func (b *bench) signIn() (oidc.Person, error) {
	b.t.Helper()
	s, err := b.rp.Begin(b.t.Context(), redirect, oidc.How{})
	if err != nil {
		return oidc.Person{}, err
	}
	return b.rp.Finish(b.t.Context(), redirect, s.Carry, b.visit(s.URL))
}

func TestSignInNamesThePersonAndTheGroups(t *testing.T) {
	b := start(t, nil)
	who, err := b.signIn()
	if err != nil {
		t.Fatal(err)
	}
	if who.Subject != "ann" || who.Name != "ann" || !who.Known || !slices.Equal(who.Groups, []string{"payments"}) || who.Refresh == "" || who.Authn.IsZero() {
		t.Errorf("%+v", who)
	}
}

// The shapes in which Okta and Entra tell groups: names, GUIDs, roles, and that there are too many to tell.
func TestGroupsAreKnownOnlyWhereTheyAreWhole(t *testing.T) {
	for _, c := range []struct {
		name   string
		claim  string
		claims map[string]any
		known  bool
		groups []string
	}{
		{"Okta: names", "", map[string]any{"groups": []string{"Everyone", "sec ops"}}, true, []string{"Everyone", "sec ops"}},
		{"Entra: GUIDs", "", map[string]any{"groups": []string{"6f1cf0a2-8f5e-4e2e-9a7b-2f5e9d8f4b11"}}, true, []string{"6f1cf0a2-8f5e-4e2e-9a7b-2f5e9d8f4b11"}},
		{"Entra: more than a token holds", "", map[string]any{"_claim_names": map[string]string{"groups": "src1"},
			"_claim_sources": map[string]any{"src1": map[string]string{"endpoint": "https://graph.example/getMemberObjects"}}}, false, nil},
		{"Entra: more than a token holds, and some besides", "", map[string]any{"groups": []string{"a"}, "_claim_names": map[string]string{"groups": "src1"}}, false, nil},
		{"Entra: hasgroups", "", map[string]any{"hasgroups": true, "groups": []string{"a"}}, false, nil},
		{"Entra: roles of the application", "roles", map[string]any{"roles": []string{"Sallyport.Approver"}, "_claim_names": map[string]string{"groups": "src1"}}, true, []string{"Sallyport.Approver"}},
		{"no claim", "", nil, false, nil},
		{"a text in place of a list", "", map[string]any{"groups": "admins"}, false, nil},
		{"an empty list", "", map[string]any{"groups": []string{}}, true, nil},
		{"an empty name", "", map[string]any{"groups": []string{""}}, false, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t, func(cfg *oidc.Config) { cfg.GroupsClaim = c.claim })
			b.op.With(func(p *idp.Provider) { p.Claims = c.claims })
			who, err := b.signIn()
			if err != nil {
				t.Fatal(err)
			}
			if who.Known != c.known || !slices.Equal(who.Groups, c.groups) {
				t.Errorf("known %v: %q", who.Known, who.Groups)
			}
		})
	}
}

func TestSignInRefusesWhatWasNotMeantForIt(t *testing.T) {
	set := func(name string, v any) func(*idp.Provider) {
		return func(p *idp.Provider) { p.Token = func(c map[string]any) { c[name] = v } }
	}
	answer := func(name, v string) func(*idp.Provider) {
		return func(p *idp.Provider) { p.Answer = func(q url.Values) { q.Set(name, v) } }
	}
	for _, c := range []struct {
		name  string
		spoil func(*idp.Provider)
		want  error
	}{
		{"another nonce", set("nonce", "x"), oidc.ErrAnswer},
		{"no nonce", func(p *idp.Provider) { p.Token = func(c map[string]any) { delete(c, "nonce") } }, oidc.ErrAnswer},
		{"another audience", set("aud", "somebody"), oidc.ErrAnswer},
		{"another issuer in the token", set("iss", "https://evil.example"), oidc.ErrAnswer},
		{"several audiences without azp", set("aud", []string{"sallyport", "x"}), oidc.ErrAnswer},
		{"another authorized party", set("azp", "x"), oidc.ErrAnswer},
		{"an expired token", set("exp", 1_799_999_999), oidc.ErrAnswer},
		{"a token from the future", set("iat", 1_800_000_100), oidc.ErrAnswer},
		{"an old token", func(p *idp.Provider) {
			p.Token = func(c map[string]any) { c["iat"], c["exp"] = 1_799_990_000, 1_800_000_100 }
		}, oidc.ErrAnswer},
		{"no subject", set("sub", ""), oidc.ErrAnswer},
		{"no signature", func(p *idp.Provider) {
			p.Sign = func(map[string]any) string {
				return jose.Encode([]byte(`{"alg":"none"}`)) + "." + jose.Encode([]byte(`{"sub":"ann"}`)) + "."
			}
		}, oidc.ErrAnswer},
		{"another state", answer("state", "x"), oidc.ErrAnswer},
		{"another issuer in the answer", answer("iss", "https://evil.example"), oidc.ErrAnswer},
		{"no issuer in the answer, which it promised", func(p *idp.Provider) { p.Answer = func(q url.Values) { q.Del("iss") } }, oidc.ErrAnswer},
		{"two states", func(p *idp.Provider) { p.Answer = func(q url.Values) { q.Add("state", "x") } }, oidc.ErrAnswer},
		{"no code", func(p *idp.Provider) { p.Answer = func(q url.Values) { q.Del("code") } }, oidc.ErrAnswer},
		{"an error beside the code", answer("error", "server_error"), oidc.ErrRefused},
		{"somebody who declines", func(p *idp.Provider) { p.Login = "" }, oidc.ErrRefused},
		{"a code that it does not know", answer("code", "x"), oidc.ErrGone},
		{"another secret", func(p *idp.Provider) { p.Secret = "x" }, oidc.ErrProvider},
		{"the configuration of another issuer", func(p *idp.Provider) { p.Document = func(d map[string]any) { d["issuer"] = "https://evil.example" } }, oidc.ErrProvider},
		{"a provider without PKCE", func(p *idp.Provider) {
			p.Document = func(d map[string]any) { d["code_challenge_methods_supported"] = []string{"plain"} }
		}, oidc.ErrProvider},
		{"a token endpoint in the clear", func(p *idp.Provider) {
			p.Document = func(d map[string]any) { d["token_endpoint"] = "http://idp.example/t" }
		}, oidc.ErrProvider},
		{"a configuration that does not end", func(p *idp.Provider) {
			p.Document = func(d map[string]any) { d["x"] = strings.Repeat("x", 100<<10) }
		}, oidc.ErrProvider},
		{"a provider that is down", func(p *idp.Provider) { p.Down = true }, oidc.ErrProvider},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t, nil)
			b.op.With(c.spoil)
			if who, err := b.signIn(); !errors.Is(err, c.want) || who.Subject != "" {
				t.Errorf("%+v, %v", who, err)
			}
		})
	}
}

func TestSignInHoldsForOneBrowserOnce(t *testing.T) {
	b := start(t, nil)
	one, err := b.rp.Begin(t.Context(), redirect, oidc.How{})
	if err != nil {
		t.Fatal(err)
	}
	two, err := b.rp.Begin(t.Context(), redirect, oidc.How{})
	if err != nil {
		t.Fatal(err)
	}
	back := b.visit(one.URL)
	if strings.Contains(one.Carry, back.Get("state")) {
		t.Error("what the browser keeps shows the state")
	}
	flipped := []byte(one.Carry)
	flipped[len(flipped)-5] ^= 1
	for name, carry := range map[string]string{"another sign-in": two.Carry, "nothing": "", "a changed one": string(flipped), "noise": "xxxx"} {
		if _, err := b.rp.Finish(t.Context(), redirect, carry, back); !errors.Is(err, oidc.ErrAnswer) {
			t.Errorf("carrying %s: %v", name, err)
		}
	}
	if _, err := b.rp.Finish(t.Context(), "http://localhost:1/x", one.Carry, back); !errors.Is(err, oidc.ErrAnswer) {
		t.Errorf("at another address: %v", err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	in := 0
	for range 8 {
		wg.Go(func() {
			if _, err := b.rp.Finish(t.Context(), redirect, one.Carry, back); err == nil {
				mu.Lock()
				in++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if in != 1 {
		t.Errorf("one sign-in succeeded %d times", in)
	}
	back = b.visit(two.URL)
	b.later(11 * time.Minute)
	if _, err := b.rp.Finish(t.Context(), redirect, two.Carry, back); !errors.Is(err, oidc.ErrAnswer) {
		t.Errorf("ten minutes later: %v", err)
	}
}

func TestRefreshTellsWhetherSomebodyIsStillWhatHeWas(t *testing.T) {
	b := start(t, nil)
	who, err := b.signIn()
	if err != nil {
		t.Fatal(err)
	}
	b.later(time.Hour)
	b.op.With(func(p *idp.Provider) { p.Claims["groups"] = []string{"readers"} })
	next, err := b.rp.Refresh(t.Context(), who)
	if err != nil || !slices.Equal(next.Groups, []string{"readers"}) || next.Refresh == who.Refresh {
		t.Fatalf("%+v, %v", next, err)
	}
	if _, err := b.rp.Refresh(t.Context(), who); !errors.Is(err, oidc.ErrGone) {
		t.Errorf("a refresh token holds twice: %v", err)
	}
	b.op.With(func(p *idp.Provider) { p.Down = true })
	if _, err := b.rp.Refresh(t.Context(), next); !errors.Is(err, oidc.ErrProvider) {
		t.Errorf("a provider that is down: %v", err)
	}
	b.op.With(func(p *idp.Provider) { p.Down = false; p.Token = func(c map[string]any) { c["sub"] = "eve" } })
	if _, err := b.rp.Refresh(t.Context(), next); !errors.Is(err, oidc.ErrGone) {
		t.Errorf("somebody else's token: %v", err)
	}
	b.op.Withdraw()
	if _, err := b.rp.Refresh(t.Context(), next); !errors.Is(err, oidc.ErrGone) {
		t.Errorf("a withdrawn one: %v", err)
	}
	if _, err := b.rp.Refresh(t.Context(), oidc.Person{Subject: "ann"}); !errors.Is(err, oidc.ErrGone) {
		t.Errorf("no refresh token: %v", err)
	}
}

func TestAnAddressNamesAPersonOnlyIfItIsVerified(t *testing.T) {
	for name, c := range map[string]struct {
		verified any
		ok       bool
	}{"verified": {true, true}, "not verified": {false, false}, "not said": {nil, false}, "said in words": {"true", false}} {
		b := start(t, func(cfg *oidc.Config) { cfg.UserClaim = "email" })
		b.op.With(func(p *idp.Provider) {
			p.Claims["email"] = "ann@example.com"
			if c.verified != nil {
				p.Claims["email_verified"] = c.verified
			}
		})
		who, err := b.signIn()
		if (err == nil) != c.ok || c.ok && who.Name != "ann@example.com" {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
}

func TestNewRefusesAProviderThatAnybodyCouldBe(t *testing.T) {
	for name, issuer := range map[string]string{"in the clear": "http://idp.example", "no address": "idp", "nothing": "", "with a password": "https://a:b@idp.example"} {
		if _, err := oidc.New(oidc.Config{Issuer: issuer, ClientID: "x"}); err == nil {
			t.Errorf("%s: %q", name, issuer)
		}
	}
	if _, err := oidc.New(oidc.Config{Issuer: "https://idp.example"}); err == nil {
		t.Error("a client without an id")
	}
}

func FuzzFinish(f *testing.F) {
	op := idp.New("sallyport", "", nil)
	defer op.Server.Close()
	p, err := oidc.New(oidc.Config{Issuer: op.Server.URL, ClientID: "sallyport"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("eyJ", "state=a&code=b")
	f.Fuzz(func(t *testing.T, carry, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		if _, err := p.Finish(t.Context(), redirect, carry, q); !errors.Is(err, oidc.ErrAnswer) {
			t.Fatalf("%v", err)
		}
	})
}

func TestSignInTellsItsLevelAndMethodsOnlyAsTheStandardDoes(t *testing.T) {
	for _, c := range []struct {
		name    string
		claims  map[string]any
		level   string
		methods []string
	}{
		{"both", map[string]any{"acr": "urn:example:phr", "amr": []string{"hwk", "pin"}}, "urn:example:phr", []string{"hwk", "pin"}},
		{"neither", nil, "", nil},
		{"a number for a level", map[string]any{"acr": 2}, "", nil},
		{"two levels in one", map[string]any{"acr": "phr phrh"}, "", nil},
		{"a text in place of a list", map[string]any{"acr": "1", "amr": "hwk"}, "1", nil},
		{"a list with something else in it", map[string]any{"amr": []any{"hwk", 1}}, "", nil},
		{"two methods in one", map[string]any{"amr": []string{"hwk pin"}}, "", nil},
		{"very many methods", map[string]any{"amr": slices.Repeat([]string{"x"}, 17)}, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t, nil)
			b.op.With(func(p *idp.Provider) { p.Claims = c.claims })
			who, err := b.signIn()
			if err != nil || who.ACR != c.level || !slices.Equal(who.AMR, c.methods) {
				t.Errorf("%q %q %v", who.ACR, who.AMR, err)
			}
		})
	}
}

func TestSignInAsksForWhatIsWished(t *testing.T) {
	b := start(t, nil)
	b.op.With(func(p *idp.Provider) {
		p.Document = func(doc map[string]any) { doc["claims_parameter_supported"] = true }
	})
	for _, c := range []struct {
		name             string
		how              oidc.How
		acr, age, prompt string
	}{
		{"nothing", oidc.How{}, "", "", ""},
		{"quietly", oidc.How{Quiet: true}, "", "", "none"},
		{"a level", oidc.How{ACR: "phr phrh"}, "phr phrh", "", ""},
		{"lately", oidc.How{MaxAge: 5 * time.Minute}, "", "300", ""},
		{"now", oidc.How{MaxAge: time.Millisecond}, "", "0", ""},
	} {
		s, err := b.rp.Begin(t.Context(), redirect, c.how)
		u, err2 := url.Parse(s.URL)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		q := u.Query()
		if q.Get("acr_values") != c.acr || q.Get("max_age") != c.age || q.Get("prompt") != c.prompt || q.Has("max_age") != (c.age != "") ||
			!strings.Contains(q.Get("claims"), `"amr":null`) {
			t.Errorf("%s: %v", c.name, q)
		}
	}
}
