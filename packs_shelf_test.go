// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policies"
)

// shelf has a row for each folder of policies: the prefix of its rules, and the servers whose recorded tools/list it is tried on
// (tools/testdata says where each comes from), or what it is tried on in their place.
var shelf = map[string]struct {
	prefix  string
	servers []string
	instead string
}{
	"baseline":      {"baseline", []string{"server-filesystem", "mcp-server-git", "server-memory", "mcp-server-fetch"}, ""},
	"filesystem":    {"filesystem", []string{"server-filesystem"}, ""},
	"shell":         {"shell", []string{"mcp-shell-server"}, ""},
	"git":           {"git", []string{"mcp-shell-server", "server-github"}, ""},
	"mail":          {"mail", []string{"gmail", "server-slack"}, ""},
	"payments":      {"payments", []string{"stripe"}, ""},
	"sql":           {"sql", []string{"server-postgres", "mcp-server-sqlite"}, ""},
	"multi-agent":   {"multiagent", []string{"claude-code", "server-slack"}, ""},
	"cedar-example": {"support", []string{"gmail", "server-filesystem", "mcp-server-fetch"}, ""},
	"egress":        {"egress", nil, "the egress proxy, whose tools are the methods of HTTP (TestEgress*)"},
	"airline":       {"airline", nil, "the airline of tau-bench, whose tools are no MCP server's (policy: TestAirline*)"},
	"airline-cedar": {"airline", nil, "the airline of tau-bench, whose tools are no MCP server's (policy: TestAirline*)"},
	"appraisal":     {"", nil, "evidence of runtimes (TestAppraisal*): it decides on no action"},
}

// paramUse is where a policy reads a parameter.
var paramUse = regexp.MustCompile(`(?:data|context)\.params\.([a-z_]+)`)

// TestEveryPackIsOnTheShelf holds each folder of policies to what a pack is: named, described, owned, parameterised, and tried on
// what real servers list. A folder without a row fails; cases, attacks named and rules deleted and negated are held over the same
// names in package policy.
func TestEveryPackIsOnTheShelf(t *testing.T) {
	entries, err := os.ReadDir("policies")
	if err != nil {
		t.Fatal(err)
	}
	rows := maps.Clone(shelf)
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		name := e.Name()
		row, ok := rows[name]
		delete(rows, name)
		if !ok || (len(row.servers) == 0) == (row.instead == "") {
			t.Errorf("%s: what real server is it tried on?", name)
			continue
		}
		document := slices.Contains(policies.Documents(), name)
		if !document && !slices.Contains(policies.Names(), name) {
			t.Errorf("%s: it is not embedded", name)
		}
		for _, want := range []string{"README.md", "sallyport-bundle.yaml"} {
			if _, err := os.Stat(filepath.Join("policies", name, want)); err != nil {
				t.Error(err)
			}
		}
		if !document {
			parameterised(t, name)
			triedOn(t, name, row.prefix, row.servers)
		}
	}
	for name := range rows {
		t.Errorf("%s: there is no such pack", name)
	}
}

// parameterised: each parameter that the pack sets is read by its rules, and each that they read is set.
func parameterised(t *testing.T, name string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("policies", name, "params.yaml"))
	var set map[string]any
	if err != nil || yaml.Unmarshal(data, &set) != nil || len(set) == 0 {
		t.Errorf("%s has no parameters: %v", name, err)
		return
	}
	read := map[string]bool{}
	for _, pattern := range []string{"*.rego", "*.cedar"} {
		files, _ := filepath.Glob(filepath.Join("policies", name, pattern))
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range paramUse.FindAllStringSubmatch(string(text), -1) {
				read[m[1]] = true
			}
		}
	}
	for k := range set {
		// Roots bound what counts as inside, which the tools say and no rule asks for.
		if !read[k] && k != "roots" {
			t.Errorf("%s: no rule reads the parameter %s", name, k)
		}
	}
	for k := range read {
		if _, ok := set[k]; !ok {
			t.Errorf("%s: params.yaml does not say %s", name, k)
		}
	}
}

// triedOn: of the pack's rules at least one passes and one refuses a call of its servers.
func triedOn(t *testing.T, name, prefix string, servers []string) {
	t.Helper()
	allows, refuses := 0, 0
	for _, c := range slices.Concat(realCalls, cedarCalls) {
		pack := realServers[c.server]
		if c.server == "claude-code" {
			pack = c.server
		}
		if !strings.HasPrefix(c.by, prefix+".") || !slices.Contains(servers, pack) {
			continue
		}
		if c.want == action.Allow {
			allows++
		} else {
			refuses++
		}
	}
	if len(servers) > 0 && (allows == 0 || refuses == 0) {
		t.Errorf("%s: %d calls of real servers pass by it and %d are refused", name, allows, refuses)
	}
}

var cedarCalls = []realCall{
	{"mail", "send_email", `{"to":["desk@example.com"],"subject":"s","body":"b"}`, "allow", "support.send.mail", ""},
	{"mail", "send_email", `{"to":["eve@x.example"],"subject":"s","body":"b"}`, "ask", "support.send.stranger", ""},
	{"files", "read_text_file", `{"path":"ROOT/a.txt"}`, "allow", "support.read.files", ""},
	{"files", "read_text_file", `{"path":"/etc/passwd"}`, "deny", "", ""},
	{"files", "write_file", `{"path":"ROOT/new.txt","content":"x"}`, "deny", "", ""},
}

// TestCedarPackDecidesOnRealServers is TestPacksDecideOnRealServers for the pack in Cedar, which goes alone.
func TestCedarPackDecidesOnRealServers(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "a.txt"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := open(t, func(c *sallyport.Config) { c.Policy.Dir, c.Approval.MaxPending = "policies/cedar-example", 100 })
	for name, pack := range map[string]string{"mail": "gmail", "files": "server-filesystem"} {
		h.realServer(name, pack)
	}
	sub, sess := h.agent("desk", root)
	for _, c := range cedarCalls {
		t.Run(c.server+"/"+c.tool, func(t *testing.T) {
			args := strings.ReplaceAll(c.args, "ROOT", root)
			adm, err := h.Enforcer.Before(t.Context(), attempt(sub, sess, c.server, c.tool, args))
			if err != nil {
				t.Fatal(err)
			}
			if got := h.rules(adm.ID); adm.Verdict != c.want || c.by != "" && !strings.Contains(" "+got+" ", " "+c.by+" ") {
				t.Errorf("%s: %s by %s; want %s by %s", args, adm.Verdict, got, c.want, c.by)
			}
		})
	}
}
