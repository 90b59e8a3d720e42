// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/store"
)

var _ enforce.Informer = (*Registry)(nil)

// memory is a Store that keeps its revisions.
type memory struct {
	mu   sync.Mutex
	rows map[string]store.Entry
	rev  uint64
	fail error // of the next Put
}

func newMemory() *memory { return &memory{rows: map[string]store.Entry{}} }

func (m *memory) Get(_ context.Context, key string) (store.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.rows[key]
	if !ok {
		return e, store.ErrNotFound
	}
	return e, nil
}

func (m *memory) Put(_ context.Context, key string, value []byte, rev uint64) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail; err != nil {
		m.fail = nil
		return 0, err
	}
	if m.rows[key].Revision != rev {
		return 0, store.ErrConflict
	}
	m.rev++
	m.rows[key] = store.Entry{Key: key, Value: slices.Clone(value), Revision: m.rev}
	return m.rev, nil
}

func (m *memory) Delete(_ context.Context, key string, rev uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.rows, key)
	return nil
}

func (m *memory) List(_ context.Context, prefix, after string, limit int) ([]store.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []store.Entry
	for k, e := range m.rows {
		if strings.HasPrefix(k, prefix) && k > after {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b store.Entry) int { return strings.Compare(a.Key, b.Key) })
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out, nil
}

func (m *memory) Watch(context.Context, string) (<-chan store.Event, error) {
	return nil, fmt.Errorf("no watch")
}
func (m *memory) Close() error { return nil }

// disk is a file system in memory: names to targets of links, "" for a file, "/" for a folder.
type disk map[string]string

func (d disk) lstat(p string) (fs.FileMode, error) {
	t, ok := d[p]
	switch {
	case !ok && p != "/":
		return 0, fs.ErrNotExist
	case t == "/" || p == "/":
		return fs.ModeDir, nil
	case t == "!":
		return 0, fs.ErrPermission
	case t != "":
		return fs.ModeSymlink, nil
	}
	return 0, nil
}

func (d disk) readlink(p string) (string, error) { return d[p], nil }

func (d disk) links(dir string) (bool, error) {
	for p, t := range d {
		if path.Dir(p) == dir && t != "" && t != "/" && t != "!" {
			return true, nil
		}
	}
	return d[dir] != "/", nil
}

var testDisk = disk{
	"/srv": "/", "/srv/repo": "/", "/srv/repo/a.go": "", "/srv/repo/src": "/", "/srv/repo/src/b.go": "",
	"/srv/repo/out": "/etc", "/srv/repo/in": "src", "/srv/repo/loop": "loop", "/srv/repo/locked": "!",
	"/srv/repo/keys": "/home/u/.ssh", "/srv/repo/sp": "/usr/local/bin/sallyport", "/link": "/srv/repo",
	"/etc": "/", "/etc/passwd": "", "/home": "/", "/home/u": "/", "/home/u/.ssh": "/", "/home/u/.ssh/id_rsa": "",
	"/var": "/", "/var/sallyport": "/", "/var/sallyport/run": "/", "/var/sallyport/run/sallyport.sock": "",
	"/usr": "/", "/usr/local": "/", "/usr/local/bin": "/", "/usr/local/bin/sallyport": "",
}

func testConfig() Config {
	return Config{Store: newMemory(), DataDir: "/var/sallyport", Home: "/home/u", Domains: []string{"corp.example"},
		Listeners: []string{"127.0.0.1:7117", "127.0.0.1:7118"}, Executable: "/usr/local/bin/sallyport",
		Lstat: testDisk.lstat, Readlink: testDisk.readlink, Links: testDisk.links, Now: func() time.Time { return time.Unix(1, 0) }}
}

func open(t testing.TB, cfg Config) *Registry {
	t.Helper()
	r, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func define(t testing.TB, raw string) Definition {
	t.Helper()
	d, err := ReadDefinition([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func listed(t testing.TB, file string) []Definition {
	t.Helper()
	b, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var out []Definition
	for _, e := range elements(b) {
		out = append(out, define(t, string(e)))
	}
	if len(out) == 0 {
		t.Fatal("no definitions")
	}
	return out
}

func observe(t testing.TB, r *Registry, up Upstream, defs ...Definition) []Seen {
	t.Helper()
	s, err := r.Observe(t.Context(), up, defs)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var local = Upstream{Server: "files", Transport: Stdio, Command: []string{"npx", "fs"}}

func ask(server, tool, args string) *action.Query {
	q := action.NewQuery(action.Before)
	q.Resource.Server, q.Resource.Name, q.Resource.ID = server, tool, action.ToolKey(server, tool)
	q.Action.Arguments = jsontext.Value(args)
	q.Context.Session.Cwd, q.Context.Session.Roots = "/srv/repo", []string{"/srv/repo"}
	return q
}

func inform(t testing.TB, r *Registry, q *action.Query) action.ToolFacts {
	t.Helper()
	part, err := r.Inform(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	if err := action.ValidatePart(part); err != nil {
		t.Fatal(err)
	}
	return part.(action.ToolFacts)
}

func TestPackSpeaksOnlyForItsOwnServer(t *testing.T) {
	defs := listed(t, "server-filesystem.json")
	fake := define(t, `{"name":"read_file","description":"Reads.","inputSchema":{"type":"object","properties":{"path":{"type":"string"}}}}`)
	kind := local
	kind.Kind = "server-filesystem"
	remote := Upstream{Server: "files", Transport: HTTP, URL: "https://fs.example/mcp"}
	for _, tt := range []struct {
		name   string
		up     Upstream
		def    Definition
		source action.EffectSource
		state  action.DefinitionState
		zone   action.Zone
	}{
		{"a local server with the very definition that is pinned", local, defs[0], action.EffectDeclared, action.DefinitionApproved, action.ZoneInside},
		{"a strange server that uses the name", local, fake, action.EffectInferred, action.DefinitionPending, action.ZoneInside},
		{"a server that the operator declared", kind, fake, action.EffectDeclared, action.DefinitionApproved, action.ZoneInside},
		{"a remote server with the pinned definition", remote, defs[0], action.EffectInferred, action.DefinitionPending, action.ZoneOutside},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := open(t, testConfig())
			observe(t, r, tt.up, tt.def)
			f := inform(t, r, ask("files", "read_file", `{"path":"a.go"}`))
			if f.Effect != action.EffectRead || f.Source != tt.source || f.Definition.State != tt.state || f.Zone != tt.zone {
				t.Errorf("effect %s, source %s, state %s, zone %s", f.Effect, f.Source, f.Definition.State, f.Zone)
			}
			if f.Typed != action.StateKnown || len(f.Paths) != 1 || f.Paths[0].Resolved != "/srv/repo/a.go" || f.Paths[0].Inside != action.Yes {
				t.Errorf("typed %s, paths %+v", f.Typed, f.Paths)
			}
		})
	}
}

func TestEveryPinOfThePacksIsTheServersOwn(t *testing.T) {
	for file, want := range map[string]string{"server-filesystem.json": "server-filesystem", "server-everything.json": "server-everything"} {
		r := open(t, testConfig())
		for _, s := range observe(t, r, local, listed(t, file)...) {
			if s.State != action.DefinitionApproved || s.Pack != want || s.ApprovedBy != "pack:"+want {
				t.Errorf("%s: state %s, pack %q, by %q", s.Name, s.State, s.Pack, s.ApprovedBy)
			}
		}
	}
}

func TestPathFacts(t *testing.T) {
	r := open(t, testConfig())
	for _, tt := range []struct {
		name, raw, resolved               string
		inside, traverse, private, exists action.Tri
	}{
		{"a relative file in the root", "a.go", "/srv/repo/a.go", "yes", "no", "no", "yes"},
		{"double slashes and dots", "/srv//repo/./src/b.go", "/srv/repo/src/b.go", "yes", "no", "no", "yes"},
		{"dot-dot that stays in the root", "src/../a.go", "/srv/repo/a.go", "yes", "no", "no", "yes"},
		{"dot-dot that leaves the root", "../../etc/passwd", "/etc/passwd", "no", "yes", "no", "yes"},
		{"a sibling whose name begins alike", "/srv/repository/x", "/srv/repository/x", "no", "no", "no", "no"},
		{"a link that leads out", "out/passwd", "/etc/passwd", "no", "yes", "no", "yes"},
		{"a new file behind a link that leads out", "out/new", "/etc/new", "no", "yes", "no", "no"},
		{"a link within the root", "in/b.go", "/srv/repo/src/b.go", "yes", "no", "no", "yes"},
		{"a link to the root from outside", "/link/a.go", "/srv/repo/a.go", "yes", "no", "no", "yes"},
		{"dot-dot behind a link that leads out", "out/../srv/repo/a.go", "/srv/repo/a.go", "yes", "no", "no", "yes"},
		{"a link to itself", "loop", "", "unknown", "unknown", "unknown", "unknown"},
		{"a folder that may not be looked into", "locked/x", "", "unknown", "unknown", "unknown", "unknown"},
		{"a link to the key store", "keys/id_rsa", "/home/u/.ssh/id_rsa", "no", "yes", "yes", "yes"},
		{"the home directory's keys", "~/.ssh/id_rsa", "/home/u/.ssh/id_rsa", "no", "no", "yes", "yes"},
		{"keys in other letters", "/home/u/.SSH/id_rsa", "/home/u/.SSH/id_rsa", "no", "no", "yes", "no"},
		{"keys of another user", "/root/.aws/credentials", "/root/.aws/credentials", "no", "no", "yes", "no"},
		{"another user's home by tilde", "~root/.ssh", "", "unknown", "unknown", "unknown", "unknown"},
		{"our data directory", "/var/sallyport/keys/log", "/var/sallyport/keys/log", "no", "no", "yes", "no"},
		{"a folder above our data directory", "/var", "/var", "no", "no", "unknown", "yes"},
		{"the environment of a process", "/proc/self/environ", "/proc/self/environ", "no", "no", "yes", "no"},
		{"another root by way of a process", "/proc/1/root/etc/x", "/proc/1/root/etc/x", "no", "no", "yes", "no"},
		{"a file URL", "file:///srv/repo/a.go", "/srv/repo/a.go", "yes", "no", "no", "yes"},
		{"a file URL with encoded dots", "file:///srv/repo/%2e%2e/%2e%2e/etc/passwd", "/etc/passwd", "no", "yes", "no", "yes"},
		{"a file URL of another host", "file://evil/srv/repo/a.go", "", "unknown", "unknown", "unknown", "unknown"},
		{"percent encoded dots", "src/%2e%2e/%2e%2e/x", "/srv/repo/src/%2e%2e/%2e%2e/x", "yes", "yes", "no", "no"},
		{"twice percent encoded dots", "%252e%252e/x", "/srv/repo/%252e%252e/x", "yes", "yes", "no", "no"},
		{"full-width dots", "．．/x", "/srv/repo/．．/x", "yes", "yes", "no", "no"},
		{"a two dot leader", "‥/x", "/srv/repo/‥/x", "yes", "yes", "no", "no"},
		{"backslashes", `..\..\etc`, "", "unknown", "yes", "unknown", "unknown"},
		{"a drive", `C:/x`, "", "unknown", "unknown", "unknown", "unknown"},
		{"a line break", "a.go\r\n/etc/passwd", "", "unknown", "unknown", "unknown", "unknown"},
		{"a zero byte", "a.go\x00.png", "", "unknown", "unknown", "unknown", "unknown"},
		{"a variable", "$HOME/x", "", "unknown", "unknown", "unknown", "unknown"},
		{"nothing", "", "", "unknown", "unknown", "unknown", "unknown"},
		{"too long", strings.Repeat("a/", 4000), "", "unknown", "unknown", "unknown", "unknown"},
		{"a name with a dollar sign", "$id.tsx", "/srv/repo/$id.tsx", "yes", "no", "no", "no"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := r.path("/p", tt.raw, action.EffectRead, around{"/srv/repo", []string{"/srv/repo"}}, false)
			if p.Resolved != tt.resolved || p.Inside != tt.inside || p.Traverse != tt.traverse || p.Private != tt.private || p.Exists != tt.exists {
				t.Errorf("got %q inside %s traverse %s private %s exists %s", p.Resolved, p.Inside, p.Traverse, p.Private, p.Exists)
			}
		})
	}
}

func TestResourcesArePlacesOnlyIfTheirSchemeIs(t *testing.T) {
	r := open(t, testConfig())
	observe(t, r, local)
	for uri, want := range map[string]string{"file:///srv/repo/a.go": "inside 1 0", "file:///etc/passwd": "inside 1 0",
		"https://a.example/x": "outside 0 1", "memo://insights": "inside 0 0", "nonsense": "inside 0 0"} {
		q := ask("files", uri, `{}`)
		q.Resource.Type = "resource"
		f := inform(t, r, q)
		if got := fmt.Sprintf("%s %d %d", f.Zone, len(f.Paths), len(f.URLs)); got != want || f.Effect != action.EffectRead {
			t.Errorf("%s: %s, effect %s", uri, got, f.Effect)
		}
	}
}

func TestInformAndObserveRunSideBySide(t *testing.T) {
	r := open(t, testConfig())
	defs := listed(t, "server-filesystem.json")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 20 {
				up := local
				up.Server = fmt.Sprint("s", i, j%3)
				if _, err := r.Observe(context.Background(), up, defs); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 200 {
				if _, err := r.Inform(context.Background(), ask("claude-code", "Bash", `{"command":"mkdir -p {a,b} && go test ./..."}`)); err != nil {
					t.Error(err)
				}
				r.List("default", "", "", 0)
			}
		})
	}
	wg.Wait()
}

func TestWildcardsLeadOutOnlyThroughLinks(t *testing.T) {
	dir, cfg := t.TempDir(), testConfig()
	cfg.Lstat, cfg.Readlink, cfg.Links = nil, nil, nil
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, cfg)
	traversal := func(text string) action.Tri {
		q := ask("claude-code", "Bash", `{"command":"`+text+`"}`)
		q.Context.Session.Cwd, q.Context.Session.Roots = dir, []string{dir}
		return inform(t, r, q).Paths[0].Traverse
	}
	if err := os.WriteFile(filepath.Join(dir, "a.go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := traversal("cat *.go"); got != action.No {
		t.Errorf("a folder of plain files: %s", got)
	}
	if got := traversal("cat */x"); got != action.TriUnknown {
		t.Errorf("a wildcard for a folder: %s", got)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "b.go")); err != nil {
		t.Fatal(err)
	}
	if got := traversal("cat *.go"); got != action.TriUnknown {
		t.Errorf("a folder with a link: %s", got)
	}
}
