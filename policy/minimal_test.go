// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/bundle"
)

func TestMinimalKeepsWhatDecidesAndNothingElse(t *testing.T) {
	c, err := Load(Config{})
	if err != nil {
		t.Fatal(err)
	}
	q := action.NewQuery(action.Before)
	q.Subject.ID, q.Subject.User.ID = "coder", "eve@example.org"
	q.Action.Effect, q.Action.Typed = action.EffectWrite, action.StateKnown
	q.Action.Arguments = []byte(`{"path": "/etc/shadow-copy", "text": "the whole secret letter"}`)
	q.Action.Paths = []action.Path{{Pointer: "/path", Raw: "/etc/shadow-copy", Resolved: "/etc/shadow-copy", Inside: action.No, Traverse: action.No, Private: action.No, Access: action.EffectWrite},
		{Pointer: "/other", Raw: "x", Resolved: "/w/x", Inside: action.Yes, Traverse: action.No, Private: action.No, Access: action.EffectRead}}
	q.Resource = action.Resource{Type: "tool", ID: "files/write", Server: "files", Name: "write", Zone: action.ZoneInside}
	want, err := c.Decide(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	part, err := c.Minimal(t.Context(), q, nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(part, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{"letter", "eve@", "coder", "shadow", "/w/x"} {
		if strings.Contains(string(data), gone) {
			t.Errorf("%q is left in %s", gone, data)
		}
	}
	again, err := bundle.ReadPartial(data)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Decide(t.Context(), again); err != nil || got.Verdict != want.Verdict || decidingRules(&got) != decidingRules(&want) {
		t.Errorf("%s by %s, not %s by %s, %v\n%s", got.Verdict, decidingRules(&got), want.Verdict, decidingRules(&want), err, data)
	}
}

// TestStatingIsTheWholeQuery takes the cases of the embedded packs, which state facts of all kinds.
func TestStatingIsTheWholeQuery(t *testing.T) {
	c, err := Load(Config{unproved: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range c.seeds() {
		part, err := Stating(q)
		if err != nil {
			t.Fatal(err)
		}
		again, err := read(part)
		if err != nil {
			t.Fatal(err)
		}
		a, errA := action.Canonical(q)
		b, errB := action.Canonical(again)
		if errA != nil || errB != nil || string(a) != string(b) {
			t.Fatalf("%v %v\n%s\n%s", errA, errB, a, b)
		}
	}
}

func TestCaseTextIsReadBack(t *testing.T) {
	text, err := CaseText("a: \"name\"\nof two lines", action.Deny, []string{"x"}, map[string]any{"phase": "before", "action": map[string]any{"effect": "read"}})
	if err != nil {
		t.Fatal(err)
	}
	fsys := pack("x", 1, map[string]string{"p.rego": regoAllow, "tests/more.yaml": "cases:\n" + text + text})
	suites, err := mustLoad(t, fsys).source.Suites()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range suites {
		if s.File == "tests/more.yaml" && (len(s.Cases) != 2 || s.Cases[1].Expect != action.Deny || s.Cases[1].Query.Action.Effect != action.EffectRead) {
			t.Errorf("%+v", s)
		}
	}
}
