// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"testing"

	"github.com/sallyport/sallyport/action"
)

func TestOpenDecidesWithTheEmbeddedBaseline(t *testing.T) {
	p, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	q := action.NewQuery(action.Before)
	d, err := p.Decide(context.Background(), q)
	if err != nil || d.Verdict != action.Ask || len(d.Errors) > 0 {
		t.Fatalf("a query of unknowns: %+v, %v", d, err)
	}
	q.Action.Effect, q.Action.Typed, q.Resource.Zone = action.EffectRead, action.StateKnown, action.ZoneInside
	q.Action.Source, q.Resource.Definition.State = action.EffectDeclared, action.DefinitionApproved
	q.Action.Paths = []action.Path{{Resolved: "/w/a", Inside: action.Yes, Traverse: action.No, Private: action.No, Access: action.EffectRead}}
	if d, err := p.Decide(context.Background(), q); err != nil || d.Verdict != action.Allow {
		t.Fatalf("a read inside: %+v, %v", d, err)
	}
	if d.Bundle.Name != "baseline" || len(d.Bundle.Digest) != 71 || d.Mode != action.Enforce {
		t.Errorf("the decision names bundle %+v in mode %q", d.Bundle, d.Mode)
	}
}

func TestOpenLoadsTheCedarPack(t *testing.T) {
	p, err := Open(Config{Pack: "cedar-example"})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := p.Decide(context.Background(), action.NewQuery(action.Before)); err != nil || d.Verdict != action.Deny {
		t.Fatalf("a query of unknowns: %+v, %v", d, err)
	}
}
