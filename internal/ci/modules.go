// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path"
	"slices"
	"strings"
)

// modules are the folders of the checkout's other modules: programs beside the binary whose libraries it does not
// need. They are vetted, which builds them, and tested where they have tests.
func (r *run) modules() ([]string, error) {
	files, err := r.output("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*/go.mod")
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, f := range strings.FieldsFunc(files, func(c rune) bool { return c == 0 }) {
		if !strings.Contains(f, "testdata/") {
			dirs = append(dirs, path.Dir(f))
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs), nil
}

// testModules runs what a change must pass in the other modules. Their requirements follow the main module's by a
// replacement, so that a change there which breaks them is seen here.
func (r *run) testModules() error {
	dirs, err := r.modules()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		r.do("module "+dir+": go vet", func() error { return r.command("go", "-C", dir, "vet", "./...").Run() })
		r.do("module "+dir+": go test", func() error { return r.gotestIn(dir, "-timeout=15m", "./...") })
	}
	return nil
}
