// SPDX-License-Identifier: Apache-2.0

// Package store keeps small keyed state with revisions: tokens, open approvals, tool pins, sessions.
//
// It is a cache of authority, never its source: whoever can write a Store can lose state, but a grant, a
// release or a bundle counts only if the ledger proves it. Nothing here is evidence.
package store

import (
	"context"
	"errors"
)

// Entry is one key with its value and revision.
type Entry struct {
	Key      string
	Value    []byte
	Revision uint64 // grows with every write to the store; never 0 for a stored entry
}

// Event is a change of one key. Deleted is true, and Value nil, when the key is gone. Readers share Value
// and must not change it.
type Event struct {
	Entry
	Deleted bool
}

// The errors of a Store.
var (
	ErrNotFound = errors.New("store: no such key")
	ErrConflict = errors.New("store: revision differs")
	ErrLarge    = errors.New("store: value is too large")
)

// MaxValueBytes is the largest value a Store takes; a larger one is ErrLarge.
const MaxValueBytes = 1 << 20

// Store is small keyed state. Keys are slash-separated paths whose first element is the tenant
// ("default/token/..."). All methods are safe for concurrent use and durable on return where the backend
// is durable at all. They return ErrKey for a key or prefix that CheckKey or CheckPrefix refuses, and
// ErrClosed after Close; Put returns ErrFull at the backend's bound.
type Store interface {
	// Get returns the entry of key, or ErrNotFound.
	Get(ctx context.Context, key string) (Entry, error)
	// Put writes value if the entry's revision is rev, and returns the new one. Revision 0 means that the
	// key must not exist. Otherwise ErrConflict.
	Put(ctx context.Context, key string, value []byte, rev uint64) (uint64, error)
	// Delete removes key if its revision is rev, else ErrConflict; ErrNotFound if it is not there.
	Delete(ctx context.Context, key string, rev uint64) error
	// List returns at most limit entries whose keys begin with prefix and come after the key after, in
	// order of keys. A limit of 0 means 1000.
	List(ctx context.Context, prefix, after string, limit int) ([]Entry, error)
	// Watch sends changes of keys that begin with prefix, from now on, in order, until ctx ends; then the
	// channel is closed. A reader that falls more than 1024 events behind has its channel closed early and
	// must list again.
	Watch(ctx context.Context, prefix string) (<-chan Event, error)
	// Close releases the store. Watches end.
	Close() error
}
