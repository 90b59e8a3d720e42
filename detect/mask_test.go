// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

func TestMaskHidesPersonalDataAndKeepsJSON(t *testing.T) {
	d := open(t)
	for _, c := range []struct {
		name, kinds string
		keep        int
		in, want    string
	}{
		{"one kind of two", "email", 0, `{"t":"ann@example.org or +49 89 1234 5678"}`, `{"t":"*************** or +49 89 1234 5678"}`},
		{"the last digits are kept", "card", 4, `["4111 1111 1111 1111"]`, `["***************1111"]`},
		{"never more than half is kept", "phone", 99, `"+49 89 12345678"`, `"********2345678"`},
		{"a number becomes a string", "card", 4, `{"n":4111111111111111}`, `{"n":"************1111"}`},
		{"a field that says what it holds", "pii", 0, `{"first_name":"Ann","note":"Ann"}`, `{"first_name":"***","note":"Ann"}`},
		{"the name of a member", "email", 0, `{"a@example.org":1,"b@example.org":2}`, `{"*************":1,"*************#2":2}`},
		{"two kinds in one field", "email", 0, `{"phone":"ann@example.org 089 123456"}`, `{"phone":"*************** 089 123456"}`},
		{"behind a width of nothing", "email", 3, "\"ann@exa\u200bmple.org\"", `"***************"`},
		{"several kinds", "email, phone", 0, `["a@example.org","(415) 555-2671","10.1.2.3"]`, `["*************","**************","10.1.2.3"]`},
		{"none", "pii", 0, `{ "a" : 1 }`, `{ "a" : 1 }`},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := d.Mask([]byte(c.in), c.kinds, c.keep)
			if err != nil || string(out) != c.want {
				t.Fatalf("%s, %v, want %s", out, err, c.want)
			}
			if again, err := d.Mask(out, c.kinds, 0); err != nil || !bytes.Equal(again, out) {
				t.Errorf("a second pass makes it %s, %v", again, err)
			}
		})
	}
}

func TestMaskFindsWhatFactsNoLongerCount(t *testing.T) {
	d := open(t)
	in := `["` + strings.Repeat("ann@example.org ", 500) + `","` + b64("the address is ann@example.org, is it not") + `"]`
	out, err := d.Mask([]byte(in), "email", 0)
	if err != nil || bytes.Contains(out, []byte("@")) || action.Check(out, action.Limits{}) != nil {
		t.Fatalf("%.100s, %v", out, err)
	}
	q := action.NewQuery(action.Before)
	q.Action.Arguments = jsontext.Value(out)
	p, err := d.Inform(context.Background(), q)
	if err != nil || len(p.(action.Detect).Findings) != 0 {
		t.Errorf("after masking: %v, %v", p, err)
	}
}

func TestMaskRefusesWhatItCannotDo(t *testing.T) {
	d := open(t)
	for _, c := range []struct {
		name, in, kinds string
		keep            int
	}{
		{"an unknown kind", `"x"`, "mail", 0}, {"no kind", `"x"`, "", 0}, {"what is not JSON", `{"a@example.org`, "pii", 0},
		{"a negative number", `"x"`, "pii", -1}, {"a secret is no personal data", `"x"`, "secret", 0},
	} {
		if out, err := d.Mask([]byte(c.in), c.kinds, c.keep); err == nil {
			t.Errorf("%s: %s", c.name, out)
		}
	}
}

func FuzzMask(f *testing.F) {
	f.Add(`{"phone":"+49 89 1234 5678","x":["ann@example.org",4111111111111111]}`, 4)
	f.Add("\"a@exa\u200bmple.org 078-05-1120\"", 0)
	d := open(f)
	f.Fuzz(func(t *testing.T, in string, keep int) {
		out, err := d.Mask([]byte(in), "pii", keep)
		if err != nil {
			return
		}
		if !jsontext.Value(out).IsValid() {
			t.Fatalf("%q became %q", in, out)
		}
		if again, err := d.Mask(out, "pii", 0); err != nil || !bytes.Equal(again, out) {
			t.Fatalf("%q became %q and then %q, %v", in, out, again, err)
		}
	})
}
