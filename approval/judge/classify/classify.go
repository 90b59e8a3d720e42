// SPDX-License-Identifier: Apache-2.0

// Package classify scores a final answer or a message against each rule of a small constitution, one linear model a
// rule, after Sparrow's idea of a classifier for each rule. The models are trained on the cases beside this file by
// the program in train; what they are worth on cases that they have not seen is printed by "sallyport bench
// constitution".
//
// They know English and the ways of breaking a rule that their authors thought of, and nothing else: a low score is no
// proof. They are one stage of a chain of second systems, and never grant what policy did not give them.
package classify

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

//go:embed cases/*.txt
var caseFiles embed.FS

//go:embed model.bin
var embedded []byte

const (
	buckets = 1 << 12
	magic   = "SPCL1"
	// MaxBytes bounds the text that is scored; of a longer one the beginning and the end are.
	MaxBytes = 64 << 10
)

// Case is one text and whether it breaks the rule.
type Case struct {
	Text     string
	Violates bool
}

// Set is one rule with its cases.
type Set struct {
	ID    int
	Name  string
	Rule  string // in plain language
	Cases []Case
}

// Sets returns the rules and cases that are built in, by number.
func Sets() ([]Set, error) {
	names, err := fs.Glob(caseFiles, "cases/*.txt")
	if err != nil {
		return nil, err
	}
	var out []Set
	for _, name := range names {
		data, err := caseFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		s, err := readSet(strings.TrimSuffix(strings.TrimPrefix(name, "cases/"), ".txt"), data)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Set) int { return a.ID - b.ID })
	return out, nil
}

// readSet reads "# rule", "+ text that breaks it" and "- text that does not". name is "NUMBER-name".
func readSet(name string, data []byte) (Set, error) {
	number, word, _ := strings.Cut(name, "-")
	id, err := strconv.Atoi(number)
	if err != nil || id < 1 || word == "" {
		return Set{}, fmt.Errorf("classify: %q is no NUMBER-name", name)
	}
	s := Set{ID: id, Name: word}
	for i, line := range strings.Split(strings.TrimRight(string(data), "\n"), "\n") {
		mark, text, ok := strings.Cut(line, " ")
		switch {
		case ok && mark == "#" && s.Rule == "":
			s.Rule = text
		case ok && (mark == "+" || mark == "-") && strings.TrimSpace(text) != "":
			s.Cases = append(s.Cases, Case{text, mark == "+"})
		default:
			return Set{}, fmt.Errorf("classify: %s:%d: neither rule nor case", name, i+1)
		}
	}
	if s.Rule == "" {
		return Set{}, fmt.Errorf("classify: %s: no rule", name)
	}
	return s, nil
}

// linear is one rule's model. The chance that a text breaks it is 1 / (1 + exp(-(a*score + b))).
type linear struct {
	id     int
	a, b   float64
	scale  float32
	weight [buckets]int8
}

// Model scores texts. It is immutable and safe for concurrent use.
type Model struct {
	rules  []linear
	digest string
}

// Score is what one rule's model says of a text, in thousandths.
type Score struct {
	ID    int `json:"id"`
	Milli int `json:"milli"`
}

// Embedded returns the built-in model.
func Embedded() (*Model, error) { return Read(embedded) }

// Digest names the model.
func (m *Model) Digest() string { return m.digest }

// Score returns how likely the worst passage of text breaks each rule, by number. Passages are sentences and pairs of
// them, so that length dilutes nothing.
func (m *Model) Score(text string) []Score {
	if len(text) > MaxBytes {
		text = text[:MaxBytes/2] + "\n" + text[len(text)-MaxBytes/2:]
	}
	out := make([]Score, len(m.rules))
	for i := range m.rules {
		out[i].ID = m.rules[i].id
	}
	for _, p := range passages(text) {
		f := features(p)
		for i := range m.rules {
			out[i].Milli = max(out[i].Milli, m.rules[i].milli(f))
		}
	}
	return out
}

func (l *linear) milli(f []uint16) int {
	sum := 0
	for _, i := range f {
		sum += int(l.weight[i])
	}
	score := 0.0
	if len(f) > 0 {
		score = float64(l.scale) * float64(sum) / math.Sqrt(float64(len(f)))
	}
	return int(math.Round(1000 * sigmoid(l.a*score+l.b)))
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// passages are the sentences of a text, and each with the one after it.
func passages(text string) []string {
	var one []string
	for _, s := range strings.FieldsFunc(text, func(r rune) bool { return r == '.' || r == '!' || r == '?' || r == '\n' }) {
		if s = strings.TrimSpace(s); s != "" {
			one = append(one, s)
		}
	}
	out := slices.Clone(one)
	for i := 1; i < len(one); i++ {
		out = append(out, one[i-1]+". "+one[i])
	}
	return out
}

// features are the buckets of a passage's words, stems and pairs, each once, sorted.
func features(text string) []uint16 {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '\'' })
	var out []uint16
	add := func(kind, s string) {
		h := fnv.New32a()
		_, _ = h.Write([]byte(kind + s))
		out = append(out, uint16(h.Sum32()%buckets))
	}
	before := "^"
	for _, w := range words {
		add("w", w)
		add("s", w[:min(len(w), 5)])
		add("p", before+" "+w)
		before = w
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Bytes is the model's file.
func (m *Model) Bytes() []byte {
	var b bytes.Buffer
	b.WriteString(magic)
	_ = binary.Write(&b, binary.LittleEndian, uint16(len(m.rules)))
	for i := range m.rules {
		l := &m.rules[i]
		_ = binary.Write(&b, binary.LittleEndian, uint16(l.id))
		_ = binary.Write(&b, binary.LittleEndian, []float64{l.a, l.b})
		_ = binary.Write(&b, binary.LittleEndian, l.scale)
		_ = binary.Write(&b, binary.LittleEndian, l.weight[:])
	}
	return b.Bytes()
}

// Read reads what Bytes wrote.
func Read(data []byte) (*Model, error) {
	malformed := errors.New("classify: the model is malformed")
	rest, ok := bytes.CutPrefix(data, []byte(magic))
	if !ok || len(rest) < 2 {
		return nil, malformed
	}
	const one = 2 + 8 + 8 + 4 + buckets
	n := int(binary.LittleEndian.Uint16(rest))
	if rest = rest[2:]; n == 0 || len(rest) != n*one {
		return nil, malformed
	}
	sum := sha256.Sum256(data)
	m := &Model{rules: make([]linear, n), digest: "sha256:" + hex.EncodeToString(sum[:])}
	for i := range m.rules {
		l, at := &m.rules[i], rest[i*one:]
		l.id = int(binary.LittleEndian.Uint16(at))
		l.a, l.b = math.Float64frombits(binary.LittleEndian.Uint64(at[2:])), math.Float64frombits(binary.LittleEndian.Uint64(at[10:]))
		l.scale = math.Float32frombits(binary.LittleEndian.Uint32(at[18:]))
		for j := range l.weight {
			l.weight[j] = int8(at[22+j])
		}
		for _, f := range []float64{l.a, l.b, float64(l.scale)} {
			if math.IsNaN(f) || math.IsInf(f, 0) {
				return nil, malformed
			}
		}
	}
	return m, nil
}
