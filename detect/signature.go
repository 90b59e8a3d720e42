// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/detect/learn"
)

// Signature is what is kept of a confirmed attack: the lowest hashes of its word triples (a bottom-k
// sketch; Broder, On the resemblance and containment of documents, 1997). The text cannot be read from it,
// so it may be shared. It counts only while somebody answers for it and it has not expired.
type Signature struct {
	ID       string
	Sketch   []uint32
	Words    int
	Reviewer string
	Expires  time.Time
}

const (
	sketchSize    = 32
	minSketch     = 6 // triples: 8 words
	maxSignWords  = 2000
	maxSignatures = 4096
	repeatMilli   = 600 // share of a sketch that makes a text a repeat
)

// ErrSignature is returned for a list of signatures that is malformed, and for a text that is too short or
// too long to have one.
var ErrSignature = errors.New("detect: not a signature")

// triples calls fn with the hash of every three words of text and the bytes at which they stand.
func triples(text string, fn func(h uint32, start, end int)) (words int) {
	var one, two uint32
	var s1, s2 int
	learn.Words(text, func(start, end int, h, _ uint32) {
		if words++; words > 2 {
			x := uint64(two)*0x9E3779B97F4A7C15 ^ uint64(one)*0xC2B2AE3D27D4EB4F ^ uint64(h)
			fn(uint32(x*0xD6E8FEB86659FD93>>32), s2, end)
		}
		two, one, s2, s1 = one, h, s1, start
	})
	return words
}

// Sign returns the signature of an attack that reviewer confirmed, valid until expires.
func Sign(id, attack, reviewer string, expires time.Time) (Signature, error) {
	return sign(id, attack, reviewer, expires, nil)
}

// sign leaves out the triples of known, which stand in harmless text too.
func sign(id, attack, reviewer string, expires time.Time, known map[uint32]bool) (Signature, error) {
	var all []uint32
	words := triples(attack, func(h uint32, _, _ int) {
		if !known[h] {
			all = append(all, h)
		}
	})
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) < minSketch || words > maxSignWords || id == "" || reviewer == "" {
		return Signature{}, ErrSignature
	}
	return Signature{id, slices.Clip(all[:min(len(all), sketchSize)]), words, reviewer, expires}, nil
}

// mark is one hash of a sketch: the bit of a signature.
type mark struct {
	signature uint16
	bit       uint8
}

type signatures struct {
	list []Signature
	by   map[uint32][]mark
}

// maxMarks bounds how many signatures one triple can belong to: what stands in many attacks stands in much
// else.
const maxMarks = 16

func newSignatures(list []Signature) (*signatures, error) {
	if len(list) > maxSignatures {
		return nil, fmt.Errorf("%w: more than %d", ErrSignature, maxSignatures)
	}
	s := &signatures{list, map[uint32][]mark{}}
	for n, sig := range list {
		if k := len(sig.Sketch); sig.ID == "" || sig.Reviewer == "" || k < minSketch || k > sketchSize || sig.Words < 1 || sig.Words > maxSignWords {
			return nil, fmt.Errorf("%w: %q needs an id, a reviewer, %d to %d hashes and at most %d words", ErrSignature, sig.ID, minSketch, sketchSize, maxSignWords)
		}
		for i, h := range sig.Sketch {
			if len(s.by[h]) < maxMarks {
				s.by[h] = append(s.by[h], mark{uint16(n), uint8(i)})
			}
		}
	}
	return s, nil
}

// trail is what was met of one signature lately.
type trail struct {
	bits        uint32
	from, start int // word and byte at which it begins
}

// find returns the best repeat in text of a signature that is valid at now. It looks up each triple once.
func (s *signatures) find(text string, now time.Time) (hit, bool) {
	best := hit{class: classInjection, kind: "repeats a confirmed attack"}
	trails := map[uint16]*trail{}
	n := 0
	triples(text, func(h uint32, start, end int) {
		n++
		for _, m := range s.by[h] {
			sig := &s.list[m.signature]
			if !sig.Expires.After(now) {
				continue
			}
			t := trails[m.signature]
			if t == nil || n-t.from > 2*sig.Words+16 {
				t = &trail{from: n, start: start}
				trails[m.signature] = t
			}
			t.bits |= 1 << m.bit
			if score := bits.OnesCount32(t.bits) * 1000 / len(sig.Sketch); score > best.score {
				best.score, best.start, best.end = score, t.start, end
			}
		}
	})
	return best, best.score >= repeatMilli
}

type storedSignature struct {
	ID       string `json:"id"`
	Sketch   string `json:"sketch"`
	Words    int    `json:"words"`
	Reviewer string `json:"reviewer"`
	Expires  int64  `json:"expires_ms"`
}

type storedSignatures struct {
	Version    int               `json:"version"`
	Signatures []storedSignature `json:"signatures"`
}

// WriteSignatures returns list in the form that ReadSignatures takes: {version: 1, signatures: [{id, sketch,
// words, reviewer, expires_ms}]}, the sketch in hexadecimal, eight digits a hash.
func WriteSignatures(list []Signature) ([]byte, error) {
	return action.Canonical(&storedSignatures{Version: 1, Signatures: stored(list)})
}

func stored(list []Signature) []storedSignature {
	out := make([]storedSignature, len(list))
	for i, s := range list {
		b := make([]byte, 0, 4*sketchSize)
		for _, v := range s.Sketch {
			b = append(b, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
		}
		out[i] = storedSignature{s.ID, hex.EncodeToString(b), s.Words, s.Reviewer, s.Expires.UnixMilli()}
	}
	return out
}

// ReadSignatures reads a list strictly.
func ReadSignatures(b []byte) ([]Signature, error) {
	var in storedSignatures
	if err := action.Read(b, &in, action.Limits{}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if in.Version != 1 {
		return nil, fmt.Errorf("%w: version %d", ErrSignature, in.Version)
	}
	return unstored(in.Signatures)
}

func unstored(in []storedSignature) ([]Signature, error) {
	out := make([]Signature, len(in))
	for i, s := range in {
		raw, err := hex.DecodeString(s.Sketch)
		if err != nil || len(raw)%4 != 0 {
			return nil, fmt.Errorf("%w: sketch of %q", ErrSignature, s.ID)
		}
		out[i] = Signature{ID: s.ID, Words: s.Words, Reviewer: s.Reviewer, Expires: time.UnixMilli(s.Expires)}
		for k := 0; k < len(raw); k += 4 {
			out[i].Sketch = append(out[i].Sketch, uint32(raw[k])<<24|uint32(raw[k+1])<<16|uint32(raw[k+2])<<8|uint32(raw[k+3]))
		}
	}
	_, err := newSignatures(out)
	return out, err
}
