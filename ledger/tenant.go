// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
)

// Wrapper wraps the tenant key with a key that lies elsewhere. A log whose keys are wrapped cannot be opened
// without it. It is used once at Open.
type Wrapper interface {
	Name() string // which key of which kind; printable ASCII without spaces, the same for ever
	Wrap(key []byte) ([]byte, error)
	Unwrap(wrapped []byte) ([]byte, error)
}

const (
	fileTenant  = "tenant.key"
	headTenant  = "sallyport tenant-key 1"
	headWrapped = "sallyport seal-key 2" // generation, then nonce and key under the tenant key
)

// errNoTenantKey means that a key is there, but wrapped by a tenant key that is not at hand.
var errNoTenantKey = errors.New("ledger: the tenant key that wraps this key is not at hand")

// unlock reads the tenant key, making it if there is none, and wraps what still lies plain. Without w it errs
// if there is a tenant key.
func (k *keyring) unlock(w Wrapper) error {
	if begun, err := exists(k.disk, filepath.Join(k.dir, fileTenantNext)); err != nil || begun {
		return errors.Join(err, errors.New("ledger: keys: wrapping them anew was interrupted; call Rewrap again to finish it"))
	}
	lines, err := k.read(fileTenant, headTenant)
	switch {
	case errors.Is(err, fs.ErrNotExist) && w == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		if err = k.createTenantKey(fileTenant, w); err != nil {
			return err
		}
		lines, err = k.read(fileTenant, headTenant)
	}
	if err != nil {
		return fmt.Errorf("ledger: keys: %w", err)
	}
	if err := k.useTenantKey(lines, w); err != nil {
		return err
	}
	names, err := k.disk.List(k.dir)
	if err != nil {
		return fmt.Errorf("ledger: keys: %w", err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, "seal-") && !strings.HasSuffix(name, ".tmp") {
			if err := k.wrapFile(name); err != nil {
				return fmt.Errorf("ledger: keys: %q: %w", name, err)
			}
		}
	}
	return nil
}

// unlockToRead takes the tenant key where w can give it, and changes nothing.
func (k *keyring) unlockToRead(w Wrapper) error {
	if w == nil {
		return nil
	}
	if err := k.readTenantKey(fileTenant, w); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (k *keyring) createTenantKey(name string, w Wrapper) error {
	if w.Name() == "" || strings.ContainsFunc(w.Name(), func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("ledger: keys: %q is no name of a wrapper", clip(w.Name()))
	}
	var key [32]byte
	if _, err := io.ReadFull(k.random, key[:]); err != nil {
		return fmt.Errorf("ledger: keys: %w", err)
	}
	wrapped, err := w.Wrap(key[:])
	if err != nil {
		return fmt.Errorf("ledger: keys: tenant key: %w", err)
	}
	again, err := w.Unwrap(wrapped) // a wrapper that gives nothing back must be found before anything depends on it
	if err != nil || !bytes.Equal(again, key[:]) {
		return errors.Join(fmt.Errorf("ledger: keys: %q does not give back what it wrapped", w.Name()), err)
	}
	return k.write(name, headTenant, w.Name(), base64.StdEncoding.EncodeToString(wrapped))
}

// readTenantKey takes the tenant key of a file.
func (k *keyring) readTenantKey(name string, w Wrapper) error {
	lines, err := k.read(name, headTenant)
	if err != nil {
		return fmt.Errorf("ledger: keys: %w", err)
	}
	return k.useTenantKey(lines, w)
}

func (k *keyring) useTenantKey(lines []string, w Wrapper) error {
	if len(lines) != 2 {
		return fmt.Errorf("%w: %q", ErrFormat, fileTenant)
	}
	if w == nil || w.Name() != lines[0] {
		return fmt.Errorf("ledger: keys: the keys of this log are wrapped by %q, which is not configured", clip(lines[0]))
	}
	wrapped, err := base64.StdEncoding.DecodeString(lines[1])
	if err != nil {
		return fmt.Errorf("%w: %q", ErrFormat, fileTenant)
	}
	key, err := w.Unwrap(wrapped)
	if err != nil || len(key) != 32 {
		return errors.Join(fmt.Errorf("ledger: keys: %q does not unwrap the tenant key", w.Name()), err)
	}
	k.tenantKey, err = newAEAD(key)
	return err
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// wrapFile wraps a key that lies plain, and overwrites what lay there.
func (k *keyring) wrapFile(name string) error {
	lines, err := k.read(name, headSeal)
	if errors.Is(err, ErrFormat) {
		return nil // wrapped, or refused when it is used
	}
	if err != nil {
		return err
	}
	if len(lines) != 2 {
		return nil
	}
	raw, err := base64.StdEncoding.DecodeString(lines[1])
	if err != nil {
		return nil
	}
	return k.rewrite(name, lines[0], raw)
}

// writeSealKey writes a key file, wrapped if there is a tenant key.
func (k *keyring) writeSealKey(name, generation string, raw []byte) error {
	if k.tenantKey == nil {
		return k.write(name, headSeal, generation, base64.StdEncoding.EncodeToString(raw))
	}
	nonce := make([]byte, nonceBytes)
	if _, err := io.ReadFull(k.random, nonce); err != nil {
		return err
	}
	sealed := k.tenantKey.Seal(nonce, nonce, raw, k.wrapContext(name, generation))
	return k.write(name, headWrapped, generation, base64.StdEncoding.EncodeToString(sealed))
}

// readSealKey returns generation and key of a file. With a tenant key a plain one is refused: whoever can
// write the folder could have put it there to read what is sealed from then on.
func (k *keyring) readSealKey(name string) (generation string, raw []byte, err error) {
	head := headSeal
	if k.tenantKey != nil {
		head = headWrapped
	}
	lines, err := k.read(name, head)
	if errors.Is(err, ErrFormat) && k.tenantKey == nil {
		if _, werr := k.read(name, headWrapped); werr == nil {
			return "", nil, errNoTenantKey
		}
	}
	if err != nil {
		return "", nil, err
	}
	if len(lines) != 2 || len(lines[0]) != 13 {
		return "", nil, fmt.Errorf("%w: %q", ErrFormat, name)
	}
	raw, err = base64.StdEncoding.DecodeString(lines[1])
	if err == nil && k.tenantKey != nil {
		if len(raw) < nonceBytes {
			return "", nil, fmt.Errorf("%w: %q holds no key", ErrFormat, name)
		}
		raw, err = k.tenantKey.Open(nil, raw[:nonceBytes], raw[nonceBytes:], k.wrapContext(name, lines[0]))
	}
	if err != nil || len(raw) != 32 {
		return "", nil, fmt.Errorf("%w: %q holds no key", ErrFormat, name)
	}
	return lines[0], raw, nil
}

func (k *keyring) wrapContext(name, generation string) []byte {
	return []byte(headWrapped + "\n" + k.tenant + "\n" + name + "\n" + generation)
}
