// SPDX-License-Identifier: Apache-2.0

package modelsig

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/keyless"
)

// sigstoreRoot is the trusted root of the public Sigstore, as the Python library of OpenSSF Model Signing ships it.
func sigstoreRoot(t *testing.T) *keyless.Root {
	t.Helper()
	found, err := filepath.Glob("../../.cache/model-signing/venv/lib/python3*/site-packages/sigstore/_store/*tuf-repo-cdn.sigstore.dev/trusted_root.json")
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
	root := sigstoreRoot(t)
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

// unread reports whether a byte is on the reviewed list of those that nobody looks at: time stamps of other authorities,
// and the name before a checkpoint's signature, whose key counts.
func unread(sig []byte, i int) bool {
	times := bytes.Index(sig, []byte("timestampVerificationData"))
	end := bytes.Index(sig[times:], []byte("}")) + times
	if more := bytes.Index(sig[times:], []byte("rfc3161Timestamps")); more > 0 {
		end = bytes.Index(sig[times:], []byte("]")) + times
	}
	dash := bytes.Index(sig, []byte("\u2014 "))
	if dash < 0 {
		dash = bytes.Index(sig, []byte("\\u2014 "))
	}
	return times >= 0 && i >= times && i <= end || dash >= 0 && i > dash && i < dash+30
}
