// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDiscoverFindsWhatIsInterpreted lays out projects and reads command lines.
func TestDiscoverFindsWhatIsInterpreted(t *testing.T) {
	dir := real(t.TempDir())
	for _, f := range []string{"py/agent.py", "py/uv.lock", "py/.venv/pyvenv.cfg", "py/.venv/bin/python3", "py/.venv/lib/python3.11/site-packages/x.py",
		"js/src/deep/agent.mjs", "js/package-lock.json", "js/node_modules/x/index.js", "js/requirements.txt", "plain/run.sh"} {
		path := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(f), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	digest := strings.Repeat("ab", 32)
	in := func(names ...string) (out []string) {
		for _, n := range names {
			out = append(out, filepath.Join(dir, n))
		}
		return out
	}
	for _, c := range []struct {
		name, program  string
		args           []string
		scripts, packs []string
		image          string
	}{
		{name: "Python of a virtual environment", program: dir + "/py/.venv/bin/python3", args: []string{"-u", dir + "/py/agent.py", "now"},
			scripts: in("py/agent.py"), packs: in("py/.venv/pyvenv.cfg", "py/.venv/lib/python3.11/site-packages", "py/uv.lock")},
		{name: "a module of it", program: dir + "/py/.venv/bin/python3", args: []string{"-m", "agent", dir + "/py/agent.py"},
			packs: in("py/.venv/pyvenv.cfg", "py/.venv/lib/python3.11/site-packages")},
		{name: "another Python", program: "/usr/bin/python3.11", args: []string{dir + "/py/agent.py"}, scripts: in("py/agent.py"), packs: in("py/uv.lock")},
		{name: "Node with packages above", program: "/usr/bin/node", args: []string{"--no-warnings", dir + "/js/src/deep/agent.mjs"},
			scripts: in("js/src/deep/agent.mjs"), packs: in("js/requirements.txt", "js/package-lock.json", "js/node_modules")},
		{name: "code on the command line", program: "/usr/bin/node", args: []string{"-e", "1", dir + "/js/src/deep/agent.mjs"}},
		{name: "a shell", program: "/bin/bash", args: []string{dir + "/plain/run.sh"}, scripts: in("plain/run.sh")},
		{name: "a program of its own", program: "/usr/bin/agent", args: []string{dir + "/plain/run.sh"}},
		{name: "a pinned image", program: "/usr/bin/docker", args: []string{"run", "-i", "registry.example/mail@sha256:" + digest, "serve"}, image: digest},
		{name: "an image by its tag", program: "/usr/bin/docker", args: []string{"run", "registry.example/mail:1"}},
		{name: "no run", program: "/usr/bin/docker", args: []string{"pull", "registry.example/mail@sha256:" + digest}},
	} {
		got := Discover(Spec{}, c.program, c.args)
		slices.Sort(got.Packages)
		slices.Sort(c.packs)
		if !slices.Equal(got.Scripts, c.scripts) || !slices.Equal(got.Packages, c.packs) || got.Image != c.image {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	named := Discover(Spec{Scripts: in("py/agent.py"), Packages: in("py/uv.lock")}, "/usr/bin/python3", []string{dir + "/py/agent.py"})
	if len(named.Scripts) != 1 || len(named.Packages) != 1 {
		t.Errorf("what is named already stands twice: %+v", named)
	}
	events, err := Take(t.Context(), Spec{Image: digest})
	if err != nil || len(events) != 1 || events[0].Kind != "image" || events[0].Digest != digest {
		t.Errorf("%+v %v", events, err)
	}
	if _, err := Take(t.Context(), Spec{Image: "latest"}); err == nil {
		t.Error("a tag is a digest")
	}
}
