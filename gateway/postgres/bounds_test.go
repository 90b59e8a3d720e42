// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/policies"
)

func TestNobodyEntersWithoutATokenOrByTheServersOwnOptions(t *testing.T) {
	h := open(t, nil)
	was := h.state("b")
	good := h.dsn("b")
	for name, c := range map[string]struct{ dsn, code string }{
		"a wrong token":                   {strings.Replace(good, h.token, "sp_wrong", 1), "28P01"},
		"the password of the server":      {strings.Replace(good, h.token, "upstream-pw", 1), "28P01"},
		"a database that is not listed":   {strings.Replace(good, "dbname=b", "dbname=postgres", 1), "3D000"},
		"options that lift the read-only": {good + ` options='-c default_transaction_read_only=off'`, "0A000"},
		"the setting by its name":         {good + " default_transaction_read_only=off", "0A000"},
		"another role":                    {good + " role=boss", "0A000"},
		"another search path":             {good + " search_path=evil", "0A000"},
		"backslashes in strings":          {good + " standard_conforming_strings=off", "0A000"},
		"replication":                     {good + " replication=database", "0A000"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := pgx.Connect(t.Context(), c.dsn)
			var pe *pgconn.PgError
			if !errors.As(err, &pe) || pe.Code != c.code {
				t.Errorf("%v, not %s", err, c.code)
			}
			if err == nil {
				_ = conn.Close(t.Context())
			} else if strings.Contains(err.Error(), "upstream-pw") || strings.Contains(err.Error(), h.token) {
				t.Errorf("the error holds a secret: %v", err)
			}
		})
	}
	if now := h.state("b"); now != was {
		t.Errorf("b was\n%s\nand is\n%s", was, now)
	}
}

func TestATokenThatIsRevokedEndsWhatAConnectionMayDo(t *testing.T) {
	h := open(t, nil)
	c := h.dial("a")
	if err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Tokens.Revoke(t.Context(), h.id, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(t.Context(), "SELECT * FROM accounts", pgx.QueryExecModeSimpleProtocol); err == nil {
		t.Error("an agent that was revoked still reads")
	}
}

// bundle writes the pack sql with other parameters.
func bundle(t *testing.T, params string) string {
	t.Helper()
	pack, err := policies.Pack("sql")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "sql")
	if err := os.CopyFS(dir, pack); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(filepath.Join(dir, "params.yaml"), 0o600), os.WriteFile(filepath.Join(dir, "params.yaml"), []byte(params), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Stat(os.DirFS(dir), "tests"); err == nil { // they speak of the pack's own parameters
		if err := os.RemoveAll(filepath.Join(dir, "tests")); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// What a policy says of tables and effects holds for real statements: both stand in its input.
func TestAPolicyHidesTablesAndAsksForChanges(t *testing.T) {
	dir := bundle(t, "databases_read: [a, w]\ndatabases_write: []\ndatabases_ask: [w]\ntables_hidden: [payroll]\n")
	h := open(t, func(c *sallyport.Config) { c.Postgres.Policy = dir })
	for _, db := range []string{"a", "w"} {
		h.srv.Exec(t, db, "CREATE TABLE payroll (who text, pay int)", "INSERT INTO payroll VALUES ('ann', 7)", "GRANT ALL ON payroll TO agents")
	}
	c := h.dial("a")
	for _, s := range []string{"SELECT * FROM payroll", `SELECT * FROM public."payroll"`, "SELECT (SELECT max(pay) FROM payroll)",
		"WITH p AS (SELECT * FROM PayRoll) TABLE p", "COPY payroll TO STDOUT", "TABLE payroll", "SELECT 1; SELECT 2 FROM accounts a JOIN payroll ON true"} {
		if _, err := c.Exec(t.Context(), s, pgx.QueryExecModeSimpleProtocol); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("%q: %v", s, err)
		}
	}
	var n int
	if err := c.QueryRow(t.Context(), "SELECT count(*) FROM accounts").Scan(&n); err != nil || n != 3 {
		t.Errorf("%d, %v", n, err)
	}

	const change = "UPDATE accounts SET balance = 1 WHERE id = 1"
	w := h.dial("w")
	_, err := w.Exec(t.Context(), change, pgx.QueryExecModeSimpleProtocol)
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		t.Fatalf("not refused: %v", err)
	}
	ticket := regexp.MustCompile(`ap_\w+`).FindString(pe.Message + pe.Detail + pe.Hint)
	if ticket == "" {
		t.Fatalf("no ticket in %+v", pe)
	}
	if out := h.srv.Exec(t, "w", "SELECT balance FROM accounts WHERE id = 1"); out != "10.50" {
		t.Errorf("changed before a person agreed: %s", out)
	}
	if _, err := h.Approval.Approve(t.Context(), ticket, approval.Actor{ID: "bob", Channel: action.RankOperator}, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Exec(t.Context(), "UPDATE accounts SET balance = 2 WHERE id = 1", pgx.QueryExecModeSimpleProtocol); err == nil {
		t.Error("another change passes with the ticket")
	}
	if _, err := w.Exec(t.Context(), change, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Error(err)
	}
	if out := h.srv.Exec(t, "w", "SELECT balance FROM accounts WHERE id = 1"); out != "1.00" {
		t.Errorf("balance %s", out)
	}
	if _, err := w.Exec(t.Context(), change, pgx.QueryExecModeSimpleProtocol); err == nil {
		t.Error("the ticket holds twice")
	}
}
