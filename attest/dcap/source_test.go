// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"bytes"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// service serves collateral as Intel's service does, or as a cache of it where hexed.
type service struct {
	c     *Collateral
	hexed bool
	after func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
	seen  []string
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.seen = append(s.seen, r.URL.RequestURI())
	if s.after != nil && s.after(w, r) {
		return
	}
	chain := func(name string, b []byte) {
		w.Header().Set(name, strings.ReplaceAll(url.QueryEscape(string(b)), "+", "%20"))
	}
	switch r.URL.Path {
	case "/sgx/certification/v4/rootcacrl":
		if s.hexed {
			_, _ = w.Write([]byte(hex.EncodeToString(s.c.RootCRL)))
			return
		}
		_, _ = w.Write(s.c.RootCRL)
	case "/sgx/certification/v4/pckcrl":
		chain("SGX-PCK-CRL-Issuer-Chain", s.c.PCKCRLChain)
		_, _ = w.Write(s.c.PCKCRL)
	case "/sgx/certification/v4/tcb", "/tdx/certification/v4/tcb":
		chain("TCB-Info-Issuer-Chain", s.c.TCBInfoChain)
		_, _ = w.Write([]byte(`{"tcbInfo":` + string(s.c.TCBInfo) + `,"signature":"` + hex.EncodeToString(s.c.TCBInfoSignature) + `"}`))
	case "/sgx/certification/v4/qe/identity", "/tdx/certification/v4/qe/identity":
		chain("SGX-Enclave-Identity-Issuer-Chain", s.c.QEIdentityChain)
		_, _ = w.Write([]byte(`{"enclaveIdentity":` + string(s.c.QEIdentity) + `,"signature":"` + hex.EncodeToString(s.c.QEIdentitySignature) + `"}`))
	default:
		http.NotFound(w, r)
	}
}

func serve(t *testing.T, s *service) *Source {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return &Source{URL: srv.URL}
}

// put fetches and stores, as of the world's time.
func (w *world) put(s *Source, folder string, k Key) error {
	w.t.Helper()
	c, err := s.Fetch(w.t.Context(), k)
	if err != nil {
		return err
	}
	v, err := New(Config{Store: Folder{folder}, Root: w.cfg.Root})
	if err != nil {
		w.t.Fatal(err)
	}
	_, _, err = Folder{folder}.Put(w.t.Context(), v, k, c, w.now)
	return err
}

var generatedKey = Key{TEE: "sgx", FMSPC: "00A067110000", CA: "platform"}

func TestFetchedCollateralVerifiesQuotes(t *testing.T) {
	for _, hexed := range []bool{false, true} {
		w := newWorld(t, 3, teeSGX)
		quote, c := w.build()
		dir := t.TempDir()
		if err := w.put(serve(t, &service{c: c, hexed: hexed}), dir, generatedKey); err != nil {
			t.Fatal(err)
		}
		v, err := New(Config{Store: Folder{dir}, Root: w.cfg.Root})
		if err != nil {
			t.Fatal(err)
		}
		f, err := v.Verify(t.Context(), quote, attestOptions(w))
		if err != nil || f.TCB.Status != UpToDate || f.Collateral != c.Digest() || !f.Stated.Equal(w.now.AddDate(0, 0, -3)) {
			t.Errorf("hexed %v: %+v %v", hexed, f, err)
		}
	}
}

// TestPublishedCollateralIsTakenIn serves what Intel published, and stores it as of a day in its windows.
func TestPublishedCollateralIsTakenIn(t *testing.T) {
	for _, p := range []struct {
		file, at string
		key      Key
	}{
		{"dcap-qvl/sgx_quote_collateral.json", "2025-07-01", Key{"sgx", "00A067110000", "processor"}},
		{"dcap-qvl/tdx_quote_collateral.json", "2025-07-18", Key{"tdx", "B0C06F000000", "platform"}},
	} {
		c := published(t, p.file)
		w := &world{t: t, now: at(p.at)()}
		dir := t.TempDir()
		if err := w.put(serve(t, &service{c: c}), dir, p.key); err != nil {
			t.Fatalf("%s: %v", p.file, err)
		}
		got, err := Folder{dir}.Collateral(t.Context(), p.key)
		if err != nil || got.Digest() != c.Digest() {
			t.Errorf("%s: stored otherwise: %v", p.file, err)
		}
		w.now = w.now.AddDate(1, 0, 0)
		if err := w.put(serve(t, &service{c: c}), t.TempDir(), p.key); codeOf(err) != "stale" {
			t.Errorf("%s: a year later: %v", p.file, err)
		}
	}
}

// TestFetchedCollateralIsRefused has one case for each thing that a source may do. What was there stays.
func TestFetchedCollateralIsRefused(t *testing.T) {
	older := func(change func(w *world)) func(w *world, s *service) {
		return func(w *world, s *service) { change(w); s.c = w.again() }
	}
	stamp := func(w *world, days int) string { return w.now.AddDate(0, 0, days).Format(time.RFC3339) }
	for _, c := range []struct {
		name   string
		change func(w *world, s *service)
		code   string
		says   string
	}{
		{"an older TCB info", older(func(w *world) { w.tcb["issueDate"] = stamp(w, -3) }), "stale", "its TCB info is older"},
		{"a smaller evaluation number", older(func(w *world) { w.tcb["tcbEvaluationDataNumber"] = 16; w.tcb["issueDate"] = stamp(w, -1) }), "stale", "its TCB info is older"},
		{"an older QE identity", older(func(w *world) { w.qe["issueDate"] = stamp(w, -3) }), "stale", "its QE identity is older"},
		{"an older list of revocations", older(func(w *world) { w.pckCRL.ThisUpdate = w.now.AddDate(0, 0, -4) }), "stale", "its PCK CRL is older"},
		{"an older list of the root", older(func(w *world) { w.rootCRL.ThisUpdate = w.now.AddDate(0, 0, -4) }), "stale", "its root CRL is older"},
		{"collateral that has ended", older(func(w *world) { w.tcb["nextUpdate"] = stamp(w, -1) }), "stale", "TCB info"},
		{"collateral of the future", older(func(w *world) { w.qe["issueDate"] = stamp(w, 1) }), "stale", "QE identity"},
		{"another platform's", older(func(w *world) { w.tcb["fmspc"] = "00a067110001" }), "mismatch", "FMSPC"},
		{"the other kind's", older(func(w *world) { w.tcb["id"] = "TDX" }), "unsupported", "TCB info"},
		{"a signature of nobody", func(_ *world, s *service) { c := *s.c; c.TCBInfoSignature = make([]byte, 64); s.c = &c }, "unproved", "TCB info: signature"},
		{"a root of nobody", func(w *world, s *service) { o := newWorld(w.t, 3, teeSGX); _, s.c = o.build() }, "unproved", "pinned root"},
		{"an authority that the root has revoked", older(func(w *world) { w.rootGone = append(w.rootGone, w.ca.SerialNumber) }), "revoked", ""},
		{"a chain that is no PEM", func(_ *world, s *service) { c := *s.c; c.TCBInfoChain = []byte("x"); s.c = &c }, "malformed", "Issuer-Chain"},
		{"nothing", func(_ *world, s *service) {
			s.after = func(w http.ResponseWriter, r *http.Request) bool { http.NotFound(w, r); return true }
		}, "", "status 404"},
		{"a way elsewhere", func(_ *world, s *service) {
			s.after = func(w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, "https://elsewhere.example/", http.StatusFound)
				return true
			}
		}, "", "status 302"},
		{"too much", func(_ *world, s *service) {
			s.after = func(w http.ResponseWriter, r *http.Request) bool {
				_, _ = w.Write(bytes.Repeat([]byte{'1'}, 2*maxCRLBytes+1))
				return true
			}
		}, "", "more than"},
	} {
		w := newWorld(t, 3, teeSGX)
		_, good := w.build()
		s := &service{c: good}
		source, dir := serve(t, s), t.TempDir()
		if err := w.put(source, dir, generatedKey); err != nil {
			t.Fatal(c.name, err)
		}
		before, err := os.ReadFile(filepath.Join(dir, generatedKey.String()+".json"))
		if err != nil {
			t.Fatal(err)
		}
		c.change(w, s)
		if err := w.put(source, dir, generatedKey); err == nil || string(codeOf(err)) != c.code || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
		if after, err := os.ReadFile(filepath.Join(dir, generatedKey.String()+".json")); err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s: the file has changed: %v", c.name, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Errorf("%s: %d files in the folder: %v", c.name, len(left), err)
		}
	}
}

// TestNewerCollateralReplacesWhatHasEnded comes months later, to a folder whose collateral is out of date.
func TestNewerCollateralReplacesWhatHasEnded(t *testing.T) {
	w := newWorld(t, 3, teeSGX)
	_, c := w.build()
	s := &service{c: c}
	source, dir := serve(t, s), t.TempDir()
	if err := w.put(source, dir, generatedKey); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.AddDate(0, 3, 0)
	w.documents()
	w.rootCRL.ThisUpdate, w.rootCRL.NextUpdate = w.now.AddDate(0, 0, -1), w.now.AddDate(0, 0, 9)
	w.pckCRL.ThisUpdate, w.pckCRL.NextUpdate = w.rootCRL.ThisUpdate, w.rootCRL.NextUpdate
	s.c = w.again()
	if err := w.put(source, dir, generatedKey); err != nil {
		t.Fatal(err)
	}
	if got, err := (Folder{dir}).Collateral(t.Context(), generatedKey); err != nil || got.Digest() != s.c.Digest() {
		t.Errorf("the old one is still there: %v", err)
	}
}

func TestAddressesOfCollateralAreHTTPS(t *testing.T) {
	for _, u := range []string{"http://intel.example", "file:///etc/passwd", "https://user:word@intel.example", "intel.example", "ftp://127.0.0.1"} {
		if _, err := (&Source{URL: u}).Fetch(t.Context(), generatedKey); err == nil || !strings.Contains(err.Error(), "no https address") {
			t.Errorf("%s: %v", u, err)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("sgx-00A067110000-processor")
	f.Add("tdx-b0c06f000000-platform")
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := ParseKey(s); err == nil && (k.String() != s || strings.ContainsAny(s, `/\.`)) {
			t.Errorf("%q is read as %q", s, k)
		}
	})
}
