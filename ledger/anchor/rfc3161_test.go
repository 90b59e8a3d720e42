// SPDX-License-Identifier: Apache-2.0

package anchor

import (
	"bytes"
	"crypto/x509"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const tsaConfig = `
[tsa]
default_tsa = t
[t]
serial = SERIAL
crypto_device = builtin
signer_cert = tsa.pem
certs = ca.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ordering = yes
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = sha256
[ext]
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
`

func openssl(t testing.TB, dir string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("openssl %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// authority is a time stamping authority made of openssl.
func authority(t testing.TB, key ...string) (dir, url string, roots *x509.CertPool) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("there is no openssl")
	}
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tsa.cnf"), []byte(tsaConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "SERIAL"), []byte("01\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	openssl(t, dir, append(append([]string{"req", "-x509", "-newkey"}, key...), "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test CA", "-days", "30")...)
	openssl(t, dir, append(append([]string{"req", "-newkey"}, key...), "-nodes", "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=Test TSA")...)
	openssl(t, dir, "x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "7", "-days", "20", "-out", "tsa.pem", "-extfile", "tsa.cnf", "-extensions", "ext")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "query.tsq"), b, 0o600)
		}
		if err != nil || r.Header.Get("Content-Type") != "application/timestamp-query" {
			http.Error(w, "no query", http.StatusBadRequest)
			return
		}
		cmd := exec.Command("openssl", "ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query.tsq", "-out", "reply.tsr")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			http.Error(w, string(out), http.StatusInternalServerError)
			return
		}
		http.ServeFile(w, r, filepath.Join(dir, "reply.tsr"))
	}))
	t.Cleanup(srv.Close)
	pem, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return dir, srv.URL, roots
}

func TestTokensHoldHereAndForOpenSSL(t *testing.T) {
	for name, key := range map[string][]string{"RSA": {"rsa:2048"}, "ECDSA": {"ec", "-pkeyopt", "ec_paramgen_curve:P-256"}} {
		t.Run(name, func(t *testing.T) {
			dir, url, roots := authority(t, key...)
			_, _, strangers := authority(t, key...)
			checkpoint := []byte("test.example/log\n5\nAAAA\n\n— test.example/log AAAA\n")
			token, err := RFC3161{URL: url}.Anchor(t.Context(), checkpoint)
			if err != nil || time.Since(token.Time).Abs() > time.Hour {
				t.Fatal(token.Time, err)
			}
			c, err := Verify(token.Kind, token.Data, checkpoint, Trust{Roots: roots})
			if err != nil || !c.Trusted || !strings.Contains(c.Signer, "Test TSA") {
				t.Fatalf("%+v %v", c, err)
			}
			for name, b := range map[string][]byte{"token.tsr": token.Data, "checkpoint": checkpoint} {
				if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if out := openssl(t, dir, "ts", "-verify", "-in", "token.tsr", "-data", "checkpoint", "-CAfile", "ca.pem"); !bytes.Contains(out, []byte("Verification: OK")) {
				t.Fatalf("%s", out)
			}
			if _, err := Verify(token.Kind, token.Data, append(checkpoint, '\n'), Trust{Roots: roots}); err == nil {
				t.Error("another checkpoint passes")
			}
			if _, err := Verify(token.Kind, token.Data, checkpoint, Trust{Roots: strangers}); err == nil {
				t.Error("another authority's roots pass")
			}
			if _, err := Verify("seal", token.Data, checkpoint, Trust{Roots: roots}); err == nil {
				t.Error("an unknown kind passes")
			}
			random := rand.New(rand.NewPCG(1, 1))
			for range 300 {
				changed := bytes.Clone(token.Data)
				at := random.IntN(len(changed))
				changed[at] ^= 1 << random.IntN(8)
				got, err := Verify(token.Kind, changed, checkpoint, Trust{Roots: roots})
				if err == nil && (!got.Time.Equal(c.Time) || got.Signer != c.Signer) {
					t.Errorf("byte %d: another time or signer passes: %+v", at, got)
				}
			}
		})
	}
}

func TestAnchorRefusesWhatIsNoAnswer(t *testing.T) {
	dir, url, _ := authority(t, "rsa:2048")
	if _, err := (RFC3161{URL: url}).Anchor(t.Context(), []byte("one")); err != nil {
		t.Fatal(err)
	}
	stale, err := os.ReadFile(filepath.Join(dir, "reply.tsr"))
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string][]byte{"nothing": nil, "no DER": []byte("hello"), "an earlier answer to the same question": stale, "half": stale[:len(stale)/2]} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
		if _, err := (RFC3161{URL: srv.URL}).Anchor(t.Context(), []byte("one")); err == nil {
			t.Errorf("%s passes", name)
		}
		srv.Close()
	}
}

func FuzzVerify(f *testing.F) {
	f.Add([]byte{0x30, 0x03, 0x02, 0x01, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := Verify(KindRFC3161, b, []byte("x"), Trust{}); err == nil {
			t.Error("random bytes are a token")
		}
	})
}

// Authority is authority for the tests outside the package.
var Authority = authority
