// SPDX-License-Identifier: Apache-2.0

package svid

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// maxLists bounds a file of lists, in bytes.
const maxLists = 8 << 20

// Withdrawn is a file of lists of withdrawn certificates (CRLs), in PEM or one in DER, read anew when it has changed. It is
// safe for concurrent use.
type Withdrawn struct {
	Path string

	mu   sync.Mutex // guards below
	seen os.FileInfo
	all  []*x509.RevocationList
}

func (w *Withdrawn) lists() ([]*x509.RevocationList, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f, err := os.Open(w.Path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // opened to read
	now, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if w.seen != nil && os.SameFile(now, w.seen) && now.Size() == w.seen.Size() && now.ModTime().Equal(w.seen.ModTime()) {
		return w.all, nil
	}
	data, err := io.ReadAll(io.LimitReader(f, maxLists+1))
	if err != nil || len(data) > maxLists {
		return nil, fmt.Errorf("svid: lists %q: too large, or unreadable: %w", w.Path, err)
	}
	ders := [][]byte{data}
	if b, _ := pem.Decode(data); b != nil {
		ders = nil
		for rest := data; ; {
			if b, rest = pem.Decode(rest); b == nil {
				break
			}
			if b.Type != "X509 CRL" {
				return nil, fmt.Errorf("svid: lists %q: holds a %q", w.Path, b.Type)
			}
			ders = append(ders, b.Bytes)
		}
	}
	var out []*x509.RevocationList
	for _, der := range ders {
		l, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, fmt.Errorf("svid: lists %q: %w", w.Path, err)
		}
		out = append(out, l)
	}
	w.seen, w.all = now, out
	return out, nil
}

// Check reports whether a chain, the leaf first, leads to one of roots at the time now by authorities that each have a list
// in date, and no list names a certificate on the way. An authority without such a list vouches for nobody.
func (w *Withdrawn) Check(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) error {
	lists, err := w.lists()
	if err != nil {
		return err
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	paths, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	var errs []error
	for _, p := range paths {
		err := vouched(p, lists, now)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func vouched(path []*x509.Certificate, lists []*x509.RevocationList, now time.Time) error {
	for i, c := range path[:len(path)-1] {
		found := false
		for _, l := range lists {
			if !bytes.Equal(l.RawIssuer, path[i+1].RawSubject) || l.CheckSignatureFrom(path[i+1]) != nil || now.Before(l.ThisUpdate) || !now.Before(l.NextUpdate) || narrowed(l) {
				continue
			}
			found = true
			for _, e := range l.RevokedCertificateEntries {
				if e.SerialNumber.Cmp(c.SerialNumber) == 0 {
					return fmt.Errorf("%w: it was withdrawn", ErrCertificate)
				}
			}
		}
		if !found {
			return fmt.Errorf("%w: no list in date of what %q has withdrawn", ErrCertificate, path[i+1].Subject.CommonName)
		}
	}
	return nil
}

// narrowed reports whether a list does not cover everything of its authority: a critical extension says so.
func narrowed(l *x509.RevocationList) bool {
	for _, e := range l.Extensions {
		if e.Critical {
			return true
		}
	}
	return false
}
