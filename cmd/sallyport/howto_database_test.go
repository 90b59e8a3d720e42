// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/pgtest"
)

// howtoDatabase starts a real PostgreSQL server and puts it where a page speaks of db.example.com, and the door
// before it on a free port.
func howtoDatabase(t *testing.T) *strings.Replacer {
	if _, err := exec.LookPath("psql"); err != nil {
		t.Skip("psql is not installed")
	}
	srv := pgtest.Start(t)
	srv.Exec(t, "postgres", "CREATE ROLE agents LOGIN PASSWORD 'upstream-pw'")
	for _, db := range []string{"shop", "orders"} {
		srv.Exec(t, "postgres", "CREATE DATABASE "+db)
		srv.Exec(t, db, "CREATE TABLE goods (name text)", "INSERT INTO goods VALUES ('table'), ('lamp')", "GRANT ALL ON goods TO agents", "ALTER TABLE goods OWNER TO agents")
	}
	t.Cleanup(func() {
		if n := srv.Exec(t, "shop", "SELECT count(*) FROM goods"); n != "2" {
			t.Errorf("the database that is only read holds %s rows", n)
		}
	})
	door := howtoAddress(t)
	_, port, err := net.SplitHostPort(door)
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer("host=db.example.com port=5432", fmt.Sprintf("host=127.0.0.1 port=%d", srv.Port), "sslmode=verify-full", "sslmode=disable",
		"127.0.0.1:7120", door, "PGPORT=7120", "PGPORT="+port)
}
