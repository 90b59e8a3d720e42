// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/ledger"
)

func TestOwnerWithWrappedKeysNeedsThem(t *testing.T) {
	key := filepath.Join(t.TempDir(), "wrapping.key")
	h := open(t, func(c *sallyport.Config) {
		c.Ledger.TenantKey = sallyport.TenantKeyConfig{Kind: "file", Path: key}
		c.Ledger.Reasoning = "drop"
	})
	h.server("files", readTool)
	sub, sess := h.agent("bot")
	a := attempt(sub, sess, "files", "read_note", `{"name":"n"}`)
	a.Reasoning = []byte("thought")
	_, _, err := h.Enforcer.Do(t.Context(), a, func(context.Context, enforce.Admission) (enforce.Outcome, error) {
		return enforce.Outcome{Status: action.ResultDone, Content: []byte(`{"text":"milk"}`)}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	opened := 0
	err = h.Ledger.Records(t.Context(), func(e ledger.Entry) error {
		for _, p := range e.Leaf.Parts {
			if p.Name == action.PartReasoning {
				t.Errorf("entry %d holds reasoning", e.Index)
			}
			if _, err := e.Open(p.Name); err != nil {
				return err
			}
			opened++
		}
		return nil
	})
	if err != nil || opened == 0 {
		t.Errorf("%d parts opened, %v", opened, err)
	}
	h.stop()
	files, err := filepath.Glob(filepath.Join(h.cfg.Data, "keys", "seal-*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err != nil || !strings.HasPrefix(string(b), "sallyport seal-key 2\n") {
			t.Errorf("%s: %s, %v", f, b, err)
		}
	}
	with := h.cfg
	h.cfg.Ledger.TenantKey = sallyport.TenantKeyConfig{}
	if _, err := sallyport.Open(t.Context(), h.cfg); err == nil || !strings.Contains(err.Error(), "is not configured") {
		t.Errorf("without the key: %v", err)
	}
	h.cfg = with
	h.start()
}

func TestTenantKeyIsChecked(t *testing.T) {
	for name, k := range map[string]sallyport.TenantKeyConfig{
		"an unknown kind": {Kind: "safe"}, "a file without a path": {Kind: "file"}, "a relative path": {Kind: "age", Path: "id.txt"},
		"a path without a kind": {Path: "/k"}, "transit with a path": {Kind: "transit", Path: "/k", URL: "https://x", Key: "k", TokenFile: "/t"},
		"transit without a key": {Kind: "transit"}, "a chip without a path": {Kind: "tpm"}, "a keyring with a path": {Kind: "keyring", Path: "/k"},
		"a keyring without a key": {Kind: "keyring"}, "a chip with an address": {Kind: "tpm", Path: "/k", URL: "https://x"}, "a url for a file": {Kind: "file", Path: "/k", URL: "https://x"},
	} {
		cfg := sallyport.PatientConfig()
		cfg.Data, cfg.Ledger.TenantKey = t.TempDir(), k
		if _, err := sallyport.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "tenant_key") {
			t.Errorf("%s: %v", name, err)
		}
	}
	cfg := sallyport.PatientConfig()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.Ledger.TenantKey = sallyport.TenantKeyConfig{Kind: "file", Path: filepath.Join(cfg.Data, "wrapping.key")}
	if _, err := sallyport.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "beside what it wraps") {
		t.Errorf("a key in the data directory: %v", err)
	}
}

// TestTenantKeyInAChip starts an owner whose keys a software TPM wraps, and takes its data to another chip.
func TestTenantKeyInAChip(t *testing.T) {
	chip, other := newTPM(t, t.TempDir()), newTPM(t, t.TempDir())
	h := open(t, func(c *sallyport.Config) {
		c.Ledger.TenantKey = sallyport.TenantKeyConfig{Kind: "tpm", Path: chip.sock}
	})
	h.server("files", readTool)
	sub, sess := h.agent("bot")
	if _, err := h.Enforcer.Before(t.Context(), attempt(sub, sess, "files", "read_note", `{"name":"n"}`)); err != nil {
		t.Fatal(err)
	}
	h.stop()
	h.start()
	h.stop()
	h.cfg.Ledger.TenantKey.Path = other.sock
	if _, err := sallyport.Open(t.Context(), h.cfg); err == nil || !strings.Contains(err.Error(), "tpm:") {
		t.Errorf("on another chip: %v", err)
	}
	h.cfg.Ledger.TenantKey.Path = chip.sock
	h.start()
}
