// SPDX-License-Identifier: Apache-2.0

package action

import (
	"strings"
	"testing"
)

func FuzzInert(f *testing.F) {
	for _, s := range []string{"a\nb", "\x1b[0m", "\u202e", "\xff", "ok"} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, s string, n int) {
		n = max(n%600, -n%600, 4)
		out := Inert(s, n)
		if len(out) > n || strings.ContainsFunc(out, steers) || out != strings.ToValidUTF8(out, "") {
			t.Errorf("Inert(%q, %d) = %q", s, n, out)
		}
		if Inert(out, n) != out {
			t.Errorf("Inert(%q, %d) is not stable", s, n)
		}
	})
}
