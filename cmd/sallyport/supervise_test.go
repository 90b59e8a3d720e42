// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/internal/confine"
)

// TestRunAndMCPActUnderALease gives the user's own agent reference values: what "run" and "mcp" start is measured, and
// what is not expected gets no lease and does nothing.
func TestRunAndMCPActUnderALease(t *testing.T) {
	p := newPlace(t, "")
	work := p.folder("work")
	program, err := os.ReadFile(p.exe)
	if err != nil {
		t.Fatal(err)
	}
	server := p.folder("bin") + "/notes"
	if err := os.WriteFile(server, program, 0o755); err != nil {
		t.Fatal(err)
	}
	notes := []string{server, "example-server", work}
	agent := []string{"bash", "-c", `exec 5<>/dev/tcp/127.0.0.1/7117; printf 'POST /v1/sessions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}' >&5; head -1 <&5; command -v psql || exit; psql -wc 'SELECT 1' 2>&1; PGPASSWORD= psql -wc 'SELECT 1' 2>&1`}
	config := "version: 1\ngateway: {listen: none}\nadmin: {listen: none}\nledger: {segment_bytes: 8388608}\n" +
		"postgres: {listen: " + howtoAddress(t) + ", databases: [{name: shop, upstream: host=127.0.0.1 port=1 user=a dbname=d sslmode=disable}]}\n" +
		"attest: {agents: [{agent: local, kinds: [supervisor], assurance: 2, references: ["
	for _, command := range [][]string{notes, agent} {
		var events []attest.Event
		if err := json.Unmarshal([]byte(p.must(append([]string{"attest", "measure", "--json", "--"}, command...)...)), &events); err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			config += fmt.Sprintf("{kind: %s, digests: [%s]},", e.Kind, e.Digest)
		}
	}
	p.write("config/sallyport/sallyport.yaml", config+"]}]}\n")
	p.up()

	c := p.connect(work, "notes", notes...)
	if status := p.must("attest", "status"); !strings.Contains(status, "local") || !strings.Contains(status, "A2 M0 by supervisor") && !strings.Contains(status, "A2 M0 supervisor") {
		t.Errorf("no lease: %s", status)
	} else if !strings.Contains(status, "does not withstand local root") {
		t.Errorf("the lease promises more than it holds: %s", status)
	}
	if _, _, err := c.try("list_notes", map[string]any{}); err != nil {
		t.Errorf("a call under the lease: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	run := func(command ...string) (string, string) {
		cmd := p.command(t.Context(), append([]string{"sallyport", "run", "--"}, command...)...)
		cmd.Dir = work
		var o, e bytes.Buffer
		cmd.Stdout, cmd.Stderr = &o, &e
		_ = cmd.Run() // the output says what came of it
		return o.String(), e.String()
	}
	walls := true
	for _, err := range confine.Available() {
		walls = walls && err == nil
	}
	if walls {
		out, errs := run(agent...)
		if !strings.Contains(out, " 200 ") && !strings.Contains(out, " 201 ") || !strings.Contains(errs, "A2 M0 by supervisor") {
			t.Errorf("run: %s %s", out, errs)
		}
		// Databases ask for what the lease derived, and whoever shows it is through to a server that is not there.
		if strings.Contains(out, "psql") && (strings.Count(out, "the database cannot be reached") != 1 || strings.Count(out, "no password supplied") != 1) {
			t.Errorf("run: %s", out)
		}
	}
	if out, errs := run("bash", "-c", "echo something else"); out != "" || !strings.Contains(errs, "command: measured, and no reference value") {
		t.Errorf("another command line: %q %s", out, errs)
	}
	if err := os.Remove(server); err != nil { // it may be running still
		t.Fatal(err)
	}
	if err := os.WriteFile(server, append(program, 0), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := p.dial(work, "notes", notes...); err == nil || !strings.Contains(err.Error(), "executable: measured, and no reference value") {
		t.Errorf("another program in the server's place: %v", err)
	}
}
