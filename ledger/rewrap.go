// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sallyport/sallyport/action"
)

const (
	fileTenantNext = "tenant.key.next" // there while keys are being wrapped anew
	codeRewrapped  = "tenant-key.changed"
)

// Rewrap wraps every key of payloads anew, under a fresh tenant key that cfg.Wrap wraps; before is what wrapped it so
// far, which may be the same. It is recorded first, by operator, and returns how many keys there are. What was wrapped
// is overwritten, so that the old tenant key, and what wraps it, open nothing here any more; they still open copies that
// were taken earlier. Nothing is sealed anew. No owner may be at work. What a crash interrupts, the same call finishes;
// until then Open refuses.
func Rewrap(cfg Config, before Wrapper, operator string) (keys int, err error) {
	if !identifier(operator) || operator == "" {
		return 0, errors.New("ledger: rewrap: an operator without spaces in the name is needed")
	}
	if cfg.Wrap == nil || before == nil {
		return 0, errors.New("ledger: rewrap: keys that are wrapped stay wrapped: both wrappers are needed")
	}
	if err := cfg.complete(); err != nil {
		return 0, err
	}
	next := filepath.Join(cfg.Keys, fileTenantNext)
	begun, err := exists(cfg.disk, next)
	if err != nil {
		return 0, fmt.Errorf("ledger: rewrap: %w", err)
	}
	if !begun {
		if err := recordRewrap(cfg, before, operator); err != nil {
			return 0, err
		}
	}
	from := newKeyring(cfg.disk, cfg.Keys, cfg.Tenant, cfg.Rand)
	to := newKeyring(cfg.disk, cfg.Keys, cfg.Tenant, cfg.Rand)
	if !begun {
		if err := to.createTenantKey(fileTenantNext, cfg.Wrap); err != nil {
			return 0, err
		}
	}
	if err := to.readTenantKey(fileTenantNext, cfg.Wrap); err != nil {
		return 0, err
	}
	if err := from.readTenantKey(fileTenant, before); err != nil {
		return 0, err
	}
	names, err := cfg.disk.List(cfg.Keys)
	if err != nil {
		return 0, fmt.Errorf("ledger: rewrap: %w", err)
	}
	for _, name := range names {
		if !strings.HasPrefix(name, "seal-") || strings.HasSuffix(name, ".tmp") {
			continue
		}
		if err := to.takeOver(from, name); err != nil {
			return keys, fmt.Errorf("ledger: rewrap: %q: %w", name, err)
		}
		keys++
	}
	return keys, replaceSecret(cfg.disk, next, filepath.Join(cfg.Keys, fileTenant))
}

// recordRewrap opens the log as it is, which also shows that it can be, and records what is about to happen.
func recordRewrap(cfg Config, before Wrapper, operator string) error {
	cfg.Wrap = before
	l, err := Open(cfg)
	if err != nil {
		return err
	}
	_, err = l.Append(context.Background(), &action.Record{Kind: action.KindKey, Tenant: l.cfg.Tenant, TimeMs: l.Now().UnixMilli(), Actor: operator,
		Status: action.StatusDone, Codes: []string{codeRewrapped}})
	return errors.Join(err, l.Close())
}

// takeOver wraps one key under k's tenant key, unless an interrupted call has done so.
func (k *keyring) takeOver(from *keyring, name string) error {
	if _, _, err := k.readSealKey(name); err == nil {
		return nil
	}
	generation, raw, err := from.readSealKey(name)
	if err != nil {
		return err
	}
	return k.rewrite(name, generation, raw)
}

// rewrite writes a key file and overwrites what lay there.
func (k *keyring) rewrite(name, generation string, raw []byte) error {
	return overwriting(k.disk, filepath.Join(k.dir, name), func() error { return k.writeSealKey(name, generation, raw) })
}

// replaceSecret renames next to name and overwrites what lay there.
func replaceSecret(d disk, next, name string) error {
	err := overwriting(d, name, func() error { return errors.Join(d.Rename(next, name), d.SyncDir(filepath.Dir(name))) })
	if err != nil {
		return fmt.Errorf("ledger: keys: %w", err)
	}
	return nil
}

// overwriting overwrites the file that lay at name before replace put another one there: on file systems that write in
// place nothing of it is left. If replace errs it is left alone, since it may be the one that counts.
func overwriting(d disk, name string, replace func() error) error {
	old, err := d.Open(name, os.O_RDWR)
	if err != nil {
		return err
	}
	defer old.Close()
	if err := replace(); err != nil {
		return err
	}
	n, err := old.Size()
	if err == nil {
		_, err = old.WriteAt(bytes.Repeat([]byte{'\n'}, int(min(n, maxKeyFileBytes))), 0)
	}
	return errors.Join(err, old.Sync())
}

func exists(d disk, name string) (bool, error) {
	f, err := d.Open(name, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
}
