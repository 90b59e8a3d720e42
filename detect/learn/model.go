// SPDX-License-Identifier: Apache-2.0

// Package learn is the part of detection that is learnt: a linear model over hashed words that tells
// orders to a model from other text, the program that trains it, and the text it is trained on.
//
// Its worth is bounded by what it has seen: on sources that it was not trained on it finds far less than on
// those that it was (docs/detection.md has both). It is one fact among others and never a reason to allow.
package learn

import (
	"encoding/binary"
	"errors"
	"math"
)

const (
	weightBits = 16
	weights    = 1 << weightBits
	perWord    = 6  // features of a word
	stride     = 4  // words from one window to the next
	ring       = 64 // more than the longest window
)

// windows are the lengths in words of what is scored as one. Orders are short; documents are not.
var windows = [...]uint{12, 24, 48}

// Folded is the byte that a word's byte counts as: lower case, 0 for every digit; 0 for what ends a word.
var Folded = func() (t [256]byte) {
	for c := range 256 {
		switch b := byte(c); {
		case b >= 'A' && b <= 'Z':
			t[c] = b + 'a' - 'A'
		case b >= 'a' && b <= 'z', b >= 0x80:
			t[c] = b
		case b >= '0' && b <= '9':
			t[c] = '0'
		}
	}
	return t
}()

// Seed is the hash of no byte, and Step the hash of one more byte (FNV-1a).
const Seed = uint32(2166136261)

// Step returns the hash of what h is the hash of and the folded byte f.
func Step(h uint32, f byte) uint32 { return (h ^ uint32(f)) * 16777619 }

// Hash is the hash of the word w.
func Hash(w string) uint32 {
	h := Seed
	for i := range len(w) {
		h = Step(h, Folded[w[i]])
	}
	return h
}

// Reader turns words into features and windows. Its zero value is at the beginning of a text.
type Reader struct {
	one, two uint32 // the words before
	n        uint
	sum      [ring]float32 // of the first n words, by n modulo ring
	start    [ring]int32
	Best     Peak
}

// Peak is the window that scores highest.
type Peak struct {
	Score    float32
	From, To int // bytes of the text
}

func mix(a, b uint32) uint16 { return uint16(((a*0x9E3779B1 ^ b) * 0x85EBCA6B) >> (32 - weightBits)) }

// features puts into f the features of the word with hash h: itself, with its neighbours, its stem, and, if
// first, as the first of a sentence (0 if not).
func (r *Reader) features(f *[perWord]uint16, h, stem uint32, first bool) {
	f[0], f[1], f[2], f[3], f[4], f[5] = mix(h, 1), mix(h, r.one), mix(h^r.two*31, r.one), mix(h, r.two+7), mix(stem, 3), 0
	if first {
		f[5] = mix(h, 5)
	}
	r.two, r.one = r.one, h
}

// Word has r take the next word of text, at text[start:end], with the hashes of it and of its first five
// bytes.
func (m *Model) Word(r *Reader, text string, start, end int, h, stem uint32) {
	var f [perWord]uint16
	r.features(&f, h, stem, opens(text, start))
	w := &m.weight
	sum := int(w[f[0]]) + int(w[f[1]]) + int(w[f[2]]) + int(w[f[3]]) + int(w[f[4]]) + int(w[f[5]])
	r.take(start, end, m.scale*float32(sum))
}

// take counts a word of some weight.
func (r *Reader) take(start, end int, weight float32) {
	before := r.sum[r.n%ring]
	if r.n == 0 {
		r.Best.Score = float32(math.Inf(-1))
	}
	r.start[r.n%ring] = int32(start)
	r.n++
	if r.sum[r.n%ring] = before + weight; r.n%stride == 0 {
		r.End(end)
	}
}

// End scores the windows that end here; it is called once more after the last word, whose end is end.
func (r *Reader) End(end int) {
	if r.n == 0 {
		return
	}
	for _, w := range windows {
		w = min(w, r.n)
		if s := (r.sum[r.n%ring] - r.sum[(r.n-w)%ring]) * norm[w%ring]; s > r.Best.Score {
			r.Best = Peak{s, int(r.start[(r.n-w)%ring]), end}
		}
		if w == r.n {
			break
		}
	}
}

// norm makes windows of different length comparable.
var norm = func() (t [ring]float32) {
	for n := range t {
		t[n] = float32(1 / math.Sqrt(float64(n)+4))
	}
	return t
}()

// opens reports whether a word at text[at:] begins a sentence, a line or a quotation.
func opens(text string, at int) bool {
	for i := at - 1; i >= 0 && at-i <= 3; i-- {
		switch text[i] {
		case ' ', '\t':
			continue
		case '.', '!', '?', ':', ';', '\n', '"', '\'', '(', '>', '-', ',':
			return true
		}
		return false
	}
	return true
}

// Model is a trained model. It is read-only and safe for concurrent use.
type Model struct {
	weight [weights]int8
	scale  float32
	tail   [len(tailP)]float32 // the score that one benign text in 1/tailP exceeds
}

// tailP are the shares of benign texts, and tailMilli what a score is called that only so many exceed.
// 500 is what one benign text in 200 exceeds (conformal: of the kind of benign text that scores highest).
var (
	tailP     = [...]float64{0.5, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002}
	tailMilli = [...]float32{100, 200, 250, 350, 430, 500, 600}
)

// Milli is what a score is called: 500 is the shipped threshold.
func (m *Model) Milli(score float32) int {
	low, lowMilli := m.tail[0]-4, float32(0)
	for i, t := range m.tail {
		if score < t {
			return int(max(0, lowMilli+(tailMilli[i]-lowMilli)*(score-low)/max(t-low, 1e-3)))
		}
		low, lowMilli = t, tailMilli[i]
	}
	return int(min(900, lowMilli+(score-low)*100))
}

// Score returns the highest score of a window of text, before Milli, and where it is.
func (m *Model) Score(text string) Peak {
	var r Reader
	Words(text, func(start, end int, h, stem uint32) { m.Word(&r, text, start, end, h, stem) })
	r.End(len(text))
	return r.Best
}

// Words calls fn with every word of text.
func Words(text string, fn func(start, end int, h, stem uint32)) {
	for i := 0; i < len(text); {
		if Folded[text[i]] == 0 {
			i++
			continue
		}
		start, h, stem := i, Seed, Seed
		for ; i < len(text) && Folded[text[i]] != 0; i++ {
			if h = Step(h, Folded[text[i]]); i-start == 4 {
				stem = h
			}
		}
		fn(start, i, h, stem)
	}
}

// magic begins a stored model; the last byte is its format.
const magic = "sallyport model\x01"

// ErrFormat is returned for bytes that are no model of this format.
var ErrFormat = errors.New("learn: not a model of a known format")

// Bytes is the stored form of m.
func (m *Model) Bytes() []byte {
	b := []byte(magic)
	for _, f := range append([]float32{m.scale}, m.tail[:]...) {
		b = binary.BigEndian.AppendUint32(b, math.Float32bits(f))
	}
	for _, w := range m.weight {
		b = append(b, byte(w))
	}
	return b
}

// Load reads what Bytes wrote.
func Load(b []byte) (*Model, error) {
	head := len(magic) + 4*(1+len(tailP))
	if len(b) != head+weights || string(b[:len(magic)]) != magic {
		return nil, ErrFormat
	}
	m, f := &Model{}, make([]float32, 1+len(tailP))
	for i := range f {
		f[i] = math.Float32frombits(binary.BigEndian.Uint32(b[len(magic)+4*i:]))
		if math.IsNaN(float64(f[i])) || math.IsInf(float64(f[i]), 0) {
			return nil, ErrFormat
		}
	}
	m.scale = f[0]
	copy(m.tail[:], f[1:])
	for i := range m.weight {
		m.weight[i] = int8(b[head+i])
	}
	return m, nil
}
