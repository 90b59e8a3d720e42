// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/action"
)

const (
	codeRepaired  = "log.repaired"
	suffixDamaged = ".damaged" // behind the name of a segment that was replaced
)

// Repaired says what Repair has done.
type Repaired struct {
	Segments []uint64       `json:"segments"` // that were taken from the copy, whole or in part
	Record   action.Receipt `json:"record"`   // that says so; zero if nothing was damaged
}

// Repair mends segments that are damaged or gone with what a copy of the log (a backup's or a replica's folder of
// segments) holds of them; behind the copy's end the log's own bytes stay. The copy is not trusted: each segment must
// continue the tree before it, sealed parts included, and the whole must end in the head that the log is known to have,
// as with every Open. What was damaged is kept beside, with ".damaged" behind its name, for whoever wants to know why.
// It is recorded, by operator. No owner may be at work. If the log lost its end and the copy lacks it too, ErrBehind
// comes back after what could be mended: then Recover.
func Repair(cfg Config, from, operator string) (Repaired, error) {
	var out Repaired
	if !identifier(operator) || operator == "" {
		return out, errors.New("ledger: repair: an operator without spaces in the name is needed")
	}
	if err := cfg.complete(); err != nil {
		return out, err
	}
	lock, err := cfg.disk.Open(filepath.Join(cfg.Wal, "lock"), openCreate)
	if err != nil {
		return out, fmt.Errorf("ledger: repair: %w", err)
	}
	if err := lock.Lock(); err != nil {
		return out, errors.Join(fmt.Errorf("%w: %q", ErrLocked, cfg.Wal), lock.Close())
	}
	out.Segments, err = mend(&cfg, from)
	if err = errors.Join(err, lock.Close()); err != nil || len(out.Segments) == 0 {
		return out, err
	}
	cfg.Snapshot = "" // all of it is read
	l, err := Open(cfg)
	if err != nil {
		return out, err
	}
	codes := []string{codeRepaired}
	for _, n := range out.Segments[:min(len(out.Segments), maxRepairCodes)] {
		codes = append(codes, "segment/"+strconv.FormatUint(n, 10))
	}
	out.Record, err = l.Append(context.Background(), &action.Record{Kind: action.KindPolicy, Tenant: l.cfg.Tenant, TimeMs: l.Now().UnixMilli(),
		Actor: operator, Status: action.StatusDone, Codes: codes})
	return out, errors.Join(err, l.Close())
}

const maxRepairCodes = 16 // segments that the record names; the files beside them tell of the others

// mend goes through the segments in order and returns those that it replaced.
func mend(cfg *Config, from string) (mended []uint64, err error) {
	keys, err := openReadKeys(cfg.disk, cfg.Keys, cfg.Tenant)
	if err != nil {
		return nil, err
	}
	copied, err := listSegments(cfg.disk, from)
	if err != nil {
		return nil, fmt.Errorf("ledger: repair: the copy: %w", err)
	}
	last, err := lastSegment(cfg.disk, cfg.Wal)
	if err != nil {
		return nil, err
	}
	s := &scanner{verifier: keys.epochs[0], later: keys.epochs[1:], visit: whole}
	for n := uint64(1); n <= max(last, uint64(len(copied))); n++ {
		name, reached := segmentName(cfg.Wal, n), s.tree.size
		own, err := readFile(cfg.disk, name, maxSegmentBytes)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return mended, fmt.Errorf("ledger: repair: %w", err)
		}
		if err == nil && (firstByte(own) >= 0 || n > uint64(len(copied))) {
			probe := s.fork()
			if err = probe.segment(n, own); err == nil || firstByte(own) < 0 {
				s = probe
				continue
			}
			reached = probe.tree.size
		}
		if n > uint64(len(copied)) {
			return mended, fmt.Errorf("ledger: repair: %q holds no segment %d (%w)", from, n, err)
		}
		theirs, cerr := readFile(cfg.disk, segmentName(from, n), maxSegmentBytes)
		if cerr != nil {
			return mended, fmt.Errorf("ledger: repair: the copy: %w", cerr)
		}
		if err == nil && firstByte(theirs) < 0 {
			continue // made ahead in both
		}
		next, data, cerr := s.merged(n, own, theirs, n >= last)
		if cerr == nil && next.tree.size < reached {
			cerr = errors.New("it ends before the damage")
		}
		if cerr != nil {
			return mended, fmt.Errorf("ledger: repair: the copy does not mend it (%v): %w", err, cerr)
		}
		if err := replaceSegment(cfg.disk, name, data); err != nil {
			return mended, fmt.Errorf("ledger: repair: segment %d: %w", n, err)
		}
		s, mended = next, append(mended, n)
	}
	return mended, nil
}

// whole errs if a sealed part is not the one that its leaf names.
func whole(e scanned) error {
	c := check(nil, e.raw, e.payloads)
	switch {
	case c.err != nil:
		return fmt.Errorf("%w: entry %d: %w", errRoot, e.index, c.err)
	case len(c.wrong) > 0 || c.parts != len(c.leaf.Parts):
		return fmt.Errorf("%w: entry %d: a sealed part is not the one that the leaf names", errRoot, e.index)
	}
	return nil
}

// fork returns a scanner that goes on from where s is, and leaves s there.
func (s *scanner) fork() *scanner {
	out := *s
	out.tree = s.tree.clone()
	return &out
}

// merged puts a segment together out of the copy, as far as that is whole, and our own bytes behind it, or else of the copy
// alone: should that lose an end that was ours, the next segment or Open says so. Where the log may end, the rest of an
// interrupted write may follow, which Open cuts.
func (s *scanner) merged(n uint64, own, theirs []byte, end bool) (*scanner, []byte, error) {
	probe := s.fork()
	copied := probe.segment(n, theirs) // what does not hold of it is left out
	if probe.at.segment != n {
		return nil, nil, errors.Join(fmt.Errorf("segment %d of the copy does not continue the log", n), copied)
	}
	from := probe.at.offset
	alone := make([]byte, len(theirs)) // as the copy was made, zeros behind its end
	copy(alone, theirs[:from])
	if len(own) != len(theirs) {
		return probe, alone, nil
	}
	data := slices.Concat(alone[:from], own[from:])
	both := s.fork()
	err := both.segment(n, data)
	var d *damage
	if err == nil || end && errors.As(err, &d) && d.torn && findCheckpoints(data[d.offset:], both.verifier, both.cp.Size).checkpoints == 0 {
		return both, data, nil
	}
	if copied != nil {
		return nil, nil, err
	}
	return probe, alone, nil
}

// replaceSegment puts data in place of a segment, and keeps what was there.
func replaceSegment(d disk, name string, data []byte) error {
	if there, err := exists(d, name); err != nil {
		return err
	} else if there {
		if err := d.Rename(name, name+suffixDamaged); err != nil {
			return err
		}
	}
	return writeFile(d, name, data, true)
}

// lastSegment is the highest number of a segment, whatever is missing below it.
func lastSegment(d disk, dir string) (last uint64, err error) {
	names, err := d.List(dir)
	if err != nil {
		return 0, fmt.Errorf("ledger: repair: %w", err)
	}
	for _, name := range names {
		if n, err := strconv.ParseUint(strings.TrimSuffix(name, suffixWal), 10, 64); err == nil && segmentName(dir, n) == filepath.Join(dir, name) {
			last = max(last, n)
		}
	}
	return last, nil
}
