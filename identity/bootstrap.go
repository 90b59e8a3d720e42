// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sallyport/sallyport/action"
)

const bootstrapName = "bootstrap"

// bootstrap leaves an admin token in TokensDir/admin where there would otherwise be no way in: no file
// with a live token, and no live admin token but an earlier one of ours, which is then withdrawn.
// An operator who made his own admin token may delete the file for good.
func (t *Tokens) bootstrap(ctx context.Context) error {
	if t.BootstrapEnded() {
		return nil
	}
	dir := t.c.TokensDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	path := filepath.Join(dir, "admin")
	secret, err := readSecret(path)
	if err != nil {
		return err
	}
	if p, err := t.Authenticate(ctx, secret); err == nil && has(p.Subject.Scopes, action.ScopeAdmin) {
		return nil
	}
	var stale []string
	for _, tok := range t.Both(action.ScopeAdmin, action.ScopeAdmin) {
		if tok.By != bootstrapName {
			return nil
		}
		stale = append(stale, tok.ID)
	}
	for _, id := range stale {
		if _, err := t.Revoke(ctx, id, bootstrapName); err != nil {
			return err
		}
	}
	secret, tok, err := t.Issue(ctx, TokenSpec{Name: "first admin", Scopes: t.c.BootstrapScope, TTL: MaxTTL, By: bootstrapName})
	if err != nil {
		return err
	}
	if err := writeSecret(path, secret); err != nil {
		_, again := t.Revoke(ctx, tok.ID, bootstrapName)
		return errors.Join(err, again)
	}
	return nil
}

// CodeBootstrapEnded is the code of the record that ends the first admin token for good.
const CodeBootstrapEnded = "bootstrap.ended"

// EndBootstrap withdraws the first admin token, and sees to it that none is ever made again where the ledger is kept:
// by has come in as an admin in another way. The record comes first. It reports whether it is the call that did it.
func (t *Tokens) EndBootstrap(ctx context.Context, by string) (bool, error) {
	if err := checkText("actor", by, 128); err != nil {
		return false, err
	}
	t.write.Lock()
	if t.BootstrapEnded() {
		t.write.Unlock()
		return false, nil
	}
	rec := blank(action.KindKey, t.c.Tenants[0], t.c.Now())
	rec.Actor, rec.Codes, rec.Subject = by, []string{CodeBootstrapEnded}, bootstrapName
	if _, err := t.c.Record(ctx, rec); err != nil {
		t.write.Unlock()
		return false, fmt.Errorf("identity: record %s: %w", CodeBootstrapEnded, err)
	}
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
	t.write.Unlock()
	var err error
	for _, tok := range t.sorted(func(r *Token) bool { return r.By == bootstrapName && r.RevokedMs == 0 }) {
		_, rerr := t.Revoke(ctx, tok.ID, by)
		err = errors.Join(err, rerr)
	}
	if t.c.TokensDir != "" {
		if rerr := os.Remove(filepath.Join(t.c.TokensDir, "admin")); !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}
	return true, err
}

// BootstrapEnded reports whether the first admin token was ended for good.
func (t *Tokens) BootstrapEnded() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.ended
}

func has(scopes []action.Scope, s action.Scope) bool {
	for _, t := range scopes {
		if t == s {
			return true
		}
	}
	return false
}

// readSecret returns the token in path, or "" if there is no file.
func readSecret(path string) (string, error) {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("identity: %w", err)
	}
	if !st.Mode().IsRegular() {
		return "", fmt.Errorf("identity: %q is not a plain file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("identity: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 512))
	if err != nil {
		return "", fmt.Errorf("identity: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// writeSecret replaces path by a file of mode 0600, all or nothing.
func writeSecret(path, secret string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".admin-*") // mode 0600
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	_, err = f.WriteString(secret + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("identity: %w", err), os.Remove(f.Name()))
	}
	return nil
}
