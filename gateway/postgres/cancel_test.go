// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sallyport/sallyport"
)

const endless = "SELECT count(*) FROM generate_series(1, 100000000000)"

// TestCancelEndsTheStatementOfItsOwnConnectionOnly goes through TLS, as the connections do.
func TestCancelEndsTheStatementOfItsOwnConnectionOnly(t *testing.T) {
	cert, key, trust := ownCertificate(t)
	h := open(t, func(c *sallyport.Config) { c.Postgres.TLSCert, c.Postgres.TLSKey = cert, key })
	cfg, err := pgx.ParseConfig(strings.Replace(h.dsn("a"), "sslmode=disable", "sslmode=require", 1))
	if err != nil {
		t.Fatal(err)
	}
	cfg.TLSConfig = &tls.Config{RootCAs: trust, ServerName: "127.0.0.1"}
	dial := func() *pgconn.PgConn {
		c, err := pgx.ConnectConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close(t.Context()) })
		return c.PgConn()
	}
	run := func(c *pgconn.PgConn) <-chan error {
		done := make(chan error, 1)
		go func() { _, err := c.Exec(t.Context(), endless).ReadAll(); done <- err }()
		h.running(1)
		return done
	}
	c, other := dial(), dial()
	done := run(c)
	for range 3 { // another connection's key, and this one's with another secret
		if err := other.CancelRequest(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-done:
		t.Fatalf("ended by the key of another connection: %v", err)
	default:
	}
	var pe *pgconn.PgError
	for err = error(nil); err == nil; {
		if cerr := c.CancelRequest(t.Context()); cerr != nil {
			t.Fatal(cerr)
		}
		select {
		case err = <-done:
			if err == nil {
				t.Fatal("the statement came to its end")
			}
		default:
		}
	}
	if !errors.As(err, &pe) || pe.Code != "57014" {
		t.Errorf("cancelled with %v", err)
	}
	if _, err := c.Exec(t.Context(), "SELECT 1").ReadAll(); err != nil {
		t.Errorf("the connection is lost: %v", err)
	}
}

// running waits until n of the test's endless statements run in the server.
func (h *house) running(n int) {
	h.t.Helper()
	for range 2000 {
		if out := h.srv.Exec(h.t, "a", "SELECT count(*) >= "+string(rune('0'+n))+" FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%generate_series(1, 1000%' AND pid <> pg_backend_pid()"); strings.Contains(out, "t") {
			return
		}
	}
	h.t.Fatal("the statement does not run")
}
