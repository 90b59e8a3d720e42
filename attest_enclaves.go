// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"fmt"

	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/dcap"
	"github.com/sallyport/sallyport/attest/nitro"
	"github.com/sallyport/sallyport/attest/snp"
)

// enclaves are the verifiers of enclaves and trust domains, by kind.
func (c *AttestConfig) enclaves() (map[string]attest.Verifier, error) {
	n, err := nitro.New(nitro.Config{})
	if err != nil {
		return nil, err
	}
	out := map[string]attest.Verifier{"nitro": n, "snp": snp.New(snp.Config{Revoked: snp.Folder(c.Collateral)})}
	if c.Collateral != "" {
		v, err := dcap.New(dcap.Config{Store: dcap.Folder{Path: c.Collateral}})
		if err != nil {
			return nil, fmt.Errorf("attest: collateral: %w", err)
		}
		out["sgx"], out["tdx"] = v, v
	}
	return out, nil
}
