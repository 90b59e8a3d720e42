// SPDX-License-Identifier: Apache-2.0

package anchor

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // an operation of the format: a path may go through it, its end is what counts
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ripemd160" //nolint:staticcheck // as sha1
)

// KindOTS is the kind of OpenTimestamps proofs. Their data is a detached .ots file, so that "ots verify"
// takes it.
const KindOTS = "ots"

const (
	otsMagic = "\x00OpenTimestamps\x00\x00Proof\x00\xbf\x89\xe2\xe8\x84\xe8\x92\x94"

	opSHA1, opRIPEMD160, opSHA256 = 0x02, 0x03, 0x08
	opAppend, opPrepend           = 0xf0, 0xf1
	tagAttestation, tagFork       = 0x00, 0xff

	maxOTSMessage = 4096 // bytes of what an operation takes or gives
	maxOTSDepth   = 256
	maxOTSSteps   = 16384
	maxOTSBytes   = 256 << 10

	bitcoinHeaderBytes = 80
)

var (
	attestedBitcoin = [8]byte{0x05, 0x88, 0x96, 0x0d, 0x73, 0xd7, 0x19, 0x01}
	attestedPending = [8]byte{0x83, 0xdf, 0xe3, 0x0d, 0x2e, 0xf9, 0x0c, 0x8e}
)

// Block is what is taken from a Bitcoin block's header.
type Block struct {
	Root [32]byte // of the transactions, in the order of the header's bytes
	Time time.Time
}

// ReadBlocks parses headers that the verifier trusts, from a node of his own for example: on each line a
// height and the 80 bytes of the header in hexadecimal. Empty lines and those that begin with # or 0x are passed
// over. Whether a header is in the chain is the verifier's knowledge, not checked here.
func ReadBlocks(text []byte) (map[uint64]Block, error) {
	out := map[uint64]Block{}
	for i, line := range strings.Split(string(text), "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' || strings.HasPrefix(line, "0x") {
			continue
		}
		number, header, _ := strings.Cut(line, " ")
		height, err := strconv.ParseUint(number, 10, 32)
		b, err2 := hex.DecodeString(strings.TrimSpace(header))
		if err != nil || err2 != nil || len(b) != bitcoinHeaderBytes {
			return nil, fmt.Errorf("anchor: blocks: line %d is not a height and a header of 80 bytes", i+1)
		}
		out[height] = Block{[32]byte(b[36:68]), time.Unix(int64(binary.LittleEndian.Uint32(b[68:])), 0)}
	}
	return out, nil
}

// attestation is the end of a path through a proof.
type attestation struct {
	tag     [8]byte
	payload []byte
	message []byte // what the path makes of the file's digest
	at      int    // offset in what was read
	forked  bool   // another branch follows it
}

// height is that of a Bitcoin attestation.
func (a *attestation) height() (uint64, bool) {
	h, n := binary.Uvarint(a.payload)
	return h, a.tag == attestedBitcoin && n == len(a.payload) && n > 0
}

// calendar is the address of a pending attestation.
func (a *attestation) calendar() (string, bool) {
	n, used := binary.Uvarint(a.payload)
	if a.tag != attestedPending || used <= 0 || n != uint64(len(a.payload)-used) {
		return "", false
	}
	return string(a.payload[used:]), true
}

// otsReader reads the tree of a proof and keeps its attestations. A path with an operation that it does not
// know cannot be followed, nor what stands after it in the file be found: that is an error.
type otsReader struct {
	rest  []byte
	all   int // bytes that there were
	last  int // offset of the last branch of the outermost timestamp
	steps int
	found []attestation
}

var errOTS = errors.New("anchor: not an OpenTimestamps proof, or a damaged one")

func (r *otsReader) take(n int) ([]byte, error) {
	if n < 0 || n > len(r.rest) {
		return nil, errOTS
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b, nil
}

func (r *otsReader) bytes(least, most int) ([]byte, error) {
	n, used := binary.Uvarint(r.rest)
	if used <= 0 || n < uint64(least) || n > uint64(most) {
		return nil, errOTS
	}
	r.rest = r.rest[used:]
	return r.take(int(n))
}

// timestamp reads everything that begins with message.
func (r *otsReader) timestamp(message []byte, depth int) error {
	if depth > maxOTSDepth {
		return errOTS
	}
	for {
		tag, err := r.take(1)
		if err != nil {
			return err
		}
		forked := tag[0] == tagFork
		if forked {
			if tag, err = r.take(1); err != nil || tag[0] == tagFork {
				return errOTS
			}
		}
		if depth == 0 {
			r.last = r.all - len(r.rest) - 1
		}
		if err := r.branch(tag[0], message, depth, forked); err != nil || !forked {
			return err
		}
	}
}

func (r *otsReader) branch(tag byte, message []byte, depth int, forked bool) error {
	if r.steps++; r.steps > maxOTSSteps {
		return errOTS
	}
	if tag == tagAttestation {
		at := r.all - len(r.rest) - 1
		kind, err := r.take(8)
		if err != nil {
			return err
		}
		payload, err := r.bytes(0, 8192)
		if err == nil {
			r.found = append(r.found, attestation{[8]byte(kind), payload, message, at, forked})
		}
		return err
	}
	next, err := r.operate(tag, message)
	if err != nil {
		return err
	}
	return r.timestamp(next, depth+1)
}

// operate applies one operation.
func (r *otsReader) operate(tag byte, message []byte) ([]byte, error) {
	switch tag {
	case opSHA256:
		sum := sha256.Sum256(message)
		return sum[:], nil
	case opSHA1:
		sum := sha1.Sum(message) //nolint:gosec // see the import
		return sum[:], nil
	case opRIPEMD160:
		h := ripemd160.New() //nolint:gosec // see the import
		h.Write(message)
		return h.Sum(nil), nil
	case opAppend, opPrepend:
		arg, err := r.bytes(1, maxOTSMessage)
		if err != nil || len(arg)+len(message) > maxOTSMessage {
			return nil, errOTS
		}
		if tag == opAppend {
			return slices.Concat(message, arg), nil
		}
		return slices.Concat(arg, message), nil
	}
	return nil, fmt.Errorf("anchor: operation %#x of an OpenTimestamps proof is not known", tag)
}

// readOTS reads a detached proof of digest.
func readOTS(data []byte, digest [32]byte) ([]attestation, error) {
	rest, ok := bytes.CutPrefix(data, []byte(otsMagic))
	if !ok || len(data) > maxOTSBytes || len(rest) < 2+len(digest) || rest[0] != 1 || rest[1] != opSHA256 {
		return nil, errOTS
	}
	if !bytes.Equal(rest[2:2+len(digest)], digest[:]) {
		return nil, errors.New("anchor: the proof is about another file")
	}
	r := otsReader{rest: rest[2+len(digest):], all: len(data)}
	if err := r.timestamp(digest[:], 0); err != nil {
		return nil, err
	}
	if len(r.rest) > 0 {
		return nil, errOTS
	}
	return r.found, nil
}

// verifyOTS says in which block the proof ends: the oldest of those that the verifier trusts. With blocks, a
// proof that ends in one of them with another root does not hold.
func verifyOTS(data, checkpoint []byte, blocks map[uint64]Block) (Checked, error) {
	found, err := readOTS(data, sha256.Sum256(checkpoint))
	if err != nil {
		return Checked{}, err
	}
	var out Checked
	for _, a := range found {
		if uri, ok := a.calendar(); ok && out.Signer == "" {
			out.Signer = "pending at " + clean(uri)
		}
		height, ok := a.height()
		if !ok {
			continue
		}
		b, known := blocks[height]
		switch {
		case known && !bytes.Equal(b.Root[:], a.message):
			return Checked{}, fmt.Errorf("anchor: the proof does not lead to bitcoin block %d", height)
		case known && (!out.Trusted || b.Time.Before(out.Time)):
			out = Checked{Time: b.Time, Signer: fmt.Sprintf("bitcoin block %d", height), Trusted: true}
		case !known && !out.Trusted:
			out.Signer = fmt.Sprintf("bitcoin block %d, whose header nobody gave", height)
		}
	}
	if out.Signer == "" {
		return Checked{}, errors.New("anchor: the proof ends in nothing that is known")
	}
	return out, nil
}

// clean keeps an address printable.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), 128)]
}
