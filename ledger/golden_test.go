// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce/enforcetest"
)

var writeGolden = flag.Bool("golden", false, "write the golden log if it is not there")

const goldenRoot = "sha256:c31bc8c626ffdd2b41010b778f197a6a886da0adb50321d2489217d6948f5cce"

// TestGoldenLogIsReadForEver reads a log that format 1 wrote. A change that breaks it breaks every log
// out there: give the new form a new format number and keep reading the old one.
func TestGoldenLogIsReadForEver(t *testing.T) {
	dir := filepath.Join("testdata", "golden-1")
	if _, err := os.Stat(dir); err != nil && *writeGolden {
		makeGolden(t, dir)
	}
	r, err := Verify(context.Background(), Source{Dir: dir}, Options{})
	if err != nil {
		t.Fatal(err, r)
	}
	if r.Root != goldenRoot || r.Size != 8 || r.Sessions != 3 || r.Parts.Opened != 11 || len(r.Open) != 3 {
		t.Fatalf("%+v", r)
	}
	l := mustOpen(t, Config{Wal: filepath.Join(dir, "wal"), Keys: filepath.Join(dir, "keys"), ReadOnly: true})
	defer mustClose(t, l)
	if b, err := l.Payload(context.Background(), 4, action.PartArguments); err != nil || string(b) != `{"path":"/secret/1"}` {
		t.Fatal(string(b), err)
	}
	e, err := l.Read(7)
	if err != nil || e.Leaf.Kind != action.KindPolicy || e.Leaf.Session != "" || e.Leaf.Subject != "sha256:01" {
		t.Fatal(e.Leaf, err)
	}
}

func makeGolden(t *testing.T, dir string) {
	now := time.UnixMilli(1_790_000_000_000)
	cfg := Config{Wal: filepath.Join(dir, "wal"), Keys: filepath.Join(dir, "keys"), Tiles: filepath.Join(dir, "tiles"),
		Origin: "golden.example/log/1", SegmentBytes: 64 << 10, MinFreeBytes: 1,
		Now: func() time.Time { now = now.Add(time.Millisecond); return now }}
	l := mustOpen(t, cfg)
	for i := range 5 {
		mustAppend(t, l, testRecord([]string{"s0", "s1"}[i%2], i/2))
		if i < 2 {
			r := testRecord([]string{"s0", "s1"}[i%2], 0)
			r.Kind, r.Phase, r.Status = action.KindOutcome, action.After, action.StatusDone
			r.Parts = nil
			if i == 0 {
				r.Parts = []action.PayloadPart{{Name: action.PartResult, Owner: r.User, Data: []byte(`"result"`)}}
			}
			mustAppend(t, l, r)
		}
	}
	mustAppend(t, l, &action.Record{Kind: action.KindPolicy, Tenant: "default", Subject: "sha256:01", Actor: "op", Door: action.DoorCLI})
	if err := l.Publish(context.Background()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	for _, name := range []string{"keys/log.key", "wal/lock", "wal/probe"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLogIsARecorder(t *testing.T) {
	l := mustOpen(t, testConfig(t))
	defer mustClose(t, l)
	enforcetest.TestRecorder(t, l, l)
	var kinds []action.Kind
	err := l.History(t.Context(), func(index uint64, r *action.Record) error {
		kinds = append(kinds, r.Kind)
		if r.Agent != "" || len(r.Parts) != 1 || r.Parts[0].Name != action.PartArguments {
			t.Errorf("entry %d: %+v", index, r)
		}
		return nil
	})
	if err != nil || len(kinds) != 67 || kinds[2] != action.KindOutcome {
		t.Fatal(kinds, err)
	}
}
