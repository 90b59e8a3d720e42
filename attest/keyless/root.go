// SPDX-License-Identifier: Apache-2.0

// Package keyless verifies signatures of Sigstore's that were made without a key of one's own: by a certificate of minutes
// for somebody who logged in, entered in a public log. It works offline, against a trusted root that is given as a file.
//
// # What is checked
//
// The certificate leads to an authority of the root, at the time when the log took the entry; a known log of certificates
// vouches for it (embedded SCT); the entry is of exactly this signature, certificate and payload; the log promised it
// (which also vouches for the time) and proves, under a signed checkpoint, that it holds it; and the certificate is for an
// identity, proved by an issuer, that is accepted. One missing part refuses the bundle.
//
// Entries of the kind dsse 0.0.1 of Rekor's first version are understood. The second version, which leaves the time to
// time-stamping authorities, is refused as unsupported.
package keyless

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// MaxRootBytes bounds a trusted root.
const MaxRootBytes = 1 << 20

// Root is a trusted root: whom Sigstore's parts answer to, and when.
type Root struct {
	logs         map[[32]byte]instance
	certificates map[[32]byte]instance // logs of certificates
	authorities  []authority
}

type instance struct {
	key        *ecdsa.PublicKey
	start, end time.Time // end is zero while it works
}

type authority struct {
	certs      []*x509.Certificate // the root last
	start, end time.Time
}

type rootFile struct {
	Media       string    `json:"mediaType"`
	Logs        []logFile `json:"tlogs"`
	CTLogs      []logFile `json:"ctlogs"`
	Authorities []struct {
		Chain struct {
			Certs []rawBytes `json:"certificates"`
		} `json:"certChain"`
		Valid window `json:"validFor"`
	} `json:"certificateAuthorities"`
}

type logFile struct {
	Key struct {
		Raw     string `json:"rawBytes"`
		Details string `json:"keyDetails"`
		Valid   window `json:"validFor"`
	} `json:"publicKey"`
	ID struct {
		Key string `json:"keyId"`
	} `json:"logId"`
}

type rawBytes struct {
	Raw string `json:"rawBytes"`
}

type window struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

func within(t, start, end time.Time) bool {
	return !t.Before(start) && (end.IsZero() || !t.After(end))
}

// ReadRoot reads a trusted root in JSON (media type application/vnd.dev.sigstore.trustedroot, version 0.1 or 0.2). Logs
// with keys other than ECDSA on P-256 are left out: their entries are not understood.
func ReadRoot(data []byte) (*Root, error) {
	var f rootFile
	if len(data) > MaxRootBytes {
		return nil, errors.New("keyless: trusted root: too long")
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("keyless: trusted root: %w", err)
	}
	if !strings.HasPrefix(f.Media, "application/vnd.dev.sigstore.trustedroot") {
		return nil, fmt.Errorf("keyless: trusted root: of the type %q", f.Media)
	}
	r := &Root{}
	var err error
	if r.logs, err = readLogs(f.Logs); err != nil {
		return nil, err
	}
	if r.certificates, err = readLogs(f.CTLogs); err != nil {
		return nil, err
	}
	for _, a := range f.Authorities {
		out := authority{start: a.Valid.Start, end: a.Valid.End}
		for _, c := range a.Chain.Certs {
			der, err := base64.StdEncoding.DecodeString(c.Raw)
			if err != nil {
				return nil, errors.New("keyless: trusted root: a certificate is not base64")
			}
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				return nil, fmt.Errorf("keyless: trusted root: %w", err)
			}
			out.certs = append(out.certs, cert)
		}
		if len(out.certs) > 0 {
			r.authorities = append(r.authorities, out)
		}
	}
	if len(r.logs) == 0 || len(r.certificates) == 0 || len(r.authorities) == 0 {
		return nil, errors.New("keyless: trusted root: names no log, log of certificates or authority that is understood")
	}
	return r, nil
}

func readLogs(files []logFile) (map[[32]byte]instance, error) {
	out := map[[32]byte]instance{}
	for _, l := range files {
		if l.Key.Details != "PKIX_ECDSA_P256_SHA_256" {
			continue
		}
		der, err := base64.StdEncoding.DecodeString(l.Key.Raw)
		if err != nil {
			return nil, errors.New("keyless: trusted root: a key is not base64")
		}
		k, err := x509.ParsePKIXPublicKey(der)
		if err != nil {
			return nil, fmt.Errorf("keyless: trusted root: %w", err)
		}
		ec, ok := k.(*ecdsa.PublicKey)
		id := sha256.Sum256(der)
		if !ok || base64.StdEncoding.EncodeToString(id[:]) != l.ID.Key {
			return nil, errors.New("keyless: trusted root: a log's key is not the one that it is named by")
		}
		out[id] = instance{ec, l.Key.Valid.Start, l.Key.Valid.End}
	}
	return out, nil
}

// signedBy checks an ASN.1 ECDSA signature over SHA-256.
func signedBy(key *ecdsa.PublicKey, msg, sig []byte) bool {
	h := crypto.SHA256.New()
	h.Write(msg)
	return ecdsa.VerifyASN1(key, h.Sum(nil), sig)
}
