// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/sallyport/sallyport"

// columns are the rooms between base and beam; none imports another.
var columns = []string{"policy", "approval", "ledger", "index", "tools", "identity", "attest", "detect", "flow", "monitor"}

// mayNever are the import rules of the house, a reason per row. From and to are folders, "" the root.
var mayNever = []struct {
	from   []string
	to     func(from, path string) bool
	reason string
}{
	{[]string{"action"}, func(_, p string) bool {
		return strings.Contains(p, ".") && !strings.HasPrefix(p, "github.com/go-json-experiment/json") && !within(p, "action")
	}, "the words rest on nothing"},
	{columns, func(from, p string) bool {
		return slices.ContainsFunc(columns, func(c string) bool { return c != from && within(p, c) })
	}, "columns are wired in the root, so that each can be replaced alone"},
	{columns, func(_, p string) bool {
		return p == module || within(p, "admin") || within(p, "gateway") || within(p, "cmd")
	},
		"a column does not know its doors"},
	{[]string{"store"}, func(_, p string) bool {
		return strings.HasPrefix(p, module) && !within(p, "store") && !within(p, "action")
	}, "the state interface is base"},
	{[]string{"gateway"}, func(_, p string) bool {
		return strings.HasPrefix(p, module) && !within(p, "gateway") && !within(p, "action") && !within(p, "enforce")
	}, "a door has no way around the enforcement point"},
	{[]string{"enforce"}, func(_, p string) bool {
		return p == "net" || strings.HasPrefix(p, "net/") || p == "os" || p == "database/sql" ||
			strings.HasPrefix(p, module) && !within(p, "enforce") && !within(p, "action") && !within(p, "store")
	}, "the path does no I/O of its own"},
}

// onlyIn lists libraries that may be imported in one folder only.
var onlyIn = map[string][]string{
	"github.com/open-policy-agent/opa": {"policy/rego"},
	"github.com/cedar-policy/cedar-go": {"policy/cedar"},
	"modernc.org/sqlite":               {"store/sqlite", "index"},
	"database/sql":                     {"store/sqlite", "index"},
	"github.com/jackc/pgx":             {"store/postgres", "gateway/postgres"}, // the second speaks the wire protocol on both sides
	"github.com/nats-io":               {"store/nats"},
	"github.com/google/go-tpm":         {"attest"},
}

func within(path, folder string) bool {
	return path == module+"/"+folder || strings.HasPrefix(path, module+"/"+folder+"/")
}

// TestImportsFollowTheHouse reads the direct imports of every file. Tests are read too, but may use the
// in-memory halves of other rooms.
func TestImportsFollowTheHouse(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "node_modules" || d.Name() == "sdk" || path != "." && (strings.HasPrefix(d.Name(), ".") || otherModule(path))) {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		files++
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range f.Imports {
			p, _ := strconv.Unquote(i.Path.Value)
			checkImport(t, filepath.ToSlash(path), p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 20 {
		t.Errorf("only %d files were read", files)
	}
}

// otherModule tells a folder whose programs stand beside the binary: no part of the house imports them.
func otherModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func checkImport(t *testing.T, file, path string) {
	test := strings.HasSuffix(file, "_test.go")
	folder := filepath.ToSlash(filepath.Dir(file))
	top, _, _ := strings.Cut(folder, "/")
	for lib, homes := range onlyIn {
		if (path == lib || strings.HasPrefix(path, lib+"/") || strings.HasPrefix(path, lib+"/v")) && !test &&
			!slices.ContainsFunc(homes, func(h string) bool { return folder == h || strings.HasPrefix(folder, h+"/") }) {
			t.Errorf("%s imports %s: only %s may", file, path, strings.Join(homes, ", "))
		}
	}
	if test {
		return
	}
	for _, r := range mayNever {
		if slices.Contains(r.from, top) && !strings.Contains(folder, "enforcetest") && !strings.Contains(folder, "storetest") && r.to(top, path) {
			t.Errorf("%s imports %s: %s", file, path, r.reason)
		}
	}
}

// TestPackagesHaveAPurpose wants the sentence that says why a package exists, and the licence line.
func TestPackagesHaveAPurpose(t *testing.T) {
	purpose := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "node_modules" || path != "." && strings.HasPrefix(d.Name(), ".")) {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(string(src), "// SPDX-License-Identifier: Apache-2.0\n") {
			t.Errorf("%s does not begin with the licence line", path)
		}
		if strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, src, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		dir := filepath.Dir(path)
		purpose[dir] = purpose[dir] || f.Doc != nil && (strings.HasPrefix(f.Doc.Text(), "Package ") || strings.HasPrefix(f.Doc.Text(), "Command "))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, ok := range purpose {
		if !ok {
			t.Errorf("package %s has no sentence that says why it exists", dir)
		}
	}
}
