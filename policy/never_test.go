// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/fstest"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policies"
	"github.com/sallyport/sallyport/policy/rego"
)

func neverBundle(t *testing.T, manifest string, files map[string]string) *Compiled {
	t.Helper()
	fsys := fstest.MapFS{"sallyport-bundle.yaml": {Data: []byte("version: 1\nname: hidden\nsequence: 1\n" + manifest)}, "params.yaml": {Data: []byte("hosts: [crm, docs]\n")}}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	c, err := LoadFS(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const neverRego = `package sallyport.pack
import rego.v2

allow contains {"id": "crm"} if {
	input.resource.server in data.params.hosts
	reader
	not banned
	input.action.effect == "read"
}
allow contains {"id": "own"} if {
	input.subject.id == "writer"
	some h in data.params.hosts
	startswith(input.resource.name, h)
}
ask contains {"id": "late", "code": "late", "reason": "Late."} if {
	input.resource.name == "late"
	input.context.session.state == "live"
}
allow contains {"id": "late.upper"} if {
	input.resource.name == "late"
	f(input.resource.name) == "LATE"
}
reader if input.subject.id == "reader"
reader if {
	input.subject.id == "guest"
	input.subject.user.id != ""
}
banned if input.resource.name == "export"
f(x) := upper(x)
deny contains {"id": "drop", "code": "drop", "reason": "Never."} if {
	endswith(input.resource.name, "_drop")
	not input.subject.id == "root"
}
deny contains {"id": "big", "code": "big", "reason": "Big."} if {
	x := input.resource.name
	x == "big"
	input.action.effect == "destroy"
}
`

const neverCedar = `@id("crm") permit(principal == Agent::"reader", action, resource in Server::"crm")
unless { context.resource.name == "export" };
@id("staff") permit(principal in Role::"staff", action == Action::"read", resource == Tool::"crm/late");
@id("big") permit(principal, action, resource) when { context.resource.name like "big*" && context.subject.user.id != "" };
@id("drop") @code("drop") @reason("Never.") forbid(principal, action, resource) when { context.resource.name like "*_drop" };
@id("asked") @code("ask") @reason("Ask.") @ask("operator") forbid(principal, action, resource == Tool::"crm/list");
@id("whole") @code("w") @reason("W.") forbid(principal, action == Action::"destroy", resource) when { [context.resource.name].contains("big") };
`

func TestNeverIsWhatNoCallCanPass(t *testing.T) {
	r := neverBundle(t, "", map[string]string{"a.rego": neverRego})
	c := neverBundle(t, "", map[string]string{"a.cedar": neverCedar})
	observed := neverBundle(t, "observe: [{agent: reader, tool: docs/*, until: 2030-01-01T00:00:00Z, reason: new}]\n", map[string]string{"a.rego": neverRego})
	both := neverBundle(t, "", map[string]string{"a.rego": neverRego, "a.cedar": neverCedar})
	for name, x := range map[string]struct {
		bundle              *Compiled
		agent, server, tool string
		never               bool
	}{
		"a tool that the agent may read":                {r, "reader", "crm", "list", false},
		"a server that no rule names":                   {r, "reader", "wiki", "list", true},
		"an agent that no rule names":                   {r, "stranger", "crm", "list", true},
		"an agent that some of its users may use":       {r, "guest", "crm", "list", false},
		"a tool that a helper takes away":               {r, "reader", "crm", "export", true},
		"a tool of a listed prefix":                     {r, "writer", "wiki", "docs_put", false},
		"a tool of another prefix":                      {r, "writer", "wiki", "put", true},
		"a tool that is denied whatever the rest":       {r, "writer", "wiki", "docs_drop", true},
		"the same for whom the rule leaves out":         {r, "root", "wiki", "docs_drop", true},
		"a tool that is asked about":                    {r, "stranger", "wiki", "late", false},
		"a tool that is denied for some effects":        {r, "reader", "crm", "big", false},
		"a tool that is observed only":                  {observed, "reader", "docs", "export", false},
		"a tool of an agent that is not observed":       {observed, "stranger", "docs", "export", true},
		"cedar: a tool of a permitted server":           {c, "reader", "crm", "put", false},
		"cedar: another server":                         {c, "reader", "wiki", "put", true},
		"cedar: another agent":                          {c, "stranger", "crm", "put", true},
		"cedar: a tool that unless takes away":          {c, "reader", "crm", "export", true},
		"cedar: a tool for a role that agents may have": {c, "stranger", "crm", "late", false},
		"cedar: a tool whose user is unknown":           {c, "stranger", "wiki", "bigger", false},
		"cedar: a tool that is forbidden to all":        {c, "reader", "crm", "table_drop", true},
		"cedar: a tool that is asked about":             {c, "reader", "crm", "list", false},
		"cedar: a tool that is forbidden for an effect": {c, "reader", "crm", "big", false},
		"both engines permit it":                        {both, "reader", "crm", "list", false},
		"only Cedar permits it":                         {both, "stranger", "wiki", "bigger", true},
	} {
		if got := x.bundle.Never("default", x.agent, x.server, x.tool); got != x.never {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestWhatIsNeverPassesNoDocument changes documents at random: what was foreseen to be denied is denied whatever they say.
func TestWhatIsNeverPassesNoDocument(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and nothing in it is concurrent")
	}
	all := map[string]*Compiled{}
	for _, pack := range policies.Names() {
		c, err := Load(Config{Pack: pack})
		if err != nil {
			t.Fatal(err)
		}
		all[pack] = c
	}
	all["rego"] = neverBundle(t, "", map[string]string{"a.rego": neverRego})
	all["cedar"] = neverBundle(t, "", map[string]string{"a.cedar": neverCedar})
	all["both"] = neverBundle(t, "", map[string]string{"a.rego": neverRego, "a.cedar": neverCedar})
	for name, c := range all {
		n, own := 100, name == "rego" || name == "cedar" || name == "both"
		if own {
			n = 1000
		}
		if soak() {
			n = 100_000
		}
		words := c.documents
		if words == nil {
			words = all["rego"].documents
		}
		g, r := rego.NewGenerator(words, c.seeds(), 7), rand.New(rand.NewPCG(1, 2))
		one := func(list ...string) string { return list[r.IntN(len(list))] }
		nevers, passed := 0, 0
		for i := range n {
			q := g.Next(i)
			q.Phase, q.Action.Name, q.Resource.Type, q.Subject.Tenant = action.Before, "tools/call", "tool", "default"
			if q.Resource.Server = one(q.Resource.Server, "crm", "docs", "wiki"); r.IntN(2) == 0 {
				q.Resource.Name = one("list", "export", "late", "big", "docs_put", "crm_drop")
				q.Subject.ID = one("reader", "guest", "writer", "root", "stranger")
				q.Subject.User.ID = one("", "ann")
				q.Subject.Identity.Roles = []string{one("staff", "guest")}
				q.Action.Effect = action.Effect(one("read", "write", "destroy"))
			}
			q.Resource.ID = action.ToolKey(q.Resource.Server, q.Resource.Name)
			d, err := c.Decide(context.Background(), q)
			if err != nil {
				t.Fatal(err)
			}
			pass := d.Verdict == action.Allow || d.Verdict == action.Ask
			never := c.Never(q.Subject.Tenant, q.Subject.ID, q.Resource.Server, q.Resource.Name)
			if pass && never {
				t.Fatalf("%s: document %d: %s for %s is %s by %v", name, i, q.Resource.ID, q.Subject.ID, d.Verdict, d.Matches)
			}
			if pass {
				passed++
			}
			if never {
				nevers++
			}
		}
		if own && (nevers < n/20 || passed < n/100) {
			t.Errorf("%s: %d documents were never, %d passed: too few to show anything", name, nevers, passed)
		}
	}
}

func BenchmarkNever(b *testing.B) {
	for _, o := range []struct {
		engine string
		rules  int
	}{{"rego", 100}, {"rego", 10_000}, {"cedar", 100}, {"cedar", 10_000}} {
		c, err := generate(o.engine, "scoped", o.rules)
		if err != nil {
			b.Fatal(err)
		}
		c.Never("default", "coder", "crm", "list")
		b.Run(fmt.Sprintf("engine=%s/rules=%d", o.engine, o.rules), func(b *testing.B) {
			for range b.N {
				c.Never("default", "coder", "crm", "list")
			}
		})
	}
}
