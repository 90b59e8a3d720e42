// SPDX-License-Identifier: Apache-2.0

package auditor_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/auditor"
	"github.com/sallyport/sallyport/ledger"
)

// receipt writes the receipt of the second of three records and returns its name and the log's key.
func receipt(t *testing.T) (name, vkey string) {
	t.Helper()
	dir := t.TempDir()
	l, err := ledger.Open(ledger.Config{Wal: filepath.Join(dir, "wal"), Keys: filepath.Join(dir, "keys"), Tiles: filepath.Join(dir, "tiles"), SegmentBytes: 64 << 10, MinFreeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := l.Append(t.Context(), &action.Record{Kind: action.KindAlert, Agent: "bot"}); err != nil {
			t.Fatal(err)
		}
	}
	e, err := l.Read(1)
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.Prove(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	name = filepath.Join(dir, "one")
	if err := errors.Join(os.WriteFile(name+auditor.LeafSuffix, e.Raw, 0o600), os.WriteFile(name+auditor.ReceiptSuffix, p.Marshal(), 0o600), l.Close()); err != nil {
		t.Fatal(err)
	}
	return name, l.Vkey()
}

func TestReceiptProvesOneRecord(t *testing.T) {
	name, vkey := receipt(t)
	for _, as := range []string{name, name + auditor.LeafSuffix, name + auditor.ReceiptSuffix} {
		r, err := auditor.ReadReceipt(as, vkey)
		if err != nil || r.Index != 1 || r.Size != 3 || r.Leaf.Kind != action.KindAlert || !strings.Contains(r.Text(), "VERIFIED record 1") {
			t.Errorf("%s: %+v, %v", as, r, err)
		}
	}
}

// TestChangedReceiptIsRefused flips every bit of both files but what no proof covers: white space and lines of others
// after the log's signature are none of them.
func TestChangedReceiptIsRefused(t *testing.T) {
	name, vkey := receipt(t)
	for _, suffix := range []string{auditor.LeafSuffix, auditor.ReceiptSuffix} {
		good, err := os.ReadFile(name + suffix)
		if err != nil {
			t.Fatal(err)
		}
		for i := range good {
			bad := append([]byte{}, good...)
			bad[i] ^= 1 << (i % 7)
			if err := os.WriteFile(name+suffix, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if r, err := auditor.ReadReceipt(name, vkey); err == nil {
				t.Errorf("%s: byte %d changed from %q to %q: accepted as %+v", suffix, i, good[i], bad[i], r)
			}
		}
		if err := os.WriteFile(name+suffix, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReceiptNeedsTheKeyThatItsReaderKept(t *testing.T) {
	name, _ := receipt(t)
	_, other := receipt(t)
	for what, key := range map[string]string{"no key": "", "no verifier": "key", "another log's": other} {
		if _, err := auditor.ReadReceipt(name, key); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if _, err := auditor.ReadReceipt(filepath.Join(t.TempDir(), "none"), other); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if err := os.WriteFile(name+auditor.LeafSuffix, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := auditor.ReadReceipt(name, other); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Error(err)
	}
}
