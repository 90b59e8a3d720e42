// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"io"
	"os"
)

// spoolChunk is how much of a spool is sealed at a time.
const spoolChunk = 64 << 10

// A spool keeps a body in a file without a name, under a key that is in memory only: whoever finds the blocks on
// the disk later can read nothing of it, and whoever changes them meanwhile ends the upload. It is written once and
// can then be read from the beginning as often as need be. It is for one goroutine at a time.
type spool struct {
	f    *os.File
	aead cipher.AEAD
	buf  []byte // not sealed yet
	n    uint32 // chunks that were sealed
	size int64  // bytes of the body
}

var errSpool = errors.New("egress: the spool of an upload was changed, or cannot be read")

func newSpool(dir string, random io.Reader) (*spool, error) {
	key := make([]byte, 32)
	if _, err := io.ReadFull(random, key); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, "upload-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil { // it lives as long as it is open
		return nil, errors.Join(err, f.Close())
	}
	return &spool{f: f, aead: aead}, nil
}

func (s *spool) close() { _ = s.f.Close() }

// nonce counts: the key is of this spool alone.
func (s *spool) nonce(n uint32) []byte {
	b := make([]byte, s.aead.NonceSize())
	binary.BigEndian.PutUint32(b, n)
	return b
}

// Write adds p to the body.
func (s *spool) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		k := min(len(rest), spoolChunk-len(s.buf))
		s.buf, rest = append(s.buf, rest[:k]...), rest[k:]
		if len(s.buf) == spoolChunk {
			if err := s.seal(); err != nil {
				return 0, err
			}
		}
	}
	s.size += int64(len(p))
	return len(p), nil
}

func (s *spool) seal() error {
	_, err := s.f.Write(s.aead.Seal(nil, s.nonce(s.n), s.buf, nil))
	s.n, s.buf = s.n+1, s.buf[:0]
	return err
}

// reader returns one that begins at the beginning. Nothing may be written any more.
func (s *spool) reader() (io.Reader, error) {
	if len(s.buf) > 0 {
		if err := s.seal(); err != nil {
			return nil, err
		}
	}
	return &spoolReader{s: s}, nil
}

type spoolReader struct {
	s    *spool
	n    uint32
	rest []byte
}

func (r *spoolReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.n == r.s.n {
			return 0, io.EOF
		}
		sealed := make([]byte, spoolChunk+r.s.aead.Overhead())
		k, err := r.s.f.ReadAt(sealed, int64(r.n)*int64(len(sealed)))
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if r.rest, err = r.s.aead.Open(nil, r.s.nonce(r.n), sealed[:k], nil); err != nil {
			return 0, errSpool
		}
		r.n++
	}
	k := copy(p, r.rest)
	r.rest = r.rest[k:]
	return k, nil
}
