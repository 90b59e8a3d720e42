// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	stdhash "hash"
	"sync"
)

// commitment binds a leaf to a part without revealing anything about it to who lacks the salt. It is
// HMAC-SHA256 with the salt, of at most 64 bytes, as its key: made here out of SHA-256, because every part has a
// key of its own, and a new hmac.Hash for each costs more than what it hashes.
func commitment(salt, data []byte) string {
	c := committers.Get().(*committer)
	defer committers.Put(c)
	var pad [sha256.BlockSize]byte
	copy(pad[:], salt)
	for i := range pad {
		pad[i] ^= 0x36
	}
	c.pad = pad
	c.sha.Reset()
	c.sha.Write(c.pad[:])
	c.sha.Write(data)
	inner := c.sha.Sum(c.sum[:0])
	for i := range c.pad {
		c.pad[i] ^= 0x36 ^ 0x5c
	}
	c.sha.Reset()
	c.sha.Write(c.pad[:])
	c.sha.Write(inner)
	text := base64url.EncodeToString(c.sha.Sum(c.sum[:0]))
	clear(c.pad[:])
	return text
}

type committer struct {
	sha stdhash.Hash
	pad [sha256.BlockSize]byte
	sum [sha256.Size]byte
}

var committers = sync.Pool{New: func() any { return &committer{sha: sha256.New()} }}

func commits(ref *PartRef, salt, data []byte) bool {
	return subtle.ConstantTimeCompare([]byte(commitment(salt, data)), []byte(ref.Commit)) == 1
}

// mac is HMAC-SHA256 over parts, each with its length before it, so that no two lists give one input.
func mac(key []byte, parts ...[]byte) []byte {
	m := hmac.New(sha256.New, key)
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		m.Write(n[:])
		m.Write(p)
	}
	return m.Sum(nil)
}
