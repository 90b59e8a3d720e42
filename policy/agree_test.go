// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/sallyport/sallyport/policies"
)

func soak() bool { return os.Getenv("SALLYPORT_SOAK") != "" }

// TestCompiledPacksAgreeWithTopdown changes the documents of each pack's cases at random: compiled Rego and
// OPA's evaluator give the same verdict, rules and obligations.
func TestCompiledPacksAgreeWithTopdown(t *testing.T) {
	n := 10_000
	if soak() {
		n = 100_000
	}
	for _, pack := range policies.Names() {
		t.Run(pack, func(t *testing.T) {
			c, err := Load(Config{Pack: pack})
			if err != nil {
				t.Fatal(err)
			}
			if c.documents == nil {
				t.Skip("no Rego in it")
			}
			for _, s := range suitesOf(t, pack) {
				if s.Params == nil {
					continue
				}
				under, err := c.under(s)
				if err != nil {
					t.Fatal(err)
				}
				if err := under.documents.Compare(context.Background(), under.seeds(), n/20, 3, time.Hour); err != nil {
					t.Errorf("%s: %v", s.File, err)
				}
			}
			if err := c.documents.Compare(context.Background(), c.seeds(), n, 2, time.Hour); err != nil {
				t.Error(err)
			}
			cover := c.Coverage()
			if !cover.Trusted || cover.Fast != cover.Total || cover.Total == 0 {
				t.Errorf("%+v", cover)
			}
		})
	}
}
