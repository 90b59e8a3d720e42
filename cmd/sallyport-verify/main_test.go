// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestRunAnswersByExitCode(t *testing.T) {
	golden := filepath.Join("..", "..", "ledger", "testdata", "golden-1")
	for _, try := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"the golden log", []string{"--data", golden}, 0, "VERIFIED"},
		{"as JSON", []string{"--data", golden, "--json"}, 0, `"ok": true`},
		{"who approved what", []string{"--data", golden, "--json"}, 0, `"approvals": {`},
		{"a receipt without its files", []string{"--key", "x+00000000+AAAA", "nothing.tlog-proof"}, exitUnproved, "receipt"},
		{"a receipt and a log", []string{"--data", golden, "one.tlog-proof"}, exitUsage, "one package or receipt"},
		{"a file that is no package", []string{"main.go"}, exitUnproved, "bundle"},
		{"no source", nil, exitUnproved, "exactly one"},
		{"an unknown flag", []string{"--what"}, exitUsage, "what"},
		{"a file that is no bundle", []string{"--bundle", "main.go"}, exitUnproved, "bundle"},
		{"another log's key", []string{"--data", golden, "--key", "other.example/log+00000000+AAAA"}, exitUnproved, "key"},
		{"a witness that never saw it", []string{"--data", golden, "--witness", "w+00000000+AAAA"}, exitUnproved, "witness"},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), try.args, &out, &errs); code != try.code || !strings.Contains(out.String()+errs.String(), try.says) {
			t.Errorf("%s: exit code %d\n%s%s", try.name, code, &out, &errs)
		}
	}
}

// TestVerifierStaysSmall keeps what an auditor does not need out of his command.
func TestVerifierStaysSmall(t *testing.T) {
	b, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Skipf("go list: %v", err)
	}
	for _, dep := range strings.Fields(string(b)) {
		for _, heavy := range []string{"open-policy-agent", "cedar-go", "sqlite", "cobra", "prometheus", "modelcontextprotocol"} {
			if strings.Contains(dep, heavy) {
				t.Errorf("the verifier imports %s", dep)
			}
		}
	}
}
