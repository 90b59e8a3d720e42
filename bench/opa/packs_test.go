// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/policies"
	"github.com/sallyport/sallyport/policy/rego/regotest"
)

// opa builds OPA's own command from its module; nothing of this project is in it.
func opa(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "opa")
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/open-policy-agent/opa").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// TestPacksPassTheRealOPATest lets OPA's command judge every Rego pack: it is checked strictly, and passes "opa test" with its
// cases written as Rego.
func TestPacksPassTheRealOPATest(t *testing.T) {
	bin := opa(t)
	for _, name := range policies.Names() {
		fsys, err := policies.Pack(name)
		if err != nil {
			t.Fatal(err)
		}
		if rego, _ := fs.Glob(fsys, "*.rego"); len(rego) == 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			want, err := regotest.Write(fsys, dir)
			if err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(bin, "check", "--strict", dir).CombinedOutput(); err != nil {
				t.Errorf("opa check: %v\n%s", err, out)
			}
			passed, failed := runTests(t, bin, dir)
			if passed != want || want < 40 || len(failed) > 0 {
				t.Errorf("opa test: %d of %d pass, %q do not", passed, want, failed)
			}
			broken := filepath.Join(dir, "broken_test.rego")
			if err := os.WriteFile(broken, []byte("package broken\n\nimport rego.v2\n\ntest_no if false\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, failed := runTests(t, bin, broken); len(failed) != 1 {
				t.Errorf("opa test passes a test that fails: %q", failed)
			}
		})
	}
}

func runTests(t *testing.T, bin, path string) (passed int, failed []string) {
	t.Helper()
	out, err := exec.Command(bin, "test", "--format", "json", path).Output()
	var results []struct {
		Name  string `json:"name"`
		Fail  bool   `json:"fail"`
		Error any    `json:"error"`
	}
	if json.Unmarshal(out, &results) != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, r := range results {
		if r.Fail || r.Error != nil {
			failed = append(failed, r.Name)
		} else {
			passed++
		}
	}
	if (err != nil) != (len(failed) > 0) {
		t.Fatal(err)
	}
	return passed, failed
}
