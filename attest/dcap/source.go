// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"context"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport/sallyport/attest"
)

// Where Intel publishes: its provisioning certification service, and the list of what its root has revoked.
const (
	IntelURL     = "https://api.trustedservices.intel.com"
	IntelRootCRL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
)

// Source fetches collateral from Intel's provisioning certification service, version 4, or from a cache of it (PCCS).
// It is trusted only to have it.
type Source struct {
	URL string // "" means Intel's
	// RootCRL is the address of the root's list; "" means Intel's for Intel's service, and for a cache
	// URL/sgx/certification/v4/rootcacrl, which answers in hex.
	RootCRL   string
	Transport http.RoundTripper // nil means attest.FetchTransport
}

// ParseKey reads the form of Key.String.
func ParseKey(s string) (Key, error) {
	p := strings.Split(s, "-")
	if len(p) != 3 || p[0] != "sgx" && p[0] != "tdx" || p[2] != "processor" && p[2] != "platform" {
		return Key{}, fmt.Errorf("dcap: platform %q is not like sgx-00A067110000-processor", s)
	}
	b, err := hex.DecodeString(p[1])
	if err != nil || len(b) != 6 || upper(b) != p[1] {
		return Key{}, fmt.Errorf("dcap: platform %q: its FMSPC is not 12 digits of upper-case hex", s)
	}
	return Key{TEE: p[0], FMSPC: p[1], CA: p[2]}, nil
}

// Fetch asks for the collateral of k. It is not verified yet: see Put.
func (s *Source) Fetch(ctx context.Context, k Key) (*Collateral, error) {
	base, rootCRL := strings.TrimSuffix(s.URL, "/"), s.RootCRL
	if base == "" {
		base = IntelURL
	}
	if rootCRL == "" {
		if rootCRL = base + "/sgx/certification/v4/rootcacrl"; base == IntelURL {
			rootCRL = IntelRootCRL
		}
	}
	c := &Collateral{}
	var err error
	if c.RootCRL, _, err = attest.Fetch(ctx, s.Transport, rootCRL, 2*maxCRLBytes); err != nil {
		return nil, err
	}
	if der, err := hex.DecodeString(strings.TrimSpace(string(c.RootCRL))); err == nil {
		c.RootCRL = der
	}
	for _, d := range []struct {
		path, header       string
		chain, doc, signed *[]byte
		limit              int64
	}{
		{"/sgx/certification/v4/pckcrl?encoding=der&ca=" + k.CA, "SGX-PCK-CRL-Issuer-Chain", &c.PCKCRLChain, &c.PCKCRL, nil, maxCRLBytes},
		{"/" + k.TEE + "/certification/v4/tcb?fmspc=" + k.FMSPC, "TCB-Info-Issuer-Chain", &c.TCBInfoChain, &c.TCBInfo, &c.TCBInfoSignature, documentBytesMost},
		{"/" + k.TEE + "/certification/v4/qe/identity", "SGX-Enclave-Identity-Issuer-Chain", &c.QEIdentityChain, &c.QEIdentity, &c.QEIdentitySignature, documentBytesMost},
	} {
		body, header, err := attest.Fetch(ctx, s.Transport, base+d.path, d.limit)
		if err != nil {
			return nil, err
		}
		if *d.chain, err = headerChain(header.Get(d.header)); err != nil {
			return nil, attest.RefuseFor(err, attest.Malformed, "collateral: %s", d.header)
		}
		if d.signed == nil {
			*d.doc = body
		} else if *d.doc, *d.signed, err = SplitResponse(body); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// headerChain reads a chain as it stands in a header, in the canonical form of PEM.
func headerChain(v string) ([]byte, error) {
	text, err := url.QueryUnescape(v)
	if err != nil {
		return nil, err
	}
	var out []byte
	for rest := []byte(text); len(strings.TrimSpace(string(rest))) > 0; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil || len(out) > maxChainBytes {
			return nil, errors.New("no chain in PEM")
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: b.Type, Bytes: b.Bytes})...)
	}
	return out, nil
}

// Put verifies c at the time now and puts it into the folder, in one step, where nothing of it is older than what is
// there. It reports whether the file has changed.
func (f Folder) Put(ctx context.Context, v *Verifier, k Key, c *Collateral, now time.Time) (Stated, bool, error) {
	if _, err := ParseKey(k.String()); err != nil {
		return Stated{}, false, err
	}
	s, err := v.Check(k, c, now)
	if err != nil {
		return s, false, err
	}
	if old, err := f.Collateral(ctx, k); err == nil {
		if was, err := v.Lapsed(k, old); err == nil { // what does not hold is no measure
			if part := s.Older(was); part != "" {
				return s, false, attest.Refuse(attest.Stale, "collateral of %s: its %s is older than what is there", k, part)
			}
		}
		if old.Digest() == c.Digest() {
			return s, false, nil
		}
	}
	data, err := c.Encode()
	if err != nil {
		return s, false, err
	}
	if err := attest.Replace(filepath.Join(f.Path, k.String()+".json"), data); err != nil {
		return s, false, fmt.Errorf("collateral: %w", err)
	}
	return s, true, nil
}
