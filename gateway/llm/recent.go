// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
)

// maxRecent bounds what is remembered of each kind, of all callers.
const maxRecent = 1 << 15

// recent remembers the last values by the digest of their key. The zero value is empty and safe for
// concurrent use.
type recent[V any] struct {
	mu   sync.Mutex // guards below
	m    map[[32]byte]V
	ring [][32]byte
	next int
}

// digest is unambiguous over its parts.
func digest(parts ...string) (d [32]byte) {
	h := sha256.New()
	for _, p := range parts {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	h.Sum(d[:0])
	return d
}

func (r *recent[V]) get(k [32]byte) (V, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.m[k]
	return v, ok
}

func (r *recent[V]) put(k [32]byte, v V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil {
		r.m = map[[32]byte]V{}
	}
	if _, ok := r.m[k]; !ok {
		if len(r.ring) < maxRecent {
			r.ring = append(r.ring, k)
		} else {
			delete(r.m, r.ring[r.next])
			r.ring[r.next] = k
			r.next = (r.next + 1) % maxRecent
		}
	}
	r.m[k] = v
}
