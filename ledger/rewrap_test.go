// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

// TestRewrapChangesWhatWrapsTheKeys moves a log from one wrapper to another, and then gives it another tenant key under
// the same. The old files are held by a second name, to see that they were overwritten and not only replaced.
func TestRewrapChangesWhatWrapsTheKeys(t *testing.T) {
	cfg := testConfig(t)
	old, fresh := turned{name: "test:old", by: 7}, turned{name: "test:new", by: 9}
	cfg.Wrap = old
	l := mustOpen(t, cfg)
	mustAppend(t, l, testRecord("s", 0))
	mustClose(t, l)
	held := filepath.Join(t.TempDir(), "held")
	was, err := os.ReadFile(filepath.Join(cfg.Keys, fileTenant))
	if err = errors.Join(err, os.Link(filepath.Join(cfg.Keys, fileTenant), held)); err != nil {
		t.Fatal(err)
	}
	before := sealFiles(t, cfg.Keys)
	cfg.Wrap = fresh
	if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "test:old") {
		t.Fatal(err)
	}
	for name, call := range map[string]func() (int, error){
		"nobody asks":          func() (int, error) { return Rewrap(cfg, old, "") },
		"nothing wraps before": func() (int, error) { return Rewrap(cfg, nil, "alice") },
		"another wraps before": func() (int, error) { return Rewrap(cfg, turned{name: "test:old", by: 8}, "alice") },
		"nothing wraps after":  func() (int, error) { c := cfg; c.Wrap = nil; return Rewrap(c, old, "alice") },
		"the new one fails": func() (int, error) {
			c := cfg
			c.Wrap = turned{"test:new", 9, errors.New("down")}
			return Rewrap(c, old, "alice")
		},
	} {
		if _, err := call(); err == nil {
			t.Errorf("%s: done", name)
		}
	}
	n, err := Rewrap(cfg, old, "alice")
	if err != nil || n != len(before) || n == 0 {
		t.Fatal(n, err)
	}
	if b, err := os.ReadFile(held); err != nil || len(bytes.TrimSpace(b)) != 0 || len(b) != len(was) {
		t.Errorf("the old tenant key is left: %q %v", b, err)
	}
	for f, text := range sealFiles(t, cfg.Keys) {
		if text == before[f] || !strings.HasPrefix(text, headWrapped) {
			t.Errorf("%s is as it was", f)
		}
	}
	if n, err = Rewrap(cfg, fresh, "bob"); err != nil || n != len(before) {
		t.Fatal(n, err)
	}
	l = mustOpen(t, cfg)
	mustAppend(t, l, testRecord("s", 1))
	size := l.Checkpoint().Size
	actors := []string{}
	for i := range size {
		e, err := l.Read(i)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(e.Leaf.Codes, codeRewrapped) {
			actors = append(actors, e.Leaf.Actor)
		}
	}
	if len(actors) < 2 || actors[0] == "" || actors[0] == actors[len(actors)-1] {
		t.Errorf("on record: %q", actors)
	}
	for _, i := range []uint64{0, size - 1} {
		if b, err := l.Payload(t.Context(), i, action.PartArguments); err != nil || len(b) == 0 {
			t.Errorf("entry %d: %v", i, err)
		}
	}
	mustClose(t, l)
	cfg.Wrap = old
	if _, err := Open(cfg); err == nil {
		t.Error("the old wrapper still opens it")
	}
}

// TestRewrapIsFinishedAfterACrash fails each step: afterwards either nothing has changed, or Open refuses and the same
// call finishes it. No key is lost in between.
func TestRewrapIsFinishedAfterACrash(t *testing.T) {
	if testing.Short() {
		t.Skip("each step in turn")
	}
	old, fresh := turned{name: "test:old", by: 7}, turned{name: "test:new", by: 9}
	base := newMemDisk()
	cfg := memConfig(base)
	cfg.Wrap = old
	l := mustOpen(t, cfg)
	mustAppend(t, l, testRecord("s", 0))
	mustClose(t, l)
	for _, kind := range []fault{failed, persisted, half} {
		untouched, finished := 0, 0
		for n := 0; ; n++ {
			d := newMemDisk()
			for name, f := range base.files {
				d.files[name] = &memFile{data: bytes.Clone(f.data), stable: bytes.Clone(f.data)}
			}
			cfg := memConfig(d)
			cfg.Wrap = fresh
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
			_, failure := Rewrap(cfg, old, "alice")
			d.fault = nil
			for _, f := range d.files {
				f.locked = false
			}
			if failure != nil {
				withOld := cfg
				withOld.Wrap = old
				l, err := Open(withOld)
				if err == nil {
					untouched++
					mustClose(t, l)
				}
				if _, again := Rewrap(cfg, old, "alice"); again == nil {
					finished++
				} else if _, open := Open(cfg); open != nil { // unless all of it was done before the fault
					t.Fatalf("fault %d at step %d (%v; %v): %v", kind, n, failure, err, errors.Join(again, open))
				} else {
					for _, f := range d.files {
						f.locked = false
					}
				}
			}
			l := mustOpen(t, cfg)
			if b, err := l.Payload(t.Context(), 0, action.PartArguments); err != nil || len(b) == 0 {
				t.Fatalf("fault %d at step %d (%v): %v", kind, n, failure, err)
			}
			mustClose(t, l)
			if failure == nil {
				break
			}
		}
		if untouched == 0 || finished == untouched {
			t.Errorf("fault %d: %d untouched, %d finished", kind, untouched, finished)
		}
	}
}
