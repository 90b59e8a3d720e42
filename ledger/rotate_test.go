// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRotationGivesAnotherKeyAndLosesNothing takes two people through a rotation between which the log grew, goes on under
// the new key, rotates once more, and lets every verifier follow: by the key that was kept, and by the newest.
func TestRotationGivesAnotherKeyAndLosesNothing(t *testing.T) {
	dir, cfg := closedLog(t, 40)
	secret := func() []byte {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(cfg.Keys, fileSigner))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	l := mustOpen(t, cfg)
	vkey, kept := l.Vkey(), l.Checkpoint().Note
	mustClose(t, l)
	before := secret()
	first, err := Rotate(cfg, "alice")
	if err != nil || first.Second != "" || first.Known != first.Restored {
		t.Fatalf("%+v %v", first, err)
	}
	if _, err := Rotate(cfg, "alice"); err == nil || !bytes.Equal(secret(), before) {
		t.Fatal("one person twice is enough")
	}
	if _, err := Recover(cfg, "bob"); err == nil {
		t.Fatal("what was asked for as a rotation is a recovery")
	}
	l = mustOpen(t, cfg)
	fillLog(t, l, 40, 5)
	mustClose(t, l)
	done, err := Rotate(cfg, "bob")
	if err != nil || done.Second != "bob" || done.Operator != "alice" || done.Record.Index != 45 || done.Origin != "test.example/log/epoch-2" || !done.Signed {
		t.Fatalf("%+v %v", done, err)
	}
	if bytes.Contains(secret(), before[len(before)-30:]) {
		t.Error("the old key is still there")
	}
	l = mustOpen(t, cfg)
	fillLog(t, l, 46, 300)
	if err := l.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	old, newest := vkey, l.Vkey()
	mustClose(t, l)
	if newest == old || newest != done.Vkey {
		t.Fatal(newest)
	}
	for name, key := range map[string]string{"the key that was kept": old, "the newest": newest, "none": ""} {
		r, err := verifyDir(t, dir, Options{Vkey: key, Old: [][]byte{kept}})
		if err != nil || len(r.Gaps) != 1 || !r.Gaps[0].Rotation() || !r.Gaps[0].Signed || r.Size != 346 {
			t.Errorf("by %s: %+v %v", name, r, err)
		}
	}
	web := httptest.NewServer(http.FileServer(http.Dir(cfg.Tiles)))
	defer web.Close()
	if r, err := Verify(t.Context(), Source{URL: web.URL}, Options{Vkey: newest}); err != nil {
		t.Error(r, err)
	}
	if ok, out := python(t, cfg.Tiles, "--key", newest); !ok {
		t.Errorf("python: %s", out)
	}
	if ok, out, there := node(t, cfg.Tiles, "--key", newest); there && !ok {
		t.Errorf("node: %s", out)
	}
	for _, who := range []string{"carol", "dave"} {
		if done, err = Rotate(cfg, who); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := verifyDir(t, dir, Options{Vkey: old}); err != nil || done.Epoch != 3 || len(r.Gaps) != 2 {
		t.Errorf("after another: %+v %v", done, err)
	}
}

// TestTheOldKeySignsNothingBeyondARotation has whoever kept the old private key sign a longer log.
func TestTheOldKeySignsNothingBeyondARotation(t *testing.T) {
	dir, cfg := closedLog(t, 20)
	l := mustOpen(t, cfg)
	stolen := l.keys.signer
	mustClose(t, l)
	for _, who := range []string{"alice", "bob"} {
		if _, err := Rotate(cfg, who); err != nil {
			t.Fatal(err)
		}
	}
	l = mustOpen(t, cfg)
	fillLog(t, l, 21, 10)
	mustClose(t, l)
	forged, err := signCheckpoint(stolen, 25, leafHash([]byte("another history")))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := verifyDir(t, dir, Options{Old: [][]byte{forged.Note}}); !errors.Is(err, ErrVerification) {
		t.Errorf("a checkpoint of the old key beyond the rotation is taken: %+v, %v", r, err)
	}
}

// TestRotateSurvivesACrash fails each step of a rotation: afterwards the log is in its old epoch with all its records and
// can be rotated, or in the new one, and nothing in between.
func TestRotateSurvivesACrash(t *testing.T) {
	if testing.Short() {
		t.Skip("each step in turn")
	}
	base := newMemDisk()
	l := mustOpen(t, memConfig(base))
	for i := range 3 {
		mustAppend(t, l, testRecord("s", i))
	}
	mustClose(t, l)
	for _, kind := range []fault{failed, persisted} {
		stayed, opened := 0, 0
		for n := 0; ; n++ {
			d := newMemDisk()
			for name, f := range base.files {
				d.files[name] = &memFile{data: bytes.Clone(f.data), stable: bytes.Clone(f.data)}
			}
			cfg := memConfig(d)
			if _, err := Rotate(cfg, "alice"); err != nil {
				t.Fatal(err)
			}
			start := d.ops
			d.fault = func(op int, _, _ string) fault {
				switch {
				case op > start+n:
					return failed
				case op == start+n:
					return kind
				}
				return healthy
			}
			_, failure := Rotate(cfg, "bob")
			d.fault = nil
			for _, f := range d.files {
				f.locked = false
			}
			l, err := Open(cfg)
			if err != nil {
				t.Fatalf("fault %d at step %d (%v): %v", kind, n, failure, err)
			}
			epoch := l.Checkpoint().Origin != "test.example/log"
			if epoch {
				opened++
				if e, err := l.Read(3); err != nil || e.Leaf.Codes[0] != codeEpoch {
					t.Fatal(n, e.Leaf, err)
				}
			} else {
				stayed++
			}
			mustAppend(t, l, testRecord("s", 10))
			mustClose(t, l)
			if !epoch {
				for _, who := range []string{"alice", "bob"} {
					if _, err := Rotate(cfg, who); err != nil && !strings.Contains(err.Error(), "must agree") {
						t.Fatalf("fault %d at step %d (%v): the second try: %v", kind, n, failure, err)
					}
				}
				if l := mustOpen(t, cfg); l.Checkpoint().Origin == "test.example/log" {
					t.Fatalf("fault %d at step %d: it cannot be rotated", kind, n)
				} else {
					mustClose(t, l)
				}
			}
			if failure == nil {
				break
			}
		}
		if opened == 0 || stayed == 0 {
			t.Fatalf("%d opened, %d stayed", opened, stayed)
		}
	}
}
