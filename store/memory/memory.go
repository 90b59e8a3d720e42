// SPDX-License-Identifier: Apache-2.0

// Package memory is a store in memory: for tests, and for processes that keep nothing.
//
// Nothing survives Close. Everything else behaves as a durable backend does.
package memory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/sallyport/sallyport/store"
	"github.com/sallyport/sallyport/store/internal/hub"
)

// Config bounds a store in memory. Its zero value is ready.
type Config struct {
	MaxBytes int64 // of all keys and values together; 0 means 256 MiB
}

// Store is a store in memory.
type Store struct {
	hub hub.Hub
	max int64

	mu       sync.RWMutex // guards below
	closed   bool
	keys     []string // sorted
	entries  map[string]store.Entry
	revision uint64
	bytes    int64
}

var _ store.Store = (*Store)(nil)

// Open returns an empty store.
func Open(c Config) *Store {
	if c.MaxBytes == 0 {
		c.MaxBytes = 256 << 20
	}
	return &Store{max: c.MaxBytes, entries: map[string]store.Entry{}}
}

// Get returns the entry of key, or store.ErrNotFound.
func (s *Store) Get(ctx context.Context, key string) (store.Entry, error) {
	if err := check(ctx, key); err != nil {
		return store.Entry{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return store.Entry{}, store.ErrClosed
	}
	e, ok := s.entries[key]
	if !ok {
		return store.Entry{}, store.ErrNotFound
	}
	e.Value = slices.Clone(e.Value)
	return e, nil
}

// Put writes value if the entry's revision is rev, as store.Store says.
func (s *Store) Put(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	if err := check(ctx, key); err != nil {
		return 0, err
	}
	if len(value) > store.MaxValueBytes {
		return 0, fmt.Errorf("%w: %d bytes", store.ErrLarge, len(value))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, store.ErrClosed
	}
	old, ok := s.entries[key]
	if old.Revision != rev {
		return 0, store.ErrConflict
	}
	grow := int64(len(value) - len(old.Value))
	if !ok {
		grow += int64(len(key))
	}
	if grow > 0 && s.bytes+grow > s.max {
		return 0, fmt.Errorf("%w: %d bytes are in use", store.ErrFull, s.bytes)
	}
	if !ok {
		at, _ := slices.BinarySearch(s.keys, key)
		s.keys = slices.Insert(s.keys, at, key)
	}
	s.revision++
	s.bytes += grow
	e := store.Entry{Key: key, Value: append([]byte{}, value...), Revision: s.revision}
	s.entries[key] = e
	s.hub.Publish(store.Event{Entry: e})
	return s.revision, nil
}

// Delete removes key if its revision is rev, as store.Store says.
func (s *Store) Delete(ctx context.Context, key string, rev uint64) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.ErrClosed
	}
	old, ok := s.entries[key]
	switch {
	case !ok:
		return store.ErrNotFound
	case old.Revision != rev:
		return store.ErrConflict
	}
	at, _ := slices.BinarySearch(s.keys, key)
	s.keys = slices.Delete(s.keys, at, at+1)
	delete(s.entries, key)
	s.revision++
	s.bytes -= int64(len(key) + len(old.Value))
	s.hub.Publish(store.Event{Entry: store.Entry{Key: key, Revision: s.revision}, Deleted: true})
	return nil
}

// List returns entries in order of keys, as store.Store says.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]store.Entry, error) {
	limit, err := store.CheckList(prefix, after, limit)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, store.ErrClosed
	}
	at, _ := slices.BinarySearch(s.keys, max(prefix, after))
	var out []store.Entry
	for _, key := range s.keys[at:] {
		if len(out) == limit || !strings.HasPrefix(key, prefix) {
			break
		}
		if key == after {
			continue
		}
		e := s.entries[key]
		e.Value = slices.Clone(e.Value)
		out = append(out, e)
	}
	return out, nil
}

// Watch sends changes of keys that begin with prefix, as store.Store says.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan store.Event, error) {
	return s.hub.Watch(ctx, prefix)
}

// Close forgets everything. Watches end.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.keys, s.entries = true, nil, nil
	s.hub.Close()
	return nil
}

func check(ctx context.Context, key string) error {
	if err := store.CheckKey(key); err != nil {
		return err
	}
	return ctx.Err()
}
