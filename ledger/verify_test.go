// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
)

// closedLog makes a published log of n records and returns its data directory.
func closedLog(t testing.TB, n int) (dir string, cfg Config) {
	t.Helper()
	dir = t.TempDir()
	cfg = Config{
		Wal: filepath.Join(dir, "wal"), Keys: filepath.Join(dir, "keys"), Tiles: filepath.Join(dir, "tiles"),
		Origin: "test.example/log", SegmentBytes: 64 << 10, MinFreeBytes: 1,
	}
	l := mustOpen(t, cfg)
	fillLog(t, l, 0, n)
	if err := l.Publish(context.Background()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	return dir, cfg
}

func copyDir(t testing.TB, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// edit changes the file at path.
func edit(t testing.TB, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func verifyDir(t testing.TB, dir string, opt Options) (*Report, error) {
	t.Helper()
	r, err := Verify(context.Background(), Source{Dir: dir}, opt)
	if err != nil && !errors.Is(err, ErrVerification) {
		t.Fatal(err)
	}
	return r, err
}

func TestVerifyAcceptsWhatWasWritten(t *testing.T) {
	ctx := context.Background()
	cfg := testConfig(t)
	cfg.Wal = filepath.Join(filepath.Dir(cfg.Keys), "wal")
	cfg.Head = ""
	l := mustOpen(t, cfg)
	fillLog(t, l, 0, 300)
	old := l.Checkpoint().Note
	fillLog(t, l, 300, 300)
	outcome := testRecord("s0", 3)
	outcome.Kind, outcome.Status, outcome.Parts = action.KindOutcome, action.StatusDone, nil
	mustAppend(t, l, outcome)
	if err := l.Publish(ctx); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(l.Handler())
	defer web.Close()
	file := filepath.Join(t.TempDir(), "bundle.tar")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	err = l.Export(ctx, f, ExportOptions{Actor: "auditor", Open: func(_ uint64, _ *Leaf, p action.PartName) bool { return p == action.PartArguments }})
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if err := l.Export(ctx, io.Discard, ExportOptions{Open: func(uint64, *Leaf, action.PartName) bool { return true }}); err == nil {
		t.Fatal("parts are disclosed by nobody")
	}
	if err := l.Publish(ctx); err != nil { // the disclosure is a record
		t.Fatal(err)
	}
	for name, src := range map[string]Source{
		"directory, while its owner is at work": {Dir: filepath.Dir(cfg.Keys)},
		"url":                                   {URL: web.URL + "/log"},
		"bundle":                                {File: file},
	} {
		r, err := Verify(ctx, src, Options{Vkey: l.Vkey(), Old: [][]byte{old}})
		if err != nil {
			t.Fatalf("%s: %v\n%v", name, err, r)
		}
		if r.Size != 602 || r.Sessions != 4 || r.Kinds["access"] != 1 || len(r.Open) != 599 || r.Held < 1 || r.Root != digest(l.Checkpoint().Root) {
			t.Errorf("%s: %+v", name, r)
		}
		if name != "url" && r.Parts.Opened < 600 {
			t.Errorf("%s: %d parts opened", name, r.Parts.Opened)
		}
		if !strings.HasPrefix(r.Text(), "VERIFIED") {
			t.Error(r.Text())
		}
	}
	mustClose(t, l)
	edit(t, file, func(b []byte) []byte { return bytes.Replace(b, []byte(`/secret/7"`), []byte(`/secret/8"`), 1) })
	if r, err := Verify(ctx, Source{File: file}, Options{}); !errors.Is(err, ErrVerification) {
		t.Fatalf("a changed part in a bundle is accepted: %v %v", r, err)
	}
}

// TestVerifyBesideABusyOwner verifies a directory again and again while its owner appends and publishes.
func TestVerifyBesideABusyOwner(t *testing.T) {
	rounds := 5
	if os.Getenv("SALLYPORT_SOAK") == "1" {
		rounds = 60
	}
	cfg := testConfig(t)
	cfg.Head, cfg.Publish = "", time.Millisecond
	l := mustOpen(t, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = l.Run(ctx) })
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if _, err := l.Append(context.Background(), testRecord(fmt.Sprintf("s%d", w), i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range rounds {
		r, err := Verify(ctx, Source{Dir: filepath.Dir(cfg.Keys)}, Options{})
		if err != nil {
			t.Errorf("%v\n%s", err, r.Text())
			break
		}
		reader := cfg
		reader.ReadOnly = true
		mustClose(t, mustOpen(t, reader))
	}
	cancel()
	wg.Wait()
	mustClose(t, l)
}

// TestVerifyFindsTampering holds the list of what an offline verifier must find.
func TestVerifyFindsTampering(t *testing.T) {
	dir, cfg := closedLog(t, 400)
	older := filepath.Join(t.TempDir(), "older")
	copyDir(t, dir, older)
	l := mustOpen(t, cfg)
	fillLog(t, l, 400, 150)
	kept := l.Checkpoint().Note
	if err := l.Publish(context.Background()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	if r, err := verifyDir(t, dir, Options{}); err != nil {
		t.Fatal(err, r)
	}
	work := filepath.Join(t.TempDir(), "work")
	for name, c := range tamperings {
		t.Run(name, func(t *testing.T) {
			copyDir(t, dir, work)
			c.tamper(t, work, older)
			opt := Options{}
			if c.kept {
				opt.Old = [][]byte{kept}
			}
			r, err := verifyDir(t, work, opt)
			if err == nil {
				t.Fatalf("not found\n%s", r.Text())
			}
		})
	}
}

// TestVerifyFindsEveryFlippedByte flips bytes all over the data directory.
func TestVerifyFindsEveryFlippedByte(t *testing.T) {
	dir, _ := closedLog(t, 60)
	var files []string
	for _, sub := range []string{"wal", "tiles"} {
		err := filepath.WalkDir(filepath.Join(dir, sub), func(p string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && d.Name() != "lock" && d.Name() != "probe" {
				files = append(files, p)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	random := rand.New(rand.NewPCG(3, 4))
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		places := []int{0, 4, 5, 8, len(b) - 1}
		for range 12 {
			places = append(places, random.IntN(len(b)))
		}
		for _, at := range places {
			old := b[at]
			b[at] ^= byte(1 + random.IntN(255))
			if err := os.WriteFile(file, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if r, err := Verify(context.Background(), Source{Dir: dir}, Options{}); err == nil {
				t.Fatalf("%s: byte %d: not found\n%s", file, at, r.Text())
			}
			b[at] = old
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := verifyDir(t, dir, Options{}); err != nil {
		t.Fatal(fmt.Sprint(files), r)
	}
}

// tamperings are what somebody does to a data directory in work; older is a copy of an earlier state, and
// kept says that the verifier kept a checkpoint.
var tamperings = map[string]struct {
	tamper func(t *testing.T, work, older string)
	kept   bool
}{
	"the last segment is removed": {tamper: func(t *testing.T, work, older string) {
		names, err := listSegments(realDisk{}, filepath.Join(work, "wal"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(segmentOf(work, names[len(names)-1])); err != nil {
			t.Fatal(err)
		}
	}},
	"a segment in the middle is removed": {tamper: func(t *testing.T, work, older string) {
		if err := os.Remove(segmentOf(work, 3)); err != nil {
			t.Fatal(err)
		}
	}},
	"two segments are swapped": {tamper: func(t *testing.T, work, older string) {
		a, b := segmentOf(work, 2), segmentOf(work, 3)
		if err := errors.Join(os.Rename(a, a+"x"), os.Rename(b, a), os.Rename(a+"x", b)); err != nil {
			t.Fatal(err)
		}
	}},
	"a segment is truncated": {tamper: func(t *testing.T, work, older string) {
		edit(t, segmentOf(work, 2), func(b []byte) []byte { return b[:len(b)/2] })
	}},
	"the last segment is truncated to its data": {tamper: func(t *testing.T, work, older string) {
		names, err := listSegments(realDisk{}, filepath.Join(work, "wal"))
		if err != nil {
			t.Fatal(err)
		}
		edit(t, segmentOf(work, names[len(names)-1]), func(b []byte) []byte { return b[:len(b)-4096] })
	}},
	"a record is removed and the frames are moved up": {tamper: func(t *testing.T, work, older string) {
		edit(t, segmentOf(work, 2), func(b []byte) []byte {
			at, all := framesOf(b)
			for i := 5; ; i++ {
				if all[i].kind == frameLeaf {
					return append(append(bytes.Clone(b[:at[i]]), b[at[i+1]:]...), make([]byte, all[i].bytes)...)
				}
			}
		})
	}},
	"two batches are swapped": {tamper: func(t *testing.T, work, older string) {
		edit(t, segmentOf(work, 2), func(b []byte) []byte {
			at, all := framesOf(b)
			var ends []int
			for i, f := range all {
				if f.kind == frameCheckpoint {
					ends = append(ends, at[i]+f.bytes)
				}
			}
			out := bytes.Clone(b[:ends[1]])
			out = append(out, b[ends[2]:ends[3]]...)
			out = append(out, b[ends[1]:ends[2]]...)
			return append(out, b[ends[3]:]...)
		})
	}},
	"a payload is exchanged for another with a right checksum": {tamper: func(t *testing.T, work, older string) {
		edit(t, segmentOf(work, 2), func(b []byte) []byte {
			at, all := framesOf(b)
			for i, f := range all {
				if f.kind == framePayload {
					body := bytes.Clone(f.body)
					body[len(body)-1] ^= 1
					copy(b[at[i]:], appendFrame(nil, framePayload, body))
					return b
				}
			}
			return b
		})
	}},
	"the folder of segments is an older copy": {tamper: func(t *testing.T, work, older string) {
		copyDir(t, filepath.Join(older, "wal"), filepath.Join(work, "wal"))
	}},
	"everything is an older copy": {tamper: func(t *testing.T, work, older string) { copyDir(t, older, work) }, kept: true},
	"a tile is missing":           {tamper: func(t *testing.T, work, older string) { _ = os.Remove(filepath.Join(work, "tiles/tile/0/000")) }},
	"the published checkpoint is another": {tamper: func(t *testing.T, work, older string) {
		edit(t, filepath.Join(work, "tiles/checkpoint"), func(b []byte) []byte { b[len(b)-4] ^= 1; return b })
	}},
	"a payload key is another": {tamper: func(t *testing.T, work, older string) {
		names, err := filepath.Glob(filepath.Join(work, "keys/seal-*-arguments"))
		if err != nil || len(names) == 0 {
			t.Fatal(names, err)
		}
		edit(t, names[0], func(b []byte) []byte { return bytes.Replace(b, b[len(b)-8:len(b)-4], []byte("AAAA"), 1) })
	}},
}

func segmentOf(data string, n uint64) string { return segmentName(filepath.Join(data, "wal"), n) }

// framesOf returns the frames at the beginning of a segment, and where they stand.
func framesOf(b []byte) (at []int, all []frame) {
	for i := 0; ; {
		f, err := parseFrame(b[i:])
		if err != nil {
			return at, all
		}
		at, all = append(at, i), append(all, f)
		i += f.bytes
	}
}

// An owner that starts removes segments that were made ahead; a verifier that has listed them goes on.
func TestVerifyBesideAStartingOwner(t *testing.T) {
	dir := t.TempDir()
	read := func(uint64) ([]byte, error) { return nil, fs.ErrNotExist }
	for _, tt := range []struct {
		number uint64
		rest   []uint64
		passes bool
	}{{2, []uint64{2, 3}, true}, {1, []uint64{1}, false}} {
		first := lookAhead(tt.number, nil, read)
		if done, err := (&checker{}).segment(&scanner{}, dir, tt.rest, first); done != tt.passes || (err == nil) != tt.passes {
			t.Errorf("segment %d is listed and gone: done %v, %v", tt.number, done, err)
		}
		first.close()
	}
}
