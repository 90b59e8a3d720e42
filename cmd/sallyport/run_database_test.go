// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/internal/confine"
	"github.com/sallyport/sallyport/internal/pgtest"
	"github.com/sallyport/sallyport/ledger"
)

// TestRunReachesDatabasesThroughTheGates has psql inside find the database by its environment, with no credential.
func TestRunReachesDatabasesThroughTheGates(t *testing.T) {
	for w, err := range confine.Available() {
		if err != nil {
			t.Skipf("the kernel offers no wall %q: %v", w, err)
		}
	}
	if _, err := exec.LookPath("psql"); err != nil {
		t.Skip("psql is not installed")
	}
	srv := pgtest.Start(t)
	srv.Exec(t, "postgres", "CREATE ROLE agents LOGIN PASSWORD 'upstream-pw'", "CREATE DATABASE shop")
	srv.Exec(t, "shop", "CREATE TABLE goods (name text)", "INSERT INTO goods VALUES ('table')", "GRANT ALL ON goods TO agents", "ALTER TABLE goods OWNER TO agents")
	p := newPlace(t, "")
	p.write("config/sallyport/sallyport.yaml", fmt.Sprintf(`version: 1
gateway: {listen: none}
admin: {listen: none}
ledger: {segment_bytes: 8388608}
postgres:
  listen: %s
  databases:
    - {name: shop, zone: inside, password_file: %s, upstream: "host=127.0.0.1 port=%d user=agents dbname=shop sslmode=disable"}
`, howtoAddress(t), p.write("pw", "upstream-pw"), srv.Port))
	p.listenNone()
	p.must("agents", "create", "billing")
	run := func(script string) string {
		cmd := p.command(t.Context(), "sallyport", "run", "--require", "confined", "--agent", "billing", "--", "sh", "-c", script)
		cmd.Dir = p.folder("work")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		return out.String()
	}
	out := run(`env | grep ^PG; psql -Atc 'SELECT name FROM goods'; psql -c 'DELETE FROM goods' 2>&1; psql -d other -c 'SELECT 1' 2>&1
psql -h 127.0.0.1 -p ` + fmt.Sprint(srv.Port) + ` -U agents -c 'SELECT 1' 2>&1 | grep -o refused; true`)
	for _, want := range []string{"\ntable\n", "ERROR:  sallyport: ", `no database "other"`, "\nrefused\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if strings.Contains(out, "PGPASSWORD") || strings.Contains(out, "upstream-pw") {
		t.Errorf("a credential is inside:\n%s", out)
	}
	if n := srv.Exec(t, "shop", "SELECT count(*) FROM goods"); n != "1" {
		t.Errorf("%s rows", n)
	}
	verdicts := map[action.Verdict]int{}
	p.records(func(e ledger.Entry, q *action.Query) {
		if q == nil || e.Leaf.Kind != action.KindIntent && e.Leaf.Kind != action.KindDecision {
			return
		}
		verdicts[e.Leaf.Verdict]++
		if e.Leaf.Grade != action.GradeConfined || e.Leaf.Separation != action.SeparationConfined || q.Subject.ID != "billing" {
			t.Errorf("entry %d: grade %q, separation %q, agent %q", e.Index, e.Leaf.Grade, e.Leaf.Separation, q.Subject.ID)
		}
	})
	if verdicts[action.Allow] != 1 || verdicts[action.Deny] != 1 {
		t.Errorf("verdicts: %v", verdicts)
	}
}
