// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"encoding/binary"
	"math/bits"
)

// hashKey keys the fingerprints of a profile: whoever names tools and destinations cannot aim for a
// collision, and a snapshot reveals no name.
type hashKey [2]uint64

func keyFrom(b []byte) hashKey {
	var k [16]byte
	copy(k[:], b)
	return hashKey{binary.LittleEndian.Uint64(k[:8]), binary.LittleEndian.Uint64(k[8:])}
}

// text is the keyed hash of parts (SipHash-1-3), each with its length. It allocates nothing.
func (k hashKey) text(parts ...string) uint64 {
	s := k.start()
	for _, p := range parts {
		s.word(uint64(len(p)))
		for len(p) >= 8 {
			s.word(uint64(p[0]) | uint64(p[1])<<8 | uint64(p[2])<<16 | uint64(p[3])<<24 |
				uint64(p[4])<<32 | uint64(p[5])<<40 | uint64(p[6])<<48 | uint64(p[7])<<56)
			p = p[8:]
		}
		var last uint64
		for i := range len(p) {
			last |= uint64(p[i]) << (8 * i)
		}
		s.word(last)
	}
	return s.sum()
}

// words is the keyed hash of numbers.
func (k hashKey) words(w ...uint64) uint64 {
	s := k.start()
	for _, v := range w {
		s.word(v)
	}
	return s.sum()
}

type sip struct{ v0, v1, v2, v3 uint64 }

func (k hashKey) start() sip {
	return sip{k[0] ^ 0x736f6d6570736575, k[1] ^ 0x646f72616e646f6d, k[0] ^ 0x6c7967656e657261, k[1] ^ 0x7465646279746573}
}

func (s *sip) word(m uint64) {
	s.v3 ^= m
	s.round()
	s.v0 ^= m
}

func (s *sip) sum() uint64 {
	s.v2 ^= 0xff
	s.round()
	s.round()
	s.round()
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3
}

func (s *sip) round() {
	s.v0 += s.v1
	s.v1 = bits.RotateLeft64(s.v1, 13) ^ s.v0
	s.v0 = bits.RotateLeft64(s.v0, 32)
	s.v2 += s.v3
	s.v3 = bits.RotateLeft64(s.v3, 16) ^ s.v2
	s.v0 += s.v3
	s.v3 = bits.RotateLeft64(s.v3, 21) ^ s.v0
	s.v2 += s.v1
	s.v1 = bits.RotateLeft64(s.v1, 17) ^ s.v2
	s.v2 = bits.RotateLeft64(s.v2, 32)
}
