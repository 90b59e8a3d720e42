// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"errors"
	"fmt"
	"os"

	"github.com/sallyport/sallyport/attest/keyless"
)

// AttestKeyless says whose signatures count that were made with a login instead of a key (Sigstore).
type AttestKeyless struct {
	TrustedRoot string                  `yaml:"trusted_root" doc:"file of Sigstore's trusted root (trusted_root.json); nothing is fetched"`
	Identities  []AttestKeylessIdentity `yaml:"identities" doc:"whose signatures are accepted"`
}

// AttestKeylessIdentity is one signer, and who proved that it was he.
type AttestKeylessIdentity struct {
	Issuer  string `yaml:"issuer" doc:"of the login, like https://token.actions.githubusercontent.com"`
	Subject string `yaml:"subject" doc:"mail address or URI of the signer; a * at its end stands for any rest"`
}

func (c *AttestKeyless) check() error {
	if (c.TrustedRoot == "") != (len(c.Identities) == 0) {
		return errors.New("config: attest.keyless: trusted_root and identities go together")
	}
	for _, i := range c.Identities {
		if i.Issuer == "" || i.Subject == "" || i.Subject == "*" {
			return fmt.Errorf("config: attest.keyless: identity %q by %q would be anybody", i.Subject, i.Issuer)
		}
	}
	return nil
}

// open reads the trusted root; nil where nobody is accepted.
func (c *AttestKeyless) open() (*keyless.Verifier, error) {
	if c.TrustedRoot == "" {
		return nil, nil
	}
	data, err := os.ReadFile(c.TrustedRoot)
	if err != nil {
		return nil, err
	}
	v := &keyless.Verifier{}
	if v.Root, err = keyless.ReadRoot(data); err != nil {
		return nil, err
	}
	for _, i := range c.Identities {
		v.Identities = append(v.Identities, keyless.Identity{Issuer: i.Issuer, Subject: i.Subject})
	}
	return v, nil
}
