// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"database/sql"
	"path/filepath"
	"sync"

	_ "modernc.org/sqlite" // the driver that the binary uses
)

// openSQLite appends a row in a transaction of its own, in the order of a lock, as SQLite has one writer.
func openSQLite(ctx context.Context, dir string, payload int) (peerRun, error) {
	name := "file:" + filepath.Join(dir, "log.db") + "?_pragma=journal_mode(wal)&_pragma=synchronous(full)"
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return peerRun{}, err
	}
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, `CREATE TABLE records (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT`); err != nil {
		return peerRun{}, err
	}
	insert, err := db.PrepareContext(ctx, `INSERT INTO records (body) VALUES (?)`)
	if err != nil {
		return peerRun{}, err
	}
	var mu sync.Mutex
	return peerRun{
		append: func(ctx context.Context, writer int, n int64) error {
			b, err := contents(writer, n, payload)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			_, err = insert.ExecContext(ctx, b)
			return err
		},
		disk:  diskUse(dir),
		close: db.Close,
	}, nil
}
