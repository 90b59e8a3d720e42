// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest/tpm"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/ledger/seal"
)

// TenantKeyConfig says what wraps the keys of payloads.
type TenantKeyConfig struct {
	Kind      string `yaml:"kind" doc:"file, age, transit, tpm or keyring; default: the keys lie plain in the data directory"`
	Path      string `yaml:"path" doc:"of file: the wrapping key, made if it is missing; of age: the identity. Outside the data directory. Of tpm: the device, or the socket of a software TPM"`
	URL       string `yaml:"url" doc:"of transit: address of the engine of Vault or OpenBao, like https://vault.example.com/v1/transit"`
	Key       string `yaml:"key" doc:"of transit: name of the key; of keyring: description of the key"`
	TokenFile string `yaml:"token_file" doc:"of transit: file with the token"`
}

func (c *LedgerConfig) check() error {
	if !slices.Contains([]string{"", "policy", "keep", "drop"}, c.Reasoning) {
		return fmt.Errorf("config: ledger.reasoning: %q is not policy, keep or drop", action.Clip(c.Reasoning, 32))
	}
	if err := c.checkRetention(); err != nil {
		return err
	}
	if err := c.TenantKeyBefore.check(); err != nil {
		return fmt.Errorf("config: ledger.tenant_key_before: %w", err)
	}
	if err := c.TenantKey.check(); err != nil {
		return fmt.Errorf("config: ledger.tenant_key: %w", err)
	}
	return nil
}

func (t *TenantKeyConfig) check() error {
	kinds := []string{"", "file", "age", "transit", "tpm", "keyring"}
	if !slices.Contains(kinds, t.Kind) {
		return fmt.Errorf("kind %q is not file, age, transit, tpm or keyring", action.Clip(t.Kind, 32))
	}
	want := TenantKeyConfig{Kind: t.Kind}
	switch t.Kind {
	case "file", "age", "tpm":
		want.Path = t.Path
	case "transit":
		want.URL, want.Key, want.TokenFile = t.URL, t.Key, t.TokenFile
	case "keyring":
		want.Key = t.Key
	}
	if *t != want || want.Path != "" && !filepath.IsAbs(want.Path) || t.Kind != "" && want.Path+want.URL+want.Key == "" {
		return errors.New("file, age and tpm have an absolute path, transit has url, key and token_file, keyring has key")
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
	case "tpm":
		return tpm.OpenSealer(c.Path)
	case "keyring":
		return seal.OpenKeyring(c.Key)
	}
	return nil, nil
}

// RewrapLedger wraps the keys of payloads anew, under what ledger.tenant_key says; ledger.tenant_key_before says what
// wrapped them so far, unless that is the same. It returns how many keys there are. No owner may be at work.
func RewrapLedger(cfg Config, operator string) (int, error) {
	return offline(cfg, func(lc ledger.Config) (int, error) {
		before := lc.Wrap
		if cfg.Ledger.TenantKeyBefore.Kind != "" {
			var err error
			if before, err = cfg.Ledger.TenantKeyBefore.open(cfg.Data); err != nil {
				return 0, err
			}
		}
		return ledger.Rewrap(lc, before, operator)
	})
}

func (s *Sallyport) openLedger(cfg ledger.Config) (l *ledger.Log, err error) {
	if cfg.Wrap, err = s.Config.Ledger.TenantKey.open(s.Config.Data); err != nil {
		return nil, err
	}
	return ledger.Open(cfg)
}

// recorder is the log as the path writes to it.
func (s *Sallyport) recorder() enforce.Recorder {
	switch s.Config.Ledger.Reasoning {
	case "policy":
		return silent{s.Ledger, []action.Kind{action.KindDecision, action.KindIntent}}
	case "drop":
		return silent{s.Ledger, nil}
	}
	return s.Ledger
}

// silent leaves reasoning out of records.
type silent struct {
	*ledger.Log
	but []action.Kind // of which a policy says whether it is kept
}

// Append is Log.Append without reasoning.
func (l silent) Append(ctx context.Context, r *action.Record) (action.Receipt, error) {
	if !slices.Contains(l.but, r.Kind) && slices.ContainsFunc(r.Parts, isReasoning) {
		less := *r
		less.Parts = slices.DeleteFunc(slices.Clone(r.Parts), isReasoning)
		r = &less
	}
	return l.Log.Append(ctx, r)
}

func isReasoning(p action.PayloadPart) bool { return p.Name == action.PartReasoning }
