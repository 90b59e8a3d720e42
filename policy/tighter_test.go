// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"go.yaml.in/yaml/v3"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policies"
	"github.com/sallyport/sallyport/policy/bundle"
)

const tightManifest = "version: 1\nname: p\nsequence: 1\nexpires: 2040-01-01T00:00:00Z\n"

const tightRules = `package sallyport.p

import rego.v2

allow contains {"id": "read", "code": "c", "reason": "R."} if input.action.effect == "read"
`

func load(t *testing.T, files map[string]string) *Compiled {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, data := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(data)}
	}
	b, err := bundle.Read(fsys, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := compile(b, Config{unproved: true})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestUntightProvesOnlyWhatPermitsNoMore(t *testing.T) {
	rego := func(pkg, body string) string {
		return "package sallyport." + pkg + "\n\nimport rego.v2\n\n" + body + "\n"
	}
	rule := func(set string) string {
		return set + ` contains {"id": "x", "code": "c", "reason": "R."} if input.action.effect == "send"`
	}
	base := map[string]string{bundle.ManifestFile: tightManifest, "p.rego": tightRules}
	for name, c := range map[string]struct {
		was, is map[string]string // over base
		want    string            // "" is proved
	}{
		"the same":                              {},
		"a package that denies":                 {is: map[string]string{"q.rego": rego("q", rule("deny"))}},
		"a package that quarantines":            {is: map[string]string{"q.rego": rego("q", rule("quarantine"))}},
		"a cedar file that forbids":             {is: map[string]string{"q.cedar": `@id("x") @code("c") @reason("R.") forbid (principal, action, resource);`}},
		"a package that asks":                   {is: map[string]string{"q.rego": rego("q", rule("ask"))}, want: "q.rego:5: ask"},
		"a package that allows":                 {is: map[string]string{"q.rego": rego("q", rule("allow"))}, want: "q.rego:5: allow"},
		"a package that denies and allows":      {is: map[string]string{"q.rego": rego("q", rule("deny")+"\n\n"+strings.Replace(rule("allow"), `"x"`, `"y"`, 1))}, want: "allow"},
		"a package that obliges":                {is: map[string]string{"q.rego": rego("q", rule("deny")+"\n\noblige contains {\"id\": \"o\", \"type\": \"redact\", \"params\": {\"kind\": \"secret\"}} if input.action.effect == \"read\"")}, want: "oblige"},
		"a file that adds to a package":         {is: map[string]string{"q.rego": rego("p", rule("deny"))}, want: "adds to the package"},
		"a cedar file that permits":             {is: map[string]string{"q.cedar": `@id("x") permit (principal, action, resource);`}, want: "a permit"},
		"a rule that is changed":                {is: map[string]string{"p.rego": strings.Replace(tightRules, "read\"\n", "write\"\n", 1)}, want: `"p.rego" differs`},
		"a rule that is gone":                   {was: map[string]string{"q.rego": rego("q", rule("deny"))}, want: `"q.rego" differs`},
		"an old rule that looks at the new one": {was: map[string]string{"r.rego": rego("r", `allow contains {"id": "y", "code": "c", "reason": "R."} if count(data.sallyport.q.deny) > 0`)}, is: map[string]string{"q.rego": rego("q", rule("deny"))}, want: "r.rego:5 may refer"},
		"a later end":                           {is: map[string]string{bundle.ManifestFile: strings.Replace(tightManifest, "2040", "2041", 1)}, want: "ends later"},
		"no end":                                {is: map[string]string{bundle.ManifestFile: "version: 1\nname: p\nsequence: 1\n"}, want: "ends later"},
		"an earlier end":                        {is: map[string]string{bundle.ManifestFile: strings.Replace(tightManifest, "2040", "2039", 1)}},
		"another sequence and description":      {is: map[string]string{bundle.ManifestFile: tightManifest + "description: New.\nowner: somebody\n"}},
		"another name":                          {is: map[string]string{bundle.ManifestFile: strings.Replace(tightManifest, "name: p", "name: q", 1)}, want: "another name"},
		"observed agents":                       {is: map[string]string{bundle.ManifestFile: tightManifest + "observe:\n  - {agent: a, tool: \"*\", until: 2035-01-01T00:00:00Z, reason: r}\n"}, want: "entry 1 of observe"},
		"observed for longer":                   {was: map[string]string{bundle.ManifestFile: tightManifest + "observe:\n  - {agent: a, tool: \"*\", until: 2035-01-01T00:00:00Z, reason: r}\n"}, is: map[string]string{bundle.ManifestFile: tightManifest + "observe:\n  - {agent: a, tool: \"*\", until: 2035-01-02T00:00:00Z, reason: r}\n"}, want: "entry 1 of observe"},
		"no longer observed":                    {was: map[string]string{bundle.ManifestFile: tightManifest + "observe:\n  - {agent: a, tool: \"*\", until: 2035-01-01T00:00:00Z, reason: r}\n"}, is: map[string]string{bundle.ManifestFile: tightManifest}},
		"tools declared otherwise":              {is: map[string]string{bundle.ManifestFile: tightManifest + "tools:\n  - {tool: a/b, effect: read}\n"}, want: "declares"},
		"settings that it no longer asks for":   {was: map[string]string{bundle.ManifestFile: tightManifest + "settings: " + bundle.Sum(nil) + "\n"}, is: map[string]string{bundle.ManifestFile: tightManifest}, want: "settings"},
		"a constitution":                        {is: map[string]string{"constitution/a.md": ""}, want: `"constitution/a.md" differs`},
		"a tool pack":                           {is: map[string]string{"tools/a.yaml": ""}, want: `"tools/a.yaml" differs`},
		"a test and a text":                     {is: map[string]string{"tests/a.yaml": "", "README.md": "x", "p_test.rego": "package x"}},
		"parameters of a policy of its own":     {is: map[string]string{"params.yaml": "hosts: [a.example]\n"}, want: "parameters differ"},
		"fewer parameters of a policy of its own": {was: map[string]string{"params.yaml": "hosts: [a.example]\n"},
			is: map[string]string{"params.yaml": "hosts: []\n"}, want: "parameters differ"},
	} {
		t.Run(name, func(t *testing.T) {
			was, is := maps.Clone(base), maps.Clone(base)
			maps.Copy(was, c.was)
			maps.Copy(is, c.was)
			maps.Copy(is, c.is)
			if c.is == nil && c.want != "" {
				is = base
			}
			why := untight(load(t, was), load(t, is))
			if (why == "") != (c.want == "") || !strings.Contains(why, c.want) {
				t.Fatalf("%q, want %q", why, c.want)
			}
		})
	}
}

// packWith is an embedded pack with other parameters and files added.
func packWith(t *testing.T, name string, files map[string]string) *Compiled {
	t.Helper()
	fsys, err := policies.Pack(name)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	err = fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			data, rerr := fs.ReadFile(fsys, p)
			out[p], err = string(data), rerr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(out, files)
	return load(t, out)
}

const fullParams = `roots: [/srv/data, /srv/more]
hosts: [docs.example.com, api.example.com]
recipients: [ann@example.com, team@example.com]
commands: [go test, git push]
databases_read: [shop, orders]
databases_write: [shop, orders]
databases_ask: [orders]
tables_hidden: [secrets]
`

// varied are the parameters of a pack, with each list that change names changed by it. What the pack leaves empty is
// taken from fullParams.
func varied(t *testing.T, pack string, change func(name string, list []string) []string) string {
	t.Helper()
	var p bundle.Params
	if fsys, err := policies.Pack(pack); err != nil {
		t.Fatal(err)
	} else if data, err := fs.ReadFile(fsys, bundle.ParamsFile); err == nil {
		if p, err = bundle.ReadParams(data); err != nil {
			t.Fatal(err)
		}
	}
	full, err := bundle.ReadParams([]byte(fullParams))
	if err != nil {
		t.Fatal(err)
	}
	v, f := reflect.ValueOf(&p).Elem(), reflect.ValueOf(full)
	for i := range v.NumField() {
		if list, ok := v.Field(i).Interface().([]string); ok {
			if len(list) == 0 {
				list = f.Field(i).Interface().([]string)
			}
			v.Field(i).Set(reflect.ValueOf(change(v.Type().Field(i).Tag.Get("yaml"), slices.Clone(list))))
		}
	}
	data, err := yaml.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestUntightHoldsForPacks is what the proof rests on: over every case of every pack, no answer is wider under less.
func TestUntightHoldsForPacks(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and nothing in it is concurrent")
	}
	refuse := map[string]string{"stop.rego": "package sallyport.stop\n\nimport rego.v2\n\ndeny contains {\"id\": \"x\", \"code\": \"c\", \"reason\": \"R.\"} if input.resource.server == \"files\"\n",
		"stop.cedar": `@id("x") @code("c") @reason("R.") forbid (principal, action, resource) when { context.phase == "after" };`}
	more := map[string]string{"tables_hidden": "customers", "folders_never": "/srv/data/never", "names_never": "id_rsa", "endings_never": ".txt", "programs_never": "go", "hosts_drop": "drop.example"}
	compared, stricter := 0, 0
	for _, name := range policies.Names() {
		same := varied(t, name, func(_ string, list []string) []string { return list })
		old := packWith(t, name, map[string]string{bundle.ParamsFile: same})
		news := map[string]*Compiled{
			"one less": packWith(t, name, map[string]string{bundle.ParamsFile: varied(t, name, func(field string, list []string) []string {
				if permitting[field] && len(list) > 1 {
					return list[1:]
				}
				return list
			})}),
			"only one": packWith(t, name, map[string]string{bundle.ParamsFile: varied(t, name, func(field string, list []string) []string {
				if permitting[field] && field == "roots" {
					return list[:min(len(list), 1)]
				}
				if permitting[field] {
					return nil
				}
				return list
			})}),
			"more that is refused": packWith(t, name, map[string]string{bundle.ParamsFile: varied(t, name, func(field string, list []string) []string {
				if refusing[field] {
					return append(list, more[field])
				}
				return list
			})}),
		}
		for f, data := range refuse {
			news[f] = packWith(t, name, map[string]string{bundle.ParamsFile: same, f: data})
		}
		for what, c := range news {
			if why := untight(old, c); why != "" {
				t.Fatalf("%s, %s: %s", name, what, why)
			}
		}
		for _, suite := range suitesOf(t, name) {
			for _, k := range suite.Cases {
				was := answer(t, old, k.Query)
				for what, c := range news {
					compared++
					is := answer(t, c, k.Query)
					if was.Verdict.Meet(is.Verdict) != is.Verdict {
						t.Errorf("%s, %s, %s %q: %s -> %s", name, what, suite.File, k.Name, was.Verdict, is.Verdict)
					}
					if was.Verdict != is.Verdict {
						stricter++
					}
				}
			}
		}
	}
	if stricter == 0 {
		t.Fatal("nothing became stricter: nothing was tried")
	}
	t.Logf("%d answers compared, %d stricter", compared, stricter)
}

func answer(t *testing.T, c *Compiled, q *action.Query) action.Decision {
	t.Helper()
	d, err := c.Decide(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Each embedded pack's parameters may shrink, not grow.
func TestUntightNamesTheParameterThatGrew(t *testing.T) {
	old := packWith(t, "baseline", map[string]string{bundle.ParamsFile: fullParams})
	for name, c := range map[string]struct{ from, to, want string }{
		"a root more":          {"/srv/more", "/srv/more, /srv/all", `roots permits more with "/srv/all"`},
		"a host more":          {"docs.example.com", "docs.example.com, evil.example", "hosts"},
		"a recipient more":     {"ann@", "eve@out.example, ann@", "recipients"},
		"a command more":       {"go test", "go test, rm", "commands"},
		"a database more":      {"databases_read: [", "databases_read: [all, ", "databases_read"},
		"one to write more":    {"databases_write: [", "databases_write: [all, ", "databases_write"},
		"asks for one less":    {"databases_ask: [orders]", "databases_ask: []", "databases_ask"},
		"a table hidden less":  {"[secrets]", "[]", "tables_hidden"},
		"separation given up":  {"roots", "roots", "separation"},
		"no root at all":       {"roots: [/srv/data, /srv/more]", "roots: []", "without roots"},
		"all as it is":         {"roots", "roots", ""},
		"only the order other": {"/srv/data, /srv/more", "/srv/more, /srv/data", ""},
	} {
		t.Run(name, func(t *testing.T) {
			from := old
			if c.want == "separation" {
				from = packWith(t, "baseline", map[string]string{bundle.ParamsFile: fullParams + "require_separation: true\n"})
			}
			why := untight(from, packWith(t, "baseline", map[string]string{bundle.ParamsFile: strings.Replace(fullParams, c.from, c.to, 1)}))
			if (why == "") != (c.want == "") || !strings.Contains(why, c.want) {
				t.Fatalf("%q, want %q", why, c.want)
			}
		})
	}
}
