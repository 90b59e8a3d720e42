// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzScan gives the scanner segments with bytes changed: it must end, and never visit a leaf that was not
// written.
func FuzzScan(f *testing.F) {
	dir, cfg := closedLog(f, 6)
	data, err := os.ReadFile(segmentName(cfg.Wal, 1))
	if err != nil {
		f.Fatal(err)
	}
	data = data[:firstZeros(data)]
	vkey, err := os.ReadFile(filepath.Join(dir, "keys", fileVkey))
	if err != nil {
		f.Fatal(err)
	}
	v, err := readVkey(vkey)
	if err != nil {
		f.Fatal(err)
	}
	written := map[hash]bool{}
	whole := &scanner{verifier: v, visit: func(e scanned) error { written[e.hash] = true; return nil }}
	if err := whole.segment(1, append(data, make([]byte, 64<<10-len(data))...)); err != nil || len(written) != 6 {
		f.Fatal(err, len(written))
	}
	f.Add(uint16(0), []byte{1})
	f.Add(uint16(300), []byte("{}"))
	f.Fuzz(func(t *testing.T, at uint16, change []byte) {
		b := append(append([]byte(nil), data...), make([]byte, 64<<10-len(data))...)
		copy(b[at:], change)
		s := &scanner{verifier: v, visit: func(e scanned) error {
			if !written[e.hash] {
				t.Fatalf("a leaf at %d that was never written stands under a checkpoint", e.index)
			}
			return nil
		}}
		_ = s.segment(1, b)
		findCheckpoints(b, v, 0)
	})
}

func firstZeros(b []byte) int {
	for i := len(b); ; i-- {
		if b[i-1] != 0 {
			return i
		}
	}
}

// TestRebuildRepairsTiles damages tiles in every place that a publisher writes.
func TestRebuildRepairsTiles(t *testing.T) {
	ctx := context.Background()
	dir, cfg := closedLog(t, 300)
	for _, tile := range []string{"tile/0/000", "tile/entries/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/001.p/44"} {
		edit(t, filepath.Join(dir, "tiles", tile), func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		if r, err := verifyDir(t, dir, Options{}); err == nil {
			t.Fatalf("%s: %s", tile, r.Text())
		}
		l := mustOpen(t, cfg)
		if tile == "tile/0/000" {
			if err := l.Publish(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Prove(ctx, 3); !errors.Is(err, ErrVerification) {
				t.Fatal("a proof from a damaged tile", err)
			}
		}
		if err := l.Rebuild(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Prove(ctx, 3); err != nil {
			t.Fatal(err)
		}
		mustClose(t, l)
		if r, err := verifyDir(t, dir, Options{}); err != nil {
			t.Fatal(tile, r.Text())
		}
	}
}
