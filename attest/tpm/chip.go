// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"github.com/sallyport/sallyport/attest"
)

// Chip makes evidence with a TPM. Its methods are safe for concurrent use; one command runs at a time. Keys are
// made anew from their seeds for each use and leave the chip's few slots at once.
type Chip struct {
	mu   sync.Mutex // held for each use of the chip
	tpm  transport.TPMCloser
	name string
	rsa  bool // the endorsement key whose certificate is there is RSA
	cert []byte
}

// Where certificates of endorsement keys lie (TCG EK Credential Profile, 2.2.1.4).
const (
	nvCertRSA = 0x01c00002
	nvCertECC = 0x01c0000a
)

// OpenChip opens a TPM device (/dev/tpmrm0) or the unix socket of a software TPM. The name is the agent's: it is
// mixed into the attestation key, so that agents on one chip have keys of their own.
func OpenChip(path, name string) (*Chip, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("tpm: %w", err)
	}
	if name == "" {
		return nil, errors.New("tpm: a name is required")
	}
	c := &Chip{name: name}
	if info.Mode()&os.ModeSocket != 0 {
		c.tpm, err = linuxudstpm.Open(path)
	} else {
		c.tpm, err = openDevice(path)
	}
	if err != nil {
		return nil, fmt.Errorf("tpm: %q: %w", path, err)
	}
	if c.cert, err = c.read(nvCertRSA); err == nil {
		c.rsa = true
	} else if c.cert, err = c.read(nvCertECC); err != nil {
		c.cert = nil
	}
	return c, nil
}

// Close lets go of the chip.
func (c *Chip) Close() error { return c.tpm.Close() }

// read returns what lies at an index of the chip's memory.
func (c *Chip) read(index uint32) ([]byte, error) {
	pub, err := (tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(index)}).Execute(c.tpm)
	if err != nil {
		return nil, err
	}
	p, err := pub.NVPublic.Contents()
	if err != nil {
		return nil, err
	}
	var out []byte
	for len(out) < int(p.DataSize) && len(out) < maxCert {
		r, err := tpm2.NVRead{AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
			NVIndex: tpm2.NamedHandle{Handle: tpm2.TPMHandle(index), Name: pub.NVName},
			Size:    min(p.DataSize-uint16(len(out)), 512), Offset: uint16(len(out))}.Execute(c.tpm)
		if err != nil {
			return nil, err
		}
		if len(r.Data.Buffer) == 0 {
			break
		}
		out = append(out, r.Data.Buffer...)
	}
	return out, nil
}

func (c *Chip) ekTemplate() tpm2.TPMTPublic {
	if c.rsa {
		return tpm2.RSAEKTemplate
	}
	return tpm2.ECCEKTemplate
}

// akTemplate makes a restricted P-256 signing key, another one for each name.
func (c *Chip) akTemplate() tpm2.TPMTPublic {
	seed := sha256.Sum256([]byte("sallyport attestation key 1\x00" + c.name))
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, Restricted: true, SignEncrypt: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Scheme:  tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256})},
			CurveID: tpm2.TPMECCNistP256}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: seed[:]}, Y: tpm2.TPM2BECCParameter{Buffer: make([]byte, 32)}}),
	}
}

// with makes a primary key, uses it, and takes it out of the chip again.
func (c *Chip) with(template tpm2.TPMTPublic, use func(k *tpm2.CreatePrimaryResponse) error) error {
	k, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHEndorsement, InPublic: tpm2.New2B(template)}.Execute(c.tpm)
	if err != nil {
		return fmt.Errorf("tpm: key: %w", err)
	}
	err = use(k)
	_, gone := tpm2.FlushContext{FlushHandle: k.ObjectHandle}.Execute(c.tpm)
	return errors.Join(err, gone)
}

func publicOf(k *tpm2.CreatePrimaryResponse) ([]byte, error) {
	p, err := k.OutPublic.Contents()
	if err != nil {
		return nil, fmt.Errorf("tpm: key: %w", err)
	}
	return tpm2.Marshal(p), nil
}

// Keys returns the public areas of endorsement and attestation key, and the certificate of the first; nil where
// the chip holds none.
func (c *Chip) Keys() (ek, ak, cert []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err = c.with(c.ekTemplate(), func(k *tpm2.CreatePrimaryResponse) (err error) { ek, err = publicOf(k); return err })
	if err == nil {
		err = c.with(c.akTemplate(), func(k *tpm2.CreatePrimaryResponse) (err error) { ak, err = publicOf(k); return err })
	}
	return ek, ak, c.cert, err
}

// Activate opens the challenge of an enrolment.
func (c *Chip) Activate(credential, secret []byte) (answer []byte, err error) {
	if len(credential) < 2 || len(secret) < 2 {
		return nil, errors.New("tpm: challenge: cut")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	policy := func(t transport.TPM, handle tpm2.TPMISHPolicy, _ tpm2.TPM2BNonce) error {
		_, err := tpm2.PolicySecret{AuthHandle: tpm2.TPMRHEndorsement, PolicySession: handle, NonceTPM: tpm2.TPM2BNonce{}}.Execute(t)
		return err
	}
	err = c.with(c.ekTemplate(), func(ek *tpm2.CreatePrimaryResponse) error {
		return c.with(c.akTemplate(), func(ak *tpm2.CreatePrimaryResponse) error {
			r, err := tpm2.ActivateCredential{
				ActivateHandle: tpm2.NamedHandle{Handle: ak.ObjectHandle, Name: ak.Name},
				KeyHandle:      tpm2.AuthHandle{Handle: ek.ObjectHandle, Name: ek.Name, Auth: tpm2.Policy(tpm2.TPMAlgSHA256, 16, policy)},
				CredentialBlob: tpm2.TPM2BIDObject{Buffer: credential[2:]}, Secret: tpm2.TPM2BEncryptedSecret{Buffer: secret[2:]},
			}.Execute(c.tpm)
			if err != nil {
				return fmt.Errorf("tpm: challenge: %w", err)
			}
			answer = r.CertInfo.Buffer
			return nil
		})
	})
	return answer, err
}

// Extend puts an event into its register.
func (c *Chip) Extend(e attest.Event) error {
	d, err := digest32(e.Digest)
	if err != nil || e.PCR < 0 || e.PCR >= resettable {
		return fmt.Errorf("tpm: event of register %d: malformed", e.PCR)
	}
	m := Measured(e.Kind, d)
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err = tpm2.PCRExtend{PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(e.PCR), Auth: tpm2.PasswordAuth(nil)},
		Digests: tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: m[:]}}}}.Execute(c.tpm)
	if err != nil {
		return fmt.Errorf("tpm: register %d: %w", e.PCR, err)
	}
	return nil
}

// Boots returns how often the chip was reset and restarted, which tells one boot from another.
func (c *Chip) Boots() (resets, restarts uint32, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := tpm2.ReadClock{}.Execute(c.tpm)
	if err != nil {
		return 0, 0, fmt.Errorf("tpm: clock: %w", err)
	}
	return r.CurrentTime.ClockInfo.ResetCount, r.CurrentTime.ClockInfo.RestartCount, nil
}

// Quote signs registers and nonce. The log is put in as it is.
func (c *Chip) Quote(nonce []byte, log []attest.Event, registers []int) (*Evidence, error) {
	e := &Evidence{PCRs: map[string]string{}, Log: log}
	var pcrs []uint
	for _, r := range registers {
		pcrs = append(pcrs, uint(r))
	}
	sel := tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(pcrs...)}}}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cert != nil {
		e.EKChain = []Bytes{c.cert}
	}
	err := c.with(c.akTemplate(), func(ak *tpm2.CreatePrimaryResponse) (err error) {
		if e.AK, err = publicOf(ak); err != nil {
			return err
		}
		r, err := tpm2.Quote{SignHandle: tpm2.AuthHandle{Handle: ak.ObjectHandle, Name: ak.Name, Auth: tpm2.PasswordAuth(nil)},
			QualifyingData: tpm2.TPM2BData{Buffer: nonce}, InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull}, PCRSelect: sel}.Execute(c.tpm)
		if err != nil {
			return fmt.Errorf("tpm: quote: %w", err)
		}
		e.Quote, e.Signature = r.Quoted.Bytes(), tpm2.Marshal(r.Signature)
		return nil
	})
	if err != nil {
		return nil, err
	}
	read, err := tpm2.PCRRead{PCRSelectionIn: sel}.Execute(c.tpm)
	if err != nil {
		return nil, fmt.Errorf("tpm: registers: %w", err)
	}
	at := 0
	for pcr := range resettable { // they come back in order, up to eight at a time
		for _, r := range registers {
			if r == pcr && at < len(read.PCRValues.Digests) {
				e.PCRs[strconv.Itoa(r)] = hex.EncodeToString(read.PCRValues.Digests[at].Buffer)
				at++
				break
			}
		}
	}
	return e, nil
}
