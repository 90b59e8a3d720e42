// SPDX-License-Identifier: Apache-2.0

// Package index is a searchable view over the ledger in one SQLite file.
//
// It is no evidence. Every answer names the ledger index of the record it comes from, and only the ledger
// proves that record. The file is disposable: a missing, damaged or older-format file is made anew, one
// that knows more than the log, or another last leaf, is emptied and filled again.
//
// # What it holds
//
// Names, words and codes of records, and the reasons and hints of decisions. Neither arguments, results,
// reasoning nor requests are copied into it. What it opened from sealed parts is erased with the file: a
// record of kind erasure empties the view, which then fills again from what can still be opened.
package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/store/sqlite"
)

// Config wires an index.
type Config struct {
	Path     string // of the file; required
	MaxBytes int64  // of the file; 0 means 64 GiB

	// Follow calls fn with every entry of the log from index from on, in order and without gaps, until ctx
	// ends or fn errs; over a log at rest it may return at its end. Required.
	Follow func(ctx context.Context, from uint64, fn func(Entry) error) error
	// Head returns how many entries the log holds. Required.
	Head func(ctx context.Context) (uint64, error)
	// Payload opens one part of an entry: ErrErased if its key is gone, nil bytes if the entry has no such
	// part. Only Replay needs it.
	Payload func(ctx context.Context, index uint64, part action.PartName) ([]byte, error)
	// Opening puts on record that parts will be opened with Payload, for whom ctx says; if it errs nothing is
	// opened. Required with Payload.
	Opening func(ctx context.Context, parts []PartAt) error
	// Pseudonym returns what the log writes for a name of kind "agent", "user", "actor", "server" or "tool"
	// (whose name is its key). With it names are checked, and also found in details; nil believes inputs.
	Pseudonym func(tenant, kind, name string) (string, error)

	// Gather is how long Run lets entries come together between two transactions, unless somebody waits for
	// them: the view is that far behind a busy log, and up to date beside one that is not. 0 means 100 ms.
	Gather time.Duration
	Retry  time.Duration // how long Run waits after the file could not be written; 0 means 1 s
}

// PartAt is one sealed part of one entry.
type PartAt struct {
	Index uint64
	Part  action.PartName
}

// Entry is one entry of the log. Record and Open are used only during the call that hands it over.
type Entry struct {
	Index  uint64
	Leaf   string         // digest of the leaf, or "" if the log cannot tell
	Record *action.Record // Parts are not looked at
	Sealed bool           // Agent, User, Actor, Server and Tool are pseudonyms that could not be opened
	Open   func(part action.PartName) ([]byte, error)
}

// The errors of this package.
var (
	ErrNotFound = errors.New("index: nothing of that name")
	ErrQuery    = errors.New("index: malformed query")
	ErrErased   = errors.New("index: the payload was erased")
	ErrClosed   = errors.New("index: closed")
)

// Index is the view. Its methods are safe for concurrent use; Run is called once at a time.
type Index struct {
	c  Config
	db atomic.Pointer[sqlite.DB]

	mu      sync.Mutex // guards below, and is held while a batch is written
	closed  bool
	next    uint64             // index of the entry to come
	erased  uint64             // as head.erased
	fills   int                // how often the view was emptied since Open
	stop    context.CancelFunc // ends the follow under way; nil when there is none
	changed chan struct{}      // closed and replaced with every batch
	problem error              // why the last write failed; nil once one succeeds
	checked bool               // the whole file was read since Open, and its structure holds

	wanted chan struct{} // one token once somebody waits; never closed
}

// Open opens or makes the file at c.Path.
func Open(ctx context.Context, c Config) (*Index, error) {
	if c.Path == "" || c.Follow == nil || c.Head == nil {
		return nil, errors.New("index: config: path, follow and head are required")
	}
	if (c.Payload == nil) != (c.Opening == nil) {
		return nil, errors.New("index: config: payload and opening go together")
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 64 << 30
	}
	if c.Retry == 0 {
		c.Retry = time.Second
	}
	if c.Gather == 0 {
		c.Gather = 100 * time.Millisecond
	}
	x := &Index{c: c, changed: make(chan struct{}), wanted: make(chan struct{}, 1)}
	err := x.begin(ctx)
	if errors.Is(err, sqlite.ErrRot) || errors.Is(err, sqlite.ErrFormat) || unusable(err) {
		if err := sqlite.Remove(c.Path); err != nil {
			return nil, fmt.Errorf("index: %w", err)
		}
		err = x.begin(ctx)
	}
	if err != nil {
		return nil, err
	}
	return x, nil
}

// begin opens the file and reads where it stands.
func (x *Index) begin(ctx context.Context) error {
	db, err := x.openDB(ctx)
	if err != nil {
		return err
	}
	x.db.Store(db)
	if err := x.resume(ctx); err != nil {
		return errors.Join(err, db.Close())
	}
	return nil
}

func (x *Index) openDB(ctx context.Context) (*sqlite.DB, error) {
	db, err := sqlite.OpenDB(ctx, x.c.Path, sqlite.Options{Application: application, Format: format, Schema: schema,
		MaxBytes: x.c.MaxBytes, Disposable: true, Unchecked: true})
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	return db, nil
}

// renew replaces a file that can no longer be used by an empty one.
func (x *Index) renew(ctx context.Context) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return ErrClosed
	}
	if err := errors.Join(x.db.Load().Close(), sqlite.Remove(x.c.Path)); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	db, err := x.openDB(ctx)
	if err != nil {
		return err
	}
	x.db.Store(db)
	return x.empty(ctx)
}

// resume reads where the view stands and empties it if the log holds less.
func (x *Index) resume(ctx context.Context) error {
	err := x.db.Load().Write.QueryRowContext(ctx, `SELECT next, erased FROM head`).Scan(&x.next, &x.erased)
	if err != nil {
		return fmt.Errorf("index: head: %w", err)
	}
	if x.next == 0 {
		return x.Rebuild(ctx)
	}
	return x.shrunk(ctx)
}

// shrunk empties the view if it holds more than the log.
func (x *Index) shrunk(ctx context.Context) error {
	size, err := x.c.Head(ctx)
	if err != nil {
		return fmt.Errorf("index: head of the log: %w", err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed || x.next <= size {
		return nil
	}
	return x.empty(ctx)
}

// Rebuild empties the view. A running Run fills it again from the first entry; else the next one does.
func (x *Index) Rebuild(ctx context.Context) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return ErrClosed
	}
	return x.empty(ctx)
}

// empty is Rebuild; mu is held.
func (x *Index) empty(ctx context.Context) error {
	size, err := x.c.Head(ctx)
	if err != nil {
		return fmt.Errorf("index: head of the log: %w", err)
	}
	if err := x.clear(ctx, size); err != nil {
		return &fileError{fmt.Errorf("index: rebuild: %w", err)}
	}
	x.next, x.erased = 0, size
	x.fills++
	if x.stop != nil {
		x.stop()
	}
	// What was erased must not stay readable in the write-ahead log. A reader can hold this up; then the
	// next rebuild or close does it.
	if _, err := x.db.Load().Write.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`); err != nil {
		return &fileError{fmt.Errorf("index: rebuild: %w", err)}
	}
	return nil
}

// clear empties every table.
func (x *Index) clear(ctx context.Context, size uint64) error {
	tx, err := x.db.Load().Write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, s := range emptying {
		if _, err := tx.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, `UPDATE head SET next = 0, erased = ?`, size); err != nil {
		return err
	}
	return tx.Commit()
}

// Status says how far the view has come.
type Status struct {
	Indexed uint64 `json:"indexed"` // entries in the view
	Log     uint64 `json:"log"`     // entries in the log
	Fills   int    `json:"fills"`   // how often the view was emptied since it was opened
	Checked bool   `json:"checked"` // the file's structure was read through since it was opened
	Problem string `json:"problem"` // why it does not come further; "" if nothing is wrong
}

// Status returns how far the view has come.
func (x *Index) Status(ctx context.Context) (Status, error) {
	size, err := x.c.Head(ctx)
	if err != nil {
		return Status{}, fmt.Errorf("index: head of the log: %w", err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	s := Status{Indexed: x.next, Log: size, Fills: x.fills, Checked: x.checked}
	if x.problem != nil {
		s.Problem = x.problem.Error()
	}
	return s, nil
}

// Wait returns when the entry at index is in the view, or with the error of ctx. Run must be running.
func (x *Index) Wait(ctx context.Context, index uint64) error {
	for {
		x.mu.Lock()
		next, closed, changed := x.next, x.closed, x.changed
		x.mu.Unlock()
		switch {
		case closed:
			return ErrClosed
		case next > index:
			return nil
		}
		select {
		case x.wanted <- struct{}{}:
		default:
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close ends a running Run and releases the file.
func (x *Index) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil
	}
	x.closed = true
	if x.stop != nil {
		x.stop()
	}
	close(x.changed)
	return x.db.Load().Close()
}

// read runs one query over the view.
func (x *Index) read(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	rows, err := x.db.Load().Read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("index: query: %w", err)
	}
	return rows, nil
}
