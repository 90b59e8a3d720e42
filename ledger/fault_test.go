// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
)

func memConfig(d *memDisk) Config {
	return Config{Wal: "/log/wal", Keys: "/log/keys", Head: "/state/head", Origin: "test.example/log",
		SegmentBytes: 64 << 10, MinFreeBytes: 1, disk: d}
}

// bigRecord fills segments quickly.
func bigRecord(n int) *action.Record {
	r := testRecord("s", n)
	r.Parts[0].Data = make([]byte, 9000)
	return r
}

// TestFaultsLoseNoAcknowledgedRecord makes every operation on the disk fail once, in every way, crashes,
// and looks at what the next process finds.
func TestFaultsLoseNoAcknowledgedRecord(t *testing.T) {
	run := func(d *memDisk) (acked map[int]action.Receipt, opened bool) {
		acked = map[int]action.Receipt{}
		l, err := Open(memConfig(d))
		if err != nil {
			return acked, false
		}
		for i := range faultRecords {
			if r, err := l.Append(context.Background(), bigRecord(i)); err == nil {
				acked[i] = r
			} else if !errors.Is(err, ErrStopped) && !errors.Is(err, ErrFull) && !strings.Contains(err.Error(), "injected") {
				t.Fatalf("record %d: %v", i, err)
			}
		}
		_ = l.Close()
		return acked, true
	}
	probe := func(op, name string) bool { return strings.HasSuffix(name, "/probe") || op == "remove" }
	clean := newMemDisk()
	if acked, _ := run(clean); len(acked) != faultRecords {
		t.Fatal("the scenario does not run without faults")
	}
	for _, mode := range []fault{failed, persisted, half, noSpace} {
		for n := range clean.ops {
			d := newMemDisk()
			hit := ""
			d.fault = func(i int, op, name string) fault {
				if i != n || probe(op, name) {
					return healthy
				}
				hit = op + " " + filepath.Base(name)
				return mode
			}
			acked, _ := run(d)
			if hit == "" {
				continue
			}
			for _, random := range []*rand.Rand{nil, rand.New(rand.NewPCG(uint64(n), uint64(mode)))} {
				afterCrash(t, d.crash(random), acked, n, fmt.Sprintf("fault %d at operation %d (%s), crash %v", mode, n, hit, random != nil))
			}
		}
	}
}

const faultRecords = 12

// afterCrash opens what a crash left, appends everything once more, and crashes again.
func afterCrash(t *testing.T, after *memDisk, acked map[int]action.Receipt, n int, what string) {
	t.Helper()
	l, err := Open(memConfig(after))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	checkAcked(t, l, acked, what)
	for i := range faultRecords {
		r, err := l.Append(context.Background(), bigRecord(i))
		if first, ok := acked[i]; ok && (!errors.Is(err, ErrDuplicate) || r.Index != first.Index) {
			t.Fatalf("%s: record %d again: %v %v", what, i, r, err)
		} else if err != nil && !errors.Is(err, ErrDuplicate) {
			t.Fatalf("%s: record %d: %v", what, i, err)
		}
	}
	mustClose(t, l)
	// What the second process acknowledged must outlive a power failure, also where it stands behind
	// pages whose fsync had failed in the first.
	l = mustOpen(t, memConfig(after.crash(rand.New(rand.NewPCG(1, uint64(n))))))
	checkAcked(t, l, acked, "after a second crash: "+what)
	if l.Checkpoint().Size < faultRecords {
		t.Fatalf("%s: %d records after a second crash", what, l.Checkpoint().Size)
	}
	mustClose(t, l)
}

func checkAcked(t *testing.T, l *Log, acked map[int]action.Receipt, what string) {
	t.Helper()
	for i, r := range acked {
		e, err := l.Read(r.Index)
		if err != nil || e.Leaf.Action != bigRecord(i).Action || digest(leafHash(e.Raw)) != r.Leaf {
			t.Fatalf("%s: acknowledged record %d is lost: %v", what, i, err)
		}
		if b, err := e.Open(action.PartArguments); err != nil || len(b) != 9000 {
			t.Fatalf("%s: payload of record %d: %v", what, i, err)
		}
	}
}

// TestStoppedLogStaysStopped holds that a failed fsync is never tried again.
func TestStoppedLogStaysStopped(t *testing.T) {
	for name, mode := range map[string]fault{"failed": failed, "failed but persisted": persisted} {
		for _, op := range []string{"write", "sync"} {
			t.Run(op+" "+name, func(t *testing.T) {
				d := newMemDisk()
				l := mustOpen(t, memConfig(d))
				mustAppend(t, l, testRecord("s", 0))
				syncs, broken := 0, false
				d.fault = func(_ int, o, name string) fault {
					if !strings.HasSuffix(name, suffixWal) {
						return healthy
					}
					if o == "sync" {
						syncs++
					}
					if o == op && !broken {
						broken = true
						return mode
					}
					return healthy
				}
				if _, err := l.Append(context.Background(), testRecord("s", 1)); !errors.Is(err, ErrStopped) {
					t.Fatal(err)
				}
				before := syncs
				for range 3 {
					if _, err := l.Append(context.Background(), testRecord("s", 2)); !errors.Is(err, ErrStopped) {
						t.Fatal(err)
					}
				}
				if syncs != before || l.Stats().Stopped == "" || l.Checkpoint().Size != 1 {
					t.Fatalf("%d syncs after the failure, size %d", syncs-before, l.Checkpoint().Size)
				}
				_ = l.Close()
				d.fault = nil
				again := mustOpen(t, memConfig(d.crash(nil)))
				defer mustClose(t, again)
				if size := again.Checkpoint().Size; size < 1 || size > 2 {
					t.Fatal(size)
				}
				mustAppend(t, again, testRecord("s", 2))
			})
		}
	}
}

// TestFullDiskKeepsRoomForRefusals fills the disk with intents.
func TestFullDiskKeepsRoomForRefusals(t *testing.T) {
	d := newMemDisk()
	d.free = 400 << 10
	now := time.Unix(1700000000, 0)
	cfg := memConfig(d)
	cfg.MinFreeBytes, cfg.ReserveBytes = 64<<10, 32<<10
	cfg.Now = func() time.Time { return now }
	l := mustOpen(t, cfg)
	defer mustClose(t, l)
	n := 0
	for ; ; n++ {
		_, err := l.Append(context.Background(), testRecord("s", n))
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil || n > 2000 {
			t.Fatal(n, err)
		}
	}
	if n < 50 || d.free < 64<<10 {
		t.Fatalf("full after %d records with %d bytes free", n, d.free)
	}
	refused := 0
	for ; ; refused++ {
		r := testRecord("s", n+refused)
		r.Kind, r.Verdict = action.KindDecision, action.Deny
		if refused%2 == 1 { // a stop, a withdrawal of it, and what people answer must fit as well
			r.Kind, r.Verdict = []action.Kind{action.KindKill, action.KindRelease, action.KindApproval}[refused/2%3], ""
		}
		if _, err := l.Append(context.Background(), r); errors.Is(err, ErrFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if refused < 12 {
		t.Fatalf("only %d refusals fitted", refused)
	}
	d.mu.Lock()
	d.free += 1 << 20
	d.mu.Unlock()
	now = now.Add(2 * time.Second)
	mustAppend(t, l, testRecord("s", n+refused+1))
}

// TestOpenRefusesWhatIsNotATornTail holds the difference between a crash and damage.
func TestOpenRefusesWhatIsNotATornTail(t *testing.T) {
	build := func() *memDisk {
		d := newMemDisk()
		l := mustOpen(t, memConfig(d))
		for i := range 20 {
			mustAppend(t, l, bigRecord(i))
		}
		mustClose(t, l)
		return d.crash(nil)
	}
	base := build()
	for title, c := range damages {
		t.Run(title, func(t *testing.T) {
			d := base.crash(nil)
			c.change(d)
			l, err := Open(memConfig(d))
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if err == nil {
				if l.Checkpoint().Size != 20 {
					t.Fatal(l.Checkpoint().Size)
				}
				mustAppend(t, l, bigRecord(20))
				mustClose(t, l)
			}
		})
	}
}

func putCRC(f []byte) {
	n := frameCRC(f)
	f[8], f[9], f[10], f[11] = byte(n), byte(n>>8), byte(n>>16), byte(n>>24)
}

// damages are what a start finds.
var damages = map[string]struct {
	change func(d *memDisk)
	want   error // nil: it opens, with all 20 records
}{
	"garbage after the end": {func(d *memDisk) {
		b := d.last().data
		copy(b[end(d):], "garbage that is no frame at all")
	}, nil},
	"a valid frame after the end without a checkpoint": {func(d *memDisk) {
		b := d.last().data
		copy(b[end(d):], appendFrame(nil, frameLeaf, []byte("{}")))
	}, nil},
	"a bit in the first segment": {func(d *memDisk) { d.files[segmentName("/log/wal", 1)].data[3000] ^= 4 }, ErrCorrupt},
	"a bit in the last batch":    {func(d *memDisk) { b := d.last().data; b[end(d)-30] ^= 4 }, ErrBehind},
	"a bit in a leaf of the last batch": {func(d *memDisk) {
		b := d.last().data
		b[end(d)-9000-1500] ^= 4
	}, ErrCorrupt},
	"the first segment is gone": {func(d *memDisk) { delete(d.files, segmentName("/log/wal", 1)) }, ErrCorrupt},
	"the last segment is gone":  {func(d *memDisk) { delete(d.files, d.segments()[len(d.segments())-1]) }, ErrBehind},
	"all segments are gone": {func(d *memDisk) {
		for _, n := range d.segments() {
			delete(d.files, n)
		}
	}, ErrBehind},
	"the first segment is shorter": {func(d *memDisk) { f := d.files[segmentName("/log/wal", 1)]; f.data = f.data[:len(f.data)-100] }, ErrCorrupt},
	"the last segment is shorter":  {func(d *memDisk) { f := d.last(); f.data = f.data[:end(d)] }, ErrCorrupt},
	"the head cell is missing":     {func(d *memDisk) { delete(d.files, "/state/head") }, ErrBehind},
	"the head cell is damaged": {func(d *memDisk) {
		f := d.files["/state/head"]
		f.data[100] ^= 1
		f.data[headSlotBytes+100] ^= 1
	}, ErrBehind},
	"one slot of the head cell is torn": {func(d *memDisk) { d.files["/state/head"].data[100] ^= 1 }, nil},
	"the signing key is gone":           {func(d *memDisk) { delete(d.files, "/log/keys/log.key") }, fs.ErrNotExist},
	"two segments have changed places": {func(d *memDisk) {
		a, b := d.files[segmentName("/log/wal", 1)], d.files[segmentName("/log/wal", 2)]
		a.data, b.data = b.data, a.data
	}, ErrCorrupt},
	"an unknown frame format": {func(d *memDisk) {
		b := d.files[segmentName("/log/wal", 2)].data
		b[5] = 9
		f, _ := frameLength(b, int64(len(b)))
		putCRC(b[:f])
	}, ErrFormat},
}

// segments returns the names of the segments that hold anything.
func (d *memDisk) segments() (out []string) {
	for n := uint64(1); ; n++ {
		f := d.files[segmentName("/log/wal", n)]
		if f == nil || firstByte(f.data) < 0 {
			return out
		}
		out = append(out, segmentName("/log/wal", n))
	}
}

func (d *memDisk) last() *memFile { return d.files[d.segments()[len(d.segments())-1]] }

// end returns where the written part of the last segment ends.
func end(d *memDisk) int { return firstZeros(d.last().data) }
