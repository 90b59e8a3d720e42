// SPDX-License-Identifier: Apache-2.0

package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"testing"
)

func signers(t testing.TB) map[Alg]Signer {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return map[Alg]Signer{ES256: {Key: ec}, EdDSA: {Key: ed}, RS256: {Key: rs}}
}

func TestTokensVerifyUnderTheirOwnKeyOnly(t *testing.T) {
	all := signers(t)
	for alg, s := range all {
		text, err := s.Sign("x+jwt", map[string]any{"sub": "ann"}, true)
		if err != nil {
			t.Fatal(err)
		}
		tok, err := Parse(text)
		if err != nil {
			t.Fatal(alg, err)
		}
		for other, o := range all {
			if err := tok.Verify(o.Key.Public(), "x+jwt", alg); (err == nil) != (alg == other) {
				t.Errorf("a token of %s under a key of %s: %v", alg, other, err)
			}
		}
		if tok.Verify(s.Key.Public(), "y+jwt", alg) == nil || tok.Verify(s.Key.Public(), "x+jwt", PS256) == nil || tok.Verify(s.Key.Public(), "x+jwt") == nil {
			t.Errorf("%s: another type or algorithm is accepted", alg)
		}
		k, err := KeyOf(s.Key.Public())
		if err != nil {
			t.Fatal(err)
		}
		back, err := k.Public()
		if err != nil || !back.(interface{ Equal(crypto.PublicKey) bool }).Equal(s.Key.Public()) || *tok.Header.Key != *k {
			t.Errorf("%s: the key does not survive its JWK: %v", alg, err)
		}
		raw := []byte(text)
		for i := range raw { // every character counts
			was := raw[i]
			for _, c := range []byte("AB_.") {
				if c == was {
					continue
				}
				raw[i] = c
				if x, err := Parse(string(raw)); err == nil && x.Verify(s.Key.Public(), "x+jwt", alg) == nil {
					t.Fatalf("%s: character %d may be %q", alg, i, c)
				}
			}
			raw[i] = was
		}
	}
}

func TestParseRefusesWhatMadeJOSEFamous(t *testing.T) {
	key := signers(t)[ES256].Key.Public()
	enc := func(parts ...string) string {
		var out []string
		for _, p := range parts {
			out = append(out, Encode([]byte(p)))
		}
		return strings.Join(out, ".")
	}
	for name, text := range map[string]string{
		"no signature":           enc(`{"alg":"none"}`, `{}`, ``),
		"a symmetric algorithm":  enc(`{"alg":"HS256"}`, `{}`, `x`),
		"crit":                   enc(`{"alg":"ES256","crit":["b64"]}`, `{}`, `x`),
		"names that stand twice": enc(`{"alg":"ES256","alg":"none"}`, `{}`, `x`),
		"names in another case":  enc(`{"alg":"ES256"}`, `{"exp":1,"EXP":2}`, `x`),
		"a list":                 enc(`{"alg":"ES256"}`, `[]`, `x`),
		"padding":                enc(`{"alg":"ES256"}`) + "." + "e30=" + ".eA",
		"unused bits":            enc(`{"alg":"ES256"}`) + ".e31.eA",
		"two parts":              enc(`{"alg":"ES256"}`, `{}`),
		"five parts":             enc(`{"alg":"ES256"}`, `{}`, `x`, `x`, `x`),
		"too long":               strings.Repeat("a", MaxBytes+1),
	} {
		if tok, err := Parse(text); err == nil && tok.Verify(key, "", ES256, ES384, EdDSA, RS256, PS256, "none", "HS256") == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestThumbprintIsThatOfTheStandard(t *testing.T) {
	k := JWK{Kty: "RSA", E: "AQAB", Alg: "RS256", Kid: "2011-04-29",
		N: "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}
	if got, err := k.Thumbprint(); err != nil || got != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" { // RFC 7638, section 3.1
		t.Error(got, err)
	}
}

func TestSetPassesOverWhatItDoesNotVerifyWith(t *testing.T) {
	all := signers(t)
	k, err := KeyOf(all[ES256].Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	set, err := ParseSet([]byte(`{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"EC","crv":"P-256","x":"` + k.X + `","y":"` + k.Y + `","kid":"a"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		s    Signer
		ok   bool
	}{{"its key", Signer{Key: all[ES256].Key, ID: "a"}, true}, {"no key id", Signer{Key: all[ES256].Key}, true},
		{"another key id", Signer{Key: all[ES256].Key, ID: "b"}, false}, {"another key", Signer{Key: all[EdDSA].Key, ID: "a"}, false}} {
		text, err := c.s.Sign("jwt", struct{}{}, false)
		if err != nil {
			t.Fatal(err)
		}
		tok, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := set.Verify(tok, "", ES256, EdDSA); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for _, bad := range []string{`{}`, `{"keys":[]}`, `{"keys":[{"kty":"oct","k":"AA"}]}`, `[]`, `{"keys":[{"kty":"EC","crv":"P-256","x":"` + k.X + `","y":"` + k.Y + `","d":"AA"}]}`} {
		if _, err := ParseSet([]byte(bad)); err == nil {
			t.Errorf("%s is a set", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	key := signers(f)[ES256]
	good, err := key.Sign("x", map[string]any{"exp": 1, "aud": []string{"a"}}, true)
	if err != nil {
		f.Fatal(err)
	}
	other := signers(f)[ES256].Key.Public()
	f.Add(good)
	f.Add("e30.e30.")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := Parse(s)
		if err != nil {
			return
		}
		var c struct {
			Exp Seconds  `json:"exp"`
			Aud Audience `json:"aud"`
		}
		_ = Object(tok.Payload, &c)
		if tok.Verify(other, "", ES256, EdDSA, RS256) == nil {
			t.Errorf("%q verifies under a key that signed nothing", s)
		}
		if tok.Header.Key != nil {
			_, _ = tok.Header.Key.Public()
		}
	})
}
