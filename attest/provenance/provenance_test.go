// SPDX-License-Identifier: Apache-2.0

package provenance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/modelsig"
)

const builder = "https://github.com/actions/runner/github-hosted"

var digest = strings.Repeat("ab", 32)

// good is a statement as builders write it, with members that are the builder's own.
func good() map[string]any {
	return map[string]any{"_type": statementType, "predicateType": predicateType,
		"subject": []any{map[string]any{"name": "agent", "digest": map[string]string{"sha256": digest}}},
		"predicate": map[string]any{
			"buildDefinition": map[string]any{"buildType": "https://actions.github.io/buildtypes/workflow/v1", "externalParameters": map[string]any{"workflow": map[string]any{"ref": "refs/tags/v1"}},
				"resolvedDependencies": []any{map[string]any{"uri": "git+https://code.example/org/agent@refs/tags/v1", "digest": map[string]string{"gitCommit": "c0ffee"}}}},
			"runDetails": map[string]any{"builder": map[string]any{"id": builder}, "metadata": map[string]any{"invocationId": "1"}}}}
}

// bundled signs a statement with a key.
func bundled(t testing.TB, k *ecdsa.PrivateKey, statement any) []byte {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	payload, err := action.Canonical(statement)
	must(err)
	const kind = "application/vnd.in-toto+json"
	sum := sha256.Sum256([]byte(fmt.Sprintf("DSSEv1 %d %s %d %s", len(kind), kind, len(payload), payload)))
	sig, err := ecdsa.SignASN1(rand.Reader, k, sum[:])
	must(err)
	der, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	must(err)
	hint := sha256.Sum256(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	out, err := action.Canonical(map[string]any{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
		"verificationMaterial": map[string]any{"publicKey": map[string]string{"hint": hex.EncodeToString(hint[:])}, "tlogEntries": []string{}},
		"dsseEnvelope": map[string]any{"payload": base64.StdEncoding.EncodeToString(payload), "payloadType": kind,
			"signatures": []map[string]string{{"sig": base64.StdEncoding.EncodeToString(sig), "keyid": ""}}}})
	must(err)
	return out
}

func codeOf(err error) attest.Code {
	var e *attest.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestProvenanceIsTold(t *testing.T) {
	k := newKey(t)
	v := &Verifier{Signers: modelsig.Config{Keys: []*ecdsa.PublicKey{&k.PublicKey}}, Subjects: []string{digest}}
	f, err := v.Verify(t.Context(), bundled(t, k, good()), attest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := f.Provenance
	if p.Builder != builder || !slices.Equal(p.Subjects, []string{digest}) || len(p.Sources) != 1 || p.Sources[0].Digest != "gitCommit:c0ffee" ||
		!strings.HasPrefix(p.Signer, "sha256:") || f.Assurance() != 0 || f.Fresh != action.TriUnknown {
		t.Errorf("%+v %+v", f, p)
	}
}

func TestProvenanceThatProvesNothingIsRefused(t *testing.T) {
	k, other := newKey(t), newKey(t)
	v := &Verifier{Signers: modelsig.Config{Keys: []*ecdsa.PublicKey{&k.PublicKey}}, Subjects: []string{digest}}
	subject := func(d map[string]string) func(s map[string]any) {
		return func(s map[string]any) { s["subject"] = []any{map[string]any{"name": "agent", "digest": d}} }
	}
	for _, c := range []struct {
		name   string
		code   attest.Code
		key    *ecdsa.PrivateKey
		change func(s map[string]any)
	}{
		{"another signer", attest.Unproved, other, func(map[string]any) {}},
		{"another file", attest.Mismatch, k, subject(map[string]string{"sha256": strings.Repeat("cd", 32)})},
		{"no SHA-256", attest.Malformed, k, subject(map[string]string{"sha512": digest + digest})},
		{"a digest in capitals", attest.Malformed, k, subject(map[string]string{"sha256": strings.ToUpper(digest)})},
		{"no subject", attest.Malformed, k, func(s map[string]any) { s["subject"] = []any{} }},
		{"another statement", attest.Unsupported, k, func(s map[string]any) { s["_type"] = "https://in-toto.io/Statement/v0.1" }},
		{"another predicate", attest.Unsupported, k, func(s map[string]any) { s["predicateType"] = "https://slsa.dev/provenance/v0.2" }},
		{"a model's signature", attest.Unsupported, k, func(s map[string]any) { s["predicateType"] = "https://model_signing/signature/v1.0" }},
		{"no builder", attest.Malformed, k, func(s map[string]any) { delete(s["predicate"].(map[string]any), "runDetails") }},
		{"a predicate that is text", attest.Malformed, k, func(s map[string]any) { s["predicate"] = "built" }},
		{"a member that nobody knows", attest.Malformed, k, func(s map[string]any) { s["more"] = 1 }},
	} {
		s := good()
		c.change(s)
		if f, err := v.Verify(t.Context(), bundled(t, c.key, s), attest.Options{}); codeOf(err) != c.code || f != nil {
			t.Errorf("%s: %v, want %q", c.name, err, c.code)
		}
	}
	data := bundled(t, k, good())
	if _, err := v.Verify(t.Context(), data, attest.Options{Nonce: []byte("n")}); codeOf(err) != attest.Replayed {
		t.Errorf("a nonce: %v", err)
	}
	for i := range data {
		data[i] ^= 1
		if _, err := v.Verify(t.Context(), data, attest.Options{}); err == nil {
			t.Errorf("byte %d is free", i)
		}
		data[i] ^= 1
	}
}

// TestNoByteIsFree flips a bit of every byte of a bundle, and cuts it everywhere: nothing of that is accepted.
func TestNoByteIsFree(t *testing.T) {
	k := newKey(t)
	v := &Verifier{Signers: modelsig.Config{Keys: []*ecdsa.PublicKey{&k.PublicKey}}, Subjects: []string{digest}}
	bundle := bundled(t, k, good())
	if _, err := v.Verify(t.Context(), bundle, attest.Options{}); err != nil {
		t.Fatal(err)
	}
	for i := range bundle {
		bad := slices.Clone(bundle)
		bad[i] ^= 1 << (i % 8)
		if _, err := v.Verify(t.Context(), bad, attest.Options{}); err == nil {
			t.Errorf("byte %d is free: %q", i, bad[max(0, i-12):min(len(bad), i+12)])
		}
		if _, err := v.Verify(t.Context(), bundle[:i], attest.Options{}); err == nil {
			t.Errorf("cut at %d", i)
		}
	}
}

func FuzzStatement(f *testing.F) {
	data, err := action.Canonical(good())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := read(data)
		if (p == nil) == (err == nil) || err != nil && codeOf(err) == "" {
			t.Errorf("%+v %v", p, err)
		}
	})
}
