// SPDX-License-Identifier: Apache-2.0

package sallyport

import "context"

// Resumed is the number of records that the start of s did not replay.
func Resumed(s *Sallyport) uint64 { return s.resumed.Size }

// BeginPast begins to keep the past; what it returns finishes that.
func BeginPast(s *Sallyport) func(ctx context.Context) error {
	p := s.beginPast()
	return func(ctx context.Context) error { return s.keep(ctx, p) }
}
