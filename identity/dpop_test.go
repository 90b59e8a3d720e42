// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/identity/jose"
)

func sessionKey(t testing.TB) jose.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.Signer{Key: k}
}

func proofOf(t testing.TB, s jose.Signer, typ string, embed bool, claims map[string]any) string {
	t.Helper()
	text, err := s.Sign(typ, claims, embed)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestProofsProveOneRequestOnce(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	key := sessionKey(t)
	u, err := url.Parse("http://gw.example:7117/v1/actions")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("token"))
	good := map[string]any{"jti": "1", "htm": "POST", "htu": "http://gw.example:7117/v1/actions", "iat": now.Unix(), "ath": jose.Encode(sum[:])}
	all := &Proofs{Now: func() time.Time { return now }}
	with := func(name string, v any) map[string]any {
		m := maps.Clone(good)
		m["jti"] = fmt.Sprint(name, v)
		if v == nil {
			delete(m, name)
		} else {
			m[name] = v
		}
		return m
	}
	for _, c := range []struct {
		name   string
		claims map[string]any
		ok     bool
	}{
		{"as it should be", good, true},
		{"once more", good, false},
		{"another id", with("jti", "2"), true},
		{"a query and a fragment do not count", with("htu", "http://GW.example:7117/v1/actions?a=1#b"), true},
		{"no id", with("jti", nil), false},
		{"another method", with("htm", "GET"), false},
		{"a method in another case", with("htm", "post"), false},
		{"another path", with("htu", "http://gw.example:7117/v1/action"), false},
		{"a path that is written otherwise", with("htu", "http://gw.example:7117/v1/%61ctions"), false},
		{"another host", with("htu", "http://gw.example/v1/actions"), false},
		{"a user in the address", with("htu", "http://gw.example:7117@evil.example/v1/actions"), false},
		{"https in the place of http", with("htu", "https://gw.example:7117/v1/actions"), false},
		{"too old", with("iat", now.Add(-31*time.Second).Unix()), false},
		{"from the future", with("iat", now.Add(6*time.Second).Unix()), false},
		{"just in time", with("iat", now.Add(-30*time.Second).Unix()), true},
		{"a time that is text", with("iat", "now"), false},
		{"no token", with("ath", nil), false},
		{"another token", with("ath", "AAAA"), false},
		{"a nonce that nobody asked for", with("nonce", "n"), false},
	} {
		_, err := all.Check(Proof{Text: proofOf(t, key, "dpop+jwt", true, c.claims), Method: "POST", URL: u, Token: "token"})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	ps := &Proofs{Now: func() time.Time { return now }}
	if _, err := ps.Check(Proof{Text: proofOf(t, key, "jwt", true, good), Method: "POST", URL: u, Token: "token"}); err == nil {
		t.Error("a token of another type is a proof")
	}
	if _, err := ps.Check(Proof{Text: proofOf(t, key, "dpop+jwt", false, good), Method: "POST", URL: u, Token: "token"}); err == nil {
		t.Error("a proof without a key is one")
	}
	want, err := jose.KeyOf(key.Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	print, err := want.Thumbprint()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ps.Check(Proof{Text: proofOf(t, key, "dpop+jwt", true, with("htu", "https://gw.example:7117/v1/actions")), Method: "POST", URL: u, Token: "token", Proxy: true}); err != nil || got != print {
		t.Errorf("behind a proxy that takes TLS off: %s %v", got, err)
	}
}

// TestAProofServesOnceUnderConcurrency races one proof against itself.
func TestAProofServesOnceUnderConcurrency(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	ps := &Proofs{Now: func() time.Time { return now }}
	key := sessionKey(t)
	u := &url.URL{Scheme: "http", Host: "h", Path: "/"}
	for round := range 20 {
		text := proofOf(t, key, "dpop+jwt", true, map[string]any{"jti": fmt.Sprint(round), "htm": "GET", "htu": "http://h/", "iat": now.Unix()})
		var ok atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := ps.Check(Proof{Text: text, Method: "GET", URL: u}); err == nil {
					ok.Add(1)
				}
			})
		}
		wg.Wait()
		if ok.Load() != 1 {
			t.Fatalf("served %d times", ok.Load())
		}
	}
}

// TestProofsAreForgottenNoEarlierThanTheyAreRefused fills the memory of one key and lets time pass.
func TestProofsAreForgottenNoEarlierThanTheyAreRefused(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	ps := &Proofs{}
	for i := range MaxProofsKey {
		if !ps.first("k", fmt.Sprint(i), now) {
			t.Fatal(i)
		}
	}
	if ps.first("k", "more", now) || !ps.first("other", "more", now) {
		t.Error("the bound of one key is not that of the others")
	}
	later := now.Add(ProofAge + ProofAhead)
	if ps.first("k", "0", later) {
		t.Error("forgotten while it could be sent again")
	}
	if later = later.Add(time.Second); !ps.first("k", "0", later) || len(ps.seen) != 1 || len(ps.keys) != 1 {
		t.Errorf("%d proofs of %d keys are remembered for ever", len(ps.seen), len(ps.keys))
	}
}

func TestBoundTokensAreOursAndShort(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &Issuer{Name: "log.example", Key: key, Now: func() time.Time { return now }}
	c := Claims{Subject: "ann", Actor: &Acting{Subject: "spiffe://e/payer"}, Confirm: Confirm{JKT: "print"}, Tenant: "default", Agent: "payer", Lease: "l", Assurance: 3,
		Expires: jose.Seconds(now.Add(time.Hour).Unix())}
	text, err := i.Issue(c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := i.Verify(text)
	if err != nil || got.Lease != "l" || got.Actor.Subject != "spiffe://e/payer" || got.Expires.Time().Sub(now) != BoundTTL {
		t.Fatalf("%+v %v", got, err)
	}
	for name, o := range map[string]*Issuer{
		"another log's": {Name: "other.example", Key: key, Now: i.Now},
		"expired":       {Name: i.Name, Key: key, Now: func() time.Time { return now.Add(BoundTTL) }},
		"not made yet":  {Name: i.Name, Key: key, Now: func() time.Time { return now.Add(-2 * time.Minute) }},
		"another key's": {Name: i.Name, Key: ed25519.NewKeyFromSeed(make([]byte, 32)), Now: i.Now},
	} {
		if _, err := o.Verify(text); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	other, err := jose.Signer{Key: key}.Sign("jwt", c, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.Verify(other); err == nil {
		t.Error("a token of another type is accepted")
	}
	for _, bad := range []Claims{{}, {Confirm: Confirm{JKT: "p"}, Lease: "l", Agent: "a"}, {Confirm: Confirm{JKT: "p"}, Tenant: "t", Agent: "a"}} {
		if _, err := i.Issue(bad); err == nil {
			t.Errorf("%+v is issued", bad)
		}
	}
}

func BenchmarkBoundRequest(b *testing.B) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	i := &Issuer{Name: "log.example", Key: key}
	session := sessionKey(b)
	k, err := jose.KeyOf(session.Key.Public())
	if err != nil {
		b.Fatal(err)
	}
	print, err := k.Thumbprint()
	if err != nil {
		b.Fatal(err)
	}
	token, err := i.Issue(Claims{Subject: "a", Confirm: Confirm{JKT: print}, Tenant: "default", Agent: "a", Lease: "l"})
	if err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256([]byte(token))
	u := &url.URL{Scheme: "http", Host: "h", Path: "/v1/actions"}
	var texts []string
	for n := range 512 {
		texts = append(texts, proofOf(b, session, "dpop+jwt", true, map[string]any{"jti": fmt.Sprint(n), "htm": "POST", "htu": "http://h/v1/actions", "iat": time.Now().Unix(), "ath": jose.Encode(sum[:])}))
	}
	ps, n := &Proofs{}, 0
	b.ResetTimer()
	for b.Loop() {
		if n++; n == len(texts) {
			ps, n = &Proofs{}, 0
		}
		if _, err := i.Verify(token); err != nil {
			b.Fatal(err)
		}
		if _, err := ps.Check(Proof{Text: texts[n], Method: "POST", URL: u, Token: token}); err != nil {
			b.Fatal(err)
		}
	}
}
