// SPDX-License-Identifier: Apache-2.0

package factor_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/identity/factor"
	"github.com/sallyport/sallyport/identity/factor/factortest"
)

const origin = "http://localhost:7118"

var b64 = base64.RawURLEncoding

func challenge(b byte) []byte { return []byte(strings.Repeat(string([]byte{b}), 32)) }

func TestPasskeyIsRegisteredAndSigns(t *testing.T) {
	a := factortest.New("localhost", origin)
	made := a.Create(challenge('c'))
	k, err := made.Register(challenge('c'), "localhost", []string{origin})
	if err != nil {
		t.Fatal(err)
	}
	if made := a.Create(challenge('x')); made.ID != k.Credential {
		t.Fatal("the fake changes its credential")
	}
	got := a.Get(challenge('a'))
	e, err := got.Evidence(k, challenge('a'))
	if err != nil {
		t.Fatal(err)
	}
	b, err := action.Canonical(&e)
	if err != nil {
		t.Fatal(err)
	}
	back, err := factor.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := factor.Verify(k, challenge('a'), &back); err != nil || n != 1 {
		t.Fatalf("Verify says %d, %v", n, err)
	}
}

func TestRegistrationRefusesWhatDoesNotFit(t *testing.T) {
	for _, c := range []struct {
		name string
		bend func(a *factortest.Authenticator, c *factor.Creation)
	}{
		{"another origin", func(a *factortest.Authenticator, c *factor.Creation) {
			a.Origin = "http://localhost:7119"
			*c = a.Create(challenge('c'))
		}},
		{"another relying party", func(a *factortest.Authenticator, c *factor.Creation) {
			a.RPID = "example.org"
			*c = a.Create(challenge('c'))
		}},
		{"another challenge", func(a *factortest.Authenticator, c *factor.Creation) { *c = a.Create(challenge('d')) }},
		{"nobody verified", func(a *factortest.Authenticator, c *factor.Creation) {
			a.Unverified = true
			*c = a.Create(challenge('c'))
		}},
		{"nobody present", func(a *factortest.Authenticator, c *factor.Creation) { a.Absent = true; *c = a.Create(challenge('c')) }},
		{"another credential id", func(_ *factortest.Authenticator, c *factor.Creation) {
			c.ID, c.RawID = b64.EncodeToString([]byte("another")), b64.EncodeToString([]byte("another"))
		}},
		{"no base64", func(_ *factortest.Authenticator, c *factor.Creation) { c.Response.Object = "%%" }},
		{"no CBOR", func(_ *factortest.Authenticator, c *factor.Creation) { c.Response.Object = "AAAA" }},
		{"nothing", func(_ *factortest.Authenticator, c *factor.Creation) { *c = factor.Creation{} }},
	} {
		a := factortest.New("localhost", origin)
		made := a.Create(challenge('c'))
		c.bend(a, &made)
		if k, err := made.Register(challenge('c'), "localhost", []string{origin}); !errors.Is(err, factor.ErrForged) || k != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestAssertionRefusesWhatDoesNotFit(t *testing.T) {
	for _, c := range []struct {
		name string
		bend func(a *factortest.Authenticator, k *factor.Key, e *factor.Evidence)
	}{
		{"another origin", func(a *factortest.Authenticator, k *factor.Key, e *factor.Evidence) {
			a.Origin = "https://evil.example"
			again(a, k, e)
		}},
		{"another relying party", func(a *factortest.Authenticator, k *factor.Key, e *factor.Evidence) {
			a.RPID = "evil.example"
			again(a, k, e)
		}},
		{"nobody verified", func(a *factortest.Authenticator, k *factor.Key, e *factor.Evidence) {
			a.Unverified = true
			again(a, k, e)
		}},
		{"nobody present", func(a *factortest.Authenticator, k *factor.Key, e *factor.Evidence) { a.Absent = true; again(a, k, e) }},
		{"the challenge of another answer in the client's data", func(a *factortest.Authenticator, _ *factor.Key, e *factor.Evidence) {
			got := a.Get(challenge('b'))
			e.ClientData, e.AuthData, e.Signature = got.Response.ClientData, got.Response.AuthData, got.Response.Signature
		}},
		{"another challenge in the evidence", func(_ *factortest.Authenticator, _ *factor.Key, e *factor.Evidence) {
			e.Challenge = b64.EncodeToString(challenge('b'))
		}},
		{"a registration in place of an assertion", func(a *factortest.Authenticator, _ *factor.Key, e *factor.Evidence) {
			e.ClientData = a.Create(challenge('a')).Response.ClientData
		}},
		{"a changed signature", func(_ *factortest.Authenticator, _ *factor.Key, e *factor.Evidence) {
			e.Signature = "AAAA" + e.Signature[4:]
		}},
		{"no signature", func(_ *factortest.Authenticator, _ *factor.Key, e *factor.Evidence) { e.Signature = "" }},
		{"changed authenticator data", func(_ *factortest.Authenticator, _ *factor.Key, e *factor.Evidence) {
			e.AuthData = e.AuthData[:len(e.AuthData)-1] + "Z"
		}},
		{"another signer's id", func(_ *factortest.Authenticator, _ *factor.Key, e *factor.Evidence) { e.Signer = "pk_00" }},
		{"another kind", func(_ *factortest.Authenticator, _ *factor.Key, e *factor.Evidence) { e.Kind = factor.SSH }},
		{"a key without origins", func(_ *factortest.Authenticator, k *factor.Key, _ *factor.Evidence) { k.Origins = nil }},
	} {
		a := factortest.New("localhost", origin)
		made := a.Create(challenge('c'))
		k, err := made.Register(challenge('c'), "localhost", []string{origin})
		if err != nil {
			t.Fatal(err)
		}
		var e factor.Evidence
		again(a, k, &e)
		if _, err := factor.Verify(k, challenge('a'), &e); err != nil {
			t.Fatal(err)
		}
		c.bend(a, k, &e)
		if _, err := factor.Verify(k, challenge('a'), &e); !errors.Is(err, factor.ErrForged) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func again(a *factortest.Authenticator, k *factor.Key, e *factor.Evidence) {
	got := a.Get(challenge('a'))
	*e, _ = got.Evidence(k, challenge('a'))
}

func sshSigner(t testing.TB, private any) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSSHKeysSign(t *testing.T) {
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	ec, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rs, _ := rsa.GenerateKey(rand.Reader, 2048)
	weak, _ := rsa.GenerateKey(rand.Reader, 1024)
	for name, private := range map[string]any{"ed25519": ed, "ecdsa": ec, "rsa": rs} {
		s := sshSigner(t, private)
		k, err := factor.SSHKey(string(ssh.MarshalAuthorizedKey(s.PublicKey())))
		if err != nil {
			t.Fatal(err)
		}
		e, err := factor.SignSSH(s, challenge('a'))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := factor.Verify(k, challenge('a'), &e); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		other := e
		other.Challenge = b64.EncodeToString(challenge('b'))
		if _, err := factor.Verify(k, challenge('b'), &other); !errors.Is(err, factor.ErrForged) {
			t.Errorf("%s over another challenge: %v", name, err)
		}
		for what, bad := range map[string]string{"nothing": "", "no frame": "AAAA", "text beside it": "x" + e.Signature,
			"cut short": e.Signature[:len(e.Signature)/2], "another purpose": strings.Replace(e.Signature, "U1NIU0lH", "U1NIU0lI", 1)} {
			forged := e
			forged.Signature = bad
			if _, err := factor.Verify(k, challenge('a'), &forged); !errors.Is(err, factor.ErrForged) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
	if weakKey := sshSigner(t, weak); true {
		if _, err := factor.SSHKey(string(ssh.MarshalAuthorizedKey(weakKey.PublicKey()))); err == nil {
			t.Error("a key of 1024 bits is taken")
		}
	}
	line := string(ssh.MarshalAuthorizedKey(sshSigner(t, ed).PublicKey()))
	for what, bad := range map[string]string{"options": `command="true" ` + line, "two keys": line + line, "nothing": "", "text": "ssh-ed25519 xyz"} {
		if _, err := factor.SSHKey(bad); err == nil {
			t.Errorf("a line with %s is taken", what)
		}
	}
}

// TestSSHSignaturesAreThoseOfOpenSSH lets ssh-keygen sign for us and verify what we signed.
func TestSSHSignaturesAreThoseOfOpenSSH(t *testing.T) {
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Skip("ssh-keygen is not installed")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	run := func(stdin []byte, args ...string) {
		t.Helper()
		cmd := exec.Command(keygen, args...)
		cmd.Stdin = strings.NewReader(string(stdin))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen %v: %v\n%s", args, err, out)
		}
	}
	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	run(nil, "-q", "-t", "ed25519", "-N", "", "-C", "ann@desk", "-f", path)
	k, err := factor.SSHKey(read(path + ".pub"))
	if err != nil {
		t.Fatal(err)
	}
	msg := filepath.Join(dir, "msg")
	if err := os.WriteFile(msg, challenge('a'), 0o600); err != nil {
		t.Fatal(err)
	}
	run(nil, "-q", "-Y", "sign", "-n", factor.Namespace, "-f", path, msg)
	e := factor.Evidence{Kind: factor.SSH, Signer: k.ID(), Challenge: b64.EncodeToString(challenge('a')), Signature: read(msg + ".sig")}
	if _, err := factor.Verify(k, challenge('a'), &e); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(msg + ".sig"); err != nil {
		t.Fatal(err)
	}
	run(nil, "-q", "-Y", "sign", "-n", "file", "-f", path, msg)
	e.Signature = read(msg + ".sig")
	if _, err := factor.Verify(k, challenge('a'), &e); !errors.Is(err, factor.ErrForged) {
		t.Fatalf("a signature for another purpose: %v", err)
	}
	private, err := ssh.ParsePrivateKey([]byte(read(path)))
	if err != nil {
		t.Fatal(err)
	}
	ours, err := factor.SignSSH(private, challenge('a'))
	if err != nil {
		t.Fatal(err)
	}
	allowed := filepath.Join(dir, "allowed")
	if os.WriteFile(allowed, []byte("ann "+k.Public+"\n"), 0o600) != nil || os.WriteFile(msg+".sig", []byte(ours.Signature), 0o600) != nil {
		t.Fatal("writing")
	}
	run(challenge('a'), "-q", "-Y", "verify", "-f", allowed, "-I", "ann", "-n", factor.Namespace, "-s", msg+".sig")
}

func FuzzEvidence(f *testing.F) {
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	s := sshSigner(f, ed)
	k, err := factor.SSHKey(string(ssh.MarshalAuthorizedKey(s.PublicKey())))
	if err != nil {
		f.Fatal(err)
	}
	a := factortest.New("localhost", origin)
	made := a.Create(challenge('c'))
	p, err := made.Register(challenge('c'), "localhost", []string{origin})
	if err != nil {
		f.Fatal(err)
	}
	var assertion factor.Evidence
	again(a, p, &assertion)
	signature, err := factor.SignSSH(s, challenge('b'))
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range []factor.Evidence{assertion, signature} {
		b, err := action.Canonical(&e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := factor.Read(data)
		if err != nil {
			return
		}
		for _, key := range []*factor.Key{k, p} { // nobody has signed this one
			if _, err := factor.Verify(key, challenge('z'), &e); !errors.Is(err, factor.ErrForged) {
				t.Fatalf("%q verifies: %v", data, err)
			}
		}
		for _, raw := range []string{e.ClientData, e.Signature, e.AuthData} {
			var c factor.Creation
			c.ID, c.RawID, c.Type = e.Signer, e.Signer, "public-key"
			c.Response.ClientData, c.Response.Object = e.ClientData, raw
			_, _ = c.Register(challenge('z'), "localhost", []string{origin})
		}
	})
}
