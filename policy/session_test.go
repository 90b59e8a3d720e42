// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"context"
	"os"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/bundle"
)

// TestBaselineLetsACodingSessionWork decides a composed session of 100 calls, with facts as the tools column states
// them, in which a developer has discount codes added to a shop.
func TestBaselineLetsACodingSessionWork(t *testing.T) {
	data, err := os.ReadFile("../policies/baseline/testdata/coding-session.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[action.Verdict]int{}
	for line := range bytes.Lines(data) {
		q, err := bundle.ReadPartial(bytes.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		d, err := p.Decide(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		got[d.Verdict]++
		switch d.Verdict {
		case action.Ask:
			t.Logf("asks: %s %s", q.Resource.ID, q.Action.Arguments)
		case action.Deny, action.Quarantine:
			t.Errorf("honest work is refused:\n%s", Text(q, &d))
		}
	}
	if n := got[action.Allow] + got[action.Ask]; n != 100 || got[action.Ask] > 10 {
		t.Errorf("of %d calls %d ask; want 100 calls and at most 10", n, got[action.Ask])
	}
	t.Logf("%d allowed, %d asked", got[action.Allow], got[action.Ask])
}
