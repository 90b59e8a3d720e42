// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver; no other folder imports it
)

// DB is one SQLite file: a single connection that writes and a few that read. Both are safe for
// concurrent use. Transactions of Write take the write lock at their beginning.
type DB struct {
	Write *sql.DB
	Read  *sql.DB
	path  string
}

// Options say how a file is opened.
type Options struct {
	Application int32  // SQLite's application_id: a file of another kind is refused
	Format      int32  // SQLite's user_version: a file of another format is refused
	Schema      string // statements that make an empty file into one of Format
	MaxBytes    int64  // of the file; 0 means 4 GiB
	Disposable  bool   // what the file holds can be rebuilt: a commit does not wait for the disk
	Unchecked   bool   // the structure is not checked at OpenDB: the caller calls Check when it can wait
}

// The errors of OpenDB.
var (
	ErrKind   = errors.New("sqlite: a file of another kind")
	ErrFormat = errors.New("sqlite: a file of another format")
	ErrRot    = errors.New("sqlite: damaged file")
)

const (
	pageBytes = 4096
	readers   = 4
)

// OpenDB opens or creates the file at path with mode 0600, checks its kind, format and structure, and
// never repairs or replaces anything: ErrKind, ErrFormat and ErrRot leave the file as it is. The check reads the
// whole file, unless Options.Unchecked puts it off.
func OpenDB(ctx context.Context, path string, o Options) (*DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("sqlite: path %q: %w", path, err)
	}
	if err := own(path); err != nil {
		return nil, err
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 4 << 30
	}
	d := &DB{path: path}
	if d.Write, err = sql.Open("sqlite", dsn(path, o, false)); err != nil {
		return nil, fmt.Errorf("sqlite: %q: %w", path, err)
	}
	d.Write.SetMaxOpenConns(1)
	if err := d.prepare(ctx, o); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if d.Read, err = sql.Open("sqlite", dsn(path, o, true)); err != nil {
		return nil, errors.Join(fmt.Errorf("sqlite: %q: %w", path, err), d.Close())
	}
	d.Read.SetMaxOpenConns(readers)
	d.Read.SetMaxIdleConns(readers)
	return d, nil
}

// own makes sure that path is a plain file which only this user can read, creating it if it is missing.
// SQLite gives the files beside it the same mode.
func own(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err == nil {
		if err := f.Close(); err != nil {
			return fmt.Errorf("sqlite: %q: %w", path, err)
		}
		return syncDir(filepath.Dir(path))
	}
	if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("sqlite: %w", err)
	}
	st, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("sqlite: %q is not a plain file", path)
	}
	if st.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(path, 0o600); err != nil {
			return fmt.Errorf("sqlite: %w", err)
		}
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

func dsn(path string, o Options, read bool) string {
	v := url.Values{}
	add := func(pragma string, value any) { v.Add("_pragma", fmt.Sprintf("%s(%v)", pragma, value)) }
	add("busy_timeout", 5000)
	add("journal_mode", "WAL")
	add("synchronous", map[bool]string{true: "NORMAL", false: "FULL"}[o.Disposable])
	add("trusted_schema", 0)
	add("secure_delete", 1)
	add("journal_size_limit", 16<<20)
	add("max_page_count", o.MaxBytes/pageBytes)
	if read {
		add("query_only", 1)
	} else {
		v.Set("_txlock", "immediate")
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: v.Encode()}).String()
}

// prepare checks an existing file and makes an empty one into one of the demanded format.
func (d *DB) prepare(ctx context.Context, o Options) error {
	var app, format, objects int32
	row := d.Write.QueryRowContext(ctx, `SELECT (SELECT application_id FROM pragma_application_id),
		(SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)`)
	if err := row.Scan(&app, &format, &objects); err != nil {
		return fmt.Errorf("%w: %q: %w", ErrRot, d.path, err)
	}
	if objects == 0 && app == 0 && format == 0 {
		return d.create(ctx, o)
	}
	if app != o.Application {
		return fmt.Errorf("%w: %q has kind %#x, wanted %#x", ErrKind, d.path, app, o.Application)
	}
	if format != o.Format {
		return fmt.Errorf("%w: %q has format %d, wanted %d", ErrFormat, d.path, format, o.Format)
	}
	if o.Unchecked {
		return nil
	}
	return d.check(ctx, d.Write)
}

// Check reads the whole file and returns ErrRot if its structure is damaged. Others read and write meanwhile.
func (d *DB) Check(ctx context.Context) error { return d.check(ctx, d.Read) }

func (d *DB) check(ctx context.Context, by *sql.DB) error {
	var found string
	err := by.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&found)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("%w: %q: %w", ErrRot, d.path, err)
	case found != "ok":
		return fmt.Errorf("%w: %q: %s", ErrRot, d.path, found)
	}
	return nil
}

func (d *DB) create(ctx context.Context, o Options) error {
	tx, err := d.Write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("sqlite: %q: %w", d.path, err)
	}
	defer tx.Rollback()
	for _, s := range []string{o.Schema, fmt.Sprintf("PRAGMA application_id = %d", o.Application),
		fmt.Sprintf("PRAGMA user_version = %d", o.Format)} {
		if _, err := tx.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("sqlite: %q: create: %w", d.path, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("sqlite: %q: create: %w", d.path, err)
	}
	return nil
}

// Close closes every connection; the last one folds the write-ahead log into the file.
func (d *DB) Close() error {
	var errs []error
	for _, c := range []*sql.DB{d.Read, d.Write} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// Remove deletes a file that OpenDB made, with the files beside it. It must be closed.
func Remove(path string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
