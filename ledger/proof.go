// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Proof shows that a leaf stands at Index in the tree of Checkpoint.
type Proof struct {
	Index      uint64
	Hashes     [][32]byte // from the leaf's sibling up
	Checkpoint Checkpoint
}

// nodes gives the hash of the perfect subtree of 2^level leaves that begins at leaf index << level.
type nodes func(level uint, index uint64) (hash, error)

// subtree returns the root of the leaves from to end-1; from is a multiple of the subtree's width.
func (n nodes) subtree(from, end uint64) (hash, error) {
	width := end - from
	if width&(width-1) == 0 {
		level := uint(bits.TrailingZeros64(width))
		return n(level, from>>level)
	}
	k := split(width)
	left, err := n.subtree(from, from+k)
	if err != nil {
		return hash{}, err
	}
	right, err := n.subtree(from+k, end)
	return nodeHash(left, right), err
}

// inclusion is PATH of RFC 6962 section 2.1.1, for the leaf at index in the tree of size leaves.
func (n nodes) inclusion(index, size uint64) ([]hash, error) {
	if index >= size {
		return nil, fmt.Errorf("%w: %d of %d", ErrNotFound, index, size)
	}
	var out []hash
	from, end := uint64(0), size
	var err error
	for end-from > 1 && err == nil {
		k := from + split(end-from)
		var h hash
		if index < k {
			h, err = n.subtree(k, end)
			end = k
		} else {
			h, err = n.subtree(from, k)
			from = k
		}
		out = append(out, h)
	}
	reverse(out)
	return out, err
}

// consistency is PROOF of RFC 6962 section 2.1.2 between the trees of old and size leaves.
func (n nodes) consistency(old, size uint64) ([]hash, error) {
	if old > size {
		return nil, fmt.Errorf("%w: %d of %d", ErrNotFound, old, size)
	}
	if old == 0 || old == size {
		return nil, nil
	}
	var out []hash
	from, end, whole := uint64(0), size, true
	var err error
	for old != end && err == nil {
		k := from + split(end-from)
		var h hash
		if old <= k {
			h, err = n.subtree(k, end)
			end = k
		} else {
			h, err = n.subtree(from, k)
			from, whole = k, false
		}
		out = append(out, h)
	}
	if !whole && err == nil {
		var h hash
		h, err = n.subtree(from, end)
		out = append(out, h)
	}
	reverse(out)
	return out, err
}

func reverse(h []hash) {
	for i, j := 0, len(h)-1; i < j; i, j = i+1, j-1 {
		h[i], h[j] = h[j], h[i]
	}
}

// VerifyInclusion checks that a leaf with this leaf hash stands at index in the tree of size and root.
// Method: RFC 9162 section 2.1.3.2.
func VerifyInclusion(leaf [32]byte, index, size uint64, proof [][32]byte, root [32]byte) error {
	if index >= size {
		return fmt.Errorf("%w: index %d is not below size %d", ErrVerification, index, size)
	}
	fn, sn, r := index, size-1, leaf
	for _, p := range proof {
		if sn == 0 {
			return fmt.Errorf("%w: inclusion proof of %d hashes is too long", ErrVerification, len(proof))
		}
		if fn&1 == 1 || fn == sn {
			r = nodeHash(p, r)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			r = nodeHash(r, p)
		}
		fn, sn = fn>>1, sn>>1
	}
	if sn != 0 || r != root {
		return fmt.Errorf("%w: entry %d does not stand under the root of %d leaves", ErrVerification, index, size)
	}
	return nil
}

// VerifyConsistency checks that the tree of (size, root) begins with the tree of (old, oldRoot).
// Method: RFC 9162 section 2.1.4.2.
func VerifyConsistency(old, size uint64, oldRoot, root [32]byte, proof [][32]byte) error {
	bad := fmt.Errorf("%w: the log of %d leaves does not begin with the one of %d", ErrVerification, size, old)
	switch {
	case old > size:
		return bad
	case old == 0 || old == size:
		if len(proof) != 0 || old == size && oldRoot != root || old == 0 && oldRoot != (&tree{}).root() {
			return bad
		}
		return nil
	}
	if old&(old-1) == 0 {
		proof = append([]hash{oldRoot}, proof...)
	}
	if len(proof) == 0 {
		return bad
	}
	fn, sn := old-1, size-1
	for fn&1 == 1 {
		fn, sn = fn>>1, sn>>1
	}
	fr, sr := proof[0], proof[0]
	for _, p := range proof[1:] {
		if sn == 0 {
			return bad
		}
		if fn&1 == 1 || fn == sn {
			fr, sr = nodeHash(p, fr), nodeHash(p, sr)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			sr = nodeHash(sr, p)
		}
		fn, sn = fn>>1, sn>>1
	}
	if sn != 0 || fr != oldRoot || sr != root {
		return bad
	}
	return nil
}

// Prove returns the inclusion proof of the entry at index under the newest published checkpoint,
// publishing first if the entry is newer. The proof has been checked. It needs Config.Tiles.
func (l *Log) Prove(ctx context.Context, index uint64) (Proof, error) {
	e, err := l.Read(index)
	if err != nil {
		return Proof{}, err
	}
	cp, n, err := l.published(ctx, index+1)
	if err != nil {
		return Proof{}, err
	}
	hashes, err := n.inclusion(index, cp.Size)
	if err != nil {
		return Proof{}, err
	}
	if err := VerifyInclusion(leafHash(e.Raw), index, cp.Size, hashes, cp.Root); err != nil {
		return Proof{}, fmt.Errorf("ledger: the tiles are damaged and must be rebuilt: %w", err)
	}
	return Proof{Index: index, Hashes: hashes, Checkpoint: cp}, nil
}

// Consistency returns the newest published checkpoint and the proof that it continues the tree of old
// leaves. It needs Config.Tiles.
func (l *Log) Consistency(ctx context.Context, old uint64) (Checkpoint, [][32]byte, error) {
	cp, n, err := l.published(ctx, old)
	if err != nil {
		return Checkpoint{}, nil, err
	}
	// The checkpoint of the old tree belongs to the asker: whoever holds another root at its size has
	// proof of a fork, so nothing is checked here.
	hashes, err := n.consistency(old, cp.Size)
	return cp, hashes, err
}

const proofHead = "c2sp.org/tlog-proof@v1"

// Marshal returns the proof as a C2SP tlog-proof, which needs nothing but the leaf and the public key to
// be verified.
func (p *Proof) Marshal() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nindex %d\n", proofHead, p.Index)
	for _, h := range p.Hashes {
		b.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
	}
	b.WriteString("\n")
	b.Write(p.Checkpoint.Note)
	return []byte(b.String())
}

// ParseProof reads a tlog-proof and verifies that v signed its checkpoint and that leaf, the bytes of an
// entry, stands in its tree.
func ParseProof(data, leaf []byte, v note.Verifier) (Proof, error) {
	head, cp, ok := strings.Cut(string(data), "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || len(lines) < 2 || lines[0] != proofHead || len(lines) > 2+1+64 {
		return Proof{}, errors.New("ledger: proof: not a tlog-proof")
	}
	lines = lines[1:]
	if strings.HasPrefix(lines[0], "extra ") {
		lines = lines[1:]
	}
	var p Proof
	if len(lines) == 0 {
		return p, errors.New("ledger: proof: index is missing")
	}
	index, ok := strings.CutPrefix(lines[0], "index ")
	n, err := strconv.ParseUint(index, 10, 63)
	if !ok || err != nil || strconv.FormatUint(n, 10) != index {
		return p, errors.New("ledger: proof: index is malformed")
	}
	p.Index = n
	for _, line := range lines[1:] {
		b, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(b) != hashBytes {
			return p, errors.New("ledger: proof: a line is not a hash")
		}
		p.Hashes = append(p.Hashes, hash(b))
	}
	if p.Checkpoint, err = ParseCheckpoint([]byte(cp), v); err != nil {
		return p, err
	}
	return p, VerifyInclusion(leafHash(leaf), p.Index, p.Checkpoint.Size, p.Hashes, p.Checkpoint.Root)
}
