// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
	"testing"
)

func TestWiderFindsWhatTheOlderBundleDenied(t *testing.T) {
	deny := func(cond string) string {
		return "\ndeny contains {\"id\": \"big\", \"code\": \"c\", \"reason\": \"r\"} if {\n\t" + cond + "\n}\n"
	}
	everything := regoHead + "allow contains {\"id\": \"all\"} if {\n\tinput.phase in {\"before\", \"after\"}\n}\n"
	old := mustLoad(t, pack("x", 1, map[string]string{"p.rego": everything + deny("input.round > 5")}))
	for name, c := range map[string]struct {
		source string
		want   []string
	}{
		"the same":                     {everything + deny("input.round > 5"), nil},
		"a lower bound":                {everything + deny("input.round > 4"), nil},
		"a higher bound":               {everything + deny("input.round > 6"), []string{"p.all"}},
		"an ask in place of a refusal": {everything + strings.Replace(deny("input.round > 5"), "deny", "ask", 1), []string{"p.big"}},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := mustLoad(t, pack("x", 2, map[string]string{"p.rego": c.source})).Wider(t.Context(), old, 500)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range found {
				got = append(got, f.Rule)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%+v, not %v", found, c.want)
			}
		})
	}
}
