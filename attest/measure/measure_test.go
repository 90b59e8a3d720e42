// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// TestAFolderIsNamesKindsAndContents changes one thing after the other.
func TestAFolderIsNamesKindsAndContents(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "one", 0o600)
	write(t, filepath.Join(dir, "sub/b"), "two", 0o600)
	if err := os.Symlink("a", filepath.Join(dir, "l")); err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	look := func(name string) {
		t.Helper()
		d, err := Digest(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if was, ok := seen[d]; ok {
			t.Errorf("%s looks like %s", name, was)
		}
		seen[d] = name
	}
	look("the folder")
	if err := os.Chtimes(filepath.Join(dir, "a"), time.Now(), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if d, err := Digest(t.Context(), dir); err != nil || seen[d] == "" {
		t.Errorf("the time of a file counts: %v", err)
	}
	write(t, filepath.Join(dir, "a"), "eno", 0o600)
	look("another content")
	write(t, filepath.Join(dir, "a"), "eno", 0o700)
	look("a right to execute")
	write(t, filepath.Join(dir, "sub/c"), "", 0o600)
	look("an empty file more")
	if err := os.Rename(filepath.Join(dir, "sub/c"), filepath.Join(dir, "sub/d")); err != nil {
		t.Fatal(err)
	}
	look("another name")
	if err := os.Remove(filepath.Join(dir, "l")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("sub/b", filepath.Join(dir, "l")); err != nil {
		t.Fatal(err)
	}
	look("a link that leads elsewhere")
}

func TestTakeNamesEachThingByItsKind(t *testing.T) {
	dir := t.TempDir()
	p := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"exe", "script", "lock", "prompt", "tools.json", "model/w"} {
		write(t, p(name), name, 0o600)
	}
	s := Spec{Executable: p("exe"), Command: []string{p("exe"), "x"}, Scripts: []string{p("script")}, Packages: []string{p("lock")}, Prompts: []string{p("prompt")},
		Tools: []string{p("tools.json")}, Model: p("model"), PCR: 9}
	events, err := Take(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, e := range events {
		if kinds = append(kinds, e.Kind); e.PCR != 9 || len(e.Digest) != 64 {
			t.Errorf("%+v", e)
		}
	}
	if want := []string{"command", "executable", "script", "packages", "prompt", "tools", "model"}; !slices.Equal(kinds, want) {
		t.Errorf("%q", kinds)
	}
	s.Command = []string{p("exe"), "y"}
	if again, err := Take(t.Context(), s); err != nil || again[0].Digest == events[0].Digest || again[1].Digest != events[1].Digest {
		t.Errorf("another command line: %v", err)
	}
	s.Prompts = []string{p("gone")}
	if _, err := Take(t.Context(), s); err == nil {
		t.Error("what is not there is measured")
	}
}
