// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
)

func TestRecordsReachAReceiverThatWasDown(t *testing.T) {
	bodies := make(chan string, 64)
	var hits atomic.Int32
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hits.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		b, _ := io.ReadAll(r.Body)
		bodies <- r.Header.Get("Authorization") + string(b)
	}))
	defer receiver.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("tok\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := open(t, func(c *sallyport.Config) {
		c.Export = []sallyport.ExportReceiver{{Name: "siem", Kind: "webhook", Format: "cloudevents", URL: receiver.URL, TokenFile: token}}
	})
	origin := h.Ledger.Origin()
	// run is one life of the owner. That a second batch came says that the place after the first is kept.
	run := func() string {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- h.Run(ctx) }()
		got := <-bodies
		if _, err := h.Ledger.Append(ctx, &action.Record{Kind: action.KindAlert, Tenant: "default", TimeMs: 1, Status: action.StatusNone, Codes: []string{"test"}}); err != nil {
			t.Error(err)
		}
		<-bodies
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		return got
	}
	if got := run(); !strings.HasPrefix(got, "Bearer tok[") || !strings.Contains(got, `"id":"`+origin+`/0"`) {
		t.Errorf("the first batch: %s", got)
	}
	h.stop()
	h.start() // which makes a record
	if got := run(); strings.Contains(got, `"id":"`+origin+`/0"`) {
		t.Errorf("after a restart it begins again: %s", got)
	}
}

func TestExportNamesAreChecked(t *testing.T) {
	for _, names := range [][]string{{""}, {"a/b"}, {"A"}, {"x", "x"}, {strings.Repeat("x", 65)}} {
		cfg := sallyport.DefaultConfig()
		cfg.Data = t.TempDir()
		for _, n := range names {
			cfg.Export = append(cfg.Export, sallyport.ExportReceiver{Name: n, Kind: "file", Path: "/dev/null"})
		}
		if _, err := sallyport.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "config: export") {
			t.Errorf("%q: %v", names, err)
		}
	}
}
