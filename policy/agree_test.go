// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"os"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policies"
)

func soak() bool { return os.Getenv("SALLYPORT_SOAK") != "" }

// TestCompiledPacksAgreeWithTopdown changes the documents of each pack's cases at random: compiled Rego and
// OPA's evaluator give the same verdict, rules and obligations.
func TestCompiledPacksAgreeWithTopdown(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and nothing in it is concurrent")
	}
	n := 10_000
	if soak() {
		n = 100_000
	}
	for _, pack := range policies.Names() {
		t.Run(pack, func(t *testing.T) {
			t.Parallel()
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

// FuzzCompiledBaselineAgreesWithTopdown decides any document that can be read in both ways.
func FuzzCompiledBaselineAgreesWithTopdown(f *testing.F) {
	c, err := Load(Config{Params: []byte("commands: [just, git status]\nhosts: [docs.example]\nroots: [/srv]\n")})
	if err != nil {
		f.Fatal(err)
	}
	for _, q := range benchQueries() {
		data, err := action.Canonical(q)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		q, err := action.ReadQuery(data)
		if err != nil {
			return
		}
		if err := c.documents.Compare(context.Background(), []*action.Query{q}, 1, 1, time.Hour); err != nil {
			t.Error(err)
		}
	})
}

// TestCompiledRulesDecideSideBySide decides the cases of baseline many times at once: the answers are those that
// each case gets alone.
func TestCompiledRulesDecideSideBySide(t *testing.T) {
	c, err := Load(Config{})
	if err != nil {
		t.Fatal(err)
	}
	queries := c.seeds()
	want := make([]action.Decision, len(queries))
	for i, q := range queries {
		if want[i], err = c.Decide(context.Background(), q); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 5 * len(queries) {
				i = (i*7 + g*13) % len(queries)
				if d, err := c.Decide(context.Background(), queries[i]); err != nil || !reflect.DeepEqual(d, want[i]) {
					t.Errorf("case %d: %v %+v", i, err, d)
					return
				}
			}
		})
	}
	wg.Wait()
}
