// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestRepairMendsFromACopy damages a log of several segments that grew after its copy was taken, in each way that Open
// calls corruption, and has the copy mend it: nothing that the copy did not know is lost, and everything verifies.
func TestRepairMendsFromACopy(t *testing.T) {
	dir, cfg := closedLog(t, 200)
	saved := filepath.Join(t.TempDir(), "saved")
	l := mustOpen(t, cfg)
	if _, err := l.Backup(t.Context(), saved); err != nil {
		t.Fatal(err)
	}
	fillLog(t, l, 200, 60)
	size := l.Checkpoint().Size
	copied, err := listSegments(realDisk{}, filepath.Join(saved, "wal"))
	must(t, err)
	last := copied[len(copied)-1]
	mustClose(t, l)
	names, err := listSegments(realDisk{}, cfg.Wal)
	if err != nil || len(names) < 3 {
		t.Fatal(names, err)
	}
	change := func(n uint64, f func(b []byte) []byte) func(t *testing.T, wal string) {
		return func(t *testing.T, wal string) {
			t.Helper()
			b, err := os.ReadFile(segmentName(wal, n))
			if err == nil {
				err = os.WriteFile(segmentName(wal, n), f(b), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	flip := func(at int) func(b []byte) []byte { return func(b []byte) []byte { b[at] ^= 1; return b } }
	for name, c := range map[string]struct {
		damage func(t *testing.T, wal string)
		mended []uint64
	}{
		"nothing is damaged":            {func(*testing.T, string) {}, nil},
		"a bit flips":                   {change(2, flip(30_000)), []uint64{2}},
		"the head of a segment":         {change(1, flip(10)), []uint64{1}},
		"a bit in the last of the copy": {change(last, flip(900)), []uint64{last}},
		"a segment is gone":             {func(t *testing.T, wal string) { must(t, os.Remove(segmentName(wal, 2))) }, []uint64{2}},
		"a segment is zeros":            {change(2, func(b []byte) []byte { clear(b); return b }), []uint64{2}},
		"a segment is cut":              {change(2, func(b []byte) []byte { return b[:1000] }), []uint64{2}},
		"a segment is another of ours":  {func(t *testing.T, wal string) { swap(t, segmentName(wal, 1), segmentName(wal, 2)) }, []uint64{1, 2}},
		"two of them":                   {func(t *testing.T, wal string) { change(1, flip(5000))(t, wal); change(2, flip(5000))(t, wal) }, []uint64{1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			work := t.TempDir()
			copyDir(t, dir, work)
			cfg := cfg
			cfg.Wal, cfg.Keys, cfg.Tiles, cfg.Head = filepath.Join(work, "wal"), filepath.Join(work, "keys"), filepath.Join(work, "tiles"), ""
			c.damage(t, cfg.Wal)
			l, err := Open(cfg)
			if (err == nil) != (c.mended == nil) {
				t.Fatalf("Open says %v", err)
			}
			if err == nil {
				mustClose(t, l)
			}
			done, err := Repair(cfg, filepath.Join(saved, "wal"), "alice")
			if err != nil || !slices.Equal(done.Segments, c.mended) {
				t.Fatal(done, err)
			}
			r, err := verifyDir(t, work, Options{Head: cfg.Head})
			want := size
			if c.mended != nil {
				want++
				if _, err := os.Stat(segmentName(cfg.Wal, c.mended[0]) + suffixDamaged); err != nil && name != "a segment is gone" {
					t.Error(err)
				}
			}
			if err != nil || r.Size != want {
				t.Fatalf("%d entries, wanted %d: %v", r.Size, want, err)
			}
			mustClose(t, mustOpen(t, cfg))
		})
	}
}

// TestRepairTakesNothingThatDoesNotContinueTheLog gives it copies that are damaged themselves, end too early, or are of
// another log: what is damaged stays as it is.
func TestRepairTakesNothingThatDoesNotContinueTheLog(t *testing.T) {
	dir, cfg := closedLog(t, 200)
	good := filepath.Join(t.TempDir(), "wal")
	copyDir(t, cfg.Wal, good)
	_, other := closedLog(t, 200)
	hurt, short, parts := filepath.Join(t.TempDir(), "wal"), t.TempDir(), filepath.Join(t.TempDir(), "wal")
	for _, to := range []string{hurt, parts} {
		copyDir(t, cfg.Wal, to)
	}
	b, err := os.ReadFile(segmentName(good, 1))
	must(t, errors.Join(err, os.WriteFile(segmentName(short, 1), b, 0o600)))
	b, err = os.ReadFile(segmentName(good, 2))
	must(t, err)
	broken := slices.Clone(b)
	broken[30_000] ^= 1
	must(t, os.WriteFile(segmentName(cfg.Wal, 2), broken, 0o600))
	must(t, os.WriteFile(segmentName(hurt, 2), broken, 0o600))
	must(t, os.WriteFile(segmentName(parts, 2), swapPart(t, b), 0o600))
	for name, from := range map[string]string{"hurt in the same place": hurt, "too short": short, "of another log": other.Wal,
		"with a sealed part of another record": parts, "not there": filepath.Join(t.TempDir(), "none"), "empty": t.TempDir()} {
		if done, err := Repair(cfg, from, "alice"); err == nil || len(done.Segments) > 0 {
			t.Errorf("%s: %+v, %v", name, done, err)
		}
		if b, err := os.ReadFile(segmentName(cfg.Wal, 2)); err != nil || !slices.Equal(b, broken) {
			t.Fatalf("%s: the segment was touched: %v", name, err)
		}
	}
	if _, err := Repair(cfg, good, ""); err == nil {
		t.Error("nobody repairs")
	}
	l := mustOpen(t, Config{Wal: filepath.Join(t.TempDir(), "w"), Keys: filepath.Join(t.TempDir(), "k"), MinFreeBytes: 1, SegmentBytes: 64 << 10})
	if _, err := Repair(l.cfg, good, "alice"); !errors.Is(err, ErrLocked) {
		t.Errorf("beside an owner: %v", err)
	}
	mustClose(t, l)
	if done, err := Repair(cfg, good, "alice"); err != nil || len(done.Segments) != 1 {
		t.Fatal(done, err)
	}
	if r, err := verifyDir(t, dir, Options{}); err != nil {
		t.Error(r, err)
	}
}

// TestRepairKeepsWhatTheCopyLacks damages a segment behind the end of the copy.
func TestRepairKeepsWhatTheCopyLacks(t *testing.T) {
	_, cfg := closedLog(t, 10)
	saved := filepath.Join(t.TempDir(), "wal")
	copyDir(t, cfg.Wal, saved)
	l := mustOpen(t, cfg)
	fillLog(t, l, 10, 10)
	mustClose(t, l)
	b, err := os.ReadFile(segmentName(cfg.Wal, 1))
	must(t, err)
	r, err := os.ReadFile(segmentName(saved, 1))
	must(t, err)
	from := len(r) - len(strings.TrimRight(string(r), "\x00"))
	at := len(r) - from + 6000
	b[at] ^= 1
	must(t, os.WriteFile(segmentName(cfg.Wal, 1), b, 0o600))
	if done, err := Repair(cfg, saved, "alice"); err == nil || len(done.Segments) > 0 || !strings.Contains(err.Error(), "before the damage") {
		t.Fatal(done, err)
	}
	if now, err := os.ReadFile(segmentName(cfg.Wal, 1)); err != nil || !slices.Equal(now, b) {
		t.Fatal("the segment was touched")
	}
}

// TestRepairOfALostEnd takes away the end, which no copy has: what can be mended is, and two people must go on.
func TestRepairOfALostEnd(t *testing.T) {
	_, cfg := closedLog(t, 200)
	saved := filepath.Join(t.TempDir(), "wal")
	copyDir(t, cfg.Wal, saved)
	l := mustOpen(t, cfg)
	fillLog(t, l, 200, 100)
	mustClose(t, l)
	names, err := listSegments(realDisk{}, cfg.Wal)
	must(t, err)
	must(t, os.Remove(segmentName(cfg.Wal, 2)))
	must(t, os.Remove(segmentName(cfg.Wal, names[len(names)-1])))
	if done, err := Repair(cfg, saved, "alice"); !errors.Is(err, ErrBehind) || !slices.Equal(done.Segments, []uint64{2}) {
		t.Fatal(done, err)
	}
	if _, err := Recover(cfg, "alice"); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func swap(t *testing.T, a, b string) {
	t.Helper()
	must(t, errors.Join(os.Rename(a, a+".x"), os.Rename(b, a), os.Rename(a+".x", b)))
}

// swapPart puts the ciphertext of one payload frame into another place and mends the checksum of its frame.
func swapPart(t *testing.T, b []byte) []byte {
	t.Helper()
	out := slices.Clone(b)
	var seen int
	for at := 0; at < len(out); {
		f, err := parseFrame(out[at:])
		if err != nil {
			break
		}
		if f.kind == framePayload {
			if seen++; seen == 3 {
				body := slices.Clone(f.body)
				body[len(body)-1] ^= 1
				if whole := appendFrame(nil, framePayload, body); copy(out[at:], whole) != f.bytes || strings.Contains(string(whole), "\x00\x00\x00\x00\x00\x00\x00\x00") {
					t.Fatal("another frame than expected")
				}
				return out
			}
		}
		at += f.bytes
	}
	t.Fatal("no payload")
	return nil
}
