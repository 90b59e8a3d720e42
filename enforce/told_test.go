// SPDX-License-Identifier: Apache-2.0

package enforce_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

func TestAsksAndDenialsAreTold(t *testing.T) {
	var asked, denied []string
	r := newRig(t, byTool, func(c *enforce.Config) {
		c.Asked = func(q *action.Query) { asked = append(asked, q.Resource.Name) }
		c.Denied = func(q *action.Query) { denied = append(denied, q.Resource.Name) }
	})
	for i, tool := range []string{"pay", "pay", "drop", "read"} { // the second is the same question
		if _, err := r.Before(t.Context(), r.attempt(tool, "c"+string(rune('0'+max(i, 1))), `{}`)); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Join(asked, " ") != "pay" || strings.Join(denied, " ") != "drop" {
		t.Errorf("asked %v, denied %v", asked, denied)
	}
}
