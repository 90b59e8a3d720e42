// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"testing"

	"github.com/sallyport/sallyport/action"
)

func TestHarmlessKnowsPlainArguments(t *testing.T) {
	for in, want := range map[string]bool{
		`{}`: true, `null`: true, `{"path":"/w/a.go","limit":20,"deep":false}`: true,
		``: false, `{`: false, `{"a":1,"a":2}`: false, `{"a":1,"A":2}`: false, `{"a":01}`: false, `{"a":1}x`: false, `{"a":"\u0041"}`: false,
		`{"a":9007199254740993}`: false, `{"a":1,}`: false, `{"a"}`: false, `{"a":}`: false, "{\"a\":\"\xff\"}": false, `["a"]`: false,
	} {
		if got := harmless([]byte(in)); got != want {
			t.Errorf("%s: %v", in, got)
		}
	}
}

func FuzzHarmlessIsAlwaysStrict(f *testing.F) {
	for _, s := range []string{`{"a":1,"b":"c"}`, `{"a":true}`, `{"a":1,"a":1}`, `{"a":000}`, `{"a":nullx}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if !harmless(in) {
			return
		}
		if err := action.Check(in, action.Limits{}); err != nil {
			t.Fatalf("%s: %v", in, err)
		}
	})
}
