// SPDX-License-Identifier: Apache-2.0

package learn

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// GeneratedTexts is how many texts of the grammar a model is trained on.
const GeneratedTexts = 8000

// Corpus returns what a model is trained on: generated text, and under data ("" for none) every prompt set
// and every recorded tool output, as Outputs has them, in a fixed order.
func Corpus(data string) ([]Sample, error) {
	out := Generated(GeneratedTexts, 1)
	if data == "" {
		return out, nil
	}
	var outputs []Sample
	err := filepath.WalkDir(data, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		switch strings.TrimSuffix(e.Name(), ".gz") {
		case "contents.jsonl":
			source := filepath.Base(filepath.Dir(path)) + " outputs"
			return Lines(path, func(b []byte) error {
				var r struct {
					Injected bool
					Text     string
				}
				err := json.Unmarshal(b, &r)
				outputs = append(outputs, Sample{Source: source, Text: r.Text, Attack: r.Injected})
				return err
			})
		case "prompts.jsonl":
			return Lines(path, func(b []byte) error {
				var r struct {
					Set, Text string
					Label     int
				}
				if err := json.Unmarshal(b, &r); err != nil {
					return err
				}
				out = append(out, Sample{Source: r.Set, Text: r.Text, Attack: r.Label == 1})
				return nil
			})
		}
		return nil
	})
	return append(out, Outputs(outputs, out)...), err
}

// Outputs returns what is learnt from recorded tool outputs: those without an attack, and each of them again
// with a generated attack planted in it. Recorded attacks are left out: they share one wrapper text, and a
// model that knows it would look better than it is. So are outputs that are labelled clean and raise an
// alarm in a model that was trained on known: recordings of attacked systems hold leftovers.
func Outputs(recorded, known []Sample) (out []Sample) {
	m := Train(known)
	for i, s := range recorded {
		if s.Attack || m.Milli(m.Score(s.Text).Score) >= 500 {
			continue
		}
		out = append(out, s, Sample{Source: s.Source, Text: Plant(s.Text, Attacks(1, uint64(i))[0], i%3), Attack: true})
	}
	return out
}

// maxLine bounds a line of a data file.
const maxLine = 16 << 20

// Lines calls fn with every line of a file, which may be compressed with gzip.
func Lines(path string, fn func([]byte) error) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	for n := 1; s.Scan(); n++ {
		if err := fn(s.Bytes()); err != nil {
			return fmt.Errorf("%s: line %d: %w", path, n, err)
		}
	}
	return s.Err()
}
