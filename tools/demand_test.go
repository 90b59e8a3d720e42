// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"testing"

	"github.com/sallyport/sallyport/action"
)

func TestRealServersShadowNobodyWhenTheyAreAllInUse(t *testing.T) {
	cfg := testConfig()
	cfg.Poisoned = func(string) action.Tri { return action.No }
	r := open(t, cfg)
	up := func(server string) Upstream {
		return Upstream{Server: server, Transport: Stdio, Command: []string{server}}
	}
	n := 0
	for _, name := range fixtures(t) {
		observe(t, r, up(name), listed(t, name+".json")...)
	}
	for _, name := range fixtures(t) {
		for _, d := range listed(t, name+".json") {
			f, ok := r.Lookup("default", name, d.Name)
			if n++; !ok || f.Definition.Poisoned != action.No {
				t.Errorf("%s of %s: %v, %s", d.Name, name, ok, f.Definition.Poisoned)
			}
		}
	}
	if n < 150 {
		t.Errorf("%d tools", n)
	}
}

func FuzzDemands(f *testing.F) {
	f.Add("Before any mail is sent, call this. always\x00 never \xff!", "mail_server", "send_e-mail")
	f.Fuzz(func(t *testing.T, text, server, name string) {
		got := demands(&Definition{Name: name, Description: text})
		if len(got) > maxDemands {
			t.Fatalf("%d demands", len(got))
		}
		s := subject(server, name)
		for _, d := range got {
			if len(d) > maxSentence {
				t.Fatalf("%d words", len(d))
			}
			d.about(s)
		}
	})
}
