// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

func TestEditChangesNothingElse(t *testing.T) {
	for _, c := range []struct {
		name, data string
		e          edits
		want       string
	}{
		{"a string", `{ "a" : "x" , "b":[1, {"c":"y"}]}`, edits{"/a": []byte(`"z"`)}, `{ "a" : "z" , "b":[1, {"c":"y"}]}`},
		{"a value deep inside", `{"a":[{"b":1.50},{"b":2}]}`, edits{"/a/1/b": []byte(`{"n":3}`)}, `{"a":[{"b":1.50},{"b":{"n":3}}]}`},
		{"an object", `{"a":{"x":[1,{"y":2}]} ,"b":1}`, edits{"/a": []byte(`null`)}, `{"a":null ,"b":1}`},
		{"two", `{"a":1,"b":[2]}`, edits{"/a": []byte(`9`), "/b": []byte(`[]`)}, `{"a":9,"b":[]}`},
		{"a name like a value", `{"a":"a","b":{"a":1}}`, edits{"/b/a": []byte(`2`)}, `{"a":"a","b":{"a":2}}`},
		{"everything", ` {"a":1} `, edits{"": []byte(`2`)}, ` 2 `},
		{"an element", `[1,2,3]`, edits{"/1": []byte(`"x"`)}, `[1,"x",3]`},
	} {
		if got, err := edit([]byte(c.data), c.e); err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v", c.name, got, err)
		}
	}
	for name, e := range map[string]edits{"a place that is not there": {"/b": []byte("1")}, "a place within a name": {"/a/x": []byte("1")}} {
		if got, err := edit([]byte(`{"a":"x"}`), e); err == nil {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// FuzzEdit finds documents whose other values change with the one that is edited.
func FuzzEdit(f *testing.F) {
	f.Add(`{"a":[1,{"b":"x"}],"c":null}`, "/a/1/b")
	f.Fuzz(func(t *testing.T, data, pointer string) {
		if !jsontext.Value(data).IsValid() || !jsontext.Pointer(pointer).IsValid() {
			return
		}
		out, err := edit([]byte(data), edits{jsontext.Pointer(pointer): []byte(`"<new>"`)})
		if err != nil {
			return
		}
		if !jsontext.Value(out).IsValid() {
			t.Errorf("%s at %s gives %s", data, pointer, out)
		}
	})
}
