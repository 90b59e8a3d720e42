// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport"
)

// TestTheOwnerFetchesCollateralItself lets an owner ask a cache that answers with something else: it asks at once, for the
// platform that is named, and keeps nothing of it.
func TestTheOwnerFetchesCollateralItself(t *testing.T) {
	asked := make(chan string, 64)
	cache := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- r.URL.RequestURI():
		default:
		}
		_, _ = w.Write([]byte(`{"tcbInfo":{},"signature":"00"}`))
	}))
	t.Cleanup(cache.Close)
	dir := t.TempDir()
	openBankWith(t, func(c *sallyport.Config) {
		c.Attest.Collateral = dir
		c.Attest.Update = sallyport.AttestUpdate{From: cache.URL, Platforms: []string{"sgx-00A067110000-processor"}}
	}, nil, "payer")
	for path := ""; !strings.HasPrefix(path, "/sgx/certification/v4/"); {
		path = <-asked
	}
	if found, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(found) != 0 {
		t.Errorf("it keeps %q %v", found, err)
	}
}

func TestCollateralIsFetchedOverTLSIntoAFolder(t *testing.T) {
	for name, c := range map[string]sallyport.AttestConfig{
		"in the clear":      {Collateral: "c", Update: sallyport.AttestUpdate{From: "http://cache.example"}},
		"without a folder":  {Update: sallyport.AttestUpdate{From: "intel"}},
		"too often":         {Collateral: "c", Update: sallyport.AttestUpdate{From: "intel", Every: 1}},
		"of no platform":    {Collateral: "c", Update: sallyport.AttestUpdate{From: "intel", Platforms: []string{"sgx"}}},
		"of no product":     {Collateral: "c", Update: sallyport.AttestUpdate{AMD: "amd", Products: []string{"Rome"}}},
		"AMD's in the open": {Collateral: "c", Update: sallyport.AttestUpdate{AMD: "http://mirror.example"}},
	} {
		cfg := sallyport.DefaultConfig()
		cfg.Data, cfg.Attest = t.TempDir(), c
		s, err := sallyport.Open(t.Context(), cfg)
		if err == nil {
			t.Errorf("%s: it starts", name)
			_ = s.Close()
		}
	}
}
