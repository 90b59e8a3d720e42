// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"errors"
	"slices"
	"testing"
)

// TestForkedHistoryIsRefused gives the owner another history that his own key signed, of the same length, longer and
// shorter, and pieces of it: each is refused at the start, since the head cell knows another one.
func TestForkedHistoryIsRefused(t *testing.T) {
	early := newMemDisk()
	l := mustOpen(t, memConfig(early))
	for i := range 10 {
		mustAppend(t, l, bigRecord(i))
	}
	mustClose(t, l)
	history := func(from, records int) *memDisk {
		d := early.crash(nil)
		l := mustOpen(t, memConfig(d))
		for i := range records {
			mustAppend(t, l, bigRecord(from+i))
		}
		mustClose(t, l)
		return d.crash(nil)
	}
	ours := history(100, 10)
	mustClose(t, mustOpen(t, memConfig(ours.crash(nil)))) // as it is, it opens
	segment := func(d *memDisk, n uint64) *memFile { return d.files[segmentName("/log/wal", n)] }
	for title, c := range map[string]struct {
		other  *memDisk
		change func(ours, other *memDisk)
	}{
		"a fork of the same length": {history(500, 10), everySegment},
		"a longer fork":             {history(500, 14), everySegment},
		"a shorter fork":            {history(500, 5), everySegment},
		"an older copy":             {early.crash(nil), everySegment},
		"the last segment of a fork": {history(500, 10), func(ours, other *memDisk) {
			names := ours.segments()
			last := names[len(names)-1]
			ours.files[last] = other.files[last]
		}},
		"a segment within of a fork": {history(500, 10), func(ours, other *memDisk) {
			ours.files[segmentName("/log/wal", 3)] = segment(other, 3)
		}},
		"two segments have changed places": {nil, func(ours, _ *memDisk) {
			a, b := segmentName("/log/wal", 1), segmentName("/log/wal", 2)
			ours.files[a], ours.files[b] = ours.files[b], ours.files[a]
		}},
		"a segment stands twice": {nil, func(ours, _ *memDisk) {
			f := *segment(ours, 1)
			f.data = slices.Clone(f.data)
			ours.files[segmentName("/log/wal", 2)] = &f
		}},
	} {
		t.Run(title, func(t *testing.T) {
			d := ours.crash(nil)
			c.change(d, c.other)
			l, err := Open(memConfig(d))
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrBehind) {
				t.Errorf("%v", err)
			}
			if err == nil {
				mustClose(t, l)
			}
		})
	}
}

// everySegment puts the other history in the place of ours. The head cell stays.
func everySegment(ours, other *memDisk) {
	for _, name := range ours.segments() {
		delete(ours.files, name)
	}
	for _, name := range other.segments() {
		ours.files[name] = other.files[name]
	}
}
