// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"testing"

	"github.com/sallyport/sallyport/attest"
)

func TestModelLevelNeedsWeightsThatSomebodyMeasured(t *testing.T) {
	model := func(d string) attest.Event { return attest.Event{Kind: "model", Digest: d} }
	verity := func(d string) attest.Event { return attest.Event{Kind: "verity", Digest: d} }
	signed := &attest.Model{Digest: "sha256:aa"}
	for _, c := range []struct {
		name      string
		assurance int
		measured  []attest.Event
		statement *attest.Model
		want      int
	}{
		{"nothing", 4, nil, signed, 0},
		{"a digest on the agent's own word", 1, []attest.Event{model("aa"), verity("aa")}, signed, 0},
		{"a digest", 2, []attest.Event{model("aa")}, nil, 1},
		{"a signed one", 2, []attest.Event{model("aa")}, signed, 2},
		{"another one than is signed", 2, []attest.Event{model("bb")}, signed, 1},
		{"a signed one that the kernel seals", 2, []attest.Event{model("aa"), verity("aa")}, signed, 3},
		{"a sealed one that nobody signed", 2, []attest.Event{model("aa"), verity("aa")}, nil, 1},
		{"a seal on another one", 2, []attest.Event{model("aa"), verity("bb")}, signed, 2},
		{"a seal before the weights changed back", 2, []attest.Event{model("aa"), verity("aa"), model("bb"), model("aa")}, signed, 2},
		{"a seal alone", 2, []attest.Event{verity("aa")}, signed, 0},
	} {
		if got, _ := modelLevel(c.assurance, c.measured, c.statement); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
