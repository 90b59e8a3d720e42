// SPDX-License-Identifier: Apache-2.0

package policy

import "testing"

// TestProofIsTakenOverForTheSameBundleOnly compiles a bundle twice and another once.
func TestProofIsTakenOverForTheSameBundleOnly(t *testing.T) {
	proofs.Lock()
	clear(proofs.of)
	proofs.Unlock()
	known := func() int {
		proofs.Lock()
		defer proofs.Unlock()
		return len(proofs.of)
	}
	unproved, err := Load(Config{unproved: true})
	if err != nil {
		t.Fatal(err)
	}
	if c := unproved.Coverage(); c.Trusted || c.Proved != 0 || known() != 0 {
		t.Fatalf("%+v, %d remembered", c, known())
	}
	first, err := Load(Config{})
	if err != nil {
		t.Fatal(err)
	}
	was := first.Coverage()
	if !was.Trusted || known() != 1 {
		t.Fatalf("%+v, %d remembered", was, known())
	}
	again, err := Load(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if c := again.Coverage(); !c.Trusted || c.Proved != was.Proved || known() != 1 {
		t.Errorf("%+v, %d remembered", c, known())
	}
	proofs.Lock()
	for d := range proofs.of {
		if d != again.Bundle().Digest {
			t.Errorf("%s is remembered, the bundle is %s", d, again.Bundle().Digest)
		}
	}
	proofs.Unlock()
}
