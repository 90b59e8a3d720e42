// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport"
)

// TestServersAreReachedOverTLSOrNotAtAll has one database whose server's certificate we trust, one whose we do not, and
// one whose server speaks no TLS.
func TestServersAreReachedOverTLSOrNotAtAll(t *testing.T) {
	cert, key, _ := ownCertificate(t)
	other, _, _ := ownCertificate(t)
	plain := open(t, nil)
	h := open(t, func(c *sallyport.Config) {
		for i, root := range []string{cert, other, cert} {
			d := &c.Postgres.Databases[i]
			d.Upstream = strings.Replace(d.Upstream, "sslmode=disable", "sslmode=verify-full sslrootcert="+root, 1)
		}
		third := &c.Postgres.Databases[2]
		third.Upstream = strings.Replace(plain.Config.Postgres.Databases[2].Upstream, "sslmode=disable", "sslmode=verify-full sslrootcert="+cert, 1)
	})
	h.srv.TLS(t, cert, key)
	c := h.dial("a")
	var n int
	if err := c.QueryRow(t.Context(), "SELECT count(*) FROM accounts").Scan(&n); err != nil || n != 3 {
		t.Errorf("%d, %v", n, err)
	}
	if encrypted := h.srv.Exec(t, "postgres", "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'agents'"); encrypted != "t" {
		t.Errorf("connections of agents are encrypted: %q", encrypted)
	}
	for _, db := range []string{"b", "w"} {
		if c, err := pgx.Connect(t.Context(), h.dsn(db)); err == nil || !strings.Contains(err.Error(), "08001") {
			if err == nil {
				_ = c.Close(t.Context())
			}
			t.Errorf("%s is reached: %v", db, err)
		}
	}
}
