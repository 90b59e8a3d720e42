// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// firstSegmentBytes bounds the first segment, so that a new log opens at once; its successor is made
// ahead at full size.
const firstSegmentBytes = 8 << 20

const (
	openCreate = os.O_RDWR | os.O_CREATE
	suffixWal  = ".wal"
)

// segment is a file of frames that the writer fills. It is full of zeros before its first frame.
type segment struct {
	number  uint64
	name    string
	file    file
	bytes   int64 // of the file
	written int64 // durable frames; owned by the leader, changed under Log.mu
	queued  int64 // planned for waiting batches, at most; guarded by Log.mu
}

func (s *segment) room() int64 { return s.bytes - s.written - s.queued }
func (s *segment) fresh() bool { return s.written == 0 }

// segmentSpan is what readers know of a segment.
type segmentSpan struct {
	number uint64
	first  uint64 // index of its first leaf
	end    int64  // of the committed frames
	name   string
}

// mark is the position of a leaf whose index is a multiple of markEvery.
type mark struct {
	segment uint64
	at      int64
}

func segmentName(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%012d%s", number, suffixWal))
}

// listSegments returns the numbers of the segments in dir, which must follow each other from 1.
func listSegments(d disk, dir string) ([]uint64, error) {
	names, err := d.List(dir)
	if err != nil {
		return nil, fmt.Errorf("ledger: segments: %w", err)
	}
	var out []uint64
	for _, name := range names {
		stem, ok := strings.CutSuffix(name, suffixWal)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(stem, 10, 64)
		if err != nil || segmentName(dir, n) != filepath.Join(dir, name) {
			return nil, fmt.Errorf("%w: %q is not the name of a segment", ErrCorrupt, name)
		}
		out = append(out, n)
	}
	slices.Sort(out)
	for i, n := range out {
		if n != uint64(i)+1 {
			return nil, fmt.Errorf("%w: segment %d is missing", ErrCorrupt, i+1)
		}
	}
	return out, nil
}

// newSegment makes a segment of zeros, durable with its name. What is left of a failure is removed.
func (l *Log) newSegment(number uint64, bytes int64, rest time.Duration) (*segment, error) {
	free, err := l.cfg.disk.Free(l.cfg.Wal)
	if err != nil {
		return nil, err
	}
	if free-bytes < l.cfg.MinFreeBytes {
		return nil, fmt.Errorf("%d bytes are free, a segment of %d must leave %d", free, bytes, l.cfg.MinFreeBytes)
	}
	name := segmentName(l.cfg.Wal, number)
	f, err := l.cfg.disk.Open(name, openCreate|os.O_TRUNC)
	if err != nil {
		return nil, err
	}
	if err = zeroFill(f, 0, bytes, rest); err == nil {
		err = l.cfg.disk.SyncDir(l.cfg.Wal)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), l.cfg.disk.Remove(name))
	}
	return &segment{number: number, name: name, file: f, bytes: bytes}, nil
}

// grow makes the spare segment, with room for a record of need bytes. It returns ErrFull if that is not
// possible now, and does nothing if there is a spare that is large enough.
func (l *Log) grow(need int64) error {
	ahead := need == 0
	l.growing.Lock()
	defer l.growing.Unlock()
	need += 4 * checkpointBytes
	l.mu.Lock()
	old, tail, full := l.spare, l.tail, l.full
	if old != nil && old.room() >= need {
		l.mu.Unlock()
		return nil
	}
	if wait := l.cfg.Now().Sub(full); !full.IsZero() && wait >= 0 && wait < time.Second {
		l.mu.Unlock()
		return ErrFull
	}
	l.spare = nil
	l.mu.Unlock()
	if old != nil {
		// Too small for this record, and still empty: a larger one takes its number.
		_ = old.file.Close()
	}
	rest := time.Duration(0)
	if ahead {
		rest = time.Millisecond
	}
	s, err := l.newSegment(tail.number+1, max(l.cfg.SegmentBytes, (need+4095)/4096*4096), rest)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.full = l.cfg.Now()
		l.stats.growth = err.Error()
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	l.full, l.stats.growth = time.Time{}, ""
	l.spare = s
	return nil
}

// measureSync returns the median of a few dozen small fdatasyncs in dir, giving up after a quarter of a
// second: what Append will cost at least on this disk.
func measureSync(d disk, dir string) (time.Duration, error) {
	f, err := d.Open(filepath.Join(dir, "probe"), openCreate)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := zeroFill(f, 0, 4096, 0); err != nil {
		return 0, err
	}
	var took []time.Duration
	var block [512]byte
	begin := time.Now()
	for i := 0; i < 32 && time.Since(begin) < 250*time.Millisecond; i++ {
		block[0] = byte(i)
		from := time.Now()
		if _, err := f.WriteAt(block[:], int64(i%8)*512); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(from))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}
