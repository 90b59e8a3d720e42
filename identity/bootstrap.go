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
