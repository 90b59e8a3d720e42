// SPDX-License-Identifier: Apache-2.0

// Package keyless verifies signatures of Sigstore's that were made without a key of one's own: by a certificate of minutes
// for somebody who logged in, entered in a public log. It works offline, against a trusted root that is given as a file.
//
// # What is checked
//
// The certificate leads to an authority of the root, at the time when it was used; a known log of certificates vouches for
// it (embedded SCT); the entry is of exactly this signature, certificate and payload; the log proves, under a signed
// checkpoint, that it holds it; and the certificate is for an identity, proved by an issuer, that is accepted. One missing
// part refuses the bundle.
//
// When it was used says the log itself, where it is of Rekor's first version (kind dsse 0.0.1): its promise is checked. Logs
// of the second version (kinds dsse and hashedrekord 0.0.2) know no time; there time-stamping authorities of the root say it
// (RFC 3161), at least one. Each time stamp that a bundle carries must hold, and the certificate at each of them.
package keyless

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
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
	stampers     []authority // of time; the certificate that signs is the first
}

type instance struct {
	key        crypto.PublicKey // *ecdsa.PublicKey or ed25519.PublicKey
	origin     string           // of its checkpoints, for logs that are named by origin and key; "" for those named by their key
	start, end time.Time        // end is zero while it works
}

type authority struct {
	certs      []*x509.Certificate // the root last
	start, end time.Time
}

type rootFile struct {
	Media       string      `json:"mediaType"`
	Logs        []logFile   `json:"tlogs"`
	CTLogs      []logFile   `json:"ctlogs"`
	Authorities []chainFile `json:"certificateAuthorities"`
	Stampers    []chainFile `json:"timestampAuthorities"`
}

type chainFile struct {
	Chain struct {
		Certs []rawBytes `json:"certificates"`
	} `json:"certChain"`
	Valid window `json:"validFor"`
}

type logFile struct {
	URL string `json:"baseUrl"`
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
// with keys other than ECDSA on P-256 and Ed25519 are left out: their entries are not understood.
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
	if r.authorities, err = readChains(f.Authorities); err != nil {
		return nil, err
	}
	if r.stampers, err = readChains(f.Stampers); err != nil {
		return nil, err
	}
	if len(r.logs) == 0 || len(r.certificates) == 0 || len(r.authorities) == 0 {
		return nil, errors.New("keyless: trusted root: names no log, log of certificates or authority that is understood")
	}
	return r, nil
}

func readChains(files []chainFile) ([]authority, error) {
	var out []authority
	for _, a := range files {
		one := authority{start: a.Valid.Start, end: a.Valid.End}
		for _, c := range a.Chain.Certs {
			der, err := base64.StdEncoding.DecodeString(c.Raw)
			if err != nil {
				return nil, errors.New("keyless: trusted root: a certificate is not base64")
			}
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				return nil, fmt.Errorf("keyless: trusted root: %w", err)
			}
			one.certs = append(one.certs, cert)
		}
		if len(one.certs) > 0 {
			out = append(out, one)
		}
	}
	return out, nil
}

func readLogs(files []logFile) (map[[32]byte]instance, error) {
	out := map[[32]byte]instance{}
	for _, l := range files {
		if l.Key.Details != "PKIX_ECDSA_P256_SHA_256" && l.Key.Details != "PKIX_ED25519" {
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
		one, id := instance{key: k, start: l.Key.Valid.Start, end: l.Key.Valid.End}, sha256.Sum256(der)
		if ed, ok := k.(ed25519.PublicKey); ok {
			u, err := url.Parse(l.URL)
			if err != nil || u.Host == "" {
				return nil, fmt.Errorf("keyless: trusted root: a log at %q", l.URL)
			}
			// The name of such a log is that of its key in checkpoints (C2SP signed-note): of origin and key.
			one.origin = u.Host + strings.TrimSuffix(u.Path, "/")
			id = sha256.Sum256(bytes.Join([][]byte{[]byte(one.origin + "\n\x01"), ed}, nil))
		} else if _, ok := k.(*ecdsa.PublicKey); !ok {
			return nil, errors.New("keyless: trusted root: a log's key is not what its details say")
		}
		if base64.StdEncoding.EncodeToString(id[:]) != l.ID.Key {
			return nil, errors.New("keyless: trusted root: a log's key is not the one that it is named by")
		}
		out[id] = one
	}
	return out, nil
}

// signedBy checks a signature of a log: ASN.1 ECDSA over SHA-256, or Ed25519.
func signedBy(key crypto.PublicKey, msg, sig []byte) bool {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(msg)
		return ecdsa.VerifyASN1(k, sum[:], sig)
	case ed25519.PublicKey:
		return ed25519.Verify(k, msg, sig)
	}
	return false
}
