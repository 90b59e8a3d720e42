// SPDX-License-Identifier: Apache-2.0

package sqlite_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/store/sqlite"
)

func TestEveryConnectionIsSetUp(t *testing.T) {
	for _, c := range []struct {
		name        string
		disposable  bool
		synchronous string
	}{
		{"state waits for the disk", false, "2"},
		{"what can be rebuilt does not", true, "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			db, err := sqlite.OpenDB(context.Background(), filepath.Join(t.TempDir(), "x.db"),
				sqlite.Options{Application: 1, Format: 1, Schema: "CREATE TABLE x (y)", Disposable: c.disposable})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			for side, conn := range map[string]*sql.DB{"write": db.Write, "read": db.Read} {
				for pragma, want := range map[string]string{"synchronous": c.synchronous, "journal_mode": "wal", "secure_delete": "1",
					"trusted_schema": "0", "query_only": map[string]string{"write": "0", "read": "1"}[side]} {
					var got string
					if err := conn.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
						t.Errorf("%s: %s is %q, want %q (%v)", side, pragma, got, want, err)
					}
				}
			}
		})
	}
}

func TestSchemaThatFailsLeavesAnEmptyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	o := sqlite.Options{Application: 1, Format: 1, Schema: "CREATE TABLE x (y); CREATE nonsense"}
	if _, err := sqlite.OpenDB(context.Background(), path, o); err == nil {
		t.Fatal("a wrong schema was accepted")
	}
	o.Schema = "CREATE TABLE x (y)"
	db, err := sqlite.OpenDB(context.Background(), path, o)
	if err != nil {
		t.Fatalf("after a schema that failed: %v", err)
	}
	db.Close()
}
