// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"encoding/base64"
	"errors"
)

// Bytes are base64 in JSON, in the one form that encoders write.
type Bytes []byte

// MarshalText returns the standard encoding with padding.
func (b Bytes) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, b), nil
}

// UnmarshalText refuses line breaks and unused bits that are set.
func (b *Bytes) UnmarshalText(text []byte) error {
	out, err := base64.StdEncoding.Strict().AppendDecode(nil, text)
	if err != nil || base64.StdEncoding.EncodedLen(len(out)) != len(text) {
		return errors.New("not base64")
	}
	*b = out
	return nil
}
