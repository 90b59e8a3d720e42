// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
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
		cfg := sallyport.PatientConfig()
		cfg.Data, cfg.Ledger.Retention = t.TempDir(), rules
		if _, err := sallyport.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "ledger.retention") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRetentionAndHoldsAreOnRecord starts an owner with one configuration after another: each change is one record, by
// the user account, with what was before; a start with the same configuration is none.
func TestRetentionAndHoldsAreOnRecord(t *testing.T) {
	h := open(t, nil)
	said := func() (out []ledger.Entry) {
		t.Helper()
		err := h.Ledger.Records(t.Context(), func(e ledger.Entry) error {
			if slices.Contains(e.Leaf.Codes, "retention.changed") {
				out = append(out, e)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if got := said(); len(got) != 0 {
		t.Fatalf("%d records of an owner that keeps everything", len(got))
	}
	for i, c := range []struct {
		rules []sallyport.RetentionRule
		held  []string
		want  int
		says  string
	}{
		{[]sallyport.RetentionRule{{Class: "result", Keep: 48 * time.Hour}}, nil, 1, `"now":{"held":[],"record":0,"rules":[{"class":"result","keep_ms":172800000}]}`},
		{[]sallyport.RetentionRule{{Class: "result", Keep: 48 * time.Hour}}, nil, 1, ""},
		{[]sallyport.RetentionRule{{Class: "result", Keep: 48 * time.Hour}}, []string{"ann"}, 2, `"before":{"held":[],`},
		{nil, []string{"ann"}, 3, `"rules":[]}}`},
		{nil, nil, 4, `"now":{"held":[]`},
		{nil, nil, 4, ""},
	} {
		h.stop()
		h.cfg.Ledger.Retention, h.cfg.Ledger.LegalHolds = c.rules, c.held
		h.start()
		got := said()
		if len(got) != c.want {
			t.Fatalf("start %d: %d records", i, len(got))
		}
		last := got[len(got)-1]
		detail, err := last.Open(action.PartDetail)
		if err != nil || !strings.Contains(string(detail), c.says) || strings.Contains(string(detail), "ann") || last.Leaf.Actor == "" {
			t.Errorf("start %d: %s, %v", i, detail, err)
		}
	}
}
