// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/sallyport/sallyport/policy"
	"github.com/sallyport/sallyport/policy/bundle"
	"github.com/sallyport/sallyport/tools"
)

// TestModeOfAnAgentIsSeen: who is only observed stands in the metrics, under the bundle in force, until the entry ends.
func TestModeOfAnAgentIsSeen(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		bundle.ManifestFile: "version: 1\nname: trial\nsequence: 1\nowner: test\nobserve:\n" +
			"  - {agent: new, tool: \"*\", until: 2099-01-01T00:00:00Z, reason: trial}\n" +
			"  - {agent: new, tool: \"*\", until: 2098-01-01T00:00:00Z, reason: trial}\n" +
			"  - {agent: half, tool: \"crm/*\", until: 2099-01-01T00:00:00Z, reason: trial}\n" +
			"  - {agent: old, tool: \"*\", until: 2020-01-01T00:00:00Z, reason: trial}\n",
		"t.rego": "package sallyport.trial\n\nimport rego.v2\n\nallow contains {\"id\": \"read\"} if input.action.effect == \"read\"\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := PatientConfig()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Ledger.SegmentBytes, cfg.Policy.Dir = "none", "none", 8<<20, dir
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	w := httptest.NewRecorder()
	s.metrics().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	page := w.Body.String()
	for _, want := range []string{`sallyport_observed{agent="new",tenant="default",tool="*"} 1`, `sallyport_observed{agent="half",tenant="default",tool="crm/*"} 1`, "sallyport_unenforced_decisions_total 0"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(page, `agent="old"`) || strings.Count(page, "sallyport_observed{") != 2 {
		t.Error("an entry that ended or stands twice is told of")
	}
	manifest := s.Policy.Active().Manifest()
	if got := manifest.ModeOf("default", "new", s.Ledger.Now()); got != bundle.ModeObserve {
		t.Errorf("the agent's mode is %s", got)
	}
}

// TestPolicyIsTypedByTheToolsThatAreKnown: a bundle that is to be put in force is checked against approved definitions.
func TestPolicyIsTypedByTheToolsThatAreKnown(t *testing.T) {
	cfg := PatientConfig()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Ledger.SegmentBytes = "none", "none", 8<<20
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	def, err := tools.ReadDefinition([]byte(`{"name":"pay","description":"Pays.","inputSchema":{"type":"object","properties":{"amount":{"type":"integer"}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tools.Observe(t.Context(), tools.Upstream{Server: "bank", Transport: tools.Stdio, Command: []string{"/bin/bank"}}, []tools.Definition{def}); err != nil {
		t.Fatal(err)
	}
	load := func(cond string) error {
		b, err := bundle.Read(fstest.MapFS{
			bundle.ManifestFile: {Data: []byte("version: 1\nname: x\nsequence: 1\nowner: test\n")},
			"x.cedar":           {Data: []byte(`@id("pay") permit (principal, action, resource == Tool::"bank/pay") when { ` + cond + ` };`)},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.bundles.root = &bundle.Trust{}
		_, err = policy.Compile(b, s.gate(nil).Load)
		return err
	}
	if err := load(`context.action.arguments.amount == "3"`); err != nil {
		t.Errorf("a tool that nobody approved types policies: %v", err)
	}
	pin, err := s.Tools.Approve(t.Context(), "default", "bank", "pay", s.Tools.List("default", "bank", "", 1)[0].Digest, "ann")
	if err != nil {
		t.Fatal(pin, err)
	}
	if err := load(`context.action.arguments has amount && context.action.arguments.amount == "3"`); err == nil || !strings.Contains(err.Error(), "with the arguments of bank/pay") {
		t.Errorf("a number that is compared with a text: %v", err)
	}
	if err := load(`context.action.arguments has amount && context.action.arguments.amount < 3`); err != nil {
		t.Error(err)
	}
	if err := load(`context.action.arguments.amount < 3`); err == nil || !strings.Contains(err.Error(), "safe form: context.action.arguments has amount") {
		t.Errorf("an argument that a call may leave out: %v", err)
	}
}
