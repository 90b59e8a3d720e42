// SPDX-License-Identifier: Apache-2.0

package sql

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/internal/pgtest"
)

// What the generator puts together: mostly sense, with things that change the database wherever an expression,
// a table or a statement may stand.
var (
	expressions = strings.Split(`1|x|t.x|'a'|count(*)|lower(y)|(SELECT max(x) FROM t)|evil()|evil(x)|"evil"()|public.evil()|public . evil ( )|nextval('s')|setval('s', 99)|x::text|CAST(x AS text)|x IS DISTINCT FROM 2|CASE WHEN x > 1 THEN evil() ELSE 2 END|ARRAY(SELECT evil())|extract(epoch FROM now())|coalesce(x, evil())|$q$;DELETE FROM t$q$|E'\';DELETE FROM t;--'|'\';DELETE FROM t;--'|set_config('sallyport.x', 'y', false)|lo_create(0)|pg_notify('a','b')|query_to_xml('select evil()', true, true, '')|x OPERATOR(pg_catalog.+) 1|x OPERATOR(public.%%%) 1|x %%% 1|x @- 1|x =-+ 1|(t).evilrow|first(x)|filter(x)|substring(y FROM 1 FOR evil())|x BETWEEN 1 AND evil()|y LIKE (evil()::text)|like(y, evil()::text)|row(x, evil())|xmlserialize(CONTENT query_to_xml('select evil()', true, true, '') AS text)`, "|")
	sources     = strings.Split(`t|public.t|t a|t AS a(x, y)|(SELECT x, y FROM t) t|generate_series(1,2) AS g(x)|evil() x|evil() AS t(x)|LATERAL evil() x|ROWS FROM (evil()) AS t(x)|t, evil() e|t JOIN t u ON evil() = 1|t JOIN t u USING (x), evil() f|t TABLESAMPLE system (evil())|ONLY t|"t"|(VALUES (1,'a')) t(x, y)|(INSERT INTO t VALUES (9,'z') RETURNING x, y) t|t NATURAL JOIN t u`, "|")
	tails       = strings.Split(`| WHERE x > 0| WHERE evil() > 0| ORDER BY evil()| ORDER BY 1| LIMIT evil()| GROUP BY x, y| FOR UPDATE| FOR KEY SHARE| UNION SELECT evil()| UNION ALL TABLE t| FETCH FIRST (evil()) ROWS ONLY| OFFSET 0|; DELETE FROM t| -- ;DELETE FROM t| /* /* */ ;DELETE FROM t; */| WINDOW w AS (PARTITION BY x)| INTO u`, "|")
	heads       = strings.Split(`|||||EXPLAIN |EXPLAIN ANALYZE |WITH a AS (SELECT 1) |WITH a AS (DELETE FROM t RETURNING *) |WITH RECURSIVE a(n) AS (VALUES (1) UNION ALL SELECT n+1 FROM a WHERE n < 3) |COPY (|PREPARE p AS |DECLARE c CURSOR FOR |/* x */ |BEGIN; |SET LOCAL work_mem = '1MB'; `, "|")
	whole       = []string{"TABLE t", "TABLE t, evil()", "VALUES (evil())", "SHOW search_path", "SHOW ALL", "BEGIN", "BEGIN READ WRITE; DELETE FROM t; COMMIT",
		"SET application_name = 'x'", "SET TIME ZONE 'UTC'", "COPY t TO STDOUT", "COPY evil TO STDOUT", "EXPLAIN ANALYZE TABLE t", "SELECT evil FROM evilview",
		"SET TRANSACTION READ ONLY", "COMMIT", "SAVEPOINT a", "SET ROLE boss", "DO $$ BEGIN DELETE FROM t; END $$", "CALL proc()"}
)

func generate(r *rand.Rand) string {
	pick := func(l []string) string { return l[r.IntN(len(l))] }
	if r.IntN(10) == 0 {
		return pick(whole)
	}
	head := pick(heads)
	var cols []string
	for range 1 + r.IntN(2) {
		cols = append(cols, pick(expressions))
	}
	s := head + "SELECT " + strings.Join(cols, ", ") + " FROM " + pick(sources) + pick(tails)
	if strings.HasPrefix(head, "COPY") {
		s += ") TO STDOUT"
	}
	switch r.IntN(12) {
	case 0: // a letter lost, or words run together
		n := r.IntN(len(s))
		s = s[:n] + s[min(len(s), n+1):]
	case 1:
		s = strings.ReplaceAll(s, " ", "\t\n/**/")
	case 2:
		s = strings.ToUpper(s)
	}
	return s
}

// Every text that is called a read is run as the superuser without any read-only mode: the database must be as it
// was. Texts that are no reads are only counted.
func TestReadsLeaveARealDatabaseAsItWas(t *testing.T) {
	srv := pgtest.Start(t)
	srv.Exec(t, "postgres",
		`CREATE TABLE t (x int, y text)`, `INSERT INTO t VALUES (1,'a'),(2,'b')`, `CREATE SEQUENCE s`, `CREATE TABLE log (n int)`, `CREATE TABLE u0 ()`,
		`CREATE FUNCTION evil() RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES (1) RETURNING n'`,
		`CREATE FUNCTION evil(int) RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES ($1) RETURNING n'`,
		`CREATE FUNCTION first(int) RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES ($1) RETURNING n'`,
		`CREATE FUNCTION filter(int) RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES ($1) RETURNING n'`,
		`CREATE FUNCTION plus(int, int) RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES ($1) RETURNING n'`,
		`CREATE OPERATOR %%% (FUNCTION = plus, LEFTARG = int, RIGHTARG = int)`,
		`CREATE OPERATOR @- (FUNCTION = plus, LEFTARG = int, RIGHTARG = int)`,
		`CREATE PROCEDURE proc() LANGUAGE sql AS 'DELETE FROM t'`)
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, srv.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	state := func() string {
		var s string
		err := conn.QueryRow(ctx, `SELECT concat((SELECT string_agg(t::text, ',' ORDER BY x) FROM t), ' ', (SELECT count(*) FROM log), ' ',
			(SELECT last_value || is_called::text FROM s), ' ', (SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace), ' ',
			(SELECT count(*) FROM pg_largeobject_metadata), ' ', current_setting('role'), current_setting('sallyport.x', true))`, pgx.QueryExecModeSimpleProtocol).Scan(&s)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	rounds := 6000
	if testing.Short() {
		rounds = 500
	}
	r := rand.New(rand.NewPCG(7, 11))
	before, reads, ran, others := state(), 0, 0, 0
	for i := range rounds {
		s := generate(r)
		all, ok := Read(Postgres, s)
		if !ok || Worst(all) != action.EffectRead {
			others++
			continue
		}
		reads++
		_, err := conn.PgConn().Exec(ctx, s).ReadAll()
		if err == nil {
			ran++
		}
		if _, err := conn.PgConn().Exec(ctx, "COMMIT; DEALLOCATE ALL").ReadAll(); err != nil {
			t.Fatal(err)
		}
		if i%20 == 0 || err == nil {
			if now := state(); now != before {
				t.Fatalf("%q is called a read, and changed\n%s\nto\n%s\n%s", s, before, now, fmt.Sprintf("%+v", all))
			}
		}
	}
	t.Logf("%d texts: %d called reads, of which %d ran; %d not", rounds, reads, ran, others)
	if ran < rounds/20 || others < rounds/4 {
		t.Errorf("the generator says nothing: %d reads ran, %d others", ran, others)
	}
}
