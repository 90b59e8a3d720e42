// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// MaxArchiveBytes bounds an archive as it travels.
const MaxArchiveBytes = 8 << 20

// maxTarBytes bounds what an archive unfolds to, headers and padding included.
const maxTarBytes = MaxBytes + (MaxFiles+maxEntries)*1024

// ReadArchive reads a bundle from a tar file, compressed with gzip or not, as Read does from a folder.
// Nothing is written to disk. Links, devices, odd, repeated and case-folded names are refused, and what
// unfolds beyond the bounds is refused before it is held.
func ReadArchive(data []byte) (*Bundle, error) {
	if len(data) > MaxArchiveBytes {
		return nil, fmt.Errorf("%w: an archive larger than %d bytes", ErrRefused, MaxArchiveBytes)
	}
	var r io.Reader = bytes.NewReader(data)
	if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("%w: archive: %w", ErrRefused, err)
		}
		r = z
	}
	bounded := &io.LimitedReader{R: r, N: maxTarBytes + 1}
	g := newGatherer()
	err := g.tar(tar.NewReader(bounded))
	if err == nil {
		_, err = io.Copy(io.Discard, bounded) // the checksum stands at the end
	}
	if bounded.N <= 0 {
		return nil, fmt.Errorf("%w: the archive unfolds to more than %d bytes", ErrRefused, maxTarBytes)
	}
	if err != nil {
		if !errors.Is(err, ErrRefused) {
			err = fmt.Errorf("%w: archive: %w", ErrRefused, err)
		}
		return nil, err
	}
	return g.bundle()
}

func (g *gatherer) tar(t *tar.Reader) error {
	for {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = g.seen()
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(h.Name, "./")
		switch {
		case h.Typeflag == tar.TypeXGlobalHeader: // git writes the commit into one
			continue
		case h.Typeflag == tar.TypeDir:
			if name = strings.TrimSuffix(name, "/"); name != "" && name != "." && !validName(name) {
				return fmt.Errorf("%w: name %q", ErrRefused, action.Clip(h.Name, maxName))
			}
			continue
		case h.Typeflag != tar.TypeReg:
			return fmt.Errorf("%w: %q is no regular file", ErrRefused, action.Clip(h.Name, maxName))
		case h.Size > MaxFileBytes:
			return fmt.Errorf("%w: %q is larger than %d bytes", ErrRefused, action.Clip(h.Name, maxName), MaxFileBytes)
		case skipped(name):
			if !validName(name) { // no way out is hidden behind a dot
				return fmt.Errorf("%w: name %q", ErrRefused, action.Clip(h.Name, maxName))
			}
			continue
		}
		data, err := io.ReadAll(io.LimitReader(t, MaxFileBytes+1))
		if err != nil {
			return err
		}
		if err := g.add(name, data); err != nil {
			return err
		}
	}
}

// skipped reports whether Read would leave the file out.
func skipped(name string) bool {
	if name == "testdata" || strings.HasPrefix(name, "testdata/") {
		return true
	}
	for p := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(p, ".") && p != ".." {
			return true
		}
	}
	return false
}

// Archive returns the bundle with its signatures as one compressed tar file. Equal bundles give equal bytes.
func (b *Bundle) Archive() ([]byte, error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	t := tar.NewWriter(z)
	put := func(name string, data []byte) error {
		err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data))})
		if err == nil {
			_, err = t.Write(data)
		}
		return err
	}
	for _, name := range b.names {
		if err := put(name, b.files[name]); err != nil {
			return nil, err
		}
	}
	if b.signed != nil {
		if err := put(SignedFile, b.signed); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(t.Close(), z.Close()); err != nil {
		return nil, err
	}
	if out.Len() > MaxArchiveBytes {
		return nil, fmt.Errorf("%w: its archive is larger than %d bytes", ErrRefused, MaxArchiveBytes)
	}
	return out.Bytes(), nil
}
