// SPDX-License-Identifier: Apache-2.0

package strictyaml

import (
	"strings"
	"testing"
)

type doc struct {
	Listen string   `yaml:"listen"`
	Hosts  []string `yaml:"hosts"`
	Inner  struct {
		Port int `yaml:"port"`
	} `yaml:"inner"`
}

func TestDecodeRefusesWhatAReaderCouldMiss(t *testing.T) {
	for name, c := range map[string]struct{ in, err string }{
		"complete":               {"listen: a\nhosts: [b]\ninner: {port: 1}\n", ""},
		"empty":                  {"", ""},
		"a key nobody knows":     {"lisen: a\n", `f:1: unknown key "lisen" (nearest: "listen")`},
		"an inner key":           {"inner:\n  prot: 1\n", `f:2: unknown key "prot" (nearest: "port")`},
		"a key twice":            {"listen: a\nlisten: b\n", "stands twice"},
		"a key in another case":  {"Listen: a\n", "unknown key"},
		"two documents":          {"listen: a\n---\nlisten: b\n", "more than one document"},
		"an alias":               {"hosts: &x [a]\n", "anchors and aliases"},
		"a number for a text":    {"listen: 1\n", "is no text"},
		"a text for a list":      {"hosts: a\n", "a list is wanted"},
		"a text for a number":    {"inner: {port: a}\n", "f:"},
		"larger than is read":    {"# " + strings.Repeat("x", MaxBytes), "larger than"},
		"nested without end":     {strings.Repeat("[", 2000), "f:"},
		"a value that would run": {"listen: !!python/object x\n", "f:"},
	} {
		var d doc
		err := Decode("f", []byte(c.in), &d)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("listen: a\nhosts: [b]\ninner: {port: 1}\n"))
	f.Add([]byte("a: &x\n- *x\n"))
	f.Fuzz(func(_ *testing.T, in []byte) {
		var d doc
		_ = Decode("f", in, &d)
	})
}
