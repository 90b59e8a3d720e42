// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

// MaxCollateralBytes bounds a collateral file.
const MaxCollateralBytes = 16 << 20

// Key names the collateral of one kind of platform.
type Key struct {
	TEE   string // "sgx" or "tdx"
	FMSPC string // 12 digits of upper-case hex
	CA    string // "processor" or "platform": who issued the PCK certificate
}

// String is also the name of its file, without the ending.
func (k Key) String() string { return k.TEE + "-" + k.FMSPC + "-" + k.CA }

// Store finds collateral. It is trusted only to have it: every byte is verified.
type Store interface {
	// Collateral returns an *attest.Error of code missing if there is none for k. It is safe for
	// concurrent use; the caller does not change what it returns.
	Collateral(ctx context.Context, k Key) (*Collateral, error)
}

// Collateral is what Intel publishes about a kind of platform, in its exact bytes.
type Collateral struct {
	PCKCRLChain         []byte // PEM: the issuer of PCKCRL, the root
	RootCRL             []byte // DER
	PCKCRL              []byte // DER
	TCBInfoChain        []byte // PEM: the signer, the root
	TCBInfo             []byte // JSON as it was signed
	TCBInfoSignature    []byte // 64
	QEIdentityChain     []byte
	QEIdentity          []byte
	QEIdentitySignature []byte
}

// collateralFile has the member names of Intel's quote verification library (sgx_ql_qve_collateral_t),
// with byte strings in lower-case hex.
type collateralFile struct {
	PCKCRLChain         string `json:"pck_crl_issuer_chain"`
	RootCRL             string `json:"root_ca_crl"`
	PCKCRL              string `json:"pck_crl"`
	TCBInfoChain        string `json:"tcb_info_issuer_chain"`
	TCBInfo             string `json:"tcb_info"`
	TCBInfoSignature    string `json:"tcb_info_signature"`
	QEIdentityChain     string `json:"qe_identity_issuer_chain"`
	QEIdentity          string `json:"qe_identity"`
	QEIdentitySignature string `json:"qe_identity_signature"`
	PCKChain            string `json:"pck_certificate_chain,omitempty"` // not used: the quote carries it
}

// ReadCollateral reads the JSON form.
func ReadCollateral(data []byte) (*Collateral, error) {
	var f collateralFile
	if err := action.Read(data, &f, action.Limits{Bytes: MaxCollateralBytes}); err != nil {
		return nil, attest.RefuseFor(err, attest.Malformed, "collateral")
	}
	c := &Collateral{
		PCKCRLChain: []byte(f.PCKCRLChain), TCBInfoChain: []byte(f.TCBInfoChain), TCBInfo: []byte(f.TCBInfo),
		QEIdentityChain: []byte(f.QEIdentityChain), QEIdentity: []byte(f.QEIdentity),
	}
	for _, h := range []struct {
		name, from string
		to         *[]byte
	}{
		{"root_ca_crl", f.RootCRL, &c.RootCRL}, {"pck_crl", f.PCKCRL, &c.PCKCRL},
		{"tcb_info_signature", f.TCBInfoSignature, &c.TCBInfoSignature}, {"qe_identity_signature", f.QEIdentitySignature, &c.QEIdentitySignature},
	} {
		b, err := hex.DecodeString(h.from)
		if err != nil || hex.EncodeToString(b) != h.from {
			return nil, attest.Refuse(attest.Malformed, "collateral: %s is not lower-case hex", h.name)
		}
		*h.to = b
	}
	return c, nil
}

// Encode returns the form that ReadCollateral reads.
func (c *Collateral) Encode() ([]byte, error) {
	return action.Canonical(collateralFile{
		PCKCRLChain: string(c.PCKCRLChain), RootCRL: hex.EncodeToString(c.RootCRL), PCKCRL: hex.EncodeToString(c.PCKCRL),
		TCBInfoChain: string(c.TCBInfoChain), TCBInfo: string(c.TCBInfo), TCBInfoSignature: hex.EncodeToString(c.TCBInfoSignature),
		QEIdentityChain: string(c.QEIdentityChain), QEIdentity: string(c.QEIdentity), QEIdentitySignature: hex.EncodeToString(c.QEIdentitySignature),
	})
}

// Digest names the collateral in a record.
func (c *Collateral) Digest() string {
	return attest.Digest(c.PCKCRLChain, c.RootCRL, c.PCKCRL, c.TCBInfoChain, c.TCBInfo, c.TCBInfoSignature,
		c.QEIdentityChain, c.QEIdentity, c.QEIdentitySignature)
}

// SplitResponse takes a TCB info or QE identity, in the exact bytes that were signed, and its signature out
// of a response of Intel's provisioning certification service.
func SplitResponse(data []byte) (document, signature []byte, err error) {
	var r struct {
		TCBInfo    jsontext.Value `json:"tcbInfo"`
		QEIdentity jsontext.Value `json:"enclaveIdentity"`
		Signature  string         `json:"signature"`
	}
	if err := action.Read(data, &r, action.Limits{Bytes: MaxCollateralBytes}); err != nil {
		return nil, nil, attest.RefuseFor(err, attest.Malformed, "response")
	}
	if (r.TCBInfo == nil) == (r.QEIdentity == nil) {
		return nil, nil, attest.Refuse(attest.Malformed, "response: neither or both of TCB info and QE identity")
	}
	signature, err = hexed(r.Signature, 64)
	return append(r.TCBInfo, r.QEIdentity...), signature, err
}

// Fixed is a store of one collateral for every key, to replay evidence that was stored with it.
type Fixed struct{ Only *Collateral }

// Collateral returns the one.
func (f Fixed) Collateral(context.Context, Key) (*Collateral, error) {
	if f.Only == nil {
		return nil, attest.Refuse(attest.Missing, "collateral: none")
	}
	return f.Only, nil
}

// Folder is a store of files KEY.json, such as "sgx-00A067110000-processor.json", read anew each time.
type Folder struct{ Path string }

// Collateral reads one file. The key's FMSPC comes from a certificate and is hex, so it names no path.
func (f Folder) Collateral(_ context.Context, k Key) (*Collateral, error) {
	if strings.ContainsAny(k.String(), `/\.`) {
		return nil, attest.Refuse(attest.Malformed, "collateral: key %q", k)
	}
	root, err := os.OpenRoot(f.Path)
	if err != nil {
		return nil, attest.RefuseFor(err, attest.Missing, "collateral: folder")
	}
	defer func() { _ = root.Close() }() // opened to read
	file, err := root.Open(k.String() + ".json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, attest.Refuse(attest.Missing, "collateral: no file %s.json in %q", k, f.Path)
	}
	if err != nil {
		return nil, attest.RefuseFor(err, attest.Missing, "collateral: %s", k)
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, MaxCollateralBytes+1))
	if err != nil {
		return nil, attest.RefuseFor(err, attest.Missing, "collateral: %s", k)
	}
	return ReadCollateral(data)
}
