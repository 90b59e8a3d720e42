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

// Corpus returns what a model is trained on: generated text, and under data ("" for none) every prompt set,
// in a fixed order. Recorded tool outputs are left out: their attacks share one wrapper text, and a model
// that knows it would look better than it is; and some that are labelled clean hold leftovers of it.
func Corpus(data string) ([]Sample, error) {
	out := Generated(GeneratedTexts, 1)
	if data == "" {
		return out, nil
	}
	err := filepath.WalkDir(data, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if strings.TrimSuffix(e.Name(), ".gz") == "prompts.jsonl" {
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
	return out, err
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
