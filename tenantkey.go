// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/ledger/seal"
)

// TenantKeyConfig says what wraps the keys of payloads.
type TenantKeyConfig struct {
	Kind      string `yaml:"kind" doc:"file, age or transit; default: the keys lie plain in the data directory"`
	Path      string `yaml:"path" doc:"of file: the wrapping key, made if it is missing; of age: the identity. Outside the data directory"`
	URL       string `yaml:"url" doc:"of transit: address of the engine of Vault or OpenBao, like https://vault.example.com/v1/transit"`
	Key       string `yaml:"key" doc:"of transit: name of the key"`
	TokenFile string `yaml:"token_file" doc:"of transit: file with the token"`
}

func (c *LedgerConfig) check() error {
	if c.Reasoning != "" && c.Reasoning != "keep" && c.Reasoning != "drop" {
		return fmt.Errorf("config: ledger.reasoning: %q is neither keep nor drop", action.Clip(c.Reasoning, 32))
	}
	if err := c.checkRetention(); err != nil {
		return err
	}
	t := &c.TenantKey
	if !slices.Contains([]string{"", "file", "age", "transit"}, t.Kind) {
		return fmt.Errorf("config: ledger.tenant_key: kind %q is not file, age or transit", action.Clip(t.Kind, 32))
	}
	remote := t.URL != "" || t.Key != "" || t.TokenFile != ""
	if (t.Kind == "file" || t.Kind == "age") != (t.Path != "") || t.Path != "" && !filepath.IsAbs(t.Path) || (t.Kind == "transit") != remote {
		return fmt.Errorf("config: ledger.tenant_key: a file and an age identity have an absolute path, and transit has url, key and token_file")
	}
	return nil
}

// open returns what wraps the tenant key; nil where nothing does.
func (c *TenantKeyConfig) open(data string) (ledger.Wrapper, error) {
	if rel, err := filepath.Rel(data, c.Path); c.Path != "" && err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return nil, fmt.Errorf("ledger.tenant_key: %q lies in the data directory, beside what it wraps", c.Path)
	}
	switch c.Kind {
	case "file":
		return seal.OpenFile(c.Path)
	case "age":
		return seal.OpenAge(c.Path)
	case "transit":
		b, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("ledger.tenant_key: %w", err)
		}
		t := &seal.Transit{URL: c.URL, Key: c.Key, Token: string(bytes.TrimSpace(b))}
		return t, t.Check()
	}
	return nil, nil
}

func (s *Sallyport) openLedger(cfg ledger.Config) (l *ledger.Log, err error) {
	if cfg.Wrap, err = s.Config.Ledger.TenantKey.open(s.Config.Data); err != nil {
		return nil, err
	}
	return ledger.Open(cfg)
}

// recorder is the log as the path writes to it.
func (s *Sallyport) recorder() enforce.Recorder {
	if s.Config.Ledger.Reasoning == "drop" {
		return silent{s.Ledger}
	}
	return s.Ledger
}

// silent leaves reasoning out of records.
type silent struct{ *ledger.Log }

// Append is Log.Append without reasoning.
func (l silent) Append(ctx context.Context, r *action.Record) (action.Receipt, error) {
	if slices.ContainsFunc(r.Parts, isReasoning) {
		less := *r
		less.Parts = slices.DeleteFunc(slices.Clone(r.Parts), isReasoning)
		r = &less
	}
	return l.Log.Append(ctx, r)
}

func isReasoning(p action.PayloadPart) bool { return p.Name == action.PartReasoning }
