// SPDX-License-Identifier: Apache-2.0

package modelsig

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
)

// The one form of fs-verity that is looked at, which "fsverity enable" makes: SHA-256 over blocks of 4 KiB, no salt.
const verityBlock = 4096

// verityTree computes the digest that the kernel has of a file once fs-verity seals it, while the file is read once. See
// Documentation/filesystems/fsverity.rst, "Merkle tree" and "File digest computation".
type verityTree struct {
	size   uint64
	block  []byte   // of the file, not yet full
	levels [][]byte // hashes that wait for a full block, from below
}

// Write takes the next bytes of the file. It never errs.
func (t *verityTree) Write(p []byte) (int, error) {
	n := len(p)
	t.size += uint64(n)
	for len(p) > 0 {
		take := min(len(p), verityBlock-len(t.block))
		t.block = append(t.block, p[:take]...)
		if p = p[take:]; len(t.block) == verityBlock {
			t.add(0, sha256.Sum256(t.block))
			t.block = t.block[:0]
		}
	}
	return n, nil
}

func (t *verityTree) add(level int, h [32]byte) {
	if level == len(t.levels) {
		t.levels = append(t.levels, nil)
	}
	if t.levels[level] = append(t.levels[level], h[:]...); len(t.levels[level]) == verityBlock {
		up := sha256.Sum256(t.levels[level])
		t.levels[level] = t.levels[level][:0]
		t.add(level+1, up)
	}
}

// sum ends the file and returns its digest.
func (t *verityTree) sum() [32]byte {
	if len(t.block) > 0 {
		t.add(0, sha256.Sum256(padded(t.block)))
		t.block = nil
	}
	var root []byte
	for i := 0; i < len(t.levels); i++ { // levels above may come to be on the way
		l := t.levels[i]
		last := i == len(t.levels)-1
		if last && len(l) == sha256.Size {
			root = l
			break
		}
		if len(l) > 0 {
			t.levels[i] = nil
			t.add(i+1, sha256.Sum256(padded(l)))
		}
	}
	d := make([]byte, 256) // struct fsverity_descriptor
	d[0], d[1], d[2] = 1, 1, 12
	binary.LittleEndian.PutUint64(d[8:], t.size)
	copy(d[16:], root)
	return sha256.Sum256(d)
}

func padded(b []byte) []byte {
	out := make([]byte, verityBlock)
	copy(out, b)
	return out
}

// Verity returns the digest that fs-verity has of what r holds.
func Verity(r io.Reader) ([32]byte, error) {
	var t verityTree
	_, err := io.Copy(&t, r)
	return t.sum(), err
}

// sealed reports whether the kernel's digest of an open file is the one of what was read of it: from then on the kernel
// refuses to read anything else.
func sealed(kernel func(fd uintptr) ([]byte, error), fd uintptr, t *verityTree) bool {
	d, err := kernel(fd)
	own := t.sum()
	return err == nil && bytes.Equal(d, own[:])
}
