// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestKeyringHoldsTheWrappingKeyForASession puts the content of a key's file into the kernel's keyring, as keyctl does.
func TestKeyringHoldsTheWrappingKeyForASession(t *testing.T) {
	name := fmt.Sprintf("sallyport-test-%d", os.Getpid())
	if _, err := OpenKeyring(name); errors.Is(err, ErrNoKeyring) {
		t.Skip("the kernel offers no keyring")
	} else if err == nil || !strings.Contains(err.Error(), "keyctl padd user "+name) {
		t.Fatalf("a key that is not there: %v", err)
	}
	path := filepath.Join(t.TempDir(), "wrapping.key")
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	put := func(data []byte) {
		t.Helper()
		id, err := unix.AddKey("user", name, data, unix.KEY_SPEC_USER_KEYRING)
		if err != nil {
			t.Skip("the kernel offers no keyring")
		}
		t.Cleanup(func() { _, _ = unix.KeyctlInt(unix.KEYCTL_UNLINK, id, unix.KEY_SPEC_USER_KEYRING, 0, 0) })
	}
	put([]byte("something else"))
	if _, err := OpenKeyring(name); err == nil || strings.Contains(err.Error(), "something") {
		t.Errorf("another payload: %v", err)
	}
	put(text)
	k, err := OpenKeyring(name)
	if err != nil {
		t.Fatal(err)
	}
	key := bytes.Repeat([]byte{3}, 32)
	wrapped, err := f.Wrap(key)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.Unwrap(wrapped); err != nil || !bytes.Equal(got, key) || k.Name() != f.Name() {
		t.Errorf("%x %v, %s and %s", got, err, k.Name(), f.Name())
	}
	for _, bad := range []string{"", "two words", "line\nbreak"} {
		if _, err := OpenKeyring(bad); err == nil {
			t.Errorf("%q is a description", bad)
		}
	}
}
