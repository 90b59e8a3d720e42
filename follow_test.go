// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/ledger"
	policybundle "github.com/sallyport/sallyport/policy/bundle"
)

// An owner starts from a source and follows it; what the source must not say is recorded once and changes nothing.
func TestOwnerFollowsASource(t *testing.T) {
	bodies := [][]byte{}
	for _, b := range []struct {
		sequence int
		signers  []string
	}{{2, both}, {7, []string{"mallory/author", "eve/approver"}}, {4, both}} {
		data, err := signed(t, swapFiles(b.sequence), b.signers...).Archive()
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, data)
	}
	var at atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bodies[at.Load()]) }))
	defer srv.Close()
	trust := filepath.Join(t.TempDir(), "trust.yaml")
	if err := os.WriteFile(trust, []byte(trustText("anna", "ben", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	h := open(t, func(c *sallyport.Config) { c.Policy.Trust, c.Policy.Source = trust, srv.URL })
	if got := h.Policy.Active().Bundle().Sequence; got != 2 {
		t.Fatalf("started with %d", got)
	}
	at.Store(1)
	running(t, h)
	until := func(code string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := h.Ledger.Follow(ctx, 0, func(e ledger.Entry) error {
			if e.Leaf.Kind == action.KindPolicy && slices.Contains(e.Leaf.Codes, code) {
				return errFound
			}
			return nil
		})
		if !errors.Is(err, errFound) {
			t.Fatalf("%s: %v", code, err)
		}
	}
	until("policy.refused.signatures")
	if got := h.Policy.Active().Bundle().Sequence; got != 2 {
		t.Fatalf("in force is %d", got)
	}
	at.Store(2)
	until("policy.activated")
	h.halt()
	h.halt = nil
	if got := h.Policy.Active().Bundle().Sequence; got != 4 {
		t.Fatalf("in force is %d", got)
	}
	if n := strings.Count(strings.Join(h.policyRecords(), " "), "policy.refused.signatures"); n != 1 {
		t.Errorf("refused on record %d times", n)
	}
}

// hostileArchives escape or explode: a name that leads out of the bundle, a link, and much of nothing.
func hostileArchives(t *testing.T) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for name, write := range map[string]func(w *tar.Writer) error{
		"has no place": func(w *tar.Writer) error {
			return w.WriteHeader(&tar.Header{Name: "../../etc/rules.rego", Typeflag: tar.TypeReg, Mode: 0o644})
		},
		"is no regular file": func(w *tar.Writer) error {
			return w.WriteHeader(&tar.Header{Name: "rules.rego", Linkname: "/etc/passwd", Typeflag: tar.TypeSymlink})
		},
		"unfolds to more than": func(w *tar.Writer) error {
			if err := w.WriteHeader(&tar.Header{Name: "big/", Typeflag: tar.TypeDir}); err != nil {
				return err
			}
			return w.Flush()
		},
	} {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		w := tar.NewWriter(z)
		err := write(w)
		if name == "unfolds to more than" {
			zeros := make([]byte, 1<<20)
			for range 64 {
				_, _ = z.Write(zeros)
			}
		}
		if err := errors.Join(err, w.Close(), z.Close()); err != nil {
			t.Fatal(err)
		}
		out[name] = packed.Bytes()
	}
	return out
}

// A bundle that escapes its root or explodes is refused at both ways in, with the reason on record, and what is in force stays.
func TestHostileArchivesAreRefusedAndRecorded(t *testing.T) {
	var serve atomic.Pointer[[]byte]
	first, err := signed(t, swapFiles(2), both...).Archive()
	if err != nil {
		t.Fatal(err)
	}
	serve.Store(&first)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(*serve.Load()) }))
	defer srv.Close()
	trust := filepath.Join(t.TempDir(), "trust.yaml")
	if err := os.WriteFile(trust, []byte(trustText("anna", "ben", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	h := open(t, func(c *sallyport.Config) {
		c.Policy.Trust, c.Policy.Source, c.Policy.Poll = trust, srv.URL, time.Millisecond
	})
	running(t, h)
	refused := 0
	for want, archive := range hostileArchives(t) {
		t.Run(want, func(t *testing.T) {
			refused += 2
			if _, err := sallyport.BundlesForTest(h.Sallyport).Activate(t.Context(), archive, "eve", false); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("brought: %v, want %q", err, want)
			}
			serve.Store(&archive)
			wait, end := context.WithTimeout(t.Context(), time.Minute)
			defer end()
			n := 0
			err := h.Ledger.Follow(wait, 0, func(e ledger.Entry) error {
				if e.Leaf.Kind == action.KindPolicy && slices.Contains(e.Leaf.Codes, "policy.refused.form") {
					if n++; n == refused {
						return errFound
					}
				}
				return nil
			})
			if !errors.Is(err, errFound) {
				t.Errorf("%d refusals on record: %v", n, err)
			}
			if got := h.Policy.Active().Bundle().Sequence; got != 2 {
				t.Errorf("in force is %d", got)
			}
		})
	}
}

// TestLastGoodBundleDecidesUntilItsEnd has a source that turns bad: what is in force decides on, and once it has ended, the kernel
// denies.
func TestLastGoodBundleDecidesUntilItsEnd(t *testing.T) {
	for life := 2 * time.Second; !servedUntilTheEnd(t, life); life *= 2 {
		if life > time.Minute {
			t.Fatal("the bundle always ends before it is looked at")
		}
	}
}

// servedUntilTheEnd is false if the bundle's end came before what goes before it was done.
func servedUntilTheEnd(t *testing.T, life time.Duration) bool {
	t.Helper()
	end := time.Now().Add(life).Truncate(time.Second)
	files := swapFiles(2)
	files[policybundle.ManifestFile] = strings.Replace(files[policybundle.ManifestFile], "2090-01-01T00:00:00Z", end.UTC().Format(time.RFC3339), 1)
	good, err := signed(t, files, both...).Archive()
	if err != nil {
		t.Fatal(err)
	}
	var bad atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if bad.Load() {
			_, _ = w.Write([]byte("no bundle any more"))
			return
		}
		_, _ = w.Write(good)
	}))
	defer srv.Close()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "trust.yaml"), []byte(trustText("anna", "ben", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := sallyport.PatientConfig()
	cfg.Data, cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Ledger.SegmentBytes = filepath.Join(dir, "data"), "none", "none", 8<<20
	cfg.Policy.Trust, cfg.Policy.Source = filepath.Join(dir, "trust.yaml"), srv.URL
	s, err := sallyport.Open(t.Context(), cfg)
	if err != nil {
		if !time.Now().Before(end) {
			return false
		}
		t.Fatal(err)
	}
	h := &house{t: t, cfg: cfg, Sallyport: s}
	defer h.stop()
	bad.Store(true)
	running(t, h)
	h.server("notes", readTool)
	sub, sess := h.agent("bot", "/work")
	ask := func() enforce.Admission {
		t.Helper()
		got, err := h.Enforcer.Before(t.Context(), attempt(sub, sess, "notes", "read_note", `{"name":"a"}`))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	got := ask()
	for ; time.Now().Before(end); got = ask() {
		if got.Verdict != action.Allow && time.Now().Before(end) {
			t.Fatalf("before the end: %+v", got)
		}
		time.Sleep(20 * time.Millisecond)
	}
	refused := strings.Contains(strings.Join(h.policyRecords(), " "), "policy.refused.form")
	if got = ask(); got.Verdict != action.Deny || !strings.Contains(h.rules(got.ID), "kernel.bundle") {
		t.Errorf("after the end: %+v by %s", got, h.rules(got.ID))
	}
	return refused
}

func TestSourceWantsTrust(t *testing.T) {
	cfg := sallyport.PatientConfig()
	cfg.Data, cfg.Policy.Source = filepath.Join(t.TempDir(), "data"), "https://policy.example.com/b.tar.gz"
	if s, err := sallyport.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "wants policy.trust") {
		t.Fatalf("%v %v", s, err)
	}
}
