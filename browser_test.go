// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/auditor"
	"github.com/sallyport/sallyport/ledger"
)

// disclosed writes the log with every part that one person may open.
func (h *house) disclosed() string {
	h.t.Helper()
	var b bytes.Buffer
	err := h.Ledger.Export(h.t.Context(), &b, ledger.ExportOptions{Actor: "priya", Purpose: "audit",
		Open: func(_ uint64, _ *ledger.Leaf, part action.PartName) bool { return part != action.PartReasoning }})
	if err != nil {
		h.t.Fatal(err)
	}
	file := filepath.Join(h.t.TempDir(), "log.tar")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return file
}

func nodeOf(t testing.TB) string {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	return node
}

// browserReport is what docs/verify says of a bundle.
type browserReport struct {
	OK        bool
	Problems  []string
	Approvals struct{ Requests, Answers, Signed, Closed int }
	Decisions int
	Replayed  map[string]int
}

func (h *house) browserSays(args ...string) (r browserReport) {
	h.t.Helper()
	out, err := exec.CommandContext(h.t.Context(), nodeOf(h.t), append([]string{"docs/verify/verify.mjs", "--json", "--key", h.Ledger.Vkey()}, args...)...).Output()
	line, _, _ := bytes.Cut(out, []byte("\n"))
	if jerr := json.Unmarshal(line, &r); jerr != nil {
		h.t.Fatalf("%v, %v: %s", err, jerr, out)
	}
	return r
}

// inBrowser lets docs/verify check the same log and the same forgeries, and holds it to what Go found.
func (h *house) inBrowser(t *testing.T, want *auditor.ApprovalProofs) {
	t.Helper()
	r := h.browserSays(h.disclosed())
	if !r.OK || r.Approvals.Requests != want.Requests || r.Approvals.Answers != want.Answers || r.Approvals.Signed != want.Signed || r.Approvals.Closed != want.Closed {
		t.Fatalf("the browser sees %+v, not %+v", r, want)
	}
	type call struct {
		Index uint64          `json:"index"`
		Leaf  json.RawMessage `json:"leaf"`
		Part  string          `json:"part"`
		Data  []byte          `json:"data"`
	}
	forged := map[string][]call{}
	for name, bend := range bends {
		h.verify(t, func(i uint64, l *ledger.Leaf, part action.PartName, data []byte) string {
			raw, err := l.Encode()
			if err != nil {
				t.Fatal(err)
			}
			forged[name] = append(forged[name], call{i, raw, string(part), []byte(bend(l, part, string(data)))})
			return ""
		})
	}
	b, err := json.Marshal(forged)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "forged.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	module, err := filepath.Abs("docs/verify/approvals.mjs")
	if err != nil {
		t.Fatal(err)
	}
	script := `import { readFileSync } from "node:fs"; import { Approvals } from "file://` + module + `";
for (const [name, calls] of Object.entries(JSON.parse(readFileSync(process.argv[1], "utf8")))) {
  const a = new Approvals(), found = [];
  for (const c of calls) {
    if (!c.part) a.leaf(c.index, c.leaf);
    else found.push(await a.part(c.index, c.leaf, c.part, Uint8Array.from(atob(c.data), (x) => x.charCodeAt(0))));
  }
  if (!found.some(Boolean)) console.log("nobody notices: " + name);
}`
	out, err := exec.CommandContext(t.Context(), nodeOf(t), "--input-type=module", "-e", script, file).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Fatalf("%v\n%.4000s", err, out)
	}
}
