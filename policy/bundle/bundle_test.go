// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/sallyport/sallyport/action"
)

const manifest = "version: 1\nname: pack\nsequence: 3\n"

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenRefusesWhatEscapesOrExplodes(t *testing.T) {
	outside := t.TempDir()
	write(t, outside, map[string]string{"secret.rego": "package x", "dir/a.rego": "package x"})
	for name, c := range map[string]struct {
		set  func(dir string) error
		want string
	}{
		"a link to a file outside":   {func(d string) error { return os.Symlink(outside+"/secret.rego", d+"/a.rego") }, "is a link"},
		"a link to a folder outside": {func(d string) error { return os.Symlink(outside+"/dir", d+"/sub") }, "is a link"},
		"a link within":              {func(d string) error { return os.Symlink(ManifestFile, d+"/copy.rego") }, "is a link"},
		"a link for the manifest": {func(d string) error {
			if err := os.Rename(d+"/"+ManifestFile, outside+"/m.yaml"); err != nil {
				return err
			}
			return os.Symlink(outside+"/m.yaml", d+"/"+ManifestFile)
		}, "is a link"},
		"a policy with a mistyped ending": {func(d string) error { return os.WriteFile(d+"/deny.reg", nil, 0o644) }, "has no place"},
		"a copy that an editor left":      {func(d string) error { return os.WriteFile(d+"/deny.rego~", nil, 0o644) }, "name"},
		"a name with a space":             {func(d string) error { return os.WriteFile(d+"/a b.rego", nil, 0o644) }, "name"},
		"a name with a line break":        {func(d string) error { return os.WriteFile(d+"/a\nb.rego", nil, 0o644) }, "name"},
		"a list of chains with a mistyped ending": {func(d string) error {
			return errors.Join(os.Mkdir(d+"/monitor", 0o755), os.WriteFile(d+"/monitor/chains.yml", nil, 0o644))
		}, "has no place"},
		"a program": {func(d string) error { return os.WriteFile(d+"/a.so", nil, 0o644) }, "has no place"},
		"a file too large": {func(d string) error {
			return os.WriteFile(d+"/a.rego", make([]byte, MaxFileBytes+1), 0o644)
		}, "larger than"},
		"folders too deep": {func(d string) error {
			return os.MkdirAll(d+strings.Repeat("/d", MaxDepth+1), 0o755)
		}, "nested deeper"},
		"no manifest": {func(d string) error { return os.Remove(d + "/" + ManifestFile) }, "no " + ManifestFile},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, map[string]string{ManifestFile: manifest})
			if err := c.set(dir); err != nil {
				t.Fatal(err)
			}
			_, err := Open(dir, nil)
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v does not say %q", err, c.want)
			}
		})
	}
}

func TestReadBoundsNumberAndSum(t *testing.T) {
	many := fstest.MapFS{ManifestFile: {Data: []byte(manifest)}}
	for i := range MaxFiles {
		many[fmt.Sprintf("f%d.md", i)] = &fstest.MapFile{}
	}
	large := fstest.MapFS{ManifestFile: {Data: []byte(manifest)}}
	for i := range MaxBytes/MaxFileBytes + 1 {
		large[fmt.Sprintf("f%d.md", i)] = &fstest.MapFile{Data: make([]byte, MaxFileBytes)}
	}
	for name, fsys := range map[string]fstest.MapFS{"too many files": many, "too many bytes": large} {
		if _, err := Read(fsys, nil); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Read(fstest.MapFS{ManifestFile: {Data: []byte(manifest)}}, map[string][]byte{"../x.rego": nil}); !errors.Is(err, ErrRefused) {
		t.Errorf("an overlay that escapes: %v", err)
	}
}

func TestReadLeavesOutWhatBeginsWithADot(t *testing.T) {
	b, err := Read(fstest.MapFS{ManifestFile: {Data: []byte(manifest)}, ".git/config": {}, ".DS_Store": {},
		"a.rego": {}, "a_test.rego": {}, "tests/x.rego": {}, "testdata/y.rego": {}, "tools/t.yaml": {Data: []byte("a")},
		"constitution/house.md": {Data: []byte("1. Pay nobody.")}, "constitution/b.yaml": {}, "monitor/chains.yaml": {}, "flow/servers.yaml": {}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Policies(".rego"); len(got) != 1 || got[0].Name != "a.rego" {
		t.Errorf("policies %v", got)
	}
	if _, ok := b.File(".git/config"); ok {
		t.Error("a file that begins with a dot is part of the bundle")
	}
	if data, ok := b.File("tools/t.yaml"); !ok || string(data) != "a" {
		t.Error("a tool pack is not handed out")
	}
	if got := b.Files(ConstitutionFolder, ".md"); len(got) != 1 || string(got[0].Data) != "1. Pay nobody." {
		t.Errorf("constitutions %v", got)
	}
}

func TestDigestNamesEverythingThatDecides(t *testing.T) {
	files := func() fstest.MapFS {
		return fstest.MapFS{ManifestFile: {Data: []byte(manifest)}, "a.rego": {Data: []byte("package a")}, "tests/a.yaml": {Data: []byte("cases: []")}}
	}
	engines := []Evaluator{{Name: "rego", Version: "1"}, {Name: "cedar", Version: "1"}}
	digest := func(fsys fstest.MapFS, overlay map[string][]byte, schema string, engines []Evaluator) string {
		t.Helper()
		b, err := Read(fsys, overlay)
		if err != nil {
			t.Fatal(err)
		}
		d, err := b.Digest(schema, engines)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	base := digest(files(), nil, "agent.v1", engines)
	if again := digest(files(), nil, "agent.v1", []Evaluator{engines[1], engines[0]}); again != base {
		t.Error("the order of engines changes the digest")
	}
	if same := digest(files(), map[string][]byte{"a.rego": []byte("package a")}, "agent.v1", engines); same != base {
		t.Error("an equal overlay changes the digest")
	}
	seen := map[string]string{base: "base"}
	for name, change := range map[string]func(f fstest.MapFS){
		"a byte of a policy": func(f fstest.MapFS) { f["a.rego"].Data = []byte("package b") },
		"another name":       func(f fstest.MapFS) { f["b.rego"] = f["a.rego"]; delete(f, "a.rego") },
		"a further file":     func(f fstest.MapFS) { f["b.rego"] = &fstest.MapFile{} },
		"a case":             func(f fstest.MapFS) { f["tests/a.yaml"].Data = []byte("cases:  []") },
		"the manifest":       func(f fstest.MapFS) { f[ManifestFile].Data = []byte(strings.Replace(manifest, "3", "4", 1)) },
		"parameters":         func(f fstest.MapFS) { f[ParamsFile] = &fstest.MapFile{Data: []byte("hosts: [a]")} },
	} {
		f := files()
		change(f)
		d := digest(f, nil, "agent.v1", engines)
		if other, ok := seen[d]; ok {
			t.Errorf("%s has the digest of %s", name, other)
		}
		seen[d] = name
	}
	for name, d := range map[string]string{
		"another schema":        digest(files(), nil, "agent.v2", engines),
		"another engine":        digest(files(), nil, "agent.v1", engines[:1]),
		"another version":       digest(files(), nil, "agent.v1", []Evaluator{{Name: "rego", Version: "2"}, engines[1]}),
		"other capabilities":    digest(files(), nil, "agent.v1", []Evaluator{{Name: "rego", Version: "1", Capabilities: "x"}, engines[1]}),
		"parameters by overlay": digest(files(), map[string][]byte{ParamsFile: []byte("hosts: [b]")}, "agent.v1", engines),
	} {
		if other, ok := seen[d]; ok {
			t.Errorf("%s has the digest of %s", name, other)
		}
		seen[d] = name
	}
}

func TestReadManifestSaysWhatAndWhere(t *testing.T) {
	for name, c := range map[string]struct{ data, want string }{
		"an unknown key":              {manifest + "sequense: 4\n", `sallyport-bundle.yaml:4: unknown key "sequense" (nearest: "sequence")`},
		"a key far from all":          {manifest + "zzzzzzzzzzzz: 4\n", `:4: unknown key "zzzzzzzzzzzz"`},
		"an unknown key further down": {manifest + "observe:\n  - agnet: a\n", `:5: unknown key "agnet" (nearest: "agent")`},
		"a key in another case":       {manifest + "Name: b\n", "stands twice"},
		"a key twice":                 {manifest + "name: b\n", "twice"},
		"another version":             {"version: 2\nname: a\nsequence: 1\n", "version 2"},
		"no version":                  {"name: a\nsequence: 1\n", "version 0"},
		"no name":                     {"version: 1\nsequence: 1\n", "name"},
		"a name with capitals":        {"version: 1\nname: A\nsequence: 1\n", "name"},
		"no sequence":                 {"version: 1\nname: a\n", "sequence 0"},
		"a negative sequence":         {"version: 1\nname: a\nsequence: -1\n", "sequence -1"},
		"a sequence too large":        {"version: 1\nname: a\nsequence: 9007199254740992\n", "sequence"},
		"two documents":               {manifest + "---\n" + manifest, "more than one document"},
		"an alias":                    {"version: 1\nname: &a x\nowner: *a\nsequence: 1\n", "aliases"},
		"a list for a word":           {"version: 1\nname: [a]\nsequence: 1\n", "no text"},
		"a number for a word":         {"version: 1\nname: 5\nsequence: 1\n", "no text"},
		"a word for a list":           {manifest + "observe: all\n", "a list is wanted"},
		"observing without end":       {manifest + "observe:\n  - {agent: a, tool: b/c, reason: r}\n", "until is required"},
		"observing without reason":    {manifest + "observe:\n  - {agent: a, tool: b/c, until: 2030-01-01T00:00:00Z}\n", "reason is required"},
		"observing nobody":            {manifest + "observe:\n  - {tool: b/c, reason: r, until: 2030-01-01T00:00:00Z}\n", "agent and tool"},
		"observing by a pattern":      {manifest + "observe:\n  - {agent: a, tool: \"b/c*\", reason: r, until: 2030-01-01T00:00:00Z}\n", "neither"},
		"a tool without a server":     {manifest + "tools:\n  - {tool: a, effect: read}\n", "server/name"},
		"a tool of no known effect":   {manifest + "tools:\n  - {tool: a/b, effect: reed}\n", "effect"},
		"a tool without an effect":    {manifest + "tools:\n  - {tool: a/b}\n", "effect"},
		"nothing":                     {"", "version 0"},
		"not YAML":                    {"\x00", "sallyport-bundle.yaml"},
		"nested very deep":            {"a: " + strings.Repeat("[", 200) + strings.Repeat("]", 200), "nested too deep"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ReadManifest([]byte(c.data)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v does not say %q", err, c.want)
			}
		})
	}
}

func TestReadParamsRefusesWhatWouldPermitTooMuch(t *testing.T) {
	for name, c := range map[string]struct{ data, want string }{
		"the whole file system as a root":   {"roots: [/]", "root"},
		"the whole file system in disguise": {"roots: [//.//]", "root"},
		"a relative root":                   {"roots: [src]", "root"},
		"a root that climbs":                {"roots: [/w/../etc]", "root"},
		"an empty root":                     {"roots: [\"\"]", "root"},
		"a pattern for a host":              {"hosts: [\"*\"]", "host"},
		"a URL for a host":                  {"hosts: [\"https://a\"]", "host"},
		"a host in capitals":                {"hosts: [A.example]", "host"},
		"a suffix for a host":               {"hosts: [.example.com]", "host"},
		"an empty recipient":                {"recipients: [\" \"]", "recipient"},
		"a command with arguments":          {"commands: [rm -rf /]", "command"},
		"a command by path":                 {"commands: [/bin/sh]", "command"},
		"an empty command":                  {"commands: [\"\"]", "command"},
		"an unknown key":                    {"host: [a]", `params.yaml:1: unknown key "host" (nearest: "hosts")`},
		"a word for a flag":                 {"require_separation: maybe", "params.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ReadParams([]byte(c.data)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v does not say %q", err, c.want)
			}
		})
	}
	p, err := ReadParams([]byte("roots: [/srv//shared/]\nhosts: [a.example]\ncommands: [go, terraform plan]\nrequire_separation: true\n"))
	if err != nil || p.Roots[0] != "/srv/shared" || len(p.Commands) != 2 || !p.RequireSeparation {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestModeAtObservesOnlyWhatIsNamedAndInTime(t *testing.T) {
	m, err := ReadManifest([]byte(manifest + `observe:
  - {agent: ci, tool: "files/*", until: 2030-01-01T00:00:00Z, reason: trial}
  - {agent: "*", tool: mail/send, until: 2030-01-01T00:00:00Z, reason: trial}
  - {tenant: other, agent: "*", tool: "*", until: 2030-01-01T00:00:00Z, reason: trial}
`))
	if err != nil {
		t.Fatal(err)
	}
	before := time.Date(2029, 12, 31, 23, 59, 59, 0, time.UTC).UnixMilli()
	for name, c := range map[string]struct {
		agent, server, tool, tenant string
		now                         int64
		want                        action.Mode
	}{
		"the agent at a tool of the server": {"ci", "files", "read", "default", before, action.Observe},
		"the agent at another server":       {"ci", "files2", "read", "default", before, action.Enforce},
		"another agent":                     {"dev", "files", "read", "default", before, action.Enforce},
		"any agent at the tool":             {"dev", "mail", "send", "default", before, action.Observe},
		"any agent at another tool":         {"dev", "mail", "delete", "default", before, action.Enforce},
		"another tenant's entry":            {"dev", "x", "y", "default", before, action.Enforce},
		"the other tenant":                  {"dev", "x", "y", "other", before, action.Observe},
		"the moment it ends":                {"ci", "files", "read", "default", before + 1000, action.Enforce},
		"a query without a time":            {"ci", "files", "read", "default", 0, action.Enforce},
		"a query from before time":          {"ci", "files", "read", "default", -1, action.Enforce},
	} {
		t.Run(name, func(t *testing.T) {
			q := action.NewQuery(action.Before)
			q.Subject.ID, q.Subject.Tenant, q.Context.Time.UnixMilli = c.agent, c.tenant, c.now
			q.Resource.Server, q.Resource.Name, q.Resource.ID = c.server, c.tool, action.ToolKey(c.server, c.tool)
			if got := m.ModeAt(q); got != c.want {
				t.Errorf("mode %s, want %s", got, c.want)
			}
		})
	}
}

func TestReadPartialNeverInventsAGoodFact(t *testing.T) {
	q, err := ReadPartial([]byte(`{"phase":"before","action":{"paths":[{"raw":"a"}]},"resource":{"server":"s","name":"t"}}`),
		[]byte(`{"action":{"effect":"read"}}`))
	if err != nil {
		t.Fatal(err)
	}
	p := q.Action.Paths[0]
	if p.Inside != action.TriUnknown || p.Private != action.TriUnknown || p.Access != action.EffectUnknown || q.Resource.ID != "s/t" ||
		q.Action.Effect != action.EffectRead || q.Context.Detect.Injection != action.MaxMilli || q.Context.Detect.State != action.StateUnknown {
		t.Errorf("%+v", q)
	}
	for _, bad := range []string{`{"phase":"before","phase":"after"}`, `{"Phase":"before"}`, `{"phase":"during"}`, `{"x":1}`, `{"round":9007199254740993}`, `[]`, `{`} {
		if _, err := ReadPartial([]byte(bad)); !errors.Is(err, action.ErrStrict) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(manifest))
	f.Add([]byte(manifest + "observe:\n  - {agent: a, tool: \"*\", until: 2030-01-01T00:00:00Z, reason: r}\ntools:\n  - {tool: a/b, effect: read}\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ReadManifest(data)
		if err != nil {
			return
		}
		if m.Version != 1 || !word(m.Name) || m.Sequence < 1 {
			t.Errorf("accepted %+v", m)
		}
		for _, o := range m.Observe {
			if o.Until.UnixMilli() <= 0 || o.Reason == "" {
				t.Errorf("accepted %+v", o)
			}
		}
	})
}

func FuzzParams(f *testing.F) {
	f.Add([]byte("roots: [/srv/a]\nhosts: [a.example]\nrecipients: [a@b]\ncommands: [go, go test]\nrequire_separation: true\n"))
	f.Add([]byte("roots: [/, ..]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ReadParams(data)
		if err != nil {
			return
		}
		for _, r := range p.Roots {
			if !filepath.IsAbs(r) || r == "/" || filepath.Clean(r) != r {
				t.Errorf("accepted root %q", r)
			}
		}
		for _, h := range p.Hosts {
			if h == "" || strings.ContainsAny(h, "*/:") {
				t.Errorf("accepted host %q", h)
			}
		}
	})
}

func FuzzSuite(f *testing.F) {
	f.Add([]byte("params: {hosts: [a]}\ngiven: {phase: before}\ncases:\n  - {name: a, expect: allow, query: {action: {effect: read}}}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := readSuite("tests/a.yaml", data)
		if err != nil {
			return
		}
		for _, c := range s.Cases {
			if err := c.Query.Validate(); err != nil {
				t.Errorf("accepted %v", err)
			}
		}
	})
}
