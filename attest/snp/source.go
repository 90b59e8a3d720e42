// SPDX-License-Identifier: Apache-2.0

package snp

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport/sallyport/attest"
)

// AMDURL is where AMD publishes (Key Distribution Service).
const AMDURL = "https://kdsintf.amd.com"

// Source fetches AMD's lists of revocations. It is trusted only to have them.
type Source struct {
	URL       string            // "" means AMD's
	Transport http.RoundTripper // nil means attest.FetchTransport
}

// Product reports whether a name is that of a product of AMD's that is known here.
func Product(name string) bool { return amdRoots[name] != "" }

// List is AMD's list of revocations of a product, with the authority and the root that it goes with.
type List struct {
	Chain []byte // PEM: authority, root
	CRL   []byte // DER
}

// ListStated is when a list was issued, and until when it holds.
type ListStated struct {
	Issued time.Time `json:"issued"`
	Until  time.Time `json:"until"`
}

// Fetch asks for the list of a product. It is not verified yet: see Put.
func (s *Source) Fetch(ctx context.Context, product string) (*List, error) {
	if !Product(product) {
		return nil, fmt.Errorf("snp: product %q is none of Milan, Genoa, Turin", product)
	}
	base := strings.TrimSuffix(s.URL, "/")
	if base == "" {
		base = AMDURL
	}
	base += "/vcek/v1/" + product
	chain, _, err := attest.Fetch(ctx, s.Transport, base+"/cert_chain", 4*mostCertBytes)
	if err != nil {
		return nil, err
	}
	crl, _, err := attest.Fetch(ctx, s.Transport, base+"/crl", mostListBytes)
	return &List{Chain: chain, CRL: crl}, err
}

// Check verifies the list of a product at the time now: AMD's pinned root, its signatures, its window.
func (v *Verifier) Check(product string, l *List, now time.Time) (ListStated, error) {
	s, err := v.stated(product, l)
	if err == nil && (now.Before(s.Issued) || now.After(s.Until)) {
		err = attest.Refuse(attest.Stale, "list of revocations of %s: of %s to %s", product, s.Issued.Format(time.DateOnly), s.Until.Format(time.DateOnly))
	}
	return s, err
}

func (v *Verifier) stated(product string, l *List) (ListStated, error) {
	var certs []*x509.Certificate
	for rest := l.Chain; len(bytes.TrimSpace(rest)) > 0; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil || b.Type != "CERTIFICATE" || len(certs) == 2 {
			return ListStated{}, attest.Refuse(attest.Malformed, "chain of %s: not two certificates in PEM", product)
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return ListStated{}, attest.RefuseFor(err, attest.Malformed, "chain of %s", product)
		}
		certs = append(certs, c)
	}
	if len(certs) != 2 || v.product(certs[1]) != product {
		return ListStated{}, attest.Refuse(attest.Unproved, "chain of %s: does not end in AMD's root of it", product)
	}
	if err := certs[0].CheckSignatureFrom(certs[1]); err != nil {
		return ListStated{}, attest.RefuseFor(err, attest.Unproved, "chain of %s", product)
	}
	list, err := x509.ParseRevocationList(l.CRL)
	if err != nil || len(list.Raw) != len(l.CRL) || list.NextUpdate.IsZero() {
		return ListStated{}, attest.Refuse(attest.Malformed, "list of revocations of %s", product)
	}
	if err := list.CheckSignatureFrom(certs[1]); err != nil {
		return ListStated{}, attest.RefuseFor(err, attest.Unproved, "list of revocations of %s", product)
	}
	return ListStated{Issued: list.ThisUpdate, Until: list.NextUpdate}, nil
}

// Put verifies a list and puts it into a folder, beside its chain, where it is not older than the one there. It reports
// whether the list has changed.
func (v *Verifier) Put(folder, product string, l *List, now time.Time) (ListStated, bool, error) {
	s, err := v.Check(product, l, now)
	if err != nil {
		return s, false, err
	}
	path := filepath.Join(folder, "snp-"+product)
	if old, ok := Folder(folder)(product); ok {
		if was, err := v.stated(product, &List{Chain: l.Chain, CRL: old}); err == nil && s.Issued.Before(was.Issued) {
			return s, false, attest.Refuse(attest.Stale, "list of revocations of %s: older than what is there", product)
		}
		if have, err := os.ReadFile(path + ".pem"); err == nil && bytes.Equal(old, l.CRL) && bytes.Equal(have, l.Chain) {
			return s, false, nil
		}
	}
	if err := errors.Join(attest.Replace(path+".pem", l.Chain), attest.Replace(path+".crl", l.CRL)); err != nil {
		return s, false, fmt.Errorf("collateral: %w", err)
	}
	return s, true, nil
}
