// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"fmt"
	"testing"

	"github.com/sallyport/sallyport/store"
)

// Bench measures a backend with 10,000 entries of 256 bytes.
func Bench(b *testing.B, open func(t testing.TB) store.Store) {
	ctx := context.Background()
	s := open(b)
	const n = 10_000
	revs := make([]uint64, n)
	for i := range n {
		revs[i] = put(b, s, name(i), make([]byte, 256), 0)
	}
	b.Run("get", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := s.Get(ctx, name(i%n)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("put", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			revs[i%n] = put(b, s, name(i%n), make([]byte, 256), revs[i%n])
		}
	})
	b.Run("list=100", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if got, err := s.List(ctx, "default/bench/", name(i%(n-100)), 100); err != nil || len(got) != 100 {
				b.Fatal(len(got), err)
			}
		}
	})
}

func name(i int) string { return fmt.Sprintf("default/bench/%06d", i) }
