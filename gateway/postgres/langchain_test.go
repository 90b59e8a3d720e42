// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
)

// langchain runs a real LangChain agent with a real driver over calls of (database, statement, parameters).
func (h *house) langchain(calls [][3]any) []string {
	h.t.Helper()
	python, err := filepath.Abs(filepath.Join("..", "..", ".cache", "sdk-python", "venv", "bin", "python"))
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := os.Stat(python); err != nil {
		h.t.Skip("LangChain is not installed; test/sdk-python/install.sh does it")
	}
	host, port, _ := net.SplitHostPort(h.addr)
	in, err := json.Marshal(map[string]any{"host": host, "port": port, "password": h.token, "calls": calls})
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.CommandContext(h.t.Context(), python, filepath.Join("testdata", "agent.py"))
	cmd.Stdin, cmd.Env = bytes.NewReader(in), []string{"PATH=" + os.Getenv("PATH"), "HOME=" + h.t.TempDir(), "PYTHONDONTWRITEBYTECODE=1"}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	b, err := cmd.Output()
	var out []string
	if err != nil || json.Unmarshal(b, &out) != nil || len(out) != len(calls) {
		h.t.Fatalf("%v\n%s\n%s", err, b, errs.String())
	}
	return out
}

// refusals are what the records of refused statements say, apart from who and when.
func (h *house) refusals() (out []string) {
	h.t.Helper()
	err := h.Ledger.Records(context.Background(), func(e ledger.Entry) error {
		if l := e.Leaf; l.Kind == action.KindDecision {
			out = append(out, fmt.Sprint(l.Server, l.Tool, l.Effect, l.Phase, l.Verdict, l.Enforced, l.Status, l.Rules, l.Codes, l.Grade))
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// TestALangChainAgentAndPsqlReadAAndNeverWriteB has both do the same; what is on record of it is the same.
func TestALangChainAgentAndPsqlReadAAndNeverWriteB(t *testing.T) {
	h := open(t, nil)
	was := h.state("a") + h.state("b")
	calls := [][3]any{{"a", "SELECT id, name FROM accounts ORDER BY id", []any{}}, {"a", "SELECT count(*) FROM accounts WHERE id > %s", []any{1}},
		{"b", "SELECT count(*) FROM accounts", []any{}}}
	reads := len(calls)
	for _, s := range writes {
		calls = append(calls, [3]any{"b", strings.ReplaceAll(s, "%", "%%"), []any{}})
	}
	answers := h.langchain(calls)
	for i, want := range []string{`[["1", "ann"], ["2", "bob"], ["3", "None"]]`, `[["2"]]`, `[["3"]]`} {
		if answers[i] != want {
			t.Errorf("%v: %s", calls[i], answers[i])
		}
	}
	for i, a := range answers[reads:] {
		if !strings.Contains(a, "error: ") || !strings.Contains(a, "sallyport: ") {
			t.Errorf("%q is not refused: %s", writes[i], a)
		}
	}
	agents := h.refusals()
	for _, s := range writes {
		if out, err := h.psql("b", s); err == nil || !strings.Contains(out, "sallyport: ") {
			t.Errorf("psql: %q is not refused: %v\n%s", s, err, out)
		}
	}
	all := h.refusals()
	if psqls := all[len(agents):]; len(agents) != len(writes) || !slices.Equal(agents, psqls) {
		t.Errorf("%d and %d refusals for %d statements; the records differ:\n%s\n%s", len(agents), len(psqls), len(writes), strings.Join(agents, "\n"), strings.Join(psqls, "\n"))
	}
	if now := h.state("a") + h.state("b"); now != was {
		t.Errorf("it was\n%s\nand is\n%s", was, now)
	}
}
