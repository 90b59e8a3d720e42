// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/action"
)

// TestRestoreDrill takes a backup while writers are at work, loses the log, restores the backup under the
// head cell that knows more, and goes on in a new epoch.
func TestRestoreDrill(t *testing.T) {
	ctx := t.Context()
	dir, cfg := closedLog(t, 50)
	l := mustOpen(t, cfg)
	backup := filepath.Join(t.TempDir(), "backup")
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range 60 {
				if _, err := l.Append(ctx, testRecord(fmt.Sprintf("w%d", w), i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	head, err := l.Backup(ctx, backup)
	if err != nil || head.Size < 50 {
		t.Fatal(head, err)
	}
	if _, err := l.Backup(ctx, backup); err == nil {
		t.Fatal("a backup over a backup")
	}
	writers.Wait()
	mustAppend(t, l, testRecord("last", 0))
	if err := l.Publish(ctx); err != nil {
		t.Fatal(err)
	}
	known := l.Checkpoint()
	vkey := l.Vkey()
	mustClose(t, l)
	if r, err := verifyDir(t, backup, Options{Vkey: vkey}); err != nil || r.Size != head.Size || r.Parts.Opened != r.Parts.Sealed {
		t.Fatal(r, err)
	}
	// The disk dies; the backup takes its place. The head cell was kept elsewhere.
	if err := os.RemoveAll(cfg.Wal); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(cfg.Wal, os.DirFS(filepath.Join(backup, "wal"))); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg); !errors.Is(err, ErrBehind) {
		t.Fatal(err)
	}
	first, err := Recover(cfg, "alice")
	if err != nil || first.Second != "" || first.Restored != head || first.Known != (Head{known.Size, digest(known.Root)}) {
		t.Fatalf("%+v %v", first, err)
	}
	if _, err := Open(cfg); !errors.Is(err, ErrBehind) {
		t.Fatal("one person is enough:", err)
	}
	if _, err := Recover(cfg, "alice"); err == nil {
		t.Fatal("one person twice is enough")
	}
	done, err := Recover(cfg, "bob")
	if err != nil || done.Record.Index != head.Size || done.Origin != "test.example/log/epoch-2" || done.Operator != "alice" || done.Second != "bob" {
		t.Fatalf("%+v %v", done, err)
	}
	if _, err := Recover(cfg, "carol"); err == nil {
		t.Fatal("there is nothing to recover any more")
	}
	if r, err := verifyDir(t, dir, Options{Vkey: vkey}); err != nil || len(r.Gaps) != 1 {
		t.Fatal("before the owner's next start:", r, err)
	}
	l = mustOpen(t, cfg)
	e, err := l.Read(head.Size)
	if err != nil || e.Leaf.Kind != action.KindKey || e.Leaf.Separation != action.SeparationNone || e.Leaf.Actor == "" || e.Leaf.Grant == "" || e.Leaf.Actor == e.Leaf.Grant {
		t.Fatalf("%+v %v", e.Leaf, err)
	}
	fillLog(t, l, 1000, 600)
	if err := l.Publish(ctx); err != nil {
		t.Fatal(err)
	}
	p, err := l.Prove(ctx, 20)
	if err != nil || p.Checkpoint.Origin != done.Origin {
		t.Fatal(p, err)
	}
	newest := l.Vkey()
	file := filepath.Join(t.TempDir(), "bundle.tar")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Export(ctx, f, ExportOptions{}), f.Close()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	mustClose(t, mustOpen(t, cfg))
	for name, opt := range map[string]Options{
		"no key":                      {},
		"the newest key":              {Vkey: newest},
		"the key kept from the start": {Vkey: vkey},
		"a checkpoint out of the gap": {Vkey: vkey, Old: [][]byte{known.Note}},
	} {
		r, err := verifyDir(t, dir, opt)
		if err != nil || len(r.Gaps) != 1 || !r.Gaps[0].Signed || r.Gaps[0].Known != first.Known || !strings.Contains(r.Text(), "GAP: entries") {
			t.Errorf("%s: %v %+v", name, err, r)
		}
	}
	if r, err := Verify(ctx, Source{File: file}, Options{Vkey: newest}); err != nil || len(r.Gaps) != 1 {
		t.Fatal(r, err)
	}
	// Nobody can leave the old key's word out, or say less was lost.
	edit(t, filepath.Join(cfg.Keys, fileEpochs), func(b []byte) []byte {
		lines := strings.Split(string(b), "\n")
		_, stranger, err := newSigningKey(nil, "test.example/log")
		if err != nil {
			t.Fatal(err)
		}
		lines[1] = stranger
		return []byte(strings.Join(lines, "\n"))
	})
	if r, err := verifyDir(t, dir, Options{}); err == nil {
		t.Fatal("another first key:", r)
	}
}

// TestRecoverSurvivesACrash fails each step of opening an epoch: afterwards the log is behind as before,
// or in its new epoch, and nothing in between.
func TestRecoverSurvivesACrash(t *testing.T) {
	if testing.Short() {
		t.Skip("each step in turn")
	}
	base := newMemDisk()
	l := mustOpen(t, memConfig(base))
	for i := range 3 {
		mustAppend(t, l, testRecord("s", i))
	}
	mustClose(t, l)
	older := map[string][]byte{}
	for _, name := range base.segments() {
		older[name] = append([]byte(nil), base.files[name].data...)
	}
	l = mustOpen(t, memConfig(base))
	for i := range 3 {
		mustAppend(t, l, testRecord("s", 3+i))
	}
	mustClose(t, l)
	opened := 0
	for n := 0; ; n++ {
		d := newMemDisk()
		for name, f := range base.files {
			data := f.data
			if old, ok := older[name]; ok {
				data = old
			}
			d.files[name] = &memFile{data: append([]byte(nil), data...), stable: append([]byte(nil), data...)}
		}
		cfg := memConfig(d)
		if _, err := Open(cfg); !errors.Is(err, ErrBehind) {
			t.Fatal(err)
		}
		if _, err := Recover(cfg, "alice"); err != nil {
			t.Fatal(err)
		}
		start := d.ops
		d.fault = func(op int, _, _ string) fault {
			if op >= start+n {
				return failed
			}
			return healthy
		}
		_, failure := Recover(cfg, "bob")
		d.fault = nil
		for _, f := range d.files {
			f.locked = false
		}
		l, err := Open(cfg)
		switch {
		case err == nil && l.Checkpoint().Origin == "test.example/log":
			t.Fatalf("fault at step %d (%v): the gap is gone without a record", n, failure)
		case err == nil:
			opened++
			e, err := l.Read(3)
			if err != nil || e.Leaf.Codes[0] != codeEpoch {
				t.Fatal(n, e.Leaf, err)
			}
			mustAppend(t, l, testRecord("s", 10))
			mustClose(t, l)
		case !errors.Is(err, ErrBehind):
			t.Fatalf("fault at step %d (%v): %v", n, failure, err)
		default:
			if _, err := Recover(cfg, "bob"); err != nil {
				t.Fatalf("fault at step %d (%v): the second try: %v", n, failure, err)
			}
			mustClose(t, mustOpen(t, cfg))
		}
		if failure == nil {
			break
		}
	}
	if opened == 0 {
		t.Fatal("no epoch was opened at the first try")
	}
}
