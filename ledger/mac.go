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
	c.sha.Sum(c.sum[:0])
	clear(c.pad[:])
	return digestText(&c.sum)
}

type committer struct {
	sha stdhash.Hash
	pad [sha256.BlockSize]byte
	sum hash
}

// digestText returns h in base64url.
func digestText(h *hash) string {
	var text [(hashBytes*8 + 5) / 6]byte
	base64url.Encode(text[:], h[:])
	return string(text[:])
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

// keyedMac is mac under one key, which it is set up for once and not anew for every input. It is safe for
// concurrent use.
type keyedMac struct{ pool sync.Pool }

type keyed struct {
	mac    stdhash.Hash
	length [8]byte
	sum    [sha256.Size]byte
}

func newKeyedMac(key []byte) *keyedMac {
	return &keyedMac{sync.Pool{New: func() any { return &keyed{mac: hmac.New(sha256.New, key)} }}}
}

// text returns mac(key, label, parts...) in base64url.
func (m *keyedMac) text(label string, parts [][]byte) string {
	k := m.pool.Get().(*keyed)
	defer m.pool.Put(k)
	k.mac.Reset()
	k.write([]byte(label))
	for _, p := range parts {
		k.write(p)
	}
	return base64url.EncodeToString(k.mac.Sum(k.sum[:0]))
}

func (k *keyed) write(p []byte) {
	binary.BigEndian.PutUint64(k.length[:], uint64(len(p)))
	k.mac.Write(k.length[:])
	k.mac.Write(p)
}
