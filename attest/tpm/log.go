// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/sallyport/sallyport/attest"
)

// Limits of a log.
const (
	maxEvents = 4096
	maxKind   = 64
)

// Measured returns what a register is extended with for an event. The kind is part of it, so that a log
// cannot call one thing another; an event without a kind is extended as it is.
func Measured(kind string, digest [32]byte) [32]byte {
	if kind == "" {
		return digest
	}
	h := sha256.New()
	h.Write([]byte("sallyport event 1\x00"))
	h.Write([]byte(kind))
	h.Write([]byte{0})
	h.Write(digest[:])
	return [32]byte(h.Sum(nil))
}

// Extend returns a register's value after an event.
func Extend(pcr, measured [32]byte) [32]byte {
	return sha256.Sum256(append(pcr[:], measured[:]...))
}

// replay computes the registers after a log, from zero.
func replay(events []attest.Event) (map[int][32]byte, error) {
	if len(events) > maxEvents {
		return nil, attest.Refuse(attest.Malformed, "log: more than %d events", maxEvents)
	}
	out := map[int][32]byte{}
	for i, e := range events {
		d, err := digest32(e.Digest)
		if err != nil || len(e.Kind) > maxKind || !printable(e.Kind) || e.PCR < 0 || e.PCR >= resettable {
			return nil, attest.Refuse(attest.Malformed, "log: event %d", i)
		}
		out[e.PCR] = Extend(out[e.PCR], Measured(e.Kind, d))
	}
	return out, nil
}

func printable(s string) bool {
	for _, r := range s {
		if r <= ' ' || r > '~' {
			return false
		}
	}
	return true
}

func digest32(s string) ([32]byte, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 32 || hex.EncodeToString(b) != s {
		return [32]byte{}, attest.Refuse(attest.Malformed, "digest: not 32 bytes of lower-case hex")
	}
	return [32]byte(b), nil
}

// CheckLog refuses a log that no register could be extended with.
func CheckLog(events []attest.Event) error {
	_, err := replay(events)
	return err
}
