// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// The programs whose own digest says nothing of what they do, and how far above an entry script its packages are looked for.
var (
	pythons    = regexp.MustCompile(`^(python|pypy)[0-9.]*$`)
	nodes      = regexp.MustCompile(`^(node|nodejs|bun|deno|tsx)$`)
	others     = regexp.MustCompile(`^(sh|bash|dash|zsh|ksh|ruby|perl|php)[0-9.]*$`)
	containers = regexp.MustCompile(`^(docker|podman|nerdctl)$`)
	pinned     = regexp.MustCompile(`@sha256:([0-9a-f]{64})$`)
	lockFiles  = []string{"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "requirements.lock", "requirements.txt",
		"package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "yarn.lock", "bun.lock", "bun.lockb", "deno.lock", "Gemfile.lock"}
)

const maxAbove = 16

// Discover returns s with what a command line shows of a program that is interpreted: the entry script, the lock files in
// the nearest folder above it that holds some, and the packages beside them (site-packages of the interpreter's virtual
// environment, node_modules); of a container, the digest that its image is pinned to. The program is the path that is
// executed, links not yet followed. What a script loads from elsewhere has to be named.
func Discover(s Spec, program string, args []string) Spec {
	base := strings.TrimSuffix(filepath.Base(program), ".exe")
	if containers.MatchString(base) {
		for _, a := range args {
			if m := pinned.FindStringSubmatch(a); m != nil && slices.Contains(args, "run") && s.Image == "" {
				s.Image = m[1]
			}
		}
		return s
	}
	python, node := pythons.MatchString(base), nodes.MatchString(base)
	if !python && !node && !others.MatchString(base) {
		return s
	}
	if python {
		s.Packages = more(s.Packages, sitePackages(program)...)
	}
	script := scriptOf(args)
	if script == "" {
		return s
	}
	s.Scripts = more(s.Scripts, script)
	s.Packages = more(s.Packages, beside(filepath.Dir(script), node)...)
	return s
}

// scriptOf is the first argument that is a file, unless the program is given inline or by a module's name before it.
func scriptOf(args []string) string {
	for _, a := range args {
		switch {
		case slices.Contains([]string{"-c", "-m", "-e", "-p", "--eval", "--print"}, a):
			return ""
		case strings.HasPrefix(a, "-"):
			continue
		}
		if info, err := os.Stat(a); err == nil && info.Mode().IsRegular() {
			return real(a)
		}
	}
	return ""
}

// sitePackages are the packages of the virtual environment that an interpreter lies in.
func sitePackages(program string) []string {
	venv := filepath.Dir(filepath.Dir(program))
	if _, err := os.Stat(filepath.Join(venv, "pyvenv.cfg")); err != nil {
		return nil
	}
	found, err := filepath.Glob(filepath.Join(venv, "lib*", "python*", "site-packages"))
	if err != nil {
		return nil
	}
	out := []string{real(filepath.Join(venv, "pyvenv.cfg"))} // it can lead to other packages
	for _, f := range found {
		out = more(out, real(f))
	}
	return out
}

// beside are lock files, and node's packages, in the nearest folders above a script that hold some.
func beside(dir string, node bool) (out []string) {
	locks, modules := false, !node
	for range maxAbove {
		for _, name := range lockFiles {
			if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() && !locks {
				out = append(out, real(filepath.Join(dir, name)))
			}
		}
		locks = locks || len(out) > 0
		if m := filepath.Join(dir, "node_modules"); !modules {
			if info, err := os.Stat(m); err == nil && info.IsDir() {
				out, modules = append(out, real(m)), true
			}
		}
		up := filepath.Dir(dir)
		if locks && modules || up == dir {
			break
		}
		dir = up
	}
	return out
}

func more(have []string, add ...string) []string {
	for _, a := range add {
		if !slices.ContainsFunc(have, func(h string) bool { return h == a || real(h) == a }) {
			have = append(have, a)
		}
	}
	return have
}

// real is where a path leads.
func real(p string) string {
	if abs, err := filepath.Abs(p); err == nil {
		p = abs
	}
	if to, err := filepath.EvalSymlinks(p); err == nil {
		return to
	}
	return p
}
