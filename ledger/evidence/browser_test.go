// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
)

// TestBrowserAgreesOnPackages holds docs/verify to Verify: a package with opened parts and a policy in it, and that
// package with a byte flipped in each member, each member left out, one twice, and one more.
func TestBrowserAgreesOnPackages(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	l := newLog(t)
	file := made(t, Config{Log: l, About: About{Kind: KindIncident, Session: "s1"}, Actor: "priya", Purpose: "case",
		Open:   func(_ uint64, _ *ledger.Leaf, part action.PartName) bool { return part == action.PartArguments },
		Policy: func(string) ([]byte, error) { return []byte("a policy"), nil }})
	members := read(t, file)
	if len(members) != 7 || string(members[4].data) != "a policy" || members[4].name != memberPolicy+"aa.tar.gz" {
		t.Fatalf("%d members", len(members))
	}
	dir := t.TempDir()
	var cases []map[string]any
	add := func(name string, m []document, want bool) {
		t.Helper()
		to := filepath.Join(dir, name+".tar")
		write(t, to, m)
		if _, _, err := Verify(t.Context(), to, "", ledger.Options{Vkey: l.Vkey()}); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
		cases = append(cases, map[string]any{"file": to, "want": want})
	}
	add("whole", members, true)
	for i, d := range members {
		flipped := append([]document{}, members...)
		flipped[i].data = bytes.Clone(d.data)
		flipped[i].data[len(d.data)/2] ^= 1
		add("flipped-"+d.name, flipped, false)
		add("without-"+d.name, append(append([]document{}, members[:i]...), members[i+1:]...), false)
		add("twice-"+d.name, append(append([]document{}, members...), d), false)
	}
	add("more", append([]document{members[0], {"note.txt", []byte("x")}}, members[1:]...), false)
	list, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	module, err := filepath.Abs("../../docs/verify/log.mjs")
	if err != nil {
		t.Fatal(err)
	}
	script := `import { openAsBlob } from "node:fs"; import { verify } from "file://` + module + `";
for (const c of JSON.parse(process.argv[1])) {
  let policies = -1;
  const r = await verify(await openAsBlob(c.file), { key: process.argv[2], engine: async (p) => { policies = p.length; return null; } });
  if (r.ok !== c.want || (c.want && (policies !== 1 || r.parts !== 2))) console.log(c.file, r.ok, policies, r.parts, r.problems.slice(0, 2));
}`
	out, err := exec.CommandContext(t.Context(), node, "--input-type=module", "-e", script, string(list), l.Vkey()).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %.2000s", err, out)
	}
	for line := range bytes.Lines(out) {
		if !bytes.Contains(line, []byte("ExperimentalWarning")) && !bytes.Contains(line, []byte("--trace-warnings")) {
			t.Errorf("%s", line)
		}
	}
}
