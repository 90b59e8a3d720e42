// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/internal/pgtest"
	"github.com/sallyport/sallyport/ledger"
)

// house is an owner with three databases of a real server behind it: a and b are read-only for agents, w is not.
type house struct {
	*sallyport.Sallyport
	t     testing.TB
	srv   *pgtest.Server
	addr  string
	open  *sallyport.Listeners
	token string
	id    string // of the token
	stop  func()
}

const schema = `CREATE TABLE accounts (id int PRIMARY KEY, name text, balance numeric(12,2), seen timestamptz DEFAULT '2026-01-02', tags text[] DEFAULT '{x,y}', doc jsonb DEFAULT '{"k": 1}', key uuid DEFAULT '00000000-0000-0000-0000-000000000001', raw bytea DEFAULT '\x00ff', ok bool DEFAULT true, big int8 DEFAULT 9007199254740993);
INSERT INTO accounts (id, name, balance) VALUES (1, 'ann', 10.50), (2, 'bob', -20000.05), (3, NULL, 0);
CREATE FUNCTION drain() RETURNS int LANGUAGE sql AS 'DELETE FROM accounts; SELECT 1';
CREATE FUNCTION loud() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'hello %', 7; RETURN 1; END $$;
CREATE PROCEDURE wipe() LANGUAGE sql AS 'DELETE FROM accounts';
CREATE VIEW sly AS SELECT drain();`

func open(t testing.TB, change func(*sallyport.Config)) *house {
	t.Helper()
	h := &house{t: t, srv: pgtest.Start(t)}
	h.srv.Exec(t, "postgres", "CREATE ROLE agents LOGIN PASSWORD 'upstream-pw'")
	for _, db := range []string{"a", "b", "w"} {
		h.srv.Exec(t, "postgres", "CREATE DATABASE "+db)
		h.srv.Exec(t, db, schema, "GRANT ALL ON ALL TABLES IN SCHEMA public TO agents", "GRANT ALL ON SCHEMA public TO agents", "ALTER TABLE accounts OWNER TO agents")
	}
	dir := t.TempDir()
	pw := filepath.Join(dir, "pw")
	if err := os.WriteFile(pw, []byte("upstream-pw\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := sallyport.DefaultConfig()
	cfg.Data, cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Ledger.SegmentBytes = filepath.Join(dir, "d"), "none", "none", 8<<20
	cfg.Postgres.Listen = "127.0.0.1:0"
	cfg.Gateway.FactsDeadline = 30 * time.Second // of large pieces, on a machine that others use
	for _, db := range []string{"a", "b", "w"} {
		mode := ""
		if db == "w" {
			mode = "read-write"
		}
		cfg.Postgres.Databases = append(cfg.Postgres.Databases, sallyport.PostgresDatabase{Name: db, Mode: mode, Zone: "inside", PasswordFile: pw,
			Upstream: fmt.Sprintf("host=127.0.0.1 port=%d user=agents dbname=%s sslmode=disable", h.srv.Port, db)})
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if h.Sallyport, err = sallyport.Open(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	l, err := h.Listen()
	if err != nil {
		t.Fatal(err)
	}
	h.addr, h.open = l.Postgres.Addr().String(), l
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	errs := make(chan error, 2)
	wg.Go(func() { errs <- h.Run(ctx) })
	wg.Go(func() { errs <- h.Serve(ctx, l) })
	h.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if err := errors.Join(<-errs, <-errs, h.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(h.stop)
	if _, err := h.Tokens.CreateAgent(ctx, identity.AgentSpec{ID: "bot", By: "test"}); err != nil {
		t.Fatal(err)
	}
	var issued identity.Token
	if h.token, issued, err = h.Tokens.Issue(ctx, identity.TokenSpec{Agent: "bot", User: "ann", Scopes: []action.Scope{action.ScopeAgent}, By: "test"}); err != nil {
		t.Fatal(err)
	}
	h.id = issued.ID
	return h
}

func (h *house) dsn(db string) string {
	host, port, _ := net.SplitHostPort(h.addr)
	return fmt.Sprintf("host=%s port=%s user=bot dbname=%s password=%s sslmode=disable", host, port, db, h.token)
}

func (h *house) dial(db string) *pgx.Conn {
	h.t.Helper()
	c, err := pgx.Connect(h.t.Context(), h.dsn(db))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// psql runs the real client with one -c per statement.
func (h *house) psql(db string, statements ...string) (string, error) {
	h.t.Helper()
	bin, err := exec.LookPath("psql")
	if err != nil {
		h.t.Skip("psql is not installed")
	}
	args := []string{"-X", "-A", "-t", "-w"}
	for _, s := range statements {
		args = append(args, "-c", s)
	}
	host, port, _ := net.SplitHostPort(h.addr)
	cmd := exec.CommandContext(h.t.Context(), bin, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + h.t.TempDir(), "PGHOST=" + host, "PGPORT=" + port, "PGUSER=bot", "PGDATABASE=" + db,
		"PGPASSWORD=" + h.token, "PGSSLMODE=disable", "LANG=C"}
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// state is what stands in a database, asked past the door.
func (h *house) state(db string) string {
	h.t.Helper()
	return h.srv.Exec(h.t, db, "SELECT count(*), sum(id), sum(balance) FROM accounts", "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace",
		"SELECT count(*) FROM pg_roles", "SELECT count(*) FROM pg_largeobject_metadata")
}

// records counts the records of a kind and verdict for a database.
func (h *house) records(kind action.Kind, server string, verdict action.Verdict) (n int) {
	h.t.Helper()
	name, err := h.Ledger.Pseudonym("default", "server", server)
	if err != nil {
		h.t.Fatal(err)
	}
	err = h.Ledger.Records(context.Background(), func(e ledger.Entry) error {
		if e.Leaf.Kind == kind && e.Leaf.Server == name && e.Leaf.Verdict == verdict {
			n++
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}
