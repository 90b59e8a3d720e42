// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/identity/jose"
)

// idp is an issuer whose keys are served in memory.
type idp struct {
	key     *rsa.PrivateKey
	kid     string
	fetches int
	down    bool
	now     time.Time
}

func newIDP(t testing.TB) *idp {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return &idp{key: k, kid: "one", now: time.Unix(1_800_000_000, 0)}
}

func (p *idp) get(_ context.Context, u string) ([]byte, error) {
	p.fetches++
	if p.down {
		return nil, errors.New("down")
	}
	switch u {
	case "https://idp.example/.well-known/openid-configuration":
		return []byte(`{"issuer":"https://idp.example","jwks_uri":"https://idp.example/keys","other":1}`), nil
	case "https://idp.example/keys", "https://cluster.example/keys":
		k, err := jose.KeyOf(p.key.Public())
		if err != nil {
			return nil, err
		}
		k.Kid = p.kid
		return action.Canonical(map[string]any{"keys": []jose.JWK{*k}})
	}
	return nil, errors.New("not found")
}

func (p *idp) token(t testing.TB, typ string, claims map[string]any) string {
	t.Helper()
	text, err := jose.Signer{Key: p.key, ID: p.kid}.Sign(typ, claims, false)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (p *idp) trusted(t testing.TB) *Issuers {
	t.Helper()
	is, err := NewIssuers([]Trusted{
		{Issuer: "https://idp.example", Audience: "sallyport"},
		{Issuer: "https://cluster.example", Audience: "sallyport", Keys: "https://cluster.example/keys", Workload: true, Accounts: map[string]string{"pay/biller": "billing"}},
	}, func() time.Time { return p.now }, p.get)
	if err != nil {
		t.Fatal(err)
	}
	return is
}

func (p *idp) ann() map[string]any {
	return map[string]any{"iss": "https://idp.example", "aud": []string{"x", "sallyport"}, "sub": "ann", "iat": p.now.Unix(), "exp": p.now.Add(time.Hour).Unix(),
		"auth_time": p.now.Add(-time.Minute).Unix(), "groups": []string{"finance", "staff"}}
}

func (p *idp) pod() map[string]any {
	return map[string]any{"iss": "https://cluster.example", "aud": []string{"sallyport"}, "sub": "system:serviceaccount:pay:biller", "iat": p.now.Unix(),
		"exp": p.now.Add(10 * time.Minute).Unix(), "kubernetes.io": map[string]any{"namespace": "pay", "serviceaccount": map[string]any{"name": "biller", "uid": "u"},
			"pod": map[string]any{"name": "biller-0", "uid": "pod-uid"}}}
}

func changed(m map[string]any, name string, v any) map[string]any {
	m = maps.Clone(m)
	if m[name] = v; v == nil {
		delete(m, name)
	}
	return m
}

func TestTokensOfPeopleProveWhatTheySay(t *testing.T) {
	p := newIDP(t)
	is := p.trusted(t)
	who, err := is.Person(t.Context(), p.token(t, "JWT", p.ann()))
	if err != nil || who.ID != "ann" || !slices.Equal(who.Groups, []string{"finance", "staff"}) || who.GroupsKnow != action.Yes || p.now.Sub(who.Authn) != time.Minute {
		t.Fatalf("%+v %v", who, err)
	}
	stranger := newIDP(t)
	for name, text := range map[string]string{
		"another audience":               p.token(t, "JWT", changed(p.ann(), "aud", "other")),
		"no audience":                    p.token(t, "JWT", changed(p.ann(), "aud", nil)),
		"expired":                        p.token(t, "JWT", changed(p.ann(), "exp", p.now.Unix())),
		"no end":                         p.token(t, "JWT", changed(p.ann(), "exp", nil)),
		"a year long":                    p.token(t, "JWT", changed(p.ann(), "exp", p.now.AddDate(1, 0, 0).Unix())),
		"of tomorrow":                    p.token(t, "JWT", changed(p.ann(), "iat", p.now.Add(time.Minute).Unix())),
		"not valid yet":                  p.token(t, "JWT", changed(p.ann(), "nbf", p.now.Add(time.Minute).Unix())),
		"another issuer":                 p.token(t, "JWT", changed(p.ann(), "iss", "https://evil.example")),
		"an issuer with a slash":         p.token(t, "JWT", changed(p.ann(), "iss", "https://idp.example/")),
		"nobody":                         p.token(t, "JWT", changed(p.ann(), "sub", "")),
		"a user with control characters": p.token(t, "JWT", changed(p.ann(), "sub", "ann\n")),
		"a user that is a number":        p.token(t, "JWT", changed(p.ann(), "sub", 7)),
		"a proof of possession":          p.token(t, "dpop+jwt", p.ann()),
		"another's key":                  stranger.token(t, "JWT", p.ann()),
		"a workload's token":             p.token(t, "JWT", p.pod()),
	} {
		if who, err := is.Person(t.Context(), text); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s proves %+v, %v", name, who, err)
		}
	}
	for name, claims := range map[string]map[string]any{
		"no groups":         changed(p.ann(), "groups", nil),
		"groups elsewhere":  changed(p.ann(), "_claim_names", map[string]string{"groups": "src1"}),
		"too many groups":   changed(p.ann(), "hasgroups", true),
		"groups of numbers": changed(p.ann(), "groups", []int{1}),
	} {
		if who, err := is.Person(t.Context(), p.token(t, "JWT", claims)); err != nil || who.GroupsKnow == action.Yes || who.Groups != nil {
			t.Errorf("%s: %+v %v", name, who, err)
		}
	}
}

func TestServiceAccountsAreTheAgentsTheyAreMappedTo(t *testing.T) {
	p := newIDP(t)
	is := p.trusted(t)
	w, err := is.Workload(t.Context(), p.token(t, "", p.pod()))
	if err != nil || w.Agent != "billing" || w.ID != "account:pay/biller/pod-uid" {
		t.Fatalf("%+v %v", w, err)
	}
	kube := func(ns, account string) map[string]any {
		m := changed(p.pod(), "kubernetes.io", map[string]any{"namespace": ns, "serviceaccount": map[string]any{"name": account}})
		return changed(m, "sub", "system:serviceaccount:"+ns+":"+account)
	}
	for name, text := range map[string]string{
		"another account":                p.token(t, "", kube("pay", "other")),
		"another namespace":              p.token(t, "", kube("dev", "biller")),
		"a name with a slash":            p.token(t, "", kube("", "pay/biller")),
		"a subject that says other":      p.token(t, "", changed(p.pod(), "sub", "system:serviceaccount:dev:biller")),
		"the audience of the API server": p.token(t, "", changed(p.pod(), "aud", []string{"https://kubernetes.default.svc"})),
		"a person":                       p.token(t, "JWT", p.ann()),
	} {
		if w, err := is.Workload(t.Context(), text); err == nil {
			t.Errorf("%s is %+v", name, w)
		}
	}
}

// TestKeysAreFetchedSeldomAndForgotten rotates and loses an issuer's keys.
func TestKeysAreFetchedSeldomAndForgotten(t *testing.T) {
	p := newIDP(t)
	is := p.trusted(t)
	ask := func() error { _, err := is.Person(t.Context(), p.token(t, "JWT", p.ann())); return err }
	for range 5 {
		if err := ask(); err != nil {
			t.Fatal(err)
		}
	}
	if p.fetches != 2 { // configuration and keys
		t.Errorf("%d fetches for five tokens", p.fetches)
	}
	p.kid = "two" // the issuer rotates
	if err := ask(); err == nil {
		t.Error("an unknown key makes us fetch at once, as often as a stranger likes")
	}
	p.now = p.now.Add(keysAgain)
	if err := ask(); err != nil {
		t.Errorf("after a rotation: %v", err)
	}
	p.down = true
	p.now = p.now.Add(keysFor + time.Minute)
	if err := ask(); err != nil {
		t.Errorf("an issuer that is down for minutes: %v", err)
	}
	p.now = p.now.Add(keysAtMost)
	if err := ask(); err == nil {
		t.Error("keys are used for ever while their issuer is down")
	}
}

func caller(t testing.TB) action.Subject {
	t.Helper()
	s := action.NewQuery(action.Before).Subject
	s.ID, s.Tenant, s.Scopes = "front", "default", []action.Scope{action.ScopeAgent, action.ScopeHost}
	s.Channel.Credential, s.Channel.CredID = action.CredentialToken, "t"
	return s
}

func TestDelegationsOnlyNarrow(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	d := &Delegations{Now: func() time.Time { return now }, Record: func(context.Context, *action.Record) (action.Receipt, error) { return action.Receipt{}, nil }}
	ann := &Person{ID: "ann", Groups: []string{"g"}, Until: now.Add(10 * time.Minute)}
	first, err := d.Make(t.Context(), Exchange{Caller: caller(t), Person: ann, Key: "k1"})
	if err != nil || first.Subject.User.ID != "ann" || first.Subject.User.Verified != action.Yes || !first.Until.Equal(ann.Until) || len(first.Subject.Delegation) != 0 {
		t.Fatalf("%+v %v", first, err)
	}
	second, err := d.Make(t.Context(), Exchange{Caller: first.Subject, Until: first.Until, Agent: "worker", Key: "k2"})
	if err != nil || second.Subject.ID != "worker" || second.Subject.User.ID != "ann" || second.Until.After(first.Until) ||
		!slices.Equal(second.Subject.Scopes, []action.Scope{action.ScopeAgent}) || second.Subject.Delegation[0].ID != "front" {
		t.Fatalf("%+v %v", second, err)
	}
	for name, x := range map[string]Exchange{
		"a scope more":            {Caller: first.Subject, Key: "k", Scopes: []action.Scope{action.ScopeAdmin}},
		"another user":            {Caller: first.Subject, Key: "k", Person: &Person{ID: "bob", Until: now.Add(time.Hour)}},
		"a user for a chain":      {Caller: second.Subject, Key: "k", Person: ann},
		"a circle":                {Caller: second.Subject, Key: "k", Agent: "FRONT"},
		"what has ended":          {Caller: first.Subject, Until: now, Key: "k"},
		"a user who has ended":    {Caller: caller(t), Key: "k", Person: &Person{ID: "ann", Until: now}},
		"no key":                  {Caller: first.Subject},
		"nobody":                  {Key: "k"},
		"a life below zero":       {Caller: first.Subject, Key: "k", TTL: -1},
		"an agent without a name": {Caller: first.Subject, Key: "k", Agent: "a/b"},
	} {
		if got, err := d.Make(t.Context(), x); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
	third, err := d.Make(t.Context(), Exchange{Caller: second.Subject, Until: second.Until, Agent: "deep", Key: "k3"})
	if err != nil || len(third.Subject.Delegation) != 2 {
		t.Fatalf("%+v %v", third, err)
	}
	if _, err := d.Make(t.Context(), Exchange{Caller: third.Subject, Agent: "deeper", Key: "k4"}); err == nil {
		t.Error("a chain without an end")
	}
	if _, ok := d.Get(first.Subject.Channel.CredID); !ok {
		t.Error("a delegation is not found")
	}
	now = ann.Until
	if _, ok := d.Get(first.Subject.Channel.CredID); ok {
		t.Error("a delegation outlives the user's token")
	}
}

// FuzzDelegation holds every result against what it was made from.
func FuzzDelegation(f *testing.F) {
	f.Add(uint8(3), uint8(1), "worker", "ann", int64(60), int64(10), uint8(2))
	f.Fuzz(func(t *testing.T, have, want uint8, agent, user string, ttl, until int64, depth uint8) {
		now := time.Unix(1_800_000_000, 0)
		all := []action.Scope{action.ScopeAgent, action.ScopeHost, action.ScopeAdmin}
		pick := func(bits uint8) (out []action.Scope) {
			for i, s := range all {
				if bits&(1<<i) != 0 {
					out = append(out, s)
				}
			}
			return out
		}
		c := caller(t)
		c.Scopes = pick(have)
		for i := range int(depth % 6) {
			c.Delegation = append(c.Delegation, action.Delegate{ID: fmt.Sprint("d", i)})
		}
		x := Exchange{Caller: c, Until: now.Add(time.Duration(until%1e6) * time.Second), Agent: agent, Key: "k", Scopes: pick(want), TTL: time.Duration(ttl % 1e9)}
		if user != "" {
			x.Person = &Person{ID: user, Until: now.Add(time.Hour)}
		}
		d := &Delegations{Now: func() time.Time { return now }, Record: func(context.Context, *action.Record) (action.Receipt, error) { return action.Receipt{}, nil }}
		got, err := d.Make(t.Context(), x)
		if err != nil {
			return
		}
		for _, s := range got.Subject.Scopes {
			if !slices.Contains(c.Scopes, s) {
				t.Errorf("the scope %s was not the caller's", s)
			}
		}
		other := agent != "" && !strings.EqualFold(agent, c.ID)
		switch n := len(got.Subject.Delegation); {
		case got.Until.After(x.Until):
			t.Error("it outlives the caller")
		case n >= MaxChain && n > len(c.Delegation), other && n != len(c.Delegation)+1:
			t.Errorf("a chain of %d after %d", n, len(c.Delegation))
		case other && slices.Contains(got.Subject.Scopes, action.ScopeHost):
			t.Error("another agent holds the rights of a host")
		case got.Subject.Tenant != c.Tenant:
			t.Error("another tenant")
		}
	})
}

func FuzzForeignToken(f *testing.F) {
	p := newIDP(f)
	is := p.trusted(f)
	f.Add(p.token(f, "JWT", p.ann()))
	f.Add(p.token(f, "", p.pod()))
	other := newIDP(f)
	f.Add(other.token(f, "JWT", p.ann()))
	f.Fuzz(func(t *testing.T, text string) {
		who, err := is.Person(t.Context(), text)
		if err == nil && (who.ID == "" || !p.now.Before(who.Until)) {
			t.Errorf("%q proves %+v", text, who)
		}
		if w, err := is.Workload(t.Context(), text); err == nil && w.Agent != "billing" {
			t.Errorf("%q is %+v", text, w)
		}
	})
}
