// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/action"
)

// BenchOptions say how hard Bench works the log.
type BenchOptions struct {
	Rate         int           // records a second in the open loop; 0 means 1,000
	For          time.Duration // of the open loop; 0 means 5 s, negative none (Loops)
	Writers      []int         // of the closed loops; nil means 1, 16 and 256
	Closed       time.Duration // of each closed loop; 0 means 2 s
	PayloadBytes int           // of a record's sealed parts; 0 means 1,024
	NoFollower   bool          // leave the tiles out

	Beside func() time.Duration // processor time that other processes used for the records so far; nil if there are none
}

// Quantiles are in microseconds.
type Quantiles struct {
	P50 int64 `json:"p50"`
	P95 int64 `json:"p95"`
	P99 int64 `json:"p99"`
	Max int64 `json:"max"`
}

// BenchLoop is the result of one closed loop.
type BenchLoop struct {
	Writers      int       `json:"writers"`
	PerSecond    float64   `json:"per_second"`
	Us           Quantiles `json:"us"`
	RecordsBatch float64   `json:"records_per_batch"`
	CPU          float64   `json:"cpu_us_per_record"` // of all threads, the generator's included
}

// BenchResult is what Bench measured. In the open loop a latency is counted from the moment that the
// record was due, whether or not the one before it was done; it spans sealing, leaf, hash, root,
// signature and fdatasync.
type BenchResult struct {
	Rate            int         `json:"rate"`
	Achieved        float64     `json:"achieved_per_second"`
	Open            Quantiles   `json:"open_us"`
	OpenCPU         float64     `json:"open_cpu_us_per_record"` // of all threads, the generator's included
	Floor           Quantiles   `json:"floor_us"`               // the same loop into nothing: what the generator itself adds
	FloorCPU        float64     `json:"floor_cpu_us_per_record"`
	Disk            Quantiles   `json:"disk_us"` // the same loop with a bare write and fdatasync: what the disk is busy with besides
	Closed          []BenchLoop `json:"closed"`
	FdatasyncUs     int64       `json:"fdatasync_p50_us"`
	DiskPerRecord   float64     `json:"disk_bytes_per_record"` // of the segments
	TilesPerRecord  float64     `json:"tile_bytes_per_record"`
	LeafBytes       float64     `json:"leaf_bytes"`
	PayloadBytes    int         `json:"payload_bytes"`
	VerifyPerSecond float64     `json:"verify_per_second"`
	Records         uint64      `json:"records"`
}

// Bench measures a fresh log in dir, which it makes and leaves behind.
func Bench(ctx context.Context, dir string, opt BenchOptions) (BenchResult, error) {
	or(&opt.Rate, 1000)
	or(&opt.For, 5*time.Second)
	or(&opt.Closed, 2*time.Second)
	or(&opt.PayloadBytes, 1024)
	if opt.Writers == nil {
		opt.Writers = []int{1, 16, 256}
	}
	res := BenchResult{Rate: opt.Rate, PayloadBytes: opt.PayloadBytes}
	cfg := Config{Wal: filepath.Join(dir, "wal"), Keys: filepath.Join(dir, "keys"), Tiles: filepath.Join(dir, "tiles")}
	if opt.NoFollower {
		cfg.Tiles = ""
	}
	if _, err := os.Stat(cfg.Wal); err == nil {
		return res, fmt.Errorf("ledger: bench: %q holds a log already", dir)
	}
	l, err := Open(cfg)
	if err != nil {
		return res, err
	}
	run, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = l.Run(run) }) // it errs only if it runs already
	err = l.bench(ctx, opt, &res)
	stop()
	running.Wait()
	if err == nil {
		s := l.Stats()
		res.FdatasyncUs, res.Records = s.FdatasyncUs, s.Size
		res.DiskPerRecord = float64(s.Bytes) / float64(max(s.Appended, 1))
		res.TilesPerRecord = float64(folderBytes(cfg.Tiles)) / float64(max(s.Appended, 1))
	}
	if err := errors.Join(err, l.Close()); err != nil {
		return res, err
	}
	report, err := Verify(ctx, Source{Dir: dir}, Options{})
	if err != nil {
		return res, err
	}
	res.VerifyPerSecond = float64(report.Size) / report.Seconds
	return res, nil
}

// Loops runs the open and the closed loops of opt over one, which appends its n-th record for a writer, and
// nothing else: other ways to keep a record are measured by it as Bench measures a log.
func Loops(ctx context.Context, opt BenchOptions, one func(writer int, n int64) error) (BenchResult, error) {
	or(&opt.Rate, 1000)
	or(&opt.For, 5*time.Second)
	or(&opt.Closed, 2*time.Second)
	res := BenchResult{Rate: opt.Rate, PayloadBytes: opt.PayloadBytes}
	var serial atomic.Int64
	next := func(writer int) error { return one(writer, serial.Add(1)) }
	var err error
	if opt.For > 0 {
		res.Open, res.Achieved, res.OpenCPU, err = opt.open(ctx, opt.For, next)
	}
	for i := 0; i < len(opt.Writers) && err == nil; i++ {
		var loop BenchLoop
		loop, err = opt.closed(ctx, opt.Writers[i], next)
		res.Closed = append(res.Closed, loop)
	}
	res.Records = uint64(serial.Load())
	return res, err
}

func (l *Log) bench(ctx context.Context, opt BenchOptions, res *BenchResult) error {
	var serial atomic.Int64
	payload := make([]byte, opt.PayloadBytes/2)
	one := func(writer int) error {
		_, err := l.Append(ctx, BenchRecord(writer, serial.Add(1), payload))
		return err
	}
	var err error
	if res.Floor, _, res.FloorCPU, err = opt.open(ctx, opt.For/5, func(int) error { return nil }); err != nil {
		return err
	}
	if res.Disk, err = l.bareLoop(ctx, opt); err != nil {
		return err
	}
	if res.Open, res.Achieved, res.OpenCPU, err = opt.open(ctx, opt.For, one); err != nil {
		return err
	}
	for _, n := range opt.Writers {
		before := l.Stats()
		loop, err := opt.closed(ctx, n, one)
		if err != nil {
			return err
		}
		after := l.Stats()
		loop.RecordsBatch = float64(after.Appended-before.Appended) / float64(max(after.Batches-before.Batches, 1))
		res.Closed = append(res.Closed, loop)
	}
	e, err := l.Read(0)
	res.LeafBytes = float64(len(e.Raw))
	return err
}

// bareLoop writes and syncs as many bytes as a record has, without a log.
func (l *Log) bareLoop(ctx context.Context, opt BenchOptions) (Quantiles, error) {
	name := filepath.Join(l.cfg.Wal, "bare")
	f, err := l.cfg.disk.Open(name, openCreate)
	if err != nil {
		return Quantiles{}, err
	}
	const bytes = 4 << 20
	var mu sync.Mutex
	block := make([]byte, 1024+opt.PayloadBytes)
	at := int64(0)
	if err = zeroFill(f, 0, bytes, 0); err != nil {
		return Quantiles{}, errors.Join(err, f.Close())
	}
	q, _, err := openLoop(ctx, opt.Rate, opt.For/2, func(int) error {
		mu.Lock()
		defer mu.Unlock()
		if _, err := f.WriteAt(block, at); err != nil {
			return err
		}
		at = (at + int64(len(block))) % (bytes - int64(len(block)))
		return f.Sync()
	})
	return q, errors.Join(err, f.Close(), l.cfg.disk.Remove(name))
}

// BenchRecord is what Bench appends: an intent whose two sealed parts both hold payload.
func BenchRecord(writer int, n int64, payload []byte) *action.Record {
	return &action.Record{
		Kind: action.KindIntent, TimeMs: time.Now().UnixMilli(), Action: fmt.Sprintf("bench-%012d", n),
		Session: fmt.Sprintf("bench-%d", writer), Agent: "bench", User: fmt.Sprintf("user-%d", writer%16),
		Door: action.DoorMCP, Server: "files", Tool: "write_file", Effect: action.EffectWrite, Phase: action.Before,
		Verdict: action.Allow, Enforced: true, Status: action.StatusIntended, Rules: []string{"baseline.write.inside"},
		Codes: []string{"write.inside"}, Bundle: action.Bundle{Name: "baseline", Digest: "sha256:0000", Sequence: 1},
		Engines: []action.Engine{{Name: "rego", Version: "1"}}, Grade: action.GradeProxy, Observed: action.Yes,
		Parts: []action.PayloadPart{
			{Name: action.PartInputBefore, Owner: fmt.Sprintf("user-%d", writer%16), Data: payload},
			{Name: action.PartArguments, Owner: fmt.Sprintf("user-%d", writer%16), Data: payload},
		},
	}
}

// open is openLoop, and the microseconds of processor time that each call took.
func (opt BenchOptions) open(ctx context.Context, length time.Duration, one func(writer int) error) (Quantiles, float64, float64, error) {
	var n atomic.Int64
	from := opt.spent()
	q, rate, err := openLoop(ctx, opt.Rate, length, func(writer int) error { n.Add(1); return one(writer) })
	return q, rate, float64((opt.spent() - from).Microseconds()) / float64(max(n.Load(), 1)), err
}

func (opt BenchOptions) closed(ctx context.Context, writers int, one func(writer int) error) (BenchLoop, error) {
	from := opt.spent()
	loop, calls, err := closedLoop(ctx, writers, opt.Closed, one)
	loop.CPU = float64((opt.spent() - from).Microseconds()) / float64(max(calls, 1))
	return loop, err
}

func (opt BenchOptions) spent() time.Duration {
	d := processCPU()
	if opt.Beside != nil {
		d += opt.Beside()
	}
	return d
}

// openLoop calls one at Poisson arrivals of rate a second and counts each from when it was due.
func openLoop(ctx context.Context, rate int, length time.Duration, one func(writer int) error) (Quantiles, float64, error) {
	// The generator sleeps in the kernel and so keeps a processor of the scheduler busy: it gets its own.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1))
	random := rand.New(rand.NewPCG(uint64(rate), 1))
	var mu sync.Mutex
	var took []time.Duration
	var failed error
	var wg sync.WaitGroup
	begin := time.Now()
	due := begin
	for n := 0; ; n++ {
		due = due.Add(time.Duration(random.ExpFloat64() * float64(time.Second) / float64(rate)))
		if due.Sub(begin) > length || ctx.Err() != nil {
			break
		}
		for d := time.Until(due); d > 0; d = time.Until(due) {
			pause(d)
		}
		at := due
		wg.Go(func() {
			err := one(n % 64)
			d := time.Since(at)
			mu.Lock()
			defer mu.Unlock()
			took = append(took, d)
			if err != nil && failed == nil {
				failed = err
			}
		})
	}
	wg.Wait()
	return quantiles(took), float64(len(took)) / time.Since(begin).Seconds(), errors.Join(failed, ctx.Err())
}

func closedLoop(ctx context.Context, writers int, length time.Duration, one func(writer int) error) (BenchLoop, int, error) {
	took := make([][]time.Duration, writers)
	errs := make([]error, writers)
	var wg sync.WaitGroup
	begin := time.Now()
	for w := range writers {
		wg.Go(func() {
			for errs[w] == nil && ctx.Err() == nil && time.Since(begin) < length {
				from := time.Now()
				errs[w] = one(w)
				took[w] = append(took[w], time.Since(from))
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(begin).Seconds()
	all := slices.Concat(took...)
	return BenchLoop{Writers: writers, PerSecond: float64(len(all)) / elapsed, Us: quantiles(all)}, len(all),
		errors.Join(errors.Join(errs...), ctx.Err())
}

func quantiles(d []time.Duration) Quantiles {
	if len(d) == 0 {
		return Quantiles{}
	}
	slices.Sort(d)
	at := func(milli int) int64 { return d[min(len(d)*milli/1000, len(d)-1)].Microseconds() }
	return Quantiles{P50: at(500), P95: at(950), P99: at(990), Max: at(1000)}
}

func folderBytes(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if st, err := d.Info(); err == nil {
				n += st.Size()
			}
		}
		return nil // what cannot be read is not counted
	})
	return n
}
