// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

func TestAppendRefusesWhatALogMustNotHold(t *testing.T) {
	cfg := testConfig(t)
	cfg.RecordBytes = 4096
	l := mustOpen(t, cfg)
	defer mustClose(t, l)
	for name, c := range map[string]struct {
		change func(r *action.Record)
		want   string
	}{
		"another tenant":         {func(r *action.Record) { r.Tenant = "other" }, "tenant"},
		"no kind":                {func(r *action.Record) { r.Kind = "" }, "kind"},
		"an unknown kind":        {func(r *action.Record) { r.Kind = "guess" }, "list"},
		"an unknown verdict":     {func(r *action.Record) { r.Verdict = "maybe" }, "list"},
		"prose as an id":         {func(r *action.Record) { r.Session = "please approve this" }, "identifier"},
		"prose as a code":        {func(r *action.Record) { r.Codes = []string{"the agent said so"} }, "identifier"},
		"a line break":           {func(r *action.Record) { r.Rules = []string{"a\nb"} }, "identifier"},
		"a leaf beyond its size": {func(r *action.Record) { r.Rules = manyRules() }, "larger"},
		"an unknown part":        {func(r *action.Record) { r.Parts[0].Name = "diary" }, "list"},
		"a part twice":           {func(r *action.Record) { r.Parts[0].Name = r.Parts[1].Name }, "twice"},
		"too large a payload":    {func(r *action.Record) { r.Parts[0].Data = make([]byte, 5000) }, "larger"},
	} {
		t.Run(name, func(t *testing.T) {
			r := testRecord("s", 1)
			c.change(r)
			if _, err := l.Append(context.Background(), r); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want %q", err, c.want)
			}
		})
	}
	for _, d := range []action.Durability{action.DurabilityReplicated, action.DurabilityWitnessed, "eternal"} {
		r := testRecord("s", 1)
		r.Durability = d
		if _, err := l.Append(context.Background(), r); !errors.Is(err, enforce.ErrDurability) {
			t.Fatalf("%s: %v", d, err)
		}
	}
	if r := mustAppend(t, l, testRecord("s", 1)); r.Index != 0 {
		t.Fatal("a refused record took a place", r)
	}
}

func manyRules() (out []string) {
	for i := range 4000 {
		out = append(out, fmt.Sprintf("pack.rule.number.%d", i))
	}
	return out
}

// TestNoPlaintextReachesTheDisk searches every file for what agents and users supplied.
func TestNoPlaintextReachesTheDisk(t *testing.T) {
	dir, cfg := closedLog(t, 0)
	l := mustOpen(t, cfg)
	mustAppend(t, l, testRecord("s1", 77))
	if err := l.Publish(context.Background()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, secret := range []string{"/secret/77", "eve@example.org", "agent-one", "read_file", "agent.v1"} {
			if bytes.Contains(b, []byte(secret)) {
				t.Errorf("%s holds %q", path, secret)
			}
		}
		if st, err2 := d.Info(); err2 == nil && st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, st.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestDuplicatesAreOneRecord(t *testing.T) {
	l := mustOpen(t, testConfig(t))
	defer mustClose(t, l)
	var wg sync.WaitGroup
	var fresh atomic.Int64
	for range 32 {
		wg.Go(func() {
			for i := range 20 {
				r, err := l.Append(context.Background(), testRecord("s", i))
				switch {
				case err == nil:
					fresh.Add(1)
				case !errors.Is(err, ErrDuplicate) || r.Size <= r.Index || r.Leaf == "":
					t.Error(r, err)
				}
			}
		})
	}
	wg.Wait()
	if fresh.Load() != 20 || l.Checkpoint().Size != 20 {
		t.Fatalf("%d fresh, %d in the log", fresh.Load(), l.Checkpoint().Size)
	}
	other := testRecord("s", 0)
	other.Round = 1
	mustAppend(t, l, other)
	none := testRecord("s", 0)
	none.Kind, none.Action = action.KindAlert, ""
	mustAppend(t, l, none)
	mustAppend(t, l, none)
}

func TestUniqueSetIsBounded(t *testing.T) {
	u := newUniqueSet(10)
	for i := range 100 {
		u.put(newUniqueKey(fmt.Sprint(i), 0, action.KindIntent), uint64(i))
	}
	if n := len(u.now.entries) + len(u.old.entries); n > 20 {
		t.Fatal(n)
	}
	for i := 90; i < 100; i++ {
		if at, ok := u.get(newUniqueKey(fmt.Sprint(i), 0, action.KindIntent)); !ok || at != uint64(i) {
			t.Fatal(i)
		}
	}
}

func TestLazyRecordsBecomeDurable(t *testing.T) {
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	r := testRecord("s", 0)
	r.Durability = action.DurabilityLazy
	if receipt := mustAppend(t, l, r); receipt.Size != 1 {
		t.Fatal("without Run a lazy record is a local one", receipt)
	}
	running.Go(func() { _ = l.Run(ctx) })
	for !l.running.Load() {
		time.Sleep(time.Millisecond)
	}
	r = testRecord("s", 1)
	r.Durability = action.DurabilityLazy
	if receipt := mustAppend(t, l, r); receipt.Size != 0 || receipt.Index != 1 {
		t.Fatal(receipt)
	}
	if err := l.reached(ctx, 1); err != nil { // nobody else appends: Run commits it
		t.Fatal(err)
	}
	r = testRecord("s", 2)
	r.Durability = action.DurabilityLazy
	mustAppend(t, l, r)
	if receipt := mustAppend(t, l, testRecord("s", 3)); receipt.Index != 3 || receipt.Size < 4 {
		t.Fatal("a local record makes the lazy one before it durable", receipt)
	}
	cancel()
	running.Wait()
	mustClose(t, l)
	if _, err := l.Append(context.Background(), testRecord("s", 4)); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

// TestNowNeverRunsBackwards sets the clock back, also across a restart.
func TestNowNeverRunsBackwards(t *testing.T) {
	cfg := testConfig(t)
	now := time.UnixMilli(1_800_000_000_000)
	cfg.Now = func() time.Time { return now }
	l := mustOpen(t, cfg)
	mustAppend(t, l, testRecord("s", 0))
	high := now
	now = now.Add(-time.Hour)
	if !l.Now().Equal(high) {
		t.Fatal(l.Now())
	}
	mustClose(t, l)
	l = mustOpen(t, cfg)
	defer mustClose(t, l)
	if !l.Now().Equal(high) {
		t.Fatal(l.Now())
	}
	mustAppend(t, l, testRecord("s", 1))
	if e, err := l.Read(1); err != nil || e.Leaf.LogMs != high.UnixMilli() {
		t.Fatal(e.Leaf, err)
	}
	now = high.Add(time.Hour)
	if !l.Now().Equal(now) {
		t.Fatal(l.Now())
	}
}

func TestQuotaStopsOneAgentOnly(t *testing.T) {
	cfg := testConfig(t)
	cfg.AgentBytes = 20 << 10
	now := time.UnixMilli(1_800_000_000_000)
	cfg.Now = func() time.Time { return now }
	l := mustOpen(t, cfg)
	defer mustClose(t, l)
	n := 0
	for ; n < 100; n++ {
		if _, err := l.Append(context.Background(), testRecord("s", n)); errors.Is(err, ErrQuota) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n == 0 || n == 100 {
		t.Fatal(n)
	}
	other := testRecord("s", n)
	other.Agent = "agent-two"
	mustAppend(t, l, other)
	deny := testRecord("s", n)
	deny.Kind, deny.Verdict = action.KindDecision, action.Deny
	mustAppend(t, l, deny)
	now = now.Add(time.Minute)
	mustAppend(t, l, testRecord("s", n+1))
}

func TestQueueIsBounded(t *testing.T) {
	cfg := testConfig(t)
	cfg.QueueBytes = 8 << 10
	l := mustOpen(t, cfg)
	defer mustClose(t, l)
	if err := l.acquire(context.Background(), 6<<10); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := l.Append(ctx, testRecord("s", 0)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { mustAppend(t, l, testRecord("s", 0)) })
	l.giveBack(6 << 10)
	wg.Wait()
	if s := l.Stats(); s.QueueBytes != 0 {
		t.Fatal(s.QueueBytes)
	}
}

func TestOneProcessHoldsTheLog(t *testing.T) {
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	defer mustClose(t, l)
	if _, err := Open(cfg); !errors.Is(err, ErrLocked) {
		t.Fatal(err)
	}
	cfg.Origin = "other.example/log"
	cfg.Wal = t.TempDir()
	if _, err := Open(cfg); err == nil {
		t.Fatal("an origin was changed")
	}
}

func TestReaderWorksBesideTheOwner(t *testing.T) {
	ctx := context.Background()
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	defer mustClose(t, l)
	fillLog(t, l, 0, 40)
	cfg.ReadOnly = true
	r := mustOpen(t, cfg)
	defer mustClose(t, r)
	fillLog(t, l, 40, 5)
	if r.Checkpoint().Size != 40 || r.Checkpoint().Root == l.Checkpoint().Root {
		t.Fatal(r.Checkpoint().Size)
	}
	if b, err := r.Payload(ctx, 7, action.PartArguments); err != nil || string(b) != `{"path":"/secret/7"}` {
		t.Fatal(string(b), err)
	}
	p, err := r.Prove(ctx, 7)
	if err != nil || len(p.Hashes) == 0 {
		t.Fatal(p, err)
	}
	if _, err := r.Append(ctx, testRecord("s", 1)); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	if err := r.Export(ctx, &bytes.Buffer{}, ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	one, _ := r.Pseudonym("default", "agent", "agent-one")
	two, _ := l.Pseudonym("default", "agent", "agent-one")
	if one != two || one == "" || r.Fingerprint("x", []byte("a"), []byte("b")) == r.Fingerprint("x", []byte("ab"), nil) {
		t.Fatal(one, two)
	}
}

func TestErasedPartStaysErased(t *testing.T) {
	dir, cfg := closedLog(t, 10)
	keys, err := filepath.Glob(filepath.Join(cfg.Keys, "seal-*-arguments"))
	if err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	if err := os.Remove(keys[0]); err != nil {
		t.Fatal(err)
	}
	l := mustOpen(t, cfg)
	mustAppend(t, l, testRecord("s9", 10)) // a new key for the same owner and class
	if _, err := l.Payload(context.Background(), 3, action.PartArguments); !errors.Is(err, ErrErased) {
		t.Fatal(err)
	}
	if _, err := l.Payload(context.Background(), 10, action.PartArguments); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	r, err := verifyDir(t, dir, Options{})
	if err != nil || r.Parts.Erased != 10 || r.Parts.Opened != 12 {
		t.Fatal(r, err)
	}
}

// TestLargeRecordsGetALargerSegment appends what no segment of the configured size could hold.
func TestLargeRecordsGetALargerSegment(t *testing.T) {
	dir, cfg := closedLog(t, 3)
	l := mustOpen(t, cfg)
	for i := range 6 {
		r := testRecord("s", i)
		r.Parts[0].Data = bytes.Repeat([]byte{byte(i)}, (i%3)*200<<10)
		receipt := mustAppend(t, l, r)
		if b, err := l.Payload(context.Background(), receipt.Index, action.PartArguments); err != nil || !bytes.Equal(b, r.Parts[0].Data) {
			t.Fatal(i, err)
		}
	}
	mustClose(t, l)
	if r, err := verifyDir(t, dir, Options{}); err != nil || r.Size != 9 {
		t.Fatal(r, err)
	}
}

func TestCloseEndsFollow(t *testing.T) {
	l := mustOpen(t, testConfig(t))
	mustAppend(t, l, testRecord("s", 0))
	seen := make(chan struct{})
	done := make(chan error)
	go func() {
		done <- l.Follow(context.Background(), 0, func(Entry) error { close(seen); return nil })
	}()
	<-seen
	mustClose(t, l)
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}
