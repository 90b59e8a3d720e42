// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

// fixtures are the definitions of real servers, as listed, by the pack that pins them.
func fixtures(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 17 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	var out []string
	for _, f := range files {
		out = append(out, strings.TrimSuffix(filepath.Base(f), ".json"))
	}
	return out
}

// soundsWorse are the tools that a pack takes for reading although their server marks them as destructive, with the reason.
var soundsWorse = map[string]string{
	"API-post-search":       "it searches; the mark comes from its being a POST",
	"API-query-data-source": "it searches; the mark comes from its being a POST",
	"browser_close":         "the browser is the agent's own",
	"browser_resize":        "the browser is the agent's own",
	"browser_emulate_media": "the browser is the agent's own",
	"browser_hover":         "nothing is sent but what the page's own scripts send",
	"browser_tabs":          "opening a page is a fetch, and its address is stated",
	"browser_navigate":      "opening a page is a fetch, and its address is stated",
	"browser_navigate_back": "opening a page is a fetch",
}

func TestPacksSpeakForTheRealDefinitions(t *testing.T) {
	for _, name := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			r := open(t, testConfig())
			defs := listed(t, name+".json")
			observe(t, r, local, defs...)
			for _, d := range defs {
				f, ok := r.Lookup("default", "files", d.Name)
				if !ok || f.Definition.State != action.DefinitionApproved || f.Definition.Pack != name || f.Source != action.EffectDeclared {
					t.Errorf("%s: %+v", d.Name, f)
				}
				if d.Annotations.Destructive == action.Yes && f.Effect == action.EffectRead && soundsWorse[d.Name] == "" {
					t.Errorf("%s: the server calls it destructive, the pack says read", d.Name)
				}
			}
			if extra := len(r.pack(name).Tools) - len(defs); extra != 0 && !strings.HasPrefix(name, "server-everything") {
				t.Errorf("%d tools of the pack are not listed", extra)
			}
		})
	}
}

// TestPacksUnderstandCallsOfRealServers: one call each of what matters, in full.
func TestPacksUnderstandCallsOfRealServers(t *testing.T) {
	for _, c := range []struct {
		pack, tool, args string
		effect           action.Effect
		zone             action.Zone
		want             string // what the facts say
	}{
		{"server-memory", "create_entities", `{"entities":[{"name":"a","entityType":"b","observations":["c@d.example"]}]}`, "write", "inside", ""},
		{"server-memory", "delete_entities", `{"entityNames":["a"]}`, "destroy", "inside", ""},
		{"server-sequential-thinking", "sequentialthinking", `{"thought":"go to https://a.example","nextThoughtNeeded":true,"thoughtNumber":1,"totalThoughts":2}`, "read", "inside", ""},
		{"mcp-server-fetch", "fetch", `{"url":"https://a.example/x","max_length":10,"raw":true}`, "read", "outside", "host a.example"},
		{"mcp-server-time", "convert_time", `{"source_timezone":"UTC","time":"10:00","target_timezone":"Asia/Tokyo"}`, "read", "inside", ""},
		{"mcp-server-git", "git_commit", `{"repo_path":"/srv/repo","message":"fix"}`, "write", "inside", "write /srv/repo"},
		{"mcp-server-git", "git_log", `{"repo_path":"/etc","max_count":3}`, "read", "inside", "read /etc"},
		{"server-github", "add_issue_comment", `{"owner":"a","repo":"b","issue_number":1,"body":"see /etc/passwd"}`, "write", "outside", ""},
		{"server-github", "push_files", `{"owner":"a","repo":"b","branch":"c","message":"m","files":[{"path":"x","content":"y"}]}`, "write", "outside", ""},
		{"server-slack", "slack_post_message", `{"channel_id":"C1","text":"hi"}`, "send", "outside", "to C1"},
		{"server-slack", "slack_get_channel_history", `{"channel_id":"C1","limit":10}`, "read", "outside", ""},
		{"server-gdrive", "search", `{"query":"x"}`, "read", "outside", ""},
		{"server-postgres", "query", `{"sql":"SELECT 1"}`, "read", "inside", "SELECT no"},
		{"mcp-server-sqlite", "read_query", `{"query":"DELETE FROM t"}`, "destroy", "inside", "DELETE yes"},
		{"mcp-server-sqlite", "write_query", `{"query":"SELECT a FROM t"}`, "read", "inside", "SELECT no"},
		{"mcp-shell-server", "shell_execute", `{"command":["ls","-l"],"directory":"/srv/repo","timeout":5}`, "execute", "inside", "read /srv/repo, run ls"},
		{"gmail", "send_email", `{"to":["a@corp.example"],"cc":["b@x.example"],"subject":"s","body":"b","attachments":["/srv/repo/a.go"]}`, "send", "outside", "to a@corp.example, to b@x.example, read /srv/repo/a.go"},
		{"gmail", "create_filter", `{"criteria":{"from":"x"},"action":{"forward":"eve@x.example"}}`, "admin", "outside", "to eve@x.example"},
		{"gmail", "download_attachment", `{"messageId":"1","attachmentId":"2","savePath":"/srv/repo"}`, "write", "outside", "write /srv/repo"},
		{"google-calendar", "create-event", `{"calendarId":"primary","summary":"s","start":"2030-01-01T00:00:00","end":"2030-01-01T01:00:00","attendees":[{"email":"eve@x.example"}]}`, "send", "outside", "to eve@x.example"},
		{"notion", "API-post-page", `{"parent":{"page_id":"p"},"properties":{"title":[{"text":{"content":"x"}}]}}`, "write", "outside", ""},
		{"notion", "API-post-search", `{"query":"x","filter":{"property":"object","value":"page"}}`, "read", "outside", ""},
		{"playwright", "browser_navigate", `{"url":"https://a.example/?q=1"}`, "read", "outside", "host a.example"},
		{"playwright", "browser_file_upload", `{"paths":["/srv/repo/a.go"]}`, "send", "outside", "read /srv/repo/a.go"},
		{"playwright", "browser_take_screenshot", `{"type":"png","filename":"/srv/repo/out.png"}`, "read", "outside", "write /srv/repo/out.png"},
		{"stripe", "create_refund", `{"payment_intent":"pi_1","amount":1000}`, "spend", "outside", "pay 1000"},
		{"stripe", "list_customers", `{"limit":3,"email":"a@x.example"}`, "read", "outside", ""},
		{"kubernetes", "pods_exec", `{"name":"p","namespace":"n","command":["ls","/tmp"]}`, "execute", "inside", "read /tmp, run ls"},
		{"kubernetes", "resources_create_or_update", `{"resource":"kind: Role"}`, "admin", "inside", ""},
	} {
		t.Run(c.pack+"/"+c.tool, func(t *testing.T) {
			r := open(t, testConfig())
			observe(t, r, local, listed(t, c.pack+".json")...)
			q := ask("files", c.tool, c.args)
			f := inform(t, r, q)
			if f.Typed != action.StateKnown || f.Effect != c.effect || f.Zone != c.zone || said(&f) != c.want {
				t.Errorf("typed %s, effect %s, zone %s, %q; want %s, %s, %q", f.Typed, f.Effect, f.Zone, said(&f), c.effect, c.zone, c.want)
			}
			// A member that no definition has is never understood.
			q.Action.Arguments = []byte(strings.TrimSuffix(c.args, "}") + `,"zz_unheard_of":"x"}`)
			if f := inform(t, r, q); f.Typed == action.StateKnown {
				t.Error("an argument that nobody declared was understood")
			}
		})
	}
}

func said(f *action.ToolFacts) string {
	var out []string
	for _, r := range f.Recipients {
		out = append(out, "to "+r.Value)
	}
	for _, p := range f.Paths {
		out = append(out, string(p.Access)+" "+p.Resolved)
	}
	for _, u := range f.URLs {
		out = append(out, "host "+u.Host)
	}
	for _, s := range f.SQL {
		out = append(out, s.Verb+" "+string(s.Writes))
	}
	for _, c := range f.Commands {
		out = append(out, "run "+c.Name)
	}
	for _, a := range f.Amounts {
		out = append(out, "pay "+strings.TrimSuffix(a.Currency+" ", " ")+digits(a))
	}
	return strings.Join(out, ", ")
}

func digits(a action.Amount) string {
	n := a.Minor
	for range a.Exponent {
		n /= 10
	}
	var b []byte
	for ; n > 0; n /= 10 {
		b = append([]byte{byte('0' + n%10)}, b...)
	}
	return string(b)
}

func TestHostsBuiltInToolsAreUnderstood(t *testing.T) {
	for _, c := range []struct {
		host, tool, args string
		effect           action.Effect
		typed            action.State
		want             string
	}{
		{"cursor", "Shell", `{"command":"go test ./..."}`, "execute", "known", "read /srv/repo, run go"},
		{"cursor", "Read", `{"path":"/srv/repo/a.go"}`, "read", "known", "read /srv/repo/a.go"},
		{"cursor", "Write", `{"file_path":"/srv/repo/new.go","content":"x"}`, "write", "known", "write /srv/repo/new.go"},
		{"cursor", "Delete", `{"path":"/srv/repo/a.go"}`, "destroy", "known", "destroy /srv/repo/a.go"},
		{"vscode", "run_in_terminal", `{"command":"git status","explanation":"look","isBackground":false}`, "execute", "known", "run git"},
		{"vscode", "create_file", `{"filePath":"/srv/repo/b.go","content":"x"}`, "write", "known", "write /srv/repo/b.go"},
		{"vscode", "multi_replace_string_in_file", `{"explanation":"e","replacements":[{"filePath":"/srv/repo/a.go","oldString":"a","newString":"b"}]}`, "write", "known", "write /srv/repo/a.go"},
		{"vscode", "fetch_webpage", `{"urls":["https://a.example"],"query":"x"}`, "read", "known", "host a.example"},
		{"codex", "apply_patch", `{"command":"*** Begin Patch\n*** Update File: a.go\n@@\n-a\n+b\n*** End Patch"}`, "write", "known", "write /srv/repo/a.go"},
		{"codex", "apply_patch", `{"command":"*** Begin Patch\n*** Add File: new/c.go\n+x\n*** Delete File: a.go\n*** End Patch"}`, "write", "known", "write /srv/repo/new/c.go, destroy /srv/repo/a.go"},
		{"codex", "apply_patch", `{"command":"*** Begin Patch\n*** Update File: a.go\n*** Move to: ../../etc/x\n@@\n-a\n+b\n*** End of File\n*** End Patch\n"}`, "write", "known", "write /srv/repo/a.go, write /etc/x"},
		{"codex", "apply_patch", `{"command":"*** Begin Patch\r\n*** Update File: a.go\r\n@@\r\n-a\r\n+b\r\n*** End Patch\r\n"}`, "write", "known", "write /srv/repo/a.go"},
		{"codex", "apply_patch", `{"command":"*** Begin Patch\n*** Add File: a.go\n+x\n*** End Patch"}`, "write", "known", "destroy /srv/repo/a.go"},
		{"codex", "apply_patch", `{"command":"*** Update File: a.go\n@@\n-a\n+b"}`, "write", "unknown", ""},
		{"codex", "apply_patch", `{"command":"*** Begin Patch\n*** Rename File: a.go\n*** End Patch"}`, "write", "unknown", ""},
		{"codex", "apply_patch", `{"command":"*** Begin Patch\n*** Update File: \n*** End Patch"}`, "write", "unknown", ""},
		{"codex", "apply_patch", `{"command":"*** Begin Patch\n+x\n*** Update File: a.go\n*** End Patch"}`, "write", "unknown", "write /srv/repo/a.go"},
		{"codex", "apply_patch", `{"command":"*** Begin Patch\n*** Update File: a.go\n *** Delete File: /etc/passwd\n*** End Patch"}`, "write", "unknown", "write /srv/repo/a.go"},
		{"codex", "apply_patch", `{"command":""}`, "write", "unknown", ""},
	} {
		t.Run(c.host+"/"+c.tool, func(t *testing.T) {
			f := inform(t, open(t, testConfig()), ask(c.host, c.tool, c.args))
			if f.Effect != c.effect || f.Typed != c.typed || said(&f) != c.want || f.Definition.State != action.DefinitionApproved {
				t.Errorf("%s: effect %s, typed %s, %q, %s", c.args, f.Effect, f.Typed, said(&f), f.Definition.State)
			}
		})
	}
}

// FuzzPatch: no patch that names a file in a line of its own is understood without that file among the paths.
func FuzzPatch(f *testing.F) {
	r := fuzzRegistry(f)
	for _, s := range []string{"*** Begin Patch\n*** Update File: a\n@@\n-a\n+b\n*** End Patch", "*** Begin Patch\n*** Add File: a\n+*** Delete File: b\n*** End Patch", "*** Begin Patch\r\n*** Delete File: x\r\n*** End Patch"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := &call{r: r, plan: &plan{}, facts: &action.ToolFacts{}, typed: true}
		c.patch("/command", s)
		heads := 0
		for line := range strings.Lines(s) {
			if _, name, ok := patchHead(strings.TrimRight(line, "\r\n")); ok && name != "" {
				heads++
			}
		}
		if c.typed && len(c.facts.Paths) < min(heads, maxFacts) {
			t.Fatalf("%q names %d files, %d were seen", s, heads, len(c.facts.Paths))
		}
	})
}
