// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"time"
)

// Run refreshes the lease on the kill epoch, ten times in its length, until ctx ends; then the lease runs
// out. A process that was paused, or that is cut off from whoever orders kills, denies until it has come
// round once more.
func (s *Switch) Run(ctx context.Context) error {
	if s.c.Lease <= 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(max(s.c.Lease/10, time.Millisecond))
	defer tick.Stop()
	for {
		s.refresh(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// refresh prolongs the lease from the time at which it asked, not from that of the answer.
func (s *Switch) refresh(ctx context.Context) {
	from := time.Since(s.began)
	if s.c.Refresh != nil {
		ask, cancel := context.WithTimeout(ctx, s.c.Lease/2)
		defer cancel()
		if s.c.Refresh(ask) != nil {
			s.until.CompareAndSwap(0, 1) // it has begun, and was never held
			return
		}
	}
	s.until.Store(int64(from + s.c.Lease))
}

// leased reports whether the kill epoch was refreshed in time. It reads the monotonic clock, which nobody
// sets back.
func (s *Switch) leased() bool {
	until := s.until.Load()
	return s.c.Lease <= 0 || until == 0 || int64(time.Since(s.began)) < until
}
