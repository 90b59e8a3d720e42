// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"strings"
	"testing"
)

func TestNumberedConstitutionLosesNoRule(t *testing.T) {
	c, err := ReadConstitution("house.md", []byte("# House rules\n\nFor people: what we want.\n\n1. Pay nobody\n   who is not on the list.\n2. Mail nobody outside.\n"))
	if err != nil || c.Name != "House rules" || len(c.Rules) != 2 || c.Rules[0].Text != "Pay nobody who is not on the list." || c.Rules[1].ID != 2 || c.Digest == "" {
		t.Fatalf("%+v, %v", c, err)
	}
	for name, text := range map[string]string{
		"no name": "1. Pay nobody.\n", "no rules": "# House\n", "a number twice": "# H\n1. A.\n1. B.\n", "number zero": "# H\n0. A.\n",
		"a rule with a slip": "# H\n1. A.\n2 B.\n", "prose between rules": "# H\n1. A.\nand so on\n2. B.\n", "an empty rule": "# H\n1.  \n2. B.\n",
		"no UTF-8": "# H\n1. \xff\n",
	} {
		if c, err := ReadConstitution("house.md", []byte(text)); err == nil {
			t.Errorf("%s is read as %+v", name, c)
		}
	}
}

func FuzzReadConstitution(f *testing.F) {
	f.Add("# H\n1. A.\n   b\n")
	f.Add("version: 1\nname: h\nrules: []\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ReadConstitution("h.md", []byte(text))
		if err != nil {
			return
		}
		for _, r := range c.Rules {
			if r.ID < 1 || strings.TrimSpace(r.Text) == "" {
				t.Errorf("rule %+v", r)
			}
		}
	})
}
