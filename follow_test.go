// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
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
	"github.com/sallyport/sallyport/ledger"
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

func TestSourceWantsTrust(t *testing.T) {
	cfg := sallyport.PatientConfig()
	cfg.Data, cfg.Policy.Source = filepath.Join(t.TempDir(), "data"), "https://policy.example.com/b.tar.gz"
	if s, err := sallyport.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "wants policy.trust") {
		t.Fatalf("%v %v", s, err)
	}
}
