// SPDX-License-Identifier: Apache-2.0

package svid

import (
	"crypto/x509"
	"fmt"
	"time"
)

// maxChain bounds the certificates of a chain that are looked at.
const maxChain = 8

// Name returns the SPIFFE id that a leaf certificate claims, by the rules of the standard: one URI, a path, no
// authority over others. It says nothing about who signed it.
func Name(leaf *x509.Certificate) (ID, error) {
	if leaf == nil || leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 || leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return ID{}, fmt.Errorf("%w: not that of a workload", ErrCertificate)
	}
	if len(leaf.URIs) != 1 {
		return ID{}, fmt.Errorf("%w: %d URIs, wanted one", ErrCertificate, len(leaf.URIs))
	}
	id, err := ParseID(leaf.URIs[0].String())
	if err != nil {
		return ID{}, err
	}
	if id.Path == "" {
		return ID{}, fmt.Errorf("%w: it names a trust domain, no workload", ErrCertificate)
	}
	return id, nil
}

// Verify returns whom a client's chain names, the leaf first, where it leads to one of roots at the time now.
func Verify(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) (ID, error) {
	if len(chain) == 0 || len(chain) > maxChain || roots == nil {
		return ID{}, fmt.Errorf("%w: a chain of %d", ErrCertificate, len(chain))
	}
	id, err := Name(chain[0])
	if err != nil {
		return ID{}, err
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err = chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return ID{}, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	return id, nil
}
