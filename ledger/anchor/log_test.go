// SPDX-License-Identifier: Apache-2.0

package anchor_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/ledger/anchor"
)

// TestLogIsAnchored has real tokens over a real log, which verify with the authority's roots and with no
// others.
func TestLogIsAnchored(t *testing.T) {
	authorityDir, url, _ := anchor.Authority(t, "rsa:2048")
	other, _, _ := anchor.Authority(t, "rsa:2048")
	dir := t.TempDir()
	l, err := ledger.Open(ledger.Config{Wal: filepath.Join(dir, "wal"), Keys: filepath.Join(dir, "keys"), Anchors: filepath.Join(dir, "anchors"),
		SegmentBytes: 64 << 10, MinFreeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := l.Append(t.Context(), &action.Record{Kind: action.KindAlert}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := l.Anchor(t.Context(), anchor.RFC3161{URL: url}, "op"); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{authorityDir: true, other: false} {
		roots, err := os.ReadFile(filepath.Join(name, "ca.pem"))
		if err != nil {
			t.Fatal(err)
		}
		r, err := ledger.Verify(t.Context(), ledger.Source{Dir: dir}, ledger.Options{TSARoots: roots})
		if want && (err != nil || len(r.Anchors) != 3 || !r.Anchors[2].Trusted || r.Anchors[2].Size != 5 || !strings.Contains(r.Text(), "Test TSA")) {
			t.Errorf("%v %+v", err, r)
		}
		if !want && !errors.Is(err, ledger.ErrVerification) {
			t.Errorf("another authority's roots pass: %v %+v", err, r)
		}
	}
}
