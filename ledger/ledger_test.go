// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/action"
)

// testConfig is a log in a folder of the test, with small segments.
func testConfig(t testing.TB) Config {
	t.Helper()
	dir := t.TempDir()
	return Config{
		Wal: filepath.Join(dir, "wal"), Keys: filepath.Join(dir, "keys"), Tiles: filepath.Join(dir, "tiles"),
		Head: filepath.Join(dir, "state", "head"), Origin: "test.example/log", SegmentBytes: 256 << 10, MinFreeBytes: 1,
	}
}

func mustOpen(t testing.TB, cfg Config) *Log {
	t.Helper()
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustClose(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// testRecord is the n-th intent of a session, with payloads.
func testRecord(session string, n int) *action.Record {
	return &action.Record{
		Kind: action.KindIntent, Tenant: "default", TimeMs: 1700000000000, Action: fmt.Sprintf("%s-%06d", session, n),
		Session: session, Agent: "agent-one", User: "eve@example.org", Door: action.DoorMCP, Server: "files", Tool: "read_file",
		Effect: action.EffectRead, Phase: action.Before, Verdict: action.Allow, Enforced: true, Status: action.StatusIntended,
		Rules: []string{"baseline.read"}, Codes: []string{"read.inside"},
		Bundle:  action.Bundle{Name: "baseline", Digest: "sha256:00", Sequence: 1},
		Engines: []action.Engine{{Name: "rego", Version: "1"}}, Observed: action.Yes, Grade: action.GradeProxy,
		Parts: []action.PayloadPart{
			{Name: action.PartArguments, Owner: "eve@example.org", Data: fmt.Appendf(nil, `{"path":"/secret/%d"}`, n)},
			{Name: action.PartInputBefore, Owner: "eve@example.org", Data: fmt.Appendf(nil, `{"version":"agent.v1","n":%d}`, n)},
		},
	}
}

func mustAppend(t testing.TB, l *Log, r *action.Record) action.Receipt {
	t.Helper()
	receipt, err := l.Append(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return receipt
}

func TestAppendIsReadBackAfterReopening(t *testing.T) {
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	const n = 700 // several segments
	for i := range n {
		r := mustAppend(t, l, testRecord("s1", i))
		if r.Index != uint64(i) || r.Size != uint64(i)+1 || r.Origin != "test.example/log" {
			t.Fatalf("receipt %+v of record %d", r, i)
		}
	}
	root := l.Checkpoint().Root
	mustClose(t, l)
	for range 2 {
		l = mustOpen(t, cfg)
		if l.Checkpoint().Root != root || l.Checkpoint().Size != n || l.stats.cut != 0 {
			t.Fatalf("reopened at %d, cut %d", l.Checkpoint().Size, l.stats.cut)
		}
		i := 0
		err := l.Records(context.Background(), func(e Entry) error {
			b, err := e.Open(action.PartArguments)
			if err != nil || string(b) != fmt.Sprintf(`{"path":"/secret/%d"}`, i) || e.Leaf.Seq != int64(i)+1 {
				return fmt.Errorf("entry %d: %q seq %d: %w", i, b, e.Leaf.Seq, err)
			}
			i++
			return nil
		})
		if err != nil || i != n {
			t.Fatal(i, err)
		}
		mustClose(t, l)
	}
	l = mustOpen(t, cfg)
	defer mustClose(t, l)
	first, err := l.Append(context.Background(), testRecord("s1", 17))
	if !errors.Is(err, ErrDuplicate) || first.Index != 17 {
		t.Fatalf("second record 17: %+v, %v", first, err)
	}
	if e, err := l.Read(n - 1); err != nil || e.Leaf.Action != fmt.Sprintf("s1-%06d", n-1) {
		t.Fatal(e.Leaf, err)
	}
	if _, err := l.Read(n); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
}

func TestFollowSeesHistoryThenLive(t *testing.T) {
	l := mustOpen(t, testConfig(t))
	defer mustClose(t, l)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	const workers, each = 8, 200
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				if _, err := l.Append(ctx, testRecord(fmt.Sprintf("s%d", w), i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	seq := map[string]int64{}
	n := uint64(0)
	err := l.Follow(ctx, 0, func(e Entry) error {
		if e.Index != n || e.Leaf.Seq != seq[e.Leaf.Session]+1 {
			return fmt.Errorf("entry %d after %d, seq %d of %s", e.Index, n, e.Leaf.Seq, e.Leaf.Session)
		}
		seq[e.Leaf.Session]++
		if n++; n == workers*each {
			return errEnough
		}
		return nil
	})
	wg.Wait()
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
}

var errEnough = errors.New("enough")
