// SPDX-License-Identifier: Apache-2.0

package modelsig

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/keyless"
)

// sigstoreRoot is the trusted root of the public Sigstore or of its staging, as the Python library of OpenSSF Model Signing ships it.
func sigstoreRoot(t *testing.T, of string) *keyless.Root {
	t.Helper()
	found, err := filepath.Glob("../../.cache/model-signing/venv/lib/python3*/site-packages/sigstore/_store/*tuf-repo-cdn." + of + ".dev/trusted_root.json")
	if err != nil || len(found) == 0 {
		t.Skip("no trusted root: sh test/model-signing/install.sh")
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	r, err := keyless.ReadRoot(data)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestPublishedKeylessModels verifies models that were signed with a login, long after their certificates ended.
func TestPublishedKeylessModels(t *testing.T) {
	root := sigstoreRoot(t, "sigstore")
	for _, name := range []string{"v0.3.1-sigstore", "v1.0.0-sigstore", "v1.0.1-sigstore", "v1.1.0-sigstore"} {
		dir := model(t, name)
		sig := file(t, filepath.Join(dir, "model.sig"))
		signer := keyless.Identity{Issuer: "https://sigstore.verify.ibm.com/oauth2", Subject: "stefanb@us.ibm.com"}
		cfg := Config{Path: dir, Keyless: &keyless.Verifier{Root: root, Identities: []keyless.Identity{signer}}}
		f, err := check(cfg, sig, "2026-11-01")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if f.Model.Signer != signer.String() || f.Model.Subject == "" || f.ModelLevel() != 2 || !f.Until.IsZero() {
			t.Errorf("%s: %+v", name, f.Model)
		}
		for i := 0; i < len(sig); i += 41 {
			bad := bytes.Clone(sig)
			bad[i] ^= 1
			if _, _, err := Open(cfg, bad, at("2026-11-01")()); err == nil && !unread(sig, i) {
				t.Errorf("%s: byte %d is free: %q", name, i, sig[max(0, i-20):min(len(sig), i+20)])
			}
		}
		cfg.Keyless.Identities[0].Issuer = "https://accounts.example"
		if _, err := check(cfg, sig, "2026-11-01"); codeOf(err) != attest.Unproved {
			t.Errorf("%s by another login: %v", name, err)
		}
	}
}

// unread reports whether a byte is on the reviewed list of those that nobody looks at: the name before a checkpoint's
// signature of a log that is named by its key.
func unread(sig []byte, i int) bool {
	dash := bytes.Index(sig, []byte("\u2014 "))
	if dash < 0 {
		dash = bytes.Index(sig, []byte("\\u2014 "))
	}
	return dash >= 0 && i > dash && i < dash+30
}

// TestPublishedBundlesOfTheSecondVersion verifies what Sigstore publishes for clients to be tried with, as of a log that
// knows no time: under the root of its staging, which the Python library ships. It needs the checkout
//
//	git clone https://github.com/sigstore/sigstore-conformance .cache/sigstore-conformance
func TestPublishedBundlesOfTheSecondVersion(t *testing.T) {
	root := sigstoreRoot(t, "sigstage")
	found, err := filepath.Glob("../../.cache/sigstore-conformance/test/assets/bundle-verify/rekor2-dsse-*/bundle.sigstore.json")
	if err != nil || len(found) == 0 {
		t.Skip("no checkout of sigstore-conformance is there")
	}
	signer := keyless.Identity{Issuer: "https://token.actions.githubusercontent.com", Subject: "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/*"}
	cfg := Config{Keyless: &keyless.Verifier{Root: root, Identities: []keyless.Identity{signer}}}
	for _, path := range found {
		name, data := filepath.Base(filepath.Dir(path)), file(t, path)
		_, s, err := Open(cfg, data, at("2026-11-01")())
		if (err == nil) == strings.HasSuffix(name, "_fail") {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		if s.Name != signer.String() {
			t.Errorf("%s: %+v", name, s)
		}
		for i := 0; i < len(data)-1; i += 83 {
			bad := bytes.Clone(data)
			bad[i] ^= 1
			if _, _, err := Open(cfg, bad, at("2026-11-01")()); err == nil {
				t.Errorf("%s: byte %d is free: %q", name, i, data[max(0, i-20):min(len(data), i+20)])
			}
		}
	}
}
