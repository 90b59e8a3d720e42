// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// What a start skipped is read behind it: rot in old segments stops the log some minutes later instead of
// holding up every start.

// errScrubbed ends a scrub at its goal.
var errScrubbed = errors.New("the rest was read at the start")

// runScrub derives once, at a rate that leaves the machine to others, the tree of what the snapshot
// stands for.
func (l *Log) runScrub(ctx context.Context) {
	goal := l.unread
	if goal == nil {
		return
	}
	err := l.scrub(ctx, goal)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case ctx.Err() != nil:
	case err == nil:
		l.stats.scrubbed, l.unread = goal.cp.Size, nil
	case l.err == nil:
		l.err = fmt.Errorf("%w: %w", ErrStopped, err)
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

func (l *Log) scrub(ctx context.Context, goal *snapshot) error {
	s := &scanner{verifier: l.keys.epochs[0], later: l.keys.epochs[1:], visit: func(scanned) error { return nil }}
	s.sealed = func(cp Checkpoint, _ place) error {
		switch {
		case cp.Size < goal.cp.Size:
			return nil
		case cp.Size == goal.cp.Size && cp.Root == goal.cp.Root:
			return errScrubbed
		}
		return fmt.Errorf("%w: the checkpoint at %d leaves is not the one of the snapshot", ErrCorrupt, goal.cp.Size)
	}
	for _, sp := range goal.segments {
		from := time.Now()
		data, err := readFile(l.cfg.disk, sp.name, maxSegmentBytes)
		if err != nil {
			return fmt.Errorf("ledger: scrub: %w", err)
		}
		err = s.segment(sp.number, data)
		if errors.Is(err, errScrubbed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: scrub: %w", ErrCorrupt, err)
		}
		rest := time.NewTimer(4 * time.Since(from))
		select {
		case <-ctx.Done():
			rest.Stop()
			return ctx.Err()
		case <-rest.C:
		}
	}
	return fmt.Errorf("%w: scrub: the segments end before %d leaves", ErrCorrupt, goal.cp.Size)
}
