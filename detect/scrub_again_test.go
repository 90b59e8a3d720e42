// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"bytes"
	"testing"

	"github.com/sallyport/sallyport/action"
)

// TestScrubbingAgainFindsWhatItFoundBefore scrubs the same and other values in turn: what is remembered of one that
// holds nothing must not speak for another.
func TestScrubbingAgainFindsWhatItFoundBefore(t *testing.T) {
	d, err := New(Config{Fingerprint: func(string, ...[]byte) string { return "print" }})
	if err != nil {
		t.Fatal(err)
	}
	plain, secret := `{"text":"all is well"}`, `{"text":"AKIAIOSFODNN7EXAMPLQ"}`
	for round := range 3 {
		for _, args := range []string{plain, secret} {
			for _, content := range []string{plain, secret, ""} {
				q := action.NewQuery(action.After)
				q.Action.Arguments, q.Context.Result.Content = []byte(args), []byte(content)
				s, err := d.Scrub(q)
				if err != nil {
					t.Fatal(err)
				}
				if string(q.Action.Arguments) != args || string(q.Context.Result.Content) != content {
					t.Fatal("the query itself was changed")
				}
				if kept := bytes.Contains(s.Action.Arguments, []byte("AKIA")); kept {
					t.Errorf("round %d: arguments %s keep their secret", round, args)
				}
				if kept := bytes.Contains(s.Context.Result.Content, []byte("AKIA")); kept {
					t.Errorf("round %d: content %s keeps its secret", round, content)
				}
				if same := s == q; same != (args == plain && content != secret) {
					t.Errorf("round %d: %s and %s: the same query: %v", round, args, content, same)
				}
			}
		}
	}
}
