// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	_ "github.com/go-sql-driver/mysql" // the driver
)

// table is a table of MySQL or MariaDB with one row for each file.
type table struct{ db *sql.DB }

const (
	makeTable = `CREATE TABLE IF NOT EXISTS sallyport_tiles (
	path VARBINARY(255) NOT NULL PRIMARY KEY, data LONGBLOB NOT NULL) ENGINE = InnoDB`
	putRow = `INSERT INTO sallyport_tiles (path, data) VALUES (?, ?) ON DUPLICATE KEY UPDATE data = VALUES(data)`
	getRow = `SELECT data FROM sallyport_tiles WHERE path = ?`
)

// openMySQL makes the table where it is missing. The data source name stands in a file, since it holds a password.
func openMySQL(ctx context.Context, dsnFile string) (*table, error) {
	dsn, err := os.ReadFile(dsnFile)
	if err != nil {
		return nil, fmt.Errorf("--dsn-file: %w", err)
	}
	db, err := sql.Open("mysql", strings.TrimSpace(string(dsn)))
	if err != nil {
		return nil, errors.New("mysql: the data source name cannot be read")
	}
	db.SetMaxOpenConns(workers)
	if _, err := db.ExecContext(ctx, makeTable); err != nil {
		return nil, errors.Join(fmt.Errorf("mysql: %w", err), db.Close())
	}
	return &table{db}, nil
}

// Get is target's.
func (t *table) Get(ctx context.Context, name string) (data []byte, err error) {
	err = t.db.QueryRowContext(ctx, getRow, name).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("mysql: %q: %w", name, err)
	}
	return data, nil
}

// Put is target's.
func (t *table) Put(ctx context.Context, name string, data []byte) error {
	if _, err := t.db.ExecContext(ctx, putRow, name, data); err != nil {
		return fmt.Errorf("mysql: %q: %w", name, err)
	}
	return nil
}
