// SPDX-License-Identifier: Apache-2.0

// Package sqlite is a durable store in one SQLite file, and the only folder that knows the driver.
//
// # Failure model
//
// A write that returned without error is on stable storage (write-ahead log, synchronous=FULL). A write
// that returned an error other than of the disk changed nothing. The structure of the file is checked at
// Open; a damaged file, or one of an unknown format, is refused and left as it is. Whoever can write the
// file can change what it says: it is trusted no more than package store demands.
//
// One process holds the file at a time. Watch tells of changes that this process makes, which are all.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/sallyport/sallyport/store"
	"github.com/sallyport/sallyport/store/internal/hub"
)

// Config says where the store is.
type Config struct {
	Path     string // of the file; required
	MaxBytes int64  // of the file; 0 means 4 GiB
}

// Store is a store in one file.
type Store struct {
	db   *DB
	lock *os.File
	hub  hub.Hub

	mu     sync.RWMutex // held for reading by reads, for writing by writes: events keep the order of commits
	closed bool
}

var _ store.Store = (*Store)(nil)

const (
	application = 0x53505354 // "SPST"
	format      = 1
	codeFull    = 13 // SQLITE_FULL: the disk, or Config.MaxBytes
	schema      = `
CREATE TABLE entries (key TEXT NOT NULL UNIQUE, value BLOB NOT NULL, revision INTEGER NOT NULL) STRICT;
CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL) STRICT;
INSERT INTO head VALUES (1, 0);`
)

// Open opens or creates the store at c.Path (mode 0600; the folder must exist). It returns
// store.ErrLocked if another process holds it, store.ErrDamaged if the file is not a sound store.
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.Path == "" {
		return nil, errors.New("store: no path")
	}
	lock, err := acquire(c.Path + ".lock")
	if err != nil {
		return nil, err
	}
	db, err := OpenDB(ctx, c.Path, Options{Application: application, Format: format, Schema: schema, MaxBytes: c.MaxBytes})
	if errors.Is(err, ErrKind) || errors.Is(err, ErrFormat) || errors.Is(err, ErrRot) {
		err = fmt.Errorf("%w: %w", store.ErrDamaged, err)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &Store{db: db, lock: lock}, nil
}

// Get returns the entry of key, or store.ErrNotFound.
func (s *Store) Get(ctx context.Context, key string) (store.Entry, error) {
	if err := store.CheckKey(key); err != nil {
		return store.Entry{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return store.Entry{}, store.ErrClosed
	}
	e := store.Entry{Key: key}
	err := s.db.Read.QueryRowContext(ctx, `SELECT value, revision FROM entries WHERE key = ?`, key).Scan(&e.Value, &e.Revision)
	if errors.Is(err, sql.ErrNoRows) {
		return store.Entry{}, store.ErrNotFound
	}
	if err != nil {
		return store.Entry{}, fmt.Errorf("store: get %q: %w", key, err)
	}
	return e, nil
}

// Put writes value if the entry's revision is rev, as store.Store says.
func (s *Store) Put(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	if err := store.CheckKey(key); err != nil {
		return 0, err
	}
	if len(value) > store.MaxValueBytes {
		return 0, fmt.Errorf("%w: %d bytes", store.ErrLarge, len(value))
	}
	if value == nil {
		value = []byte{}
	}
	e := store.Entry{Key: key, Value: value}
	var err error
	e.Revision, err = s.change(ctx, key, func(ctx context.Context, tx *sql.Tx, old, next uint64) error {
		if old != rev {
			return store.ErrConflict
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO entries (key, value, revision) VALUES (?, ?, ?)
			ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision`, key, value, next)
		return err
	}, func(next uint64) store.Event {
		e.Revision = next
		return store.Event{Entry: e}
	})
	return e.Revision, err
}

// Delete removes key if its revision is rev, as store.Store says.
func (s *Store) Delete(ctx context.Context, key string, rev uint64) error {
	if err := store.CheckKey(key); err != nil {
		return err
	}
	_, err := s.change(ctx, key, func(ctx context.Context, tx *sql.Tx, old, _ uint64) error {
		switch {
		case old == 0:
			return store.ErrNotFound
		case old != rev:
			return store.ErrConflict
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM entries WHERE key = ?`, key)
		return err
	}, func(next uint64) store.Event {
		return store.Event{Entry: store.Entry{Key: key, Revision: next}, Deleted: true}
	})
	return err
}

// change runs one compare-and-swap. Once begun it does not stop for ctx, so that its answer says what
// stands on the disk.
func (s *Store) change(ctx context.Context, key string,
	do func(ctx context.Context, tx *sql.Tx, old, next uint64) error, event func(next uint64) store.Event) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if s.closed {
		return 0, store.ErrClosed
	}
	ctx = context.WithoutCancel(ctx)
	next, err := s.commit(ctx, key, do)
	switch {
	case err == nil:
		s.hub.Publish(event(next))
		return next, nil
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrNotFound):
		return 0, err
	}
	var coded interface{ Code() int }
	if errors.As(err, &coded) && coded.Code()&0xff == codeFull {
		return 0, fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return 0, fmt.Errorf("store: write %q: %w", key, err)
}

func (s *Store) commit(ctx context.Context, key string, do func(ctx context.Context, tx *sql.Tx, old, next uint64) error) (uint64, error) {
	tx, err := s.db.Write.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	var old, next uint64
	err = tx.QueryRowContext(ctx, `SELECT coalesce((SELECT revision FROM entries WHERE key = ?), 0),
		(SELECT revision FROM head) + 1`, key).Scan(&old, &next)
	if err != nil {
		return 0, err
	}
	if err := do(ctx, tx, old, next); err != nil {
		return 0, err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE head SET revision = ?`, next); err != nil {
		return 0, err
	}
	return next, tx.Commit()
}

// List returns entries in order of keys, as store.Store says.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]store.Entry, error) {
	limit, err := store.CheckList(prefix, after, limit)
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, store.ErrClosed
	}
	// Keys are valid UTF-8, in which the byte 0xff never stands: it ends the range of a prefix.
	rows, err := s.db.Read.QueryContext(ctx, `SELECT key, value, revision FROM entries
		WHERE key >= ? AND key < ? AND key > ? ORDER BY key LIMIT ?`, prefix, prefix+"\xff", after, limit)
	if err != nil {
		return nil, fmt.Errorf("store: list %q: %w", prefix, err)
	}
	defer rows.Close()
	var out []store.Entry
	for rows.Next() {
		var e store.Entry
		if err := rows.Scan(&e.Key, &e.Value, &e.Revision); err != nil {
			return nil, fmt.Errorf("store: list %q: %w", prefix, err)
		}
		out = append(out, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("store: list %q: %w", prefix, err)
	}
	return out, nil
}

// Watch sends changes of keys that begin with prefix, as store.Store says.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan store.Event, error) {
	return s.hub.Watch(ctx, prefix)
}

// Settle moves everything out of the write-ahead log, where older values of entries may still be read. It
// fails while a reader holds it up.
func (s *Store) Settle(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var busy, frames, moved int
	if err := s.db.Write.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &frames, &moved); err != nil {
		return fmt.Errorf("store: settle: %w", err)
	}
	if busy != 0 {
		return errors.New("store: settle: a reader is at work")
	}
	return nil
}

// Close releases the file. Watches end. It waits for writes under way.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.hub.Close()
	return errors.Join(s.db.Close(), s.lock.Close())
}
