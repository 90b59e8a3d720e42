// SPDX-License-Identifier: Apache-2.0

package factor_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport/sallyport/identity/factor"
	"github.com/sallyport/sallyport/identity/factor/factortest"
)

// signedCase is one key, challenge and evidence, and what Verify says.
type signedCase struct {
	Name      string          `json:"name"`
	Key       factor.Key      `json:"key"`
	Challenge []byte          `json:"challenge"`
	Evidence  factor.Evidence `json:"evidence"`
	Holds     bool            `json:"holds"`
}

// signedCases are good signatures of every kind of key, and hundreds of changed ones.
func signedCases(t *testing.T) (out []signedCase) {
	t.Helper()
	random := mathrand.New(mathrand.NewPCG(7, 9))
	add := func(name string, k factor.Key, c []byte, e factor.Evidence) {
		_, err := factor.Verify(&k, c, &e)
		out = append(out, signedCase{name, k, c, e, err == nil})
	}
	flip := func(s string) string {
		b := []byte(s)
		at := random.IntN(len(b))
		for was := b[at]; b[at] == was; {
			b[at] = "ABCDEFabcdef0123456789_-"[random.IntN(24)]
		}
		return string(b)
	}
	all := func(name string, k factor.Key, e factor.Evidence) {
		add(name, k, challenge('a'), e)
		add(name+" over another challenge", k, challenge('b'), e)
		for i := range 12 {
			for what, bend := range map[string]func(e *factor.Evidence){
				"signature": func(e *factor.Evidence) { e.Signature = flip(e.Signature) },
				"challenge": func(e *factor.Evidence) { e.Challenge = flip(e.Challenge) },
				"signer":    func(e *factor.Evidence) { e.Signer = flip(e.Signer) },
				"client":    func(e *factor.Evidence) { e.ClientData += "A"; e.ClientData = flip(e.ClientData) },
				"auth":      func(e *factor.Evidence) { e.AuthData += "A"; e.AuthData = flip(e.AuthData) },
				"cut":       func(e *factor.Evidence) { e.Signature = e.Signature[:len(e.Signature)*i/12] },
			} {
				if k.Kind == factor.SSH && (what == "client" || what == "auth") {
					continue
				}
				bad := e
				bend(&bad)
				add(fmt.Sprintf("%s with another %s", name, what), k, challenge('a'), bad)
			}
			bad := k
			bad.Public = flip(bad.Public)
			add(name+" with another key", bad, challenge('a'), e)
		}
	}
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	rs, _ := rsa.GenerateKey(rand.Reader, 2048)
	keys := map[string]any{"ssh-ed25519": ed, "ssh-rsa": rs}
	for name, curve := range map[string]elliptic.Curve{"ssh-p256": elliptic.P256(), "ssh-p384": elliptic.P384(), "ssh-p521": elliptic.P521()} {
		keys[name], _ = ecdsa.GenerateKey(curve, rand.Reader)
	}
	for name, private := range keys {
		s := sshSigner(t, private)
		k, err := factor.SSHKey(string(ssh.MarshalAuthorizedKey(s.PublicKey())))
		if err != nil {
			t.Fatal(err)
		}
		e, err := factor.SignSSH(s, challenge('a'))
		if err != nil {
			t.Fatal(err)
		}
		all(name, *k, e)
	}
	for name, bend := range map[string]func(a *factortest.Authenticator){
		"passkey": func(*factortest.Authenticator) {}, "passkey of another site": func(a *factortest.Authenticator) { a.RPID = "evil.example" },
		"passkey at another origin":     func(a *factortest.Authenticator) { a.Origin = "https://evil.example" },
		"passkey with nobody verified":  func(a *factortest.Authenticator) { a.Unverified = true },
		"passkey with nobody there":     func(a *factortest.Authenticator) { a.Absent = true },
		"passkey at an origin in caps":  func(a *factortest.Authenticator) { a.Origin = strings.ToUpper(origin) },
		"passkey at a longer origin":    func(a *factortest.Authenticator) { a.Origin = origin + ".evil.example" },
		"passkey at an origin and path": func(a *factortest.Authenticator) { a.Origin = origin + "/x" },
	} {
		a := factortest.New("localhost", origin)
		made := a.Create(challenge('c'))
		k, err := made.Register(challenge('c'), "localhost", []string{origin})
		if err != nil {
			t.Fatal(err)
		}
		bend(a)
		var e factor.Evidence
		again(a, k, &e)
		all(name, *k, e)
	}
	return out
}

// TestBrowserAgreesOnSignatures holds docs/verify to what is said here, of every kind of key and of changed signatures.
func TestBrowserAgreesOnSignatures(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	cases := signedCases(t)
	good := 0
	for _, c := range cases {
		if c.Holds {
			good++
		}
	}
	if good < 6 || len(cases)-good < 500 {
		t.Fatalf("%d of %d hold", good, len(cases))
	}
	b, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cases.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	module, err := filepath.Abs(filepath.Join("..", "..", "docs", "verify", "signatures.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	script := `import { readFileSync } from "node:fs"; import { verifySignature } from "file://` + module + `";
for (const c of JSON.parse(readFileSync(process.argv[1], "utf8"))) {
  const said = await verifySignature(c.key, Uint8Array.from(atob(c.challenge), (x) => x.charCodeAt(0)), c.evidence).then(() => "", (e) => e.message);
  if ((said === "") !== c.holds) console.log(c.name + ": here " + (said || "it holds") + " " + JSON.stringify(c));
}`
	out, err := exec.CommandContext(t.Context(), node, "--input-type=module", "-e", script, file).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Fatalf("%v\n%.4000s", err, out)
	}
}
