// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"regexp"
	"testing"

	"github.com/sallyport/sallyport/internal/confine"
)

func TestRunPlantsDecoysOfItsOwn(t *testing.T) {
	for w, err := range confine.Available() {
		if err != nil {
			t.Skipf("the kernel offers no wall %q: %v", w, err)
		}
	}
	p := newPlace(t, "")
	planted := regexp.MustCompile(`(?s)VAULT_TOKEN_OLD=([0-9a-f]{32})\n.*"access_token":"([0-9a-f]{32})"`)
	look := func(detect string) []string {
		p.write("config/sallyport/sallyport.yaml", "version: 1\ngateway: {listen: none}\nadmin: {listen: none}\nledger: {segment_bytes: 8388608}\n"+detect)
		cmd := p.command(t.Context(), "sallyport", "run", "--", "sh", "-c", "env; cat $TMPDIR/credentials.json; true")
		cmd.Dir = p.folder("work")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return planted.FindStringSubmatch(string(out))
	}
	if m := look(""); m != nil {
		t.Errorf("without being asked for: %q", m)
	}
	const on = "detect: {canaries: {auto: \"on\", variable: VAULT_TOKEN_OLD}}\n"
	first, second := look(on), look(on)
	if len(first) != 3 || len(second) != 3 {
		t.Fatalf("%q, %q", first, second)
	}
	if first[1] == first[2] || first[1] == second[1] || first[2] == second[2] {
		t.Errorf("one decoy stands in two places: %q, %q", first, second)
	}
}
