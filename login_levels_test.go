// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

// aSignInLendsItsLevelToNoOtherBrowser: the level is of the login, not of the person.
func aSignInLendsItsLevelToNoOtherBrowser(t *testing.T, f *front) {
	groups := []string{"staff", "payments"}
	f.as("ann", map[string]any{"groups": groups, "acr": "pwd", "amr": []string{"pwd"}})
	first := f.browser()
	if me := first.signIn(); me.ACR != "pwd" || !slices.Equal(me.AMR, []string{"pwd"}) || me.AuthnMs == 0 || me.Rank != action.RankOperator {
		t.Errorf("%+v", me)
	}
	f.as("ann", map[string]any{"groups": groups, "acr": "phr", "amr": []string{"hwk"}})
	if me := f.browser().signIn(); me.ACR != "phr" || me.Rank != action.RankOperator {
		t.Errorf("the second browser: %+v", me)
	}
	var me who
	if first.call(http.MethodGet, "/v1/me", "", &me) != 200 || me.ACR != "pwd" || !slices.Equal(me.AMR, []string{"pwd"}) {
		t.Errorf("the first browser: %+v", me)
	}
	f.later(vouchedAgain * 2)
	if err := f.s.signIn.again(t.Context()); err != nil {
		t.Fatal(err)
	}
	if first.call(http.MethodGet, "/v1/me", "", &me) != 200 || me.ACR != "pwd" {
		t.Errorf("asking the provider again makes the first browser %+v", me)
	}
	f.as("ann", map[string]any{"groups": groups})
	if me := f.browser().signIn(); me.ACR != "" || len(me.AMR) != 0 {
		t.Errorf("a provider that does not say: %+v", me)
	}
}

func readToken(file string) (string, error) {
	b, err := os.ReadFile(file)
	return strings.TrimSpace(string(b)), err
}
