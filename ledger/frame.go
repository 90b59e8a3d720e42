// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A frame is what a segment is made of:
//
//	length   uint32, little endian: bytes of the body, never 0
//	kind     uint8
//	format   uint8, of the body
//	zero     uint16
//	crc      uint32, CRC-32C over the eight bytes before it and the body
//	body
//
// Segments are filled with zeros before use, so a length of 0 is the end of what was written.
const (
	frameHeadBytes = 12
	maxFrameBytes  = 1 << 30
)

// The kinds of frame.
const (
	frameSegment    byte = 1 // head of a segment
	frameLeaf       byte = 2
	framePayload    byte = 3 // sealed part of the leaf before it
	frameCheckpoint byte = 4 // signed note over every leaf before it; ends a batch
)

// formatFrame is the format of every frame body that this version writes.
const formatFrame byte = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errFrameEnd = errors.New("end of the written part")
	errFrameBad = errors.New("bad frame")
)

// frame is a parsed frame; body is a slice of what was parsed.
type frame struct {
	kind   byte
	format byte
	body   []byte
	bytes  int // with its head
}

// appendFrame appends a frame of kind around body.
func appendFrame(dst []byte, kind byte, body []byte) []byte {
	dst, at := openFrame(dst, kind)
	dst = append(dst, body...)
	closeFrame(dst, at)
	return dst
}

// openFrame appends the head of a frame whose body the caller appends next; closeFrame completes it.
func openFrame(dst []byte, kind byte) ([]byte, int) {
	at := len(dst)
	return append(dst, 0, 0, 0, 0, kind, formatFrame, 0, 0, 0, 0, 0, 0), at
}

func closeFrame(dst []byte, at int) {
	f := dst[at:]
	binary.LittleEndian.PutUint32(f, uint32(len(f)-frameHeadBytes))
	binary.LittleEndian.PutUint32(f[8:], frameCRC(f))
}

func frameCRC(f []byte) uint32 {
	return crc32.Update(crc32.Checksum(f[:8], castagnoli), castagnoli, f[frameHeadBytes:])
}

// frameLength reads a frame's head and returns the bytes of the whole frame. It returns errFrameEnd for
// a head of zeros and errFrameBad for a length that does not fit into limit bytes.
func frameLength(head []byte, limit int64) (int, error) {
	if len(head) < frameHeadBytes {
		return 0, errFrameEnd
	}
	n := binary.LittleEndian.Uint32(head)
	if n == 0 {
		for _, b := range head[:frameHeadBytes] {
			if b != 0 {
				return 0, fmt.Errorf("%w: length 0 with a head", errFrameBad)
			}
		}
		return 0, errFrameEnd
	}
	if n > maxFrameBytes || int64(n)+frameHeadBytes > limit {
		return 0, fmt.Errorf("%w: length %d", errFrameBad, n)
	}
	return int(n) + frameHeadBytes, nil
}

// parseFrame parses the frame at the beginning of b. It returns errFrameEnd at the end of what was
// written, errFrameBad for damage, and ErrFormat for an intact frame of a kind or format that this
// version does not know.
func parseFrame(b []byte) (frame, error) {
	n, err := frameLength(b, int64(len(b)))
	if err != nil {
		return frame{}, err
	}
	b = b[:n]
	if binary.LittleEndian.Uint32(b[8:]) != frameCRC(b) {
		return frame{}, fmt.Errorf("%w: checksum differs", errFrameBad)
	}
	f := frame{kind: b[4], format: b[5], body: b[frameHeadBytes:], bytes: n}
	if f.kind < frameSegment || f.kind > frameCheckpoint || f.format != formatFrame || b[6] != 0 || b[7] != 0 {
		return frame{}, fmt.Errorf("%w: frame kind %d, format %d", ErrFormat, f.kind, f.format)
	}
	return f, nil
}

// frameLike reports whether b begins with the head of a frame that this version writes.
func frameLike(b []byte) bool {
	return len(b) >= frameHeadBytes && b[4] >= frameSegment && b[4] <= frameCheckpoint && b[5] == formatFrame &&
		b[6] == 0 && b[7] == 0 && binary.LittleEndian.Uint32(b[8:]) != 0
}

// segmentHead is the body of a segment's first frame.
type segmentHead struct {
	number uint64
	first  uint64 // index of the first leaf
	bytes  uint64 // of the file
	root   hash   // of the tree of the leaves before it
	origin string
}

const segmentMagic = "sallyport wal\n"

func (h *segmentHead) encode() []byte {
	b := append([]byte(nil), segmentMagic...)
	b = binary.LittleEndian.AppendUint64(b, h.number)
	b = binary.LittleEndian.AppendUint64(b, h.first)
	b = binary.LittleEndian.AppendUint64(b, h.bytes)
	b = append(b, h.root[:]...)
	return append(b, h.origin...)
}

func decodeSegmentHead(b []byte) (segmentHead, error) {
	const fixed = len(segmentMagic) + 3*8 + hashBytes
	if len(b) < fixed || string(b[:len(segmentMagic)]) != segmentMagic {
		return segmentHead{}, errors.New("not the head of a segment")
	}
	h := segmentHead{origin: string(b[fixed:])}
	b = b[len(segmentMagic):]
	h.number = binary.LittleEndian.Uint64(b)
	h.first = binary.LittleEndian.Uint64(b[8:])
	h.bytes = binary.LittleEndian.Uint64(b[16:])
	copy(h.root[:], b[24:])
	return h, nil
}

// payloadFrame is the body of a payload frame: one sealed part.
type payloadFrame struct {
	part   string
	kid    string
	sealed []byte // nonce, ciphertext, tag
}

func appendPayload(dst []byte, part, kid string) []byte {
	dst = append(dst, byte(len(part)))
	dst = append(dst, part...)
	dst = append(dst, byte(len(kid)))
	return append(dst, kid...)
}

func decodePayload(b []byte) (payloadFrame, error) {
	var p payloadFrame
	for _, s := range []*string{&p.part, &p.kid} {
		if len(b) < 1 || len(b) < 1+int(b[0]) {
			return p, errors.New("payload frame is too short")
		}
		*s, b = string(b[1:1+int(b[0])]), b[1+int(b[0]):]
	}
	p.sealed = b
	return p, nil
}
