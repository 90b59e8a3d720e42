// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/action"
)

func snapshotConfig(t testing.TB) Config {
	cfg := testConfig(t)
	cfg.Snapshot = filepath.Join(filepath.Dir(cfg.Wal), "snapshots", "log")
	cfg.UniqueKeys = 300
	if err := os.MkdirAll(filepath.Dir(cfg.Snapshot), 0o700); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// knowledge is what Open knows of a log, in a form that compares.
type knowledge struct {
	Size     uint64
	Root     hash
	High     int64
	Segments []segmentSpan
	Marks    []mark
	Shelves  map[string][]uint64
	Keys     map[uniqueKey]uint64
	Sessions map[string]sessionEnd
}

func (l *Log) knowledge() knowledge {
	k := knowledge{Size: l.size, Root: l.edge.root(), High: l.high.Load(), Segments: l.segments, Marks: slices.Clone(l.marks),
		Shelves: map[string][]uint64{}, Keys: map[uniqueKey]uint64{}, Sessions: map[string]sessionEnd{}}
	for name, s := range l.shelves {
		k.Shelves[name], _ = s.indexes(nil)
	}
	for _, g := range []generation{l.unique.old, l.unique.now} {
		for _, e := range g.entries {
			k.Keys[e.key] = e.index
		}
	}
	l.sessions.Range(func(id, s any) bool {
		e := s.(*session)
		k.Sessions[id.(string)] = sessionEnd{id.(string), e.seq, e.prev}
		return true
	})
	return k
}

// withoutSnapshot is what a reading of the whole log finds.
func withoutSnapshot(t testing.TB, cfg Config) knowledge {
	t.Helper()
	cfg.Snapshot = ""
	l := mustOpen(t, cfg)
	defer mustClose(t, l)
	return l.knowledge()
}

func approvalOf(session string, n int) *action.Record {
	return &action.Record{Kind: action.KindApproval, Tenant: "default", TimeMs: 1700000000000, Session: session, Action: fmt.Sprintf("%s-%06d", session, n),
		Status: action.StatusGranted, Grant: fmt.Sprintf("grant-%d", n)}
}

func TestOpenGoesOnFromASnapshotLikeFromTheWholeLog(t *testing.T) {
	cfg := snapshotConfig(t)
	l := mustOpen(t, cfg)
	for i := range 400 {
		mustAppend(t, l, testRecord(fmt.Sprintf("s%d", i%7), i))
		if i%50 == 0 {
			mustAppend(t, l, approvalOf("s1", i))
		}
	}
	mustClose(t, l)
	want := withoutSnapshot(t, cfg)
	l = mustOpen(t, cfg)
	if l.unread == nil || l.Stats().Snapshot != want.Size {
		t.Fatalf("the snapshot was not used: %+v", l.Stats())
	}
	if got := l.knowledge(); !reflect.DeepEqual(got, want) {
		t.Fatalf("from the snapshot %+v\nfrom the log %+v", got, want)
	}
	for i := 400; i < 430; i++ { // a tail beyond the snapshot
		mustAppend(t, l, testRecord(fmt.Sprintf("s%d", i%9), i))
	}
	if _, err := l.Append(t.Context(), testRecord(fmt.Sprintf("s%d", 390%7), 390)); !errors.Is(err, ErrDuplicate) {
		t.Errorf("a record from before the snapshot came again: %v", err)
	}
	var grants []uint64
	if err := l.Select(t.Context(), 0, []string{"approval"}, func(e Entry) error { grants = append(grants, e.Index); return nil }); err != nil || len(grants) != 8 {
		t.Errorf("%d approvals, %v", len(grants), err)
	}
	mustClose(t, l)
	want = withoutSnapshot(t, cfg)
	l = mustOpen(t, cfg)
	if got := l.knowledge(); !reflect.DeepEqual(got, want) || l.unread == nil {
		t.Fatalf("with a tail: from the snapshot %+v\nfrom the log %+v", got, want)
	}
	mustClose(t, l)
	if _, err := verifyDir(t, filepath.Dir(cfg.Wal), Options{Head: cfg.Head}); err != nil {
		t.Fatal(err)
	}
}

func TestSnapshotThatDoesNotFitIsPassedOver(t *testing.T) {
	change := func(f func(b []byte) []byte) func(t *testing.T, cfg Config) {
		return func(t *testing.T, cfg Config) { edit(t, cfg.Snapshot, f) }
	}
	for _, c := range []struct {
		name string
		harm func(t *testing.T, cfg Config)
	}{
		{"it is empty", change(func([]byte) []byte { return nil })},
		{"it is cut short", change(func(b []byte) []byte { return b[:len(b)/2] })},
		{"a bit of its body is flipped", change(func(b []byte) []byte { b[len(b)-20] ^= 1; return b })},
		{"a bit of its signature is flipped", change(func(b []byte) []byte { b[30] ^= 1; return b })},
		{"it is of another format", change(func(b []byte) []byte { return bytes.Replace(b, []byte("snapshot 1"), []byte("snapshot 2"), 1) })},
		{"it is of another log", func(t *testing.T, cfg Config) {
			other := snapshotConfig(t)
			l := mustOpen(t, other)
			for i := range 40 {
				mustAppend(t, l, testRecord("s1", i))
			}
			if err := l.Snapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
			mustClose(t, l)
			b, err := os.ReadFile(other.Snapshot)
			if err == nil {
				err = os.WriteFile(cfg.Snapshot, b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
		{"it is gone", func(t *testing.T, cfg Config) {
			if err := os.Remove(cfg.Snapshot); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := snapshotConfig(t)
			l := mustOpen(t, cfg)
			for i := range 40 {
				mustAppend(t, l, testRecord("s1", i))
			}
			if err := l.Snapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
			mustClose(t, l)
			c.harm(t, cfg)
			want := withoutSnapshot(t, cfg)
			l = mustOpen(t, cfg)
			if got := l.knowledge(); !reflect.DeepEqual(got, want) || l.unread != nil {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
			mustAppend(t, l, testRecord("s1", 40))
			mustClose(t, l)
		})
	}
}

// TestSnapshotVouchesForNoSegments puts older segments beside a newer snapshot and head cell, and damages
// what a start with a snapshot does not read.
func TestSnapshotVouchesForNoSegments(t *testing.T) {
	fill := func(t *testing.T, keep func(cfg Config)) Config {
		cfg := snapshotConfig(t)
		l := mustOpen(t, cfg)
		for i := range 300 {
			mustAppend(t, l, testRecord("s1", i))
			if i == 280 {
				keep(cfg)
			}
		}
		mustClose(t, l)
		return cfg
	}
	t.Run("segments that were put back", func(t *testing.T) {
		older := t.TempDir()
		cfg := fill(t, func(cfg Config) { copyFolder(t, cfg.Wal, older) })
		if err := os.RemoveAll(cfg.Wal); err != nil {
			t.Fatal(err)
		}
		copyFolder(t, older, cfg.Wal)
		if l, err := Open(cfg); !errors.Is(err, ErrBehind) {
			mustClose(t, l)
			t.Fatalf("opened: %v", err)
		}
	})
	t.Run("a segment that is gone", func(t *testing.T) {
		cfg := fill(t, func(Config) {})
		if err := os.Remove(segmentName(cfg.Wal, 1)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(cfg); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("opened: %v", err)
		}
	})
	t.Run("a bit flipped in what the start skips", func(t *testing.T) {
		cfg := fill(t, func(Config) {})
		name := segmentName(cfg.Wal, 1)
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/3] ^= 1
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		l := mustOpen(t, cfg)
		if l.unread == nil {
			t.Fatal("the snapshot was not used")
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = l.Run(ctx) })
		l.mu.Lock()
		for l.err == nil { // whatever changes wakes us
			changed := l.changed
			l.mu.Unlock()
			<-changed
			l.mu.Lock()
		}
		err = l.err
		l.mu.Unlock()
		if !errors.Is(err, ErrStopped) || !errors.Is(err, ErrCorrupt) {
			t.Errorf("the log goes on: %v", err)
		}
		if _, err := l.Append(ctx, testRecord("s1", 9999)); !errors.Is(err, ErrStopped) {
			t.Errorf("a record was taken: %v", err)
		}
		cancel()
		running.Wait()
		_ = l.Close()
	})
	t.Run("nothing is damaged", func(t *testing.T) {
		cfg := fill(t, func(Config) {})
		l := mustOpen(t, cfg)
		if err := l.scrub(t.Context(), l.unread); err != nil {
			t.Error(err)
		}
		mustClose(t, l)
	})
}

func copyFolder(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

func TestSnapshotUnderLoadIsWhatTheLogHeldThen(t *testing.T) {
	cfg := snapshotConfig(t)
	l := mustOpen(t, cfg)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					mustAppend(t, l, testRecord(fmt.Sprintf("w%d-%d", w, i%5), i))
				}
			}
		})
	}
	for i := range 5 {
		for l.Checkpoint().Size < uint64(100*(i+1)) {
			if err := l.reached(t.Context(), uint64(100*(i+1))); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
	if err := l.release(); err != nil { // as if killed
		t.Fatal(err)
	}
	l = mustOpen(t, cfg)
	got, used := l.knowledge(), l.unread != nil
	mustClose(t, l)
	if want := withoutSnapshot(t, cfg); !reflect.DeepEqual(got, want) || !used {
		t.Fatalf("used %v\ngot %+v\nwant %+v", used, got, want)
	}
}

// TestFaultsInASnapshotLoseNothing fails every operation of writing one, in every way, and crashes.
func TestFaultsInASnapshotLoseNothing(t *testing.T) {
	config := func(d *memDisk) Config {
		cfg := memConfig(d)
		cfg.Snapshot = "/log/snapshots/log"
		return cfg
	}
	for _, mode := range []fault{failed, persisted, half, noSpace} {
		for n := 0; ; n++ {
			d := newMemDisk()
			op := 0
			d.fault = func(_ int, _, name string) fault {
				if !strings.HasPrefix(name, "/log/snapshots") {
					return healthy
				}
				if op++; op-1 != n {
					return healthy
				}
				return mode
			}
			l := mustOpen(t, config(d))
			for i := range 20 {
				mustAppend(t, l, testRecord("s", i))
			}
			_ = l.Snapshot(t.Context())
			mustAppend(t, l, testRecord("s", 20))
			for _, random := range []*rand.Rand{nil, rand.New(rand.NewPCG(1, uint64(n)))} {
				again, err := Open(config(d.crash(random)))
				if err != nil {
					t.Fatalf("fault %d at operation %d: %v", mode, n, err)
				}
				if again.size != 21 {
					t.Fatalf("fault %d at operation %d: %d records", mode, n, again.size)
				}
				mustAppend(t, again, testRecord("s", 21))
				mustClose(t, again)
			}
			mustClose(t, l)
			if op <= n {
				break // the last one was beyond the end
			}
		}
	}
}

func FuzzDecodeSnapshot(f *testing.F) {
	cfg := snapshotConfig(f)
	l := mustOpen(f, cfg)
	for i := range 40 {
		mustAppend(f, l, testRecord(fmt.Sprintf("s%d", i%3), i))
	}
	f.Add(l.capture().encode())
	mustClose(f, l)
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := decodeSnapshot(b)
		if err != nil {
			return
		}
		again, err := decodeSnapshot(n.encode())
		if err != nil || again.tree.root() != n.tree.root() || len(again.sessions) != len(n.sessions) || !slices.Equal(again.marks, n.marks) {
			t.Fatalf("%v after writing it again", err)
		}
	})
}
