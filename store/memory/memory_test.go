// SPDX-License-Identifier: Apache-2.0

package memory_test

import (
	"context"
	"errors"
	"testing"

	"github.com/sallyport/sallyport/store"
	"github.com/sallyport/sallyport/store/memory"
	"github.com/sallyport/sallyport/store/storetest"
)

func open(t testing.TB) store.Store {
	s := memory.Open(memory.Config{})
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) { storetest.Run(t, open) }

func BenchmarkStore(b *testing.B) { storetest.Bench(b, open) }

func TestStoreIsBounded(t *testing.T) {
	s := memory.Open(memory.Config{MaxBytes: 100})
	ctx := context.Background()
	rev, err := s.Put(ctx, "default/a", make([]byte, 90), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(ctx, "default/b", make([]byte, 90), 0); !errors.Is(err, store.ErrFull) {
		t.Fatalf("beyond the bound: %v, want ErrFull", err)
	}
	if err := s.Delete(ctx, "default/a", rev); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(ctx, "default/b", make([]byte, 90), 0); err != nil {
		t.Fatalf("after room was made: %v", err)
	}
}
