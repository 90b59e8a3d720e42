// SPDX-License-Identifier: Apache-2.0

package action

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestCheckRemembersNothingOfTheValueBefore(t *testing.T) {
	var wide strings.Builder
	for i := range 40 {
		fmt.Fprintf(&wide, `"n%d":{"a":%d},`, i, i)
	}
	cases := []struct {
		name, text string
		ok         bool
	}{
		{"forty names", `{` + wide.String() + `"z":0}`, true},
		{"a name that differs in case from the thirtieth", `{` + wide.String() + `"N29":0}`, false},
		{"the same name in two objects of one list", `[{"a":1},{"a":2},{"A":3}]`, true},
		{"an error two objects deep", `{"a":{"b":`, false},
		{"names that were open at the error", `{"a":{"b":1}}`, true},
		{"a letter that folds to ASCII", `{"k":1,"\u212a":2}`, false},
		{"a long s", `{"s":1,"\u017f":2}`, false},
		{"a name twice, once escaped", `{"a":1,"\u0061":2}`, false},
	}
	for range 3 {
		for _, c := range cases {
			if err := Check([]byte(c.text), Limits{}); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrStrict) {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
}

func TestCanonicalFormsDoNotShareMemory(t *testing.T) {
	a, b := NewQuery(Before), NewQuery(Before)
	a.ID, b.ID = "first", "second"
	one, err := Canonical(a)
	if err != nil {
		t.Fatal(err)
	}
	kept := string(one)
	if _, err := Canonical(b); err != nil {
		t.Fatal(err)
	}
	if string(one) != kept || !strings.Contains(kept, `"first"`) {
		t.Error("the second form was written over the first")
	}
}
