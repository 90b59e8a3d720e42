// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport"
)

func TestLegalHoldForbidsErasure(t *testing.T) {
	h := open(t, func(c *sallyport.Config) {
		c.Ledger.LegalHolds = []string{"ann"}
		c.Ledger.Retention = []sallyport.RetentionRule{{Class: "arguments", Keep: 24 * time.Hour}}
	})
	sub, sess := h.agent("bot")
	if _, err := h.Enforcer.Before(t.Context(), attempt(sub, sess, "files", "read_note", `{"name":"n"}`)); err != nil {
		t.Fatal(err)
	}
	before := h.Ledger.Checkpoint().Size
	if _, err := h.Erase(t.Context(), "ann", "olga"); err == nil || !strings.Contains(err.Error(), "legal hold") || h.Ledger.Checkpoint().Size != before {
		t.Errorf("%v", err)
	}
	files, err := filepath.Glob(filepath.Join(h.cfg.Data, "keys", "seal-*-arguments@*"))
	if err != nil || len(files) == 0 {
		t.Errorf("keys have no month: %v, %v", files, err)
	}
}

func TestRetentionRulesAreChecked(t *testing.T) {
	for name, rules := range map[string][]sallyport.RetentionRule{
		"an unknown class": {{Class: "mail", Keep: 48 * time.Hour}}, "twice": {{Class: "result", Keep: 48 * time.Hour}, {Class: "result", Keep: 72 * time.Hour}},
		"too short": {{Class: "result", Keep: time.Hour}}, "no time": {{Class: "result"}},
	} {
		cfg := sallyport.DefaultConfig()
		cfg.Data, cfg.Ledger.Retention = t.TempDir(), rules
		if _, err := sallyport.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "ledger.retention") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
