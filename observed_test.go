// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/policy/bundle"
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
	cfg := DefaultConfig()
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
