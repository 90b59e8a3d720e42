// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"net/http/httptest"
	"testing"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
)

// BenchmarkSecondDecision decides one query by this process alone, and by it and another one over HTTP on this machine.
func BenchmarkSecondDecision(b *testing.B) {
	second := open(b, func(c *sallyport.Config) { c.Policy.Alone = true })
	key, err := second.DecideKey()
	if err != nil {
		b.Fatal(err)
	}
	handler, err := second.Agents(anyScope(action.ScopeAuthZEN))
	if err != nil {
		b.Fatal(err)
	}
	srv := httptest.NewServer(handler)
	defer srv.Close()
	both := open(b, func(c *sallyport.Config) { c.Policy.Second = sallyport.SecondConfig{URL: srv.URL, Key: key} })
	q := action.NewQuery(action.Before)
	q.ID, q.Subject.ID, q.Subject.Tenant, q.Action.Name, q.Action.Effect = "a", "bot", "default", "tools/call", action.EffectRead
	for name, s := range map[string]*sallyport.Sallyport{"alone": second.Sallyport, "two": both.Sallyport} {
		d, err := sallyport.DeciderForTest(s)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("processes="+name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				if got, err := d.Decide(b.Context(), q); err != nil || len(got.Errors) > 0 {
					b.Fatalf("%+v %v", got, err)
				}
			}
		})
	}
}
