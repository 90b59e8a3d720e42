// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

func TestBootstrapLeavesOneWayIn(t *testing.T) {
	d := newDesk(t)
	c := d.config()
	c.TokensDir = filepath.Join(t.TempDir(), "tokens")
	path := filepath.Join(c.TokensDir, "admin")
	read := func() string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}

	d.open(t, c)
	first := read()
	p, err := d.Authenticate(t.Context(), first)
	if err != nil || !has(p.Subject.Scopes, action.ScopeAdmin) || has(p.Subject.Scopes, action.ScopeApprover) || p.Subject.ID != "" {
		t.Fatalf("first admin: %+v, %v", p, err)
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %o, want 600", st.Mode().Perm())
	}
	if st, _ := os.Stat(c.TokensDir); st.Mode().Perm() != 0o700 {
		t.Errorf("folder's mode %o, want 700", st.Mode().Perm())
	}

	d.open(t, c)
	if read() != first {
		t.Error("a second start made a second token")
	}

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	d.open(t, c)
	second := read()
	if _, err := d.Authenticate(t.Context(), first); err == nil {
		t.Error("the lost admin token still works")
	}
	if _, err := d.Authenticate(t.Context(), second); err != nil {
		t.Errorf("the new admin token: %v", err)
	}

	d.issue(t, TokenSpec{Name: "own", By: "ada", Scopes: []action.Scope{action.ScopeAdmin}})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	d.open(t, c)
	if _, err := os.Stat(path); err == nil {
		t.Error("a token was left although an operator holds one")
	}
}

func TestBootstrapRefusesALink(t *testing.T) {
	d := newDesk(t)
	c := d.config()
	c.TokensDir = t.TempDir()
	if err := os.Symlink("/etc/hostname", filepath.Join(c.TokensDir, "admin")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), c); err == nil {
		t.Error("opened")
	}
}
