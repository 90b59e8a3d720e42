// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sallyport/sallyport/action"
)

// writes are ways to change a database, or to leave its bounds.
var writes = []string{
	"INSERT INTO accounts (id) VALUES (9)", "UPDATE accounts SET balance = 0", "DELETE FROM accounts", "TRUNCATE accounts", "DROP TABLE accounts",
	"CREATE TABLE x (y int)", "ALTER TABLE accounts ADD x int", "GRANT ALL ON accounts TO public",
	"WITH gone AS (DELETE FROM accounts RETURNING *) SELECT * FROM gone",
	"WITH one AS (SELECT 1), two AS (UPDATE accounts SET balance = 0 RETURNING id) TABLE two",
	"SELECT drain()", "SELECT * FROM drain()", `SELECT "drain" ( )`, "SELECT * FROM accounts, LATERAL drain()", "SELECT * INTO x FROM accounts",
	"SELECT * FROM accounts FOR UPDATE", "DO $$ BEGIN DELETE FROM accounts; END $$", "CALL wipe()", "COPY accounts FROM STDIN",
	"COPY accounts TO PROGRAM 'cat > /tmp/leak'", "COPY (DELETE FROM accounts RETURNING *) TO STDOUT", "SET ROLE agents", "SET SESSION AUTHORIZATION agents",
	"SET default_transaction_read_only = off", "BEGIN READ WRITE", "SET search_path = evil", "RESET ALL", "LOCK TABLE accounts", "VACUUM accounts",
	"SELECT 1; DELETE FROM accounts", "SELECT 1;;/* x */ DELETE FROM accounts", "BEGIN; DELETE FROM accounts; COMMIT", "EXPLAIN ANALYZE DELETE FROM accounts",
	"PREPARE p AS DELETE FROM accounts", "EXECUTE p", "SELECT set_config('role', 'boss', false)", "SELECT nextval('s')", "SELECT lo_create(0)",
	"SELECT pg_terminate_backend(pg_backend_pid())", "SELECT pg_read_file('/etc/passwd')", "NOTIFY x", "LISTEN x",
	"DECLARE c CURSOR FOR SELECT drain()", "FETCH c", `SELECT 'a\'; DELETE FROM accounts; --'`,
	"SELECT query_to_xml('delete from accounts', true, true, '')", "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
}

func TestPsqlReadsAAndNeverWritesB(t *testing.T) {
	h := open(t, nil)
	if out, err := h.psql("a", "SELECT id, name, balance FROM accounts ORDER BY id", "BEGIN", "SELECT count(*) FROM accounts", "COMMIT"); err != nil || !strings.Contains(out, "2|bob|-20000.05") {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := h.psql("a", `\d accounts`); err != nil || !strings.Contains(out, "balance|numeric(12,2)") {
		t.Errorf("psql cannot describe a table: %v\n%s", err, out)
	}
	for _, list := range []string{`\l`, `\dt`, `\du`, `\df`, `\dv`} {
		if out, err := h.psql("a", list); err != nil {
			t.Errorf("%s: %v\n%s", list, err, out)
		}
	}
	if out, err := h.psql("a", "COPY accounts (id, name) TO STDOUT"); err != nil || out != "1\tann\n2\tbob\n3\t\\N" {
		t.Errorf("%v\n%s", err, out)
	}
	was := h.state("b")
	for _, s := range writes {
		out, err := h.psql("b", s)
		if err == nil || !strings.Contains(out, "sallyport: ") {
			t.Errorf("%q is not refused: %v\n%s", s, err, out)
		}
	}
	// The server itself refuses what a view hides from the recogniser.
	if out, err := h.psql("b", "SELECT * FROM sly"); err == nil || !strings.Contains(out, "read-only transaction") {
		t.Errorf("%v\n%s", err, out)
	}
	if now := h.state("b"); now != was {
		t.Errorf("b was\n%s\nand is\n%s", was, now)
	}
	if n := h.records(action.KindDecision, "b", action.Deny); n != len(writes) {
		t.Errorf("%d of %d refusals are on record", n, len(writes))
	}
}

func TestEveryProtocolRefusesWritesAndKeepsTheSession(t *testing.T) {
	h := open(t, nil)
	was := h.state("b")
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe,
		pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			c := h.dial("b")
			for _, s := range writes {
				_, err := c.Exec(t.Context(), s, mode)
				var pe *pgconn.PgError
				if !errors.As(err, &pe) || pe.Code != "42501" && !strings.Contains(s, ";") && pe.Code != "08P01" {
					t.Fatalf("%q: %v", s, err)
				}
				if err := c.Ping(t.Context()); err != nil || c.PgConn().TxStatus() != 'I' {
					t.Fatalf("after %q: %v, state %c", s, err, c.PgConn().TxStatus())
				}
			}
			var n int
			if err := c.QueryRow(t.Context(), "SELECT count(*) FROM accounts WHERE id > $1", mode, 1).Scan(&n); err != nil || n != 2 {
				t.Errorf("%d, %v", n, err)
			}
		})
	}
	if now := h.state("b"); now != was {
		t.Errorf("b was\n%s\nand is\n%s", was, now)
	}
}

func TestValuesArriveAsTheServerSentThem(t *testing.T) {
	h := open(t, nil)
	direct, err := pgx.Connect(t.Context(), h.srv.URL("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = direct.Close(t.Context()) }()
	through := h.dial("a")
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec} {
		for _, q := range []string{"SELECT * FROM accounts ORDER BY id", "SELECT 1::float8, 1.5::float4, 'NaN'::numeric, 0.001::numeric, 12345678901234567890.5::numeric, ARRAY[1,2], ARRAY[[1],[2]], now() > '2020-01-01', NULL::text",
			"SELECT name FROM accounts WHERE id = 99", "VALUES (1, 'a'), (2, 'b')"} {
			var got [2]string
			for i, c := range []*pgx.Conn{direct, through} {
				rows, err := c.Query(t.Context(), q, mode)
				if err != nil {
					t.Fatalf("%s: %v", q, err)
				}
				for rows.Next() {
					got[i] += fmt.Sprintf("%x\n", rows.RawValues())
				}
				got[i] += fmt.Sprint(rows.CommandTag(), rows.Err(), rows.FieldDescriptions())
			}
			if got[0] != got[1] {
				t.Errorf("%v %s:\n%s\nthrough the door\n%s", mode, q, got[0], got[1])
			}
		}
	}
}

func TestTransactionsEndAsTheClientIsTold(t *testing.T) {
	h := open(t, nil)
	c := h.dial("w")
	exec := func(s string) error {
		_, err := c.Exec(t.Context(), s)
		return err
	}
	if err := errors.Join(exec("BEGIN"), exec("INSERT INTO accounts (id) VALUES (10)")); err != nil {
		t.Fatal(err)
	}
	if err := exec("SET ROLE agents"); err == nil {
		t.Fatal("not refused")
	}
	if s := c.PgConn().TxStatus(); s != 'E' {
		t.Errorf("state %c after a refusal within a transaction", s)
	}
	if err := exec("SELECT 1"); err == nil {
		t.Error("a statement passes in a failed transaction")
	}
	if tag, err := c.Exec(t.Context(), "COMMIT"); err != nil || tag.String() != "ROLLBACK" {
		t.Errorf("%v, %v", tag, err)
	}
	if out := h.srv.Exec(t, "w", "SELECT count(*) FROM accounts"); out != "3" {
		t.Errorf("%s rows", out)
	}

	// A batch is one implicit transaction: a refusal in it undoes what came before.
	b := &pgx.Batch{}
	b.Queue("INSERT INTO accounts (id) VALUES ($1)", 11)
	b.Queue("GRANT ALL ON accounts TO public")
	b.Queue("INSERT INTO accounts (id) VALUES ($1)", 12)
	if err := c.SendBatch(t.Context(), b).Close(); err == nil {
		t.Error("the batch passes")
	}
	if out := h.srv.Exec(t, "w", "SELECT count(*) FROM accounts"); out != "3" || c.PgConn().TxStatus() != 'I' {
		t.Errorf("%s rows, state %c", out, c.PgConn().TxStatus())
	}
	if err := exec("INSERT INTO accounts (id) VALUES (13)"); err != nil {
		t.Errorf("the connection is of no use afterwards: %v", err)
	}
	// A read between two writes: the session is read-only for it, and for it alone.
	var ro string
	if err := c.QueryRow(t.Context(), "SHOW transaction_read_only", pgx.QueryExecModeSimpleProtocol).Scan(&ro); err != nil || ro != "on" {
		t.Errorf("%q, %v", ro, err)
	}
	if err := exec("DELETE FROM accounts WHERE id = 13"); err != nil {
		t.Error(err)
	}
	if err := exec("SELECT * FROM sly"); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("a view that deletes: %v", err)
	}
}

func TestCopyInIsJudgedByPieces(t *testing.T) {
	h := open(t, nil)
	c := h.dial("w")
	var rows [][]any
	for i := range 20000 {
		rows = append(rows, []any{100 + i, "name with some length"})
	}
	n, err := c.CopyFrom(t.Context(), pgx.Identifier{"accounts"}, []string{"id", "name"}, pgx.CopyFromRows(rows))
	if err != nil || n != 20000 {
		t.Fatalf("%d, %v", n, err)
	}
	if out := h.srv.Exec(t, "w", "SELECT count(*) FROM accounts"); out != "20003" {
		t.Errorf("%s rows", out)
	}
	if n := h.records(action.KindIntent, "w", action.Allow); n < 3 {
		t.Errorf("%d intents: the pieces are not on record", n)
	}
	if _, err := h.dial("b").CopyFrom(t.Context(), pgx.Identifier{"accounts"}, []string{"id", "name"}, pgx.CopyFromRows(rows)); err == nil {
		t.Error("a copy into b passes")
	}
}

func TestLargeResultsPassByPiecesAndSecretsAreRemoved(t *testing.T) {
	h := open(t, nil)
	c := h.dial("a")
	rows, err := c.Query(t.Context(), "SELECT i, repeat('x', 200) FROM generate_series(1, 30000) i")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for rows.Next() {
		n++
	}
	if n != 30000 || rows.Err() != nil {
		t.Errorf("%d rows, %v", n, rows.Err())
	}
	// A key of no account, in the form that detectors know.
	key := "AKIA" + "QYLPMN5HFZ" + "KHXTWA"
	h.srv.Exec(t, "a", "CREATE TABLE notes (t text)", "INSERT INTO notes VALUES ('the key is "+key+" ok')", "GRANT SELECT ON notes TO agents")
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement} {
		var s string
		if err := c.QueryRow(t.Context(), "SELECT t FROM notes", mode).Scan(&s); err != nil || strings.Contains(s, key) || !strings.HasPrefix(s, "the key is ") {
			t.Errorf("%v: %q, %v", mode, s, err)
		}
	}
	if out, err := h.psql("a", "COPY notes TO STDOUT"); err != nil || strings.Contains(out, key) || !strings.Contains(out, "the key is") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, _ := h.psql("a", "SELECT t::int FROM notes"); strings.Contains(out, key) || !strings.Contains(out, "invalid input syntax") {
		t.Errorf("an error carries the secret out: %s", out)
	}
}
