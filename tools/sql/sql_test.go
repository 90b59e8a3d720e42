// SPDX-License-Identifier: Apache-2.0

package sql

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

// say renders what is known of the statements: "SELECT read t,u".
func say(d Dialect, s string) string {
	all, ok := Read(d, s)
	var out []string
	for _, x := range all {
		one := x.Verb + " " + string(x.Effect)
		if x.Control {
			one += " control"
		}
		if len(x.Tables) > 0 {
			one += " " + strings.Join(x.Tables, ",")
		}
		out = append(out, strings.TrimSpace(one))
	}
	if !ok {
		out = append(out, "unsplit")
	}
	return strings.Join(out, "; ")
}

func TestReadsAreProvedWithTheirTables(t *testing.T) {
	for s, want := range map[string]string{
		`SELECT 1`:                          `SELECT read`,
		`select * from Orders where id = 5`: `SELECT read orders`,
		`SELECT a.x, b.y FROM s.a a JOIN "T b" AS b ON a.id = b.id, c`:                              `SELECT read T b,c,s.a`,
		`SELECT * FROM a JOIN b ON CASE WHEN a.x THEN b.y END, c WHERE 1=1`:                         `SELECT read a,b,c`,
		`SELECT * FROM ((a JOIN b USING (id)) CROSS JOIN c) , LATERAL (SELECT * FROM d) x`:          `SELECT read a,b,c,d`,
		`WITH x AS (SELECT * FROM a), y (n, m) AS MATERIALIZED (SELECT 1, 2) SELECT * FROM x, y`:    `WITH read a`,
		`WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n+1 FROM t) SELECT sum(n) FROM t`:      `WITH read`,
		`SELECT count(*) FILTER (WHERE x > 1) OVER (PARTITION BY (y)) FROM a`:                       `SELECT read a`,
		`SELECT extract(epoch FROM ts), substring(s FROM 1 FOR 2), x IS DISTINCT FROM y FROM a`:     `SELECT read a`,
		`SELECT x::numeric(10,2), CAST(y AS varchar(10)), 'a'::regclass, $1::int4 FROM a`:           `SELECT read a`,
		`SELECT * FROM a t(x, y) WHERE t.update = 1 -- DELETE FROM a`:                               `SELECT read a`,
		`SELECT /* a /* nested */ DROP */ 'it''s; DELETE', $q$ ; DROP $q$, E'\'; DROP' FROM ONLY a`: `SELECT read a`,
		`(SELECT 1 FROM a) UNION (SELECT 2 FROM b) ORDER BY 1 LIMIT 5`:                              `SELECT read a,b`,
		`TABLE a`:                                            `TABLE read a`,
		`VALUES (1, 'a'), (2, 'b')`:                          `VALUES read`,
		`EXPLAIN ANALYZE SELECT * FROM a`:                    `EXPLAIN read a`,
		`EXPLAIN (ANALYZE, FORMAT json) SELECT * FROM a`:     `EXPLAIN read a`,
		`SHOW server_version`:                                `SHOW read`,
		`COPY a TO STDOUT`:                                   `COPY read a`,
		`COPY (SELECT * FROM a) TO STDOUT WITH (FORMAT csv)`: `COPY read a`,
		`PREPARE p (int) AS SELECT * FROM a WHERE id = $1`:   `PREPARE read a`,
		`DECLARE c CURSOR FOR SELECT * FROM a`:               `DECLARE read a`,
		`BEGIN; SELECT 1; COMMIT`:                            `BEGIN read control; SELECT read; COMMIT read control`,
		`BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`:    `BEGIN read control`,
		`SAVEPOINT a; ROLLBACK TO SAVEPOINT a; RELEASE a`:    `SAVEPOINT read control; ROLLBACK read control; RELEASE read control`,
		`SET application_name = 'x'; SET TIME ZONE 'UTC'`:    `SET read control; SET read control`,
		`SELECT data->>'a', data #>> '{a,b}', tags @> ARRAY['x'], a[1] FROM t WHERE x ~* 'y' AND z=-1`:                              `SELECT read t`,
		`SELECT n.nspname FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.~) '^(a)$' COLLATE pg_catalog.default`: `SELECT read pg_catalog.pg_namespace`,
		`SELECT * FROM generate_series(1, 3) AS g(i) WHERE i IN (SELECT id FROM a)`:                                                 `SELECT read a`,
		`SELECT * FROM json_to_recordset($1) AS x(a int, b varchar(10)), t`:                                                         `SELECT read t`,
		`SELECT ts AT TIME ZONE 'UTC', interval '1 day' FROM a FETCH FIRST (2) ROWS ONLY`:                                           `SELECT read a`,
		``:     ``,
		` ; ;`: ``,
	} {
		if got := say(Postgres, s); got != want {
			all, _ := Read(Postgres, s)
			t.Errorf("%s\n got %s\nwant %s\n%+v", s, got, want, all)
		}
	}
}

// Whatever may change something must never be a read.
var changes = []string{
	`INSERT INTO t VALUES (1)`, `UPDATE t SET x = 1`, `DELETE FROM t`, `MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE`,
	`TRUNCATE t`, `DROP TABLE t`, `CREATE TABLE u (x int)`, `ALTER TABLE t ADD y int`, `GRANT ALL ON t TO public`,
	`WITH x AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM x`,
	`WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x`,
	`WITH x AS (SELECT 1), y AS (UPDATE t SET x = 1 RETURNING *) TABLE y`,
	`SELECT * INTO u FROM t`, `SELECT * FROM t FOR UPDATE`, `SELECT * FROM t FOR SHARE`, `SELECT * FROM t FOR NO KEY UPDATE`,
	`SELECT * FROM t FOR KEY SHARE`, `TABLE t FOR UPDATE`,
	`SELECT nextval('s')`, `SELECT setval('s', 1)`, `SELECT evil()`, `SELECT evil ( )`, `SELECT "evil"()`, `SELECT public.lower('x')`,
	`SELECT "Lower"('x')`, `SELECT set_config('role', 'x', false)`, `SELECT pg_sleep(10)`, `SELECT pg_terminate_backend(1)`,
	`SELECT pg_read_file('/etc/passwd')`, `SELECT lo_import('/etc/passwd')`, `SELECT dblink_exec('x', 'y')`,
	`SELECT query_to_xml('delete from t', true, true, '')`, `SELECT * FROM crosstab('x')`, `SELECT ts_stat('delete')`,
	`SELECT * FROM t, evil(1)`, `SELECT * FROM t JOIN evil(1) e ON true`, `SELECT * FROM t x, LATERAL evil(x.a)`,
	`SELECT * FROM ROWS FROM (evil(1), generate_series(1,2))`, `SELECT 1 FROM t WHERE x = ANY (ARRAY(SELECT evil()))`,
	`SELECT * FROM a JOIN b ON a.ts AT TIME ZONE evil(b.x) = b.ts`, `SELECT * FROM a JOIN b ON evil(x)`,
	`SELECT system('x')`, `SELECT filter(1)`, `SELECT over(1)`, `SELECT first(x) FROM t`, `SELECT by(1)`, `SELECT join(1)`, `SELECT full(1)`,
	`SELECT inner(1)`, `SELECT sets(1)`, `SELECT materialized(1)`, `SELECT rows(1)`, `SELECT range(1)`, `SELECT similar(1)`,
	`SELECT 1 OPERATOR(public.+) 2`, `SELECT 1 %% 2`, `SELECT * FROM t ORDER BY evil(x)`, `SELECT * FROM t LIMIT evil(1)`,
	`VALUES (evil())`, `EXPLAIN ANALYZE DELETE FROM t`, `EXPLAIN (ANALYZE) SELECT evil()`, `EXPLAIN ANALYZE EXECUTE p`,
	`COPY t FROM STDIN`, `COPY t TO PROGRAM 'sh'`, `COPY t TO '/tmp/x'`, `COPY (DELETE FROM t RETURNING *) TO STDOUT`,
	`COPY t FROM PROGRAM 'sh'`, `DO $$ BEGIN DELETE FROM t; END $$`, `CALL p()`, `EXECUTE p`, `PREPARE p AS DELETE FROM t`,
	`PREPARE TRANSACTION 'x'`, `COMMIT PREPARED 'x'`, `DECLARE c CURSOR FOR SELECT * FROM t FOR UPDATE`, `FETCH c`, `MOVE c`,
	`SET ROLE x`, `SET SESSION AUTHORIZATION x`, `SET LOCAL ROLE x`, `RESET ROLE`, `RESET ALL`, `DISCARD ALL`, `SET search_path = x`,
	`SET default_transaction_read_only = off`, `SET transaction_read_only TO off`, `BEGIN READ WRITE`, `START TRANSACTION READ WRITE`,
	`SET TRANSACTION READ WRITE`, `SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE`, `SET client_encoding = 'SJIS'`,
	`SET standard_conforming_strings = off`, `LOCK TABLE t`, `VACUUM`, `ANALYZE`, `REINDEX TABLE t`, `CLUSTER`, `CHECKPOINT`, `LISTEN x`, `NOTIFY x`,
	`REFRESH MATERIALIZED VIEW v`, `COMMENT ON TABLE t IS 'x'`, `IMPORT FOREIGN SCHEMA s FROM SERVER x INTO y`, `LOAD 'x'`, `SECURITY LABEL ON TABLE t IS 'x'`,
	`SELECT 1; DELETE FROM t`, `SELECT 1;DELETE FROM t`, `;;DELETE FROM t`, `/* x */ DELETE FROM t`, "-- x\nDELETE FROM t", `/* /* */ */ DELETE FROM t`,
	`SELECT '\'; DELETE FROM t; --'`, `SELECT 'a' 'b'`, "SELECT E'a'\n'\\''; DELETE FROM t; --'", `SELECT U&'\0027'`, `SELECT * FROM U&"\0074"`,
	`SELECT $a$ $b$ $a$; DELETE FROM t`, `SELECT :x`, `SELECT :'x'`, `\! sh`, `SELECT 1 \g /tmp/x`, "SELECT 1\x00; DELETE FROM t", "SELECT '\xbf'; DELETE FROM t --'",
	`SELECT (`, `SELECT )`, `SELECT 1)`, `SELECT ((1)`, `SELECT '`, `SELECT "`, `SELECT $$`, `SELECT /*`, `DELETE`, `WITH x AS DELETE FROM t`,
	`SELECT * FROM t AS x(a, evil(1))`, `WITH x(evil()) AS (SELECT 1) SELECT 1`, `SELECT * FROM evil(1) AS (a int)`, `SELECT * FROM t, evil(1) AS (a int, b int)`,
	`SELECT 1a`, `SELECT 0x1F`, `SELECT 1_000`, `SELECT like(evil())`, `SELECT $1abc`, `WITH x AS (SELECT 1) INSERT INTO t TABLE x`,
}

func TestNothingThatChangesIsARead(t *testing.T) {
	for _, d := range []Dialect{Postgres, MySQL, Generic} {
		for _, s := range changes {
			all, _ := Read(d, s)
			if !slices.ContainsFunc(all, func(x Statement) bool { return x.Effect != action.EffectRead && x.Writes != action.No }) {
				t.Errorf("%s: %q is called a read: %+v", d, s, all)
			}
			if Worst(all) == action.EffectRead {
				t.Errorf("%s: the worst of %q is a read", d, s)
			}
		}
	}
}

func TestWhatDialectsReadDifferentlyIsNoRead(t *testing.T) {
	for s, bad := range map[string][]Dialect{
		`SELECT 1 /*! ; DELETE FROM t */`:         {MySQL, Generic},
		`SELECT 1 # x`:                            {MySQL, Generic},
		"SELECT 1 --x\n":                          {MySQL, Generic},
		"SELECT `a` FROM `t`":                     {Postgres, Generic},
		`SELECT $$a$$`:                            {MySQL, Generic},
		`SELECT [a'] FROM t`:                      {MySQL, Generic, Postgres},
		`SELECT E'a\'b'`:                          {MySQL, Generic},
		`SELECT @a := 1`:                          {MySQL, Generic},
		`SELECT 1 INTO OUTFILE '/tmp/x'`:          {MySQL, Generic},
		`SELECT 1 DROP TABLE t`:                   {MySQL, Generic},
		`SELECT * FROM t LOCK IN SHARE MODE`:      {MySQL, Generic},
		`SELECT load_file('/etc/passwd')`:         {MySQL, Generic},
		`SELECT load_extension('x')`:              {Generic},
		`SELECT NEXT VALUE FOR s`:                 {MySQL, Generic},
		`PRAGMA writable_schema = 1`:              {Generic},
		`ATTACH 'x' AS y`:                         {Generic},
		`SELECT sleep(5)`:                         {MySQL, Generic},
		`SELECT benchmark(1, 2)`:                  {MySQL},
		`PREPARE p FROM 'DELETE FROM t'`:          {MySQL, Generic},
		`BEGIN NOT ATOMIC DELETE FROM t; END`:     {MySQL, Generic},
		`SELECT * FROM a JOIN b ON offset = 1, c`: {MySQL, Generic},
	} {
		for _, d := range bad {
			if all, _ := Read(d, s); Worst(all) == action.EffectRead {
				t.Errorf("%s: %q is called a read", d, s)
			}
		}
	}
	for s, want := range map[string]string{
		"SELECT `a`, if(x > 1, 'y', \"z\") FROM `my t` JOIN u ON a = b XOR (c) LIMIT 5": `SELECT read my t,u`,
		`SHOW TABLES`: `SHOW read`, `DESCRIBE t`: `DESCRIBE read t`, `SHOW COLUMNS FROM t`: `SHOW read t`,
	} {
		if got := say(MySQL, s); got != want {
			t.Errorf("%s: got %s, want %s", s, got, want)
		}
	}
	if got := say(Generic, `SELECT count(*), lower(name) FROM users WHERE id = ? GROUP BY name`); got != `SELECT read users` {
		t.Error(got)
	}
}

func TestEffectsOfChangesAreNamed(t *testing.T) {
	for s, want := range map[string]string{
		`INSERT INTO s.t VALUES (1)`: `INSERT write s.t`, `DELETE FROM t`: `DELETE destroy t`, `DROP TABLE IF EXISTS t`: `DROP destroy`,
		`DO 'x'`: `DO execute`, `SET ROLE x`: `SET admin`, `GRANT x TO y`: `GRANT admin x`, `SELECT evil()`: `SELECT unknown`,
		`WITH x AS (DELETE FROM t RETURNING *) SELECT 1`: `WITH destroy`, `COPY t FROM STDIN`: `COPY write t`, `COPY t TO PROGRAM 'x'`: `COPY execute t`,
		`SELECT * FROM t FOR UPDATE`: `SELECT write t`, `FROBNICATE`: `FROBNICATE unknown`,
	} {
		if got := say(Postgres, s); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %s, want %s", s, got, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range changes {
		f.Add(s)
	}
	f.Add(`WITH x AS (SELECT * FROM a), y (n, m) AS MATERIALIZED (SELECT 1, 2) SELECT * FROM x, y`)
	f.Fuzz(func(t *testing.T, s string) {
		for _, d := range []Dialect{Postgres, MySQL, Generic} {
			all, ok := Read(d, s)
			if !ok && len(all) != 1 {
				t.Fatalf("%d statements of an unsplit text", len(all))
			}
			for _, x := range all {
				if (x.Writes == action.No) != (x.Effect == action.EffectRead) || x.Writes == action.No && !x.Known {
					t.Fatalf("%+v contradicts itself", x)
				}
			}
			// A comment and other case change nothing; a write behind it is always seen.
			if more, ok := Read(d, s+"\n;DELETE FROM t"); ok && Worst(more) == action.EffectRead {
				t.Fatalf("%q: a DELETE behind it is not seen", s)
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	s := `SELECT o.id, c.name, sum(l.price * l.count) FROM orders o JOIN customers c ON c.id = o.customer JOIN lines l ON l."order" = o.id WHERE o.day > now() - interval '7 days' GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 20`
	b.SetBytes(int64(len(s)))
	b.ReportAllocs()
	for b.Loop() {
		if all, _ := Read(Postgres, s); Worst(all) != action.EffectRead {
			b.Fatal(fmt.Sprint(all))
		}
	}
}
