// SPDX-License-Identifier: Apache-2.0

package modelsig

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/zeebo/blake3"

	"github.com/sallyport/sallyport/attest"
)

// sampleBytes is how much of a file one part has; a multiple of the buffer that files are read with.
const sampleBytes = 8 << 20

// Sample reads random parts of a measured model again, of at most budget bytes in all but one part at least, and returns
// how many bytes it read, or an *attest.Error where they are not what was measured. It finds changes that leave size and
// times alone, sooner or later: of n parts with k changed ones a sample of s finds one with probability 1-(1-k/n)^s, about.
func (m *Measured) Sample(ctx context.Context, budget int64) (int64, error) {
	type place struct{ file, part int }
	var all []place
	for i := range m.Files {
		for j := range m.Files[i].parts {
			all = append(all, place{i, j})
		}
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	buf := make([]byte, 1<<20)
	read := int64(0)
	for _, p := range all {
		if read > 0 && read+sampleBytes > budget {
			break
		}
		n, err := m.part(ctx, &m.Files[p.file], p.part, buf)
		if err != nil {
			return read, err
		}
		read += n
	}
	return read, nil
}

// part reads one part of a file and compares it.
func (m *Measured) part(ctx context.Context, f *File, i int, buf []byte) (int64, error) {
	path := m.c.Path
	if f.Name != "." {
		path = filepath.Join(path, filepath.FromSlash(f.path))
	}
	file, err := os.Open(path)
	if err != nil {
		return 0, attest.RefuseFor(err, attest.Missing, "model: %q", f.Name)
	}
	defer func() { _ = file.Close() }() // opened to read
	h := blake3.New()
	n := int64(0)
	for n < sampleBytes && ctx.Err() == nil {
		got, err := file.ReadAt(buf, int64(i)*sampleBytes+n)
		h.Write(buf[:got])
		n += int64(got)
		if err == io.EOF {
			break
		}
		if err != nil {
			return n, attest.RefuseFor(err, attest.Missing, "model: %q", f.Name)
		}
	}
	if ctx.Err() == nil && [32]byte(h.Sum(nil)) != f.parts[i] {
		return n, attest.Refuse(attest.Mismatch, "model: %q is not what was measured", f.Name)
	}
	return n, ctx.Err()
}
