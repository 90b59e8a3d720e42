// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"strings"
)

const (
	canaryHalf = 8              // bytes: a canary is an id and the proof that we made it
	canaryLen  = 4 * canaryHalf // hexadecimal digits, 128 bits
	maxHexRun  = 3 * canaryLen  // a canary may have other digits around it
	maxProofs  = 1024           // keyed digests for one value
)

// ErrCanary is returned for a name or tenant that is empty or too long.
var ErrCanary = errors.New("detect: a canary needs a tenant and a name of at most 256 bytes")

// Canary returns the canary of a tenant's session, secret or record of that name: 32 hexadecimal digits that
// are worth nothing, stand nowhere else and cannot be guessed. Plant it where somebody would look who should
// not: in a file of keys, a customer who does not exist, the context of a session. Nothing is kept: half of it
// is a keyed digest of the other, so whatever has its form is checked against the key, in arguments and in
// results, under every layer. It is found whole only.
func (d *Detector) Canary(tenant, name string) (string, error) {
	if tenant == "" || name == "" || len(tenant) > 256 || len(name) > 256 {
		return "", ErrCanary
	}
	id := d.half("detect.canary.id", tenant, []byte(name))
	return hex.EncodeToString(append(id, d.half("detect.canary.proof", tenant, id)...)), nil
}

func (d *Detector) half(label, tenant string, part []byte) []byte {
	sum := sha256.Sum256([]byte(d.print(label, []byte(tenant), part)))
	return sum[:canaryHalf]
}

// canary looks for canaries of one tenant. Its zero value finds none.
type canary struct {
	detector *Detector
	tenant   string
	proofs   int
	short    bool // there was more to check than is allowed
}

// in reports whether a canary stands in run, which holds no separators: as it is, turned around, in another
// case, rotated, or as the bytes that it stands for.
func (c *canary) in(run string) bool {
	if c.detector == nil || len(run) < 22 {
		return false
	}
	for _, r := range [2]string{run, rotate(run)} {
		for i := 0; i < len(r); i++ {
			from := i
			for i < len(r) && isHex(r[i]) {
				i++
			}
			if n := i - from; n >= canaryLen && n <= maxHexRun && (c.among(r[from:i]) || c.among(backwards(r[from:i]))) {
				return true
			}
		}
	}
	if len(run) < maxHexRun {
		if b, by := unpack(strings.TrimRight(run, "=")); by == "base64" && len(b) >= 2*canaryHalf {
			return c.among(hex.EncodeToString(b))
		}
	}
	return false
}

// among tries every place in hexadecimal digits.
func (c *canary) among(digits string) bool {
	digits = strings.ToLower(digits)
	for i := 0; i+canaryLen <= len(digits); i++ {
		if c.proofs++; c.proofs > maxProofs {
			c.short = true
			return false
		}
		b, err := hex.DecodeString(digits[i : i+canaryLen])
		if err == nil && subtle.ConstantTimeCompare(c.detector.half("detect.canary.proof", c.tenant, b[:canaryHalf]), b[canaryHalf:]) == 1 {
			return true
		}
	}
	return false
}
