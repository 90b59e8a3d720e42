// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

// TestTraceShowsEachRuleAndWhereItFails has one rule that holds, one that fails, and one of each in Cedar.
func TestTraceShowsEachRuleAndWhereItFails(t *testing.T) {
	c := mustLoad(t, pack("x", 1, map[string]string{
		"p.rego": regoHead + "allow contains {\"id\": \"reads\"} if {\n\tinput.action.effect == \"read\"\n}\n\n" +
			"deny contains {\"id\": \"far\", \"code\": \"c\", \"reason\": \"R.\"} if {\n\tinput.phase == \"before\"\n\tfar\n}\n\n" +
			"far if {\n\tinput.resource.server == \"far\"\n}\n",
		"q.cedar": `@id("all")
@code("c")
@reason("R.")
permit (principal, action, resource);

@id("pays")
@code("c")
@reason("R.")
forbid (principal, action, resource == Tool::"bank/pay");

@id("far")
@code("c")
@reason("R.")
forbid (principal, action, resource) when { context.resource.server == "far" };
`}))
	q := action.NewQuery(action.Before)
	q.Action.Effect, q.Resource.Server, q.Resource.Name, q.Resource.ID = action.EffectRead, "near", "get", "near/get"
	trace := func() string {
		t.Helper()
		lines, err := c.Trace(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(lines, "\n") + "\n"
	}
	got := trace()
	for _, want := range []string{"holds p.rego:5 allow contains", "try   p.rego:9 deny contains", "fails p.rego:15 input.resource.server == \"far\"\n", "fails p.rego:11 far\n",
		"cedar: holds q.cedar:1 permit q.all\n", "cedar: fails q.cedar:11 forbid q.far\n", "cedar: other q.cedar:6 forbid q.pays\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	q.Resource.Server, q.Resource.ID = "far", "bank/pay"
	q.Resource.Name = "pay"
	if got := trace(); !strings.Contains(got, "holds p.rego:9 deny contains") || !strings.Contains(got, "cedar: holds q.cedar:11 forbid q.far\n") || strings.Contains(got, "fails p.rego:11") {
		t.Errorf("%s", got)
	}
	if _, err := c.Trace(t.Context(), nil); err == nil {
		t.Error("no query has a trace")
	}
}
