// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"encoding/base64"
	"net/http"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/identity/jose"
)

// bundlePath is where the roots of leases' certificates stand, for peers of other trust domains.
const bundlePath = "/.well-known/spiffe/bundle.json"

// bundleRefreshS is how often peers should ask again, in seconds: a restarted owner has a new root, and its certificates
// live for five minutes at most.
const bundleRefreshS = 60

// SPIFFEBundle is a bundle of roots in the form of the standard (SPIFFE Trust Domain and Bundle, section 4).
type SPIFFEBundle struct {
	Keys     []SPIFFEKey `json:"keys"`
	Sequence int64       `json:"spiffe_sequence"`     // grows with every change, across restarts too
	Refresh  int64       `json:"spiffe_refresh_hint"` // seconds
}

// SPIFFEKey is one root: a JSON Web Key with its certificate.
type SPIFFEKey struct {
	Use  string   `json:"use"`
	Type string   `json:"kty"`
	Crv  string   `json:"crv"`
	X    string   `json:"x"`
	Y    string   `json:"y"`
	X5C  []string `json:"x5c"`
}

// bundleRoutes serve the roots of leases' certificates to anybody who asks over TLS, where attest.bundle_endpoint says so:
// the profiles https_web and https_spiffe of SPIFFE federation know no other caller than a stranger. Roots are no secret.
func (s *Sallyport) bundleRoutes() []gateway.Route {
	if !s.Config.Attest.BundleEndpoint || s.attest.authority == nil {
		return nil
	}
	return []gateway.Route{{Pattern: "GET " + bundlePath, Door: action.DoorUnknown, Auth: anybody{}, OwnOrigin: true,
		Serve: func(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
			if r.TLS == nil {
				return gateway.Refuse(gateway.CodeNotFound, "the bundle is served over TLS only")
			}
			b, err := s.attest.bundle()
			if err != nil {
				return err
			}
			return gateway.WriteJSON(w, http.StatusOK, b)
		}}}
}

func (a *attestation) bundle() (SPIFFEBundle, error) {
	roots, err := a.authority.Roots()
	if err != nil {
		return SPIFFEBundle{}, err
	}
	out := SPIFFEBundle{Refresh: bundleRefreshS}
	for _, c := range roots {
		k, err := jose.KeyOf(c.PublicKey)
		if err != nil {
			return SPIFFEBundle{}, err
		}
		out.Keys = append(out.Keys, SPIFFEKey{Use: "x509-svid", Type: k.Kty, Crv: k.Crv, X: k.X, Y: k.Y, X5C: []string{base64.StdEncoding.EncodeToString(c.Raw)}})
		// A root more comes with a later beginning; one that has ended makes fewer.
		out.Sequence = max(out.Sequence, c.NotBefore.Unix())
	}
	out.Sequence = out.Sequence*16 + 15 - int64(min(len(roots), 15))
	return out, nil
}
