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

// TestLogIsAnchoredInABlock anchors a log with a calendar, completes the proof later, and verifies it with the
// header of the block and with another.
func TestLogIsAnchoredInABlock(t *testing.T) {
	calendar, header, finish := anchor.Calendar(t)
	dir := t.TempDir()
	l, err := ledger.Open(ledger.Config{Wal: filepath.Join(dir, "wal"), Keys: filepath.Join(dir, "keys"), Anchors: filepath.Join(dir, "anchors"),
		SegmentBytes: 64 << 10, MinFreeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), &action.Record{Kind: action.KindAlert}); err != nil {
		t.Fatal(err)
	}
	o := anchor.OTS{Calendars: []string{calendar}}
	if a, _, err := l.Anchor(t.Context(), o, "op"); err != nil || a.TimeMs != 0 || a.Size != 1 {
		t.Fatalf("%+v, %v", a, err)
	}
	r, err := ledger.Verify(t.Context(), ledger.Source{Dir: dir}, ledger.Options{})
	if err != nil || len(r.Anchors) != 1 || r.Anchors[0].Trusted || r.Anchors[0].TimeMs != 0 || !strings.Contains(r.Text(), "pending at") {
		t.Errorf("while it is pending: %v %+v", err, r)
	}
	if done, pending, err := l.CompleteAnchors(t.Context(), o); done != 0 || pending != 1 || err == nil {
		t.Errorf("before the calendar has finished: %d, %d, %v", done, pending, err)
	}
	finish()
	if done, pending, err := l.CompleteAnchors(t.Context(), o); done != 1 || pending != 0 || err != nil {
		t.Errorf("after it has: %d, %d, %v", done, pending, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r, err = ledger.Verify(t.Context(), ledger.Source{Dir: dir}, ledger.Options{Blocks: []byte(header())})
	if err != nil || len(r.Anchors) != 1 || !r.Anchors[0].Trusted || r.Anchors[0].Signer != "bitcoin block 800000" || !strings.Contains(r.Text(), "bitcoin block 800000") {
		t.Errorf("%v %+v", err, r)
	}
	wrong := []byte(header())
	digit := &wrong[len("800000 ")+2*40] // within the root
	if *digit == '0' {
		*digit = '1'
	} else {
		*digit = '0'
	}
	if _, err := ledger.Verify(t.Context(), ledger.Source{Dir: dir}, ledger.Options{Blocks: wrong}); !errors.Is(err, ledger.ErrVerification) {
		t.Errorf("a block with another root passes: %v", err)
	}
}

// TestLogIsKnownToRekor anchors a log in a transparency log and verifies it with that one's key, without, and with
// another's.
func TestLogIsKnownToRekor(t *testing.T) {
	url, vkey := anchor.RekorLog(t)
	_, other := anchor.RekorLog(t)
	dir := t.TempDir()
	l, err := ledger.Open(ledger.Config{Wal: filepath.Join(dir, "wal"), Keys: filepath.Join(dir, "keys"), Anchors: filepath.Join(dir, "anchors"),
		SegmentBytes: 64 << 10, MinFreeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), &action.Record{Kind: action.KindAlert}); err != nil {
		t.Fatal(err)
	}
	if a, _, err := l.Anchor(t.Context(), anchor.Rekor{URL: url}, "op"); err != nil || a.TimeMs != 0 || a.Size != 1 {
		t.Fatalf("%+v, %v", a, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]struct {
		logs string
		says string
	}{"its key": {vkey, "1 entries are known to others by entry 2 of rekor.example"}, "no key": {"", "give its key"}} {
		r, err := ledger.Verify(t.Context(), ledger.Source{Dir: dir}, ledger.Options{Logs: []byte(try.logs)})
		if err != nil || !strings.Contains(r.Text(), try.says) {
			t.Errorf("%s: %v\n%s", name, err, r.Text())
		}
	}
	if _, err := ledger.Verify(t.Context(), ledger.Source{Dir: dir}, ledger.Options{Logs: []byte(other)}); !errors.Is(err, ledger.ErrVerification) {
		t.Errorf("another log's key passes: %v", err)
	}
}
