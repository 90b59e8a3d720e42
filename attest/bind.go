// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto/sha256"
	"crypto/tls"

	"github.com/sallyport/sallyport/action"
)

// Bind returns what evidence must be bound to, so that it can serve nobody else and at no other time: the
// challenge's nonce, the thumbprint of the session key, the exporter of the TLS connection that it travels on
// (nil without TLS), the log of measurements, and the head of the ledger when the challenge was made.
func Bind(nonce []byte, key string, exporter []byte, log []Event, head string) ([]byte, error) {
	if log == nil {
		log = []Event{}
	}
	events, err := action.Canonical(log)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	for _, p := range [][]byte{[]byte("sallyport bind 1"), nonce, []byte(key), exporter, events, []byte(head)} {
		var n [8]byte
		for i := range n {
			n[i] = byte(uint64(len(p)) >> (56 - 8*i))
		}
		h.Write(n[:])
		h.Write(p)
	}
	return h.Sum(nil), nil
}

// ExporterBinding names the channel binding that evidence covers on a TLS connection (RFC 9266).
const ExporterBinding = "tls-exporter"

// Exporter returns what names one TLS connection and no other, the same at both of its ends.
func Exporter(c *tls.ConnectionState) ([]byte, error) {
	return c.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
}
