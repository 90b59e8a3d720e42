// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// Sealer keeps a secret of at most 64 bytes for the chip alone to open: sealed under its storage root key, which
// never leaves it. Whoever has the bytes and not the chip opens nothing; whoever may use the chip opens all of it,
// and a chip that is cleared or breaks takes the secret with it. The secret travels to and from the chip encrypted.
// Its methods are safe for concurrent use.
// The chip is held for the time of a call only: others use it too.
type Sealer struct{ path, name string }

// maxSealed bounds what a chip is given: public and private halves of a sealed object are a few hundred bytes.
const maxSealed = 2 << 10

// OpenSealer looks at a TPM device or the unix socket of a software TPM.
func OpenSealer(path string) (*Sealer, error) {
	s := &Sealer{path: path}
	err := s.root(func(_ *Chip, k *tpm2.CreatePrimaryResponse) error {
		sum := sha256.Sum256(k.Name.Buffer)
		s.name = "tpm:" + hex.EncodeToString(sum[:8])
		return nil
	})
	return s, err
}

// Name names the chip by a digest of its storage root key.
func (s *Sealer) Name() string { return s.name }

// root makes the storage root key from its seed, uses it, and takes it out of the chip again.
func (s *Sealer) root(use func(c *Chip, k *tpm2.CreatePrimaryResponse) error) error {
	c, err := OpenChip(s.path, "sallyport seal")
	if err != nil {
		return err
	}
	k, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate)}.Execute(c.tpm)
	if err != nil {
		return errors.Join(fmt.Errorf("tpm: storage root key: %w", err), c.Close())
	}
	err = use(c, k)
	_, gone := tpm2.FlushContext{FlushHandle: k.ObjectHandle}.Execute(c.tpm)
	return errors.Join(err, gone, c.Close())
}

// private is a session whose secret only the storage root key can open, so that a reader of the bus sees nothing.
func private(k *tpm2.CreatePrimaryResponse, way tpm2.AuthOption) (tpm2.Session, error) {
	pub, err := k.OutPublic.Contents()
	if err != nil {
		return nil, fmt.Errorf("tpm: storage root key: %w", err)
	}
	return tpm2.HMAC(tpm2.TPMAlgSHA256, 16, way, tpm2.Salted(k.ObjectHandle, *pub)), nil
}

// Wrap seals secret.
func (s *Sealer) Wrap(secret []byte) (out []byte, err error) {
	if len(secret) == 0 || len(secret) > 64 {
		return nil, errors.New("tpm: a secret has 1 to 64 bytes")
	}
	err = s.root(func(c *Chip, k *tpm2.CreatePrimaryResponse) error {
		session, err := private(k, tpm2.AESEncryption(128, tpm2.EncryptIn))
		if err != nil {
			return err
		}
		r, err := tpm2.Create{
			ParentHandle: tpm2.AuthHandle{Handle: k.ObjectHandle, Name: k.Name, Auth: tpm2.PasswordAuth(nil)},
			InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
				Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: secret})}},
			InPublic: tpm2.New2B(tpm2.TPMTPublic{Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
				ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, UserWithAuth: true, NoDA: true}}),
		}.Execute(c.tpm, session)
		if err != nil {
			return fmt.Errorf("tpm: seal: %w", err)
		}
		out = binary.BigEndian.AppendUint16(nil, uint16(len(r.OutPublic.Bytes())))
		out = append(append(out, r.OutPublic.Bytes()...), r.OutPrivate.Buffer...)
		return nil
	})
	return out, err
}

// Unwrap opens what Wrap sealed on this chip.
func (s *Sealer) Unwrap(sealed []byte) (out []byte, err error) {
	if len(sealed) < 2 || len(sealed) > maxSealed || len(sealed)-2 < int(binary.BigEndian.Uint16(sealed)) {
		return nil, errors.New("tpm: sealed secret: malformed")
	}
	n := 2 + int(binary.BigEndian.Uint16(sealed))
	err = s.root(func(c *Chip, k *tpm2.CreatePrimaryResponse) error {
		o, err := tpm2.Load{ParentHandle: tpm2.AuthHandle{Handle: k.ObjectHandle, Name: k.Name, Auth: tpm2.PasswordAuth(nil)},
			InPublic: tpm2.BytesAs2B[tpm2.TPMTPublic](sealed[2:n]), InPrivate: tpm2.TPM2BPrivate{Buffer: sealed[n:]}}.Execute(c.tpm)
		if err != nil {
			return fmt.Errorf("tpm: the secret was not sealed by this chip, or was changed: %w", err)
		}
		session, err := private(k, tpm2.AESEncryption(128, tpm2.EncryptOut))
		if err == nil {
			var r *tpm2.UnsealResponse
			if r, err = (tpm2.Unseal{ItemHandle: tpm2.AuthHandle{Handle: o.ObjectHandle, Name: o.Name, Auth: session}}).Execute(c.tpm); err == nil {
				out = r.OutData.Buffer
			}
		}
		_, gone := tpm2.FlushContext{FlushHandle: o.ObjectHandle}.Execute(c.tpm)
		if err = errors.Join(err, gone); err != nil {
			return fmt.Errorf("tpm: unseal: %w", err)
		}
		return nil
	})
	return out, err
}
