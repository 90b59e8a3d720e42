// SPDX-License-Identifier: Apache-2.0

// Package svid makes and checks X.509-SVIDs: certificates that name a workload by a SPIFFE id.
//
// An Authority lives in memory and signs for the holders of leases, each for as long as its lease. Verify judges
// what others signed. Workload asks a workload API, such as that of a SPIRE agent, for the certificates and roots
// of a trust domain.
package svid

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// ErrID means that a text is no SPIFFE id, ErrCertificate that a certificate is no X.509-SVID that counts.
var (
	ErrID          = errors.New("svid: no SPIFFE id")
	ErrCertificate = errors.New("svid: certificate")
)

// ID is a SPIFFE id: spiffe://TRUSTDOMAIN/PATH. The zero value names nobody.
type ID struct {
	Domain string // lower case
	Path   string // begins with "/"; "" is the trust domain itself
}

// String returns the id as a URI.
func (i ID) String() string { return "spiffe://" + i.Domain + i.Path }

// The bounds of the standard.
const (
	maxID     = 2048
	maxDomain = 255
)

// ParseID reads a SPIFFE id as the standard spells it, and nothing that means the same.
func ParseID(s string) (ID, error) {
	bad := func() (ID, error) { return ID{}, fmt.Errorf("%w: %q", ErrID, action.Clip(s, 128)) }
	rest, ok := strings.CutPrefix(s, "spiffe://")
	if !ok || len(s) > maxID {
		return bad()
	}
	domain, path, slash := strings.Cut(rest, "/")
	if !Domain(domain) {
		return bad()
	}
	if !slash {
		return ID{Domain: domain}, nil
	}
	for _, part := range strings.Split(path, "/") {
		if part == "" || part == "." || part == ".." || strings.Trim(part, letters+capitals) != "" {
			return bad()
		}
	}
	return ID{domain, "/" + path}, nil
}

const (
	letters  = "abcdefghijklmnopqrstuvwxyz0123456789.-_"
	capitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// Domain reports whether s is the name of a trust domain.
func Domain(s string) bool {
	return s != "" && len(s) <= maxDomain && strings.Trim(s, letters) == ""
}
