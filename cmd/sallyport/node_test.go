// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/approval"
)

// node returns the folder of Node programs, with Node itself first on the path of p; test/node/install.sh
// makes it.
func (p *place) node() (modules string) {
	p.t.Helper()
	modules, err := filepath.Abs("../../.cache/node/node_modules")
	if err != nil {
		p.t.Fatal(err)
	}
	for _, f := range []string{"node/bin/node", "@modelcontextprotocol/server-filesystem/dist/index.js", "@modelcontextprotocol/inspector/clients/launcher/build/index.js"} {
		if _, err := os.Stat(filepath.Join(modules, f)); err != nil {
			p.t.Skip("Node with the pinned programs is not installed; test/node/install.sh does it")
		}
	}
	for i, kv := range p.env {
		if path, ok := strings.CutPrefix(kv, "PATH="); ok {
			p.env[i] = "PATH=" + filepath.Join(modules, "node", "bin") + string(os.PathListSeparator) + path
		}
	}
	return modules
}

func TestFilesystemServerStaysInItsRoot(t *testing.T) {
	p := newPlace(t, "")
	modules := p.node()
	root, outside := p.folder("w"), p.folder("elsewhere")
	p.write("w/a.txt", "alpha")
	c := p.connect(root, "files", "node", filepath.Join(modules, "@modelcontextprotocol/server-filesystem/dist/index.js"), root)
	if text, stopped := c.call("read_text_file", map[string]any{"path": filepath.Join(root, "a.txt")}); stopped || text != "alpha" {
		t.Errorf("reading inside: %q", text)
	}
	if text, stopped := c.call("write_file", map[string]any{"path": filepath.Join(root, "new.txt"), "content": "beta"}); stopped {
		t.Errorf("a new file inside: %q", text)
	}
	for name, path := range map[string]string{"outside": filepath.Join(outside, "x.txt"), "by dots": root + "/../elsewhere/x.txt", "home": filepath.Join(p.home, ".bashrc")} {
		text, stopped := c.call("write_file", map[string]any{"path": path, "content": "x"})
		if !stopped || ticketText.MatchString(text) || !strings.Contains(text, root) {
			t.Errorf("a write %s: the model reads %q", name, text)
		}
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Error("something was written outside")
	}

	p.folder("w/.git/hooks") // what lies there runs later, so a person has to look
	hook := filepath.Join(root, ".git", "hooks", "pre-commit")
	write := map[string]any{"path": hook, "content": "#!/bin/sh\n"}
	text, stopped := c.call("write_file", write)
	if !stopped {
		t.Fatalf("a hook is written unasked: %q", text)
	}
	p.must("approvals", "approve", ticket(t, text))
	if text, stopped := c.call("write_file", write); stopped {
		t.Fatalf("the approved write: %q", text)
	}
	if b, err := os.ReadFile(hook); err != nil || string(b) != "#!/bin/sh\n" {
		t.Error("the approved write did not happen", err)
	}
	if err := os.Remove(hook); err != nil {
		t.Fatal(err)
	}
	if text, stopped := c.call("write_file", write); !stopped || !ticketText.MatchString(text) {
		t.Errorf("a third call passes on the same approval: %q", text)
	}
	if _, err := os.Stat(hook); err == nil {
		t.Error("it was written twice")
	}
	if v := ask[[]approval.View](p, "approvals", "list"); len(v) != 1 {
		t.Errorf("inbox %+v", v)
	}
}

func TestInspectorWorksThroughTheGate(t *testing.T) {
	p := newPlace(t, "")
	modules := p.node()
	root := p.folder("w")
	p.write("w/a.txt", "alpha")
	inspect := func(args ...string) (string, bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		cmd := p.command(ctx, append([]string{"node", filepath.Join(modules, "@modelcontextprotocol/inspector/clients/launcher/build/index.js"), "--cli",
			p.exe, "mcp", "--name", "files", "node", filepath.Join(modules, "@modelcontextprotocol/server-filesystem/dist/index.js"), root}, args...)...)
		cmd.Dir = root
		out, err := cmd.Output()
		var res struct {
			IsError bool  `json:"isError"`
			Tools   []any `json:"tools"`
		}
		if jerr := json.Unmarshal(out, &res); jerr != nil {
			t.Fatalf("inspector %v: %v, %v: %s", args, err, jerr, out)
		}
		return string(out), res.IsError
	}
	if out, _ := inspect("--method", "tools/list"); !strings.Contains(out, `"write_file"`) {
		t.Errorf("tools/list: %s", out)
	}
	if out, stopped := inspect("--method", "tools/call", "--tool-name", "read_text_file", "--tool-arg", "path="+root+"/a.txt"); stopped || !strings.Contains(out, "alpha") {
		t.Errorf("read: %s", out)
	}
	out, stopped := inspect("--method", "tools/call", "--tool-name", "write_file", "--tool-arg", "path="+p.home+"/x.txt", "content=x")
	if !stopped || !strings.Contains(out, "Write inside "+root) {
		t.Errorf("a write outside: %s", out)
	}
}
