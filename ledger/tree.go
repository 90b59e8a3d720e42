// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"crypto/sha256"
	"math/bits"
)

const hashBytes = sha256.Size

// hash is a node of the Merkle tree of RFC 6962 section 2.1.
type hash = [hashBytes]byte

// leafHash returns SHA-256(0x00 || leaf). It allocates only for leaves above two kilobytes.
func leafHash(leaf []byte) hash {
	var small [2049]byte
	if len(leaf) < len(small) {
		copy(small[1:], leaf)
		return sha256.Sum256(small[:1+len(leaf)])
	}
	return sha256.Sum256(append([]byte{0}, leaf...))
}

// nodeHash returns SHA-256(0x01 || left || right).
func nodeHash(left, right hash) hash {
	var b [1 + 2*hashBytes]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+hashBytes:], right[:])
	return sha256.Sum256(b[:])
}

// tree is the right edge of a Merkle tree: the roots of its perfect subtrees, largest first, one for
// each bit of size. A copy by clone may be changed independently.
type tree struct {
	size  uint64
	nodes []hash
	tile  hash // root of the newest perfect subtree of tileWidth leaves, while leaves are added one by one
}

func (t *tree) clone() tree {
	return tree{size: t.size, nodes: append(make([]hash, 0, len(t.nodes)+8), t.nodes...), tile: t.tile}
}

// add appends one leaf.
func (t *tree) add(h hash) { t.addSubtree(h, 0) }

// addSubtree appends a perfect subtree of 2^level leaves. The size must be a multiple of that.
func (t *tree) addSubtree(h hash, level uint) {
	made := level
	for n := t.size >> level; n&1 == 1; n >>= 1 {
		last := len(t.nodes) - 1
		h = nodeHash(t.nodes[last], h)
		t.nodes = t.nodes[:last]
		if made++; made == tileLevels {
			t.tile = h
		}
	}
	t.nodes = append(t.nodes, h)
	t.size += 1 << level
}

// root returns the root hash; the root of an empty tree is the hash of nothing.
func (t *tree) root() hash {
	if len(t.nodes) == 0 {
		return sha256.Sum256(nil)
	}
	h := t.nodes[len(t.nodes)-1]
	for i := len(t.nodes) - 2; i >= 0; i-- {
		h = nodeHash(t.nodes[i], h)
	}
	return h
}

// split returns the largest power of two below n, for n > 1.
func split(n uint64) uint64 { return 1 << (bits.Len64(n-1) - 1) }
