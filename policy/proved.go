// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"sync"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/rego"
)

// proofs are the bundles whose compiled rules have agreed with topdown in this process, with the number of documents. A
// digest covers every file of a bundle and the engines, so that the same rules are not proved again when they come back:
// by a rollback, for a door, or for a comparison.
var proofs = struct {
	sync.Mutex
	of map[string]int
}{of: map[string]int{}}

// maxProofs bounds what is remembered; beyond it all is forgotten, and proved again.
const maxProofs = 256

// prove compares the compiled rules with topdown before they are trusted.
func (c *Compiled) prove(e *rego.Evaluator) error {
	if c.with.unproved {
		return nil
	}
	proofs.Lock()
	before := proofs.of[c.bundle.Digest]
	proofs.Unlock()
	if before > 0 {
		e.Trust(before)
		return nil
	}
	if err := e.Prove(context.Background(), c.seeds(), proofDocuments, proofLimit); err != nil {
		return err
	}
	if cover := e.Coverage(); cover.Trusted {
		proofs.Lock()
		defer proofs.Unlock()
		if len(proofs.of) >= maxProofs {
			clear(proofs.of)
		}
		proofs.of[c.bundle.Digest] = cover.Proved
	}
	return nil
}

// seeds are the queries of the bundle's cases. Cases that cannot be read are for Test to complain about.
func (c *Compiled) seeds() []*action.Query {
	suites, err := c.source.Suites()
	if err != nil {
		return nil
	}
	var out []*action.Query
	for _, s := range suites {
		for _, k := range s.Cases {
			out = append(out, k.Query)
		}
	}
	return out
}
