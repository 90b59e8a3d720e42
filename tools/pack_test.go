// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"testing"

	"github.com/sallyport/sallyport/action"
)

func TestPacksAreReadStrictly(t *testing.T) {
	const good = "name: x\ndescription: X.\ntransport: stdio\ntools:\n  a:\n    effect: read\n"
	if _, err := readPack([]byte(good)); err != nil {
		t.Fatal(err)
	}
	pin := "    pins: [\"sha256:0\"]\n"
	for name, text := range map[string]string{
		"an unknown key": good + "    effects: read\n", "a second document": good + "---\n" + good, "an effect twice": good + "    effect: write\n",
		"an unknown effect": "name: x\ntransport: stdio\ntools:\n  a:\n    effect: reads\n", "no effect": "name: x\ntransport: stdio\ntools:\n  a:\n    reversible: \"yes\"\n",
		"the effect unknown": "name: x\ntransport: stdio\ntools:\n  a:\n    effect: unknown\n", "a remote transport": "name: x\ntransport: http\ntools:\n  a:\n    effect: read\n",
		"no tools": "name: x\ntransport: stdio\n", "an unknown role": good + "    arguments:\n      /a: paht\n", "a pointer without slash": good + "    arguments:\n      a: path\n",
		"a short pin": good + pin, "an unknown zone": good + "    zone: moon\n", "reversible otherwise": good + "    reversible: maybe\n", "an unknown class of output": good + "    output:\n      /a: mine\n", "an output without slash": good + "    output:\n      a: party\n", "idempotent otherwise": good + "    idempotent: maybe\n", "nothing": "",
	} {
		if _, err := readPack([]byte(text)); err == nil {
			t.Errorf("%s is read", name)
		}
	}
}

// TestPacksAgreeWithTheDefinitions: each argument of a pinned definition has a role in its pack, so that a
// call of the real server can be understood in full.
func TestPacksAgreeWithTheDefinitions(t *testing.T) {
	r := open(t, testConfig())
	for _, pack := range fixtures(t) {
		defs := listed(t, pack+".json")
		for i := range defs {
			d := &defs[i]
			tool, ok := r.pack(pack).Tools[d.Name]
			if !ok {
				t.Errorf("%s has no %s", pack, d.Name)
			}
			for at, schema := range properties(d.InputSchema) {
				m, _ := members(schema)
				if kind, _ := text(m["type"]); kind == "array" || kind == "object" {
					continue
				}
				declared := &plan{declared: tool.Arguments}
				if _, ok := declared.role("/"+escapePointer(at), at); !ok {
					t.Errorf("%s/%s: argument %q has no role", pack, d.Name, at)
				}
			}
			if d.Annotations.ReadOnly != "yes" && tool.Effect == "read" && tool.Zone != "outside" {
				t.Logf("%s/%s: the pack says read where the server does not", pack, d.Name)
			}
		}
	}
}

func TestPacksSayWhatResultsMayVouchFor(t *testing.T) {
	r := open(t, testConfig())
	observe(t, r, local, listed(t, "server-slack.json")...)
	q := action.NewQuery(action.Before)
	q.Resource.Server, q.Resource.Name = "files", "slack_get_users"
	if o := r.Outline(q); o.Field("/members/*/profile/email") != "party" || o.Field("/members/*/profile/status_text") != "free_text" || o.Field("/members/*/x") != "" {
		t.Errorf("%q", o.Field("/members/*/profile/email"))
	}
	q.Resource.Name = "unknown"
	if o := r.Outline(q); o.Field("/members/*/profile/email") != "" {
		t.Error("a pack speaks for a tool that it does not know")
	}
}
