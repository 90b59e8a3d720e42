// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

const plantedText = "PLANTED-4f1c-plaintext"

// plantedRecord is a record whose every part and identity carries a mark.
func plantedRecord(n int) *action.Record {
	r := testRecord("planted", n)
	r.User = plantedText + "@example.org"
	r.Parts = nil
	for _, name := range []action.PartName{action.PartInputBefore, action.PartArguments, action.PartReasoning} {
		r.Parts = append(r.Parts, action.PayloadPart{Name: name, Owner: r.User, Data: fmt.Appendf(nil, `{"%s":%d}`, plantedText, n)})
	}
	return r
}

// findBytes lists the files under dir that hold any of the needles.
func findBytes(t testing.TB, dir string, needles ...[]byte) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, n := range needles {
			if bytes.Contains(b, n) {
				found = append(found, path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestEraseLeavesNothingReadableAndEveryProof(t *testing.T) {
	ctx := t.Context()
	n := 1200
	if os.Getenv("SALLYPORT_SOAK") != "" {
		n = 10000
	}
	dir := t.TempDir()
	cfg := Config{Wal: filepath.Join(dir, "wal"), Keys: filepath.Join(dir, "keys"), Tiles: filepath.Join(dir, "tiles"), Origin: "test.example/log",
		SegmentBytes: 1 << 20, MinFreeBytes: 1}
	l := mustOpen(t, cfg)
	for i := range n {
		mustAppend(t, l, plantedRecord(i))
	}
	mustAppend(t, l, testRecord("other", 0))
	if err := l.Publish(ctx); err != nil {
		t.Fatal(err)
	}
	before := l.Checkpoint()
	proof, err := l.Prove(ctx, 7)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := l.Read(7)
	if err != nil {
		t.Fatal(err)
	}
	// The keys as they are on disk: whoever finds them again can open everything.
	var secrets [][]byte
	files, _ := filepath.Glob(filepath.Join(cfg.Keys, "seal-"+l.keys.pseudonym("owner", plantedRecord(0).User)+"-*"))
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, []byte(strings.Split(string(b), "\n")[2]))
	}
	if len(secrets) != 3 || len(findBytes(t, dir, secrets...)) != 3 {
		t.Fatalf("%d keys before", len(secrets))
	}
	done, err := l.Erase(ctx, "default", plantedRecord(0).User, "op@example.org")
	if err != nil || len(done.Keys) != 3 || len(done.Records) != 1 {
		t.Fatal(done, err)
	}
	if _, err := l.Payload(ctx, 7, action.PartArguments); !errors.Is(err, ErrErased) {
		t.Fatal(err)
	}
	if _, err := l.Payload(ctx, uint64(n), action.PartArguments); err != nil {
		t.Fatal("somebody else's part:", err)
	}
	// What comes later is readable under a new key; what was erased stays erased.
	mustAppend(t, l, plantedRecord(n+1))
	if b, err := l.Payload(ctx, uint64(n)+2, action.PartArguments); err != nil || !bytes.Contains(b, []byte(plantedText)) {
		t.Fatal(string(b), err)
	}
	if _, err := l.Payload(ctx, 7, action.PartArguments); !errors.Is(err, ErrErased) {
		t.Fatal(err)
	}
	if again, err := l.Erase(ctx, "default", plantedRecord(0).User, "op@example.org"); err != nil || slices.Equal(again.Keys, done.Keys) {
		t.Fatal(again, err)
	}
	if _, err := l.Erase(ctx, "default", plantedRecord(0).User, "op@example.org"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	e, err := l.Read(done.Records[0].Index)
	if err != nil || e.Leaf.Kind != action.KindErasure || e.Leaf.Subject != done.Subject || !slices.Equal(e.Leaf.Codes, done.Keys) ||
		e.Leaf.Actor == "" || e.Leaf.Count != 3 {
		t.Fatalf("%+v %v", e.Leaf, err)
	}
	mustClose(t, l)
	if found := findBytes(t, dir, append(secrets, []byte(plantedText))...); len(found) > 0 {
		t.Fatalf("after erasing, the plaintext or a key stands in %v", found)
	}
	if _, err := ParseProof(proof.Marshal(), leaf.Raw, l.Verifier()); err != nil {
		t.Fatal(err)
	}
	r, err := verifyDir(t, dir, Options{Vkey: l.Vkey(), Old: [][]byte{before.Note}})
	if err != nil || r.Parts.Erased != uint64(3*n+3) {
		t.Fatal(r, err)
	}
	l = mustOpen(t, cfg)
	defer mustClose(t, l)
	if _, err := l.Payload(ctx, 7, action.PartArguments); !errors.Is(err, ErrErased) {
		t.Fatal(err)
	}
}

// TestEraseIsFinishedAfterACrash fails each step of an erasure in turn and opens the log again.
func TestEraseIsFinishedAfterACrash(t *testing.T) {
	for n := 0; ; n++ {
		d := newMemDisk()
		l := mustOpen(t, memConfig(d))
		for i := range 3 {
			mustAppend(t, l, plantedRecord(i))
		}
		base := d.ops
		d.fault = func(op int, _, _ string) fault {
			if op >= base+n {
				return failed
			}
			return healthy
		}
		_, failure := l.Erase(t.Context(), "default", plantedRecord(0).User, "op")
		d.fault = nil
		_ = l.Close()
		l = mustOpen(t, memConfig(d))
		recorded := l.Checkpoint().Size > 3
		for _, part := range []action.PartName{action.PartArguments, action.PartReasoning, action.PartInputBefore} {
			_, err := l.Payload(t.Context(), 1, part)
			if recorded != errors.Is(err, ErrErased) || !recorded && err != nil {
				t.Fatalf("fault at step %d (%v): recorded %v, part %q: %v", n, failure, recorded, part, err)
			}
		}
		if recorded {
			for name := range d.files {
				if strings.Contains(name, "seal-"+l.keys.pseudonym("owner", plantedRecord(0).User)) {
					t.Fatalf("fault at step %d: %q is left", n, name)
				}
			}
		}
		mustClose(t, l)
		if failure == nil {
			if n < 4 {
				t.Fatalf("an erasure of %d steps", n)
			}
			return
		}
	}
}

// TestEraseRunsBesideWriters erases while parts of the same owner are being sealed: whatever key is
// left afterwards is none of those that the records name.
func TestEraseRunsBesideWriters(t *testing.T) {
	dir, cfg := closedLog(t, 1)
	l := mustOpen(t, cfg)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 400 {
			r, err := l.Append(t.Context(), plantedRecord(i))
			if err != nil {
				t.Error(err)
				return
			}
			_, err = l.Payload(t.Context(), r.Index, action.PartReasoning)
			if err != nil && !errors.Is(err, ErrErased) {
				t.Error(err)
				return
			}
		}
	}()
	destroyed := map[string]bool{}
	for range 20 {
		out, err := l.Erase(t.Context(), "default", plantedRecord(0).User, "op")
		if err != nil && !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		for _, k := range out.Keys {
			if destroyed[k] {
				t.Fatalf("key %q came back", k)
			}
			destroyed[k] = true
		}
		names, err := l.keys.generations(l.keys.pseudonym("owner", plantedRecord(0).User))
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range names {
			if destroyed[k] {
				t.Fatalf("key %q is still there", k)
			}
		}
	}
	<-done
	mustClose(t, l)
	if r, err := verifyDir(t, dir, Options{}); err != nil {
		t.Fatal(r, err)
	}
}

func TestDiscloseRecordsBeforeItOpens(t *testing.T) {
	ctx := t.Context()
	dir, cfg := closedLog(t, 3)
	l := mustOpen(t, cfg)
	b, receipt, err := l.Disclose(ctx, 1, action.PartArguments, "auditor@example.org", "complaint 17")
	if err != nil || !bytes.Contains(b, []byte("/secret/1")) || receipt.Index != 3 {
		t.Fatal(string(b), receipt, err)
	}
	e, err := l.Read(3)
	if err != nil || e.Leaf.Kind != action.KindAccess || e.Leaf.Subject != "1/arguments" || e.Leaf.Actor == "" {
		t.Fatal(e.Leaf, err)
	}
	if p, err := e.Open(action.PartDetail); err != nil || string(p) != "complaint 17" {
		t.Fatal(string(p), err)
	}
	for name, try := range map[string]struct {
		index  uint64
		part   action.PartName
		actor  string
		reason error
	}{
		"an entry that is not there": {99, action.PartArguments, "a", ErrNotFound},
		"a part that is not there":   {1, action.PartResult, "a", ErrNotFound},
		"nobody asks":                {1, action.PartArguments, "", nil},
	} {
		if b, _, err := l.Disclose(ctx, try.index, try.part, try.actor, "x"); err == nil || b != nil || try.reason != nil && !errors.Is(err, try.reason) {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if _, err := l.Erase(ctx, "default", "eve@example.org", "op"); err != nil {
		t.Fatal(err)
	}
	if b, _, err := l.Disclose(ctx, 1, action.PartArguments, "a", "again"); !errors.Is(err, ErrErased) || b != nil {
		t.Fatal(string(b), err)
	}
	mustClose(t, l)
	if b, _, err := l.Disclose(ctx, 2, action.PartArguments, "a", "x"); err == nil || b != nil {
		t.Fatalf("a closed log cannot record and opens %q", b)
	}
	r, err := verifyDir(t, dir, Options{})
	if err != nil || r.Kinds["access"] != 2 || r.Kinds["erasure"] != 1 {
		t.Fatal(r, err)
	}
}
