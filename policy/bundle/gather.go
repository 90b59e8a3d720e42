// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"fmt"
	"path"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// maxEntries bounds what is looked at, the folders and the hidden files included.
const maxEntries = 8 * MaxFiles

// gatherer takes a bundle's files in, one by one, within the bounds. Every source of bundles goes through
// it, so that a folder and an archive of it are refused for the same reasons.
type gatherer struct {
	files   map[string][]byte
	signed  []byte
	total   int64
	entries int
	folded  map[string]string // every path and every folder on the way, by its lower-case form
}

func newGatherer() *gatherer {
	return &gatherer{files: map[string][]byte{}, folded: map[string]string{}}
}

// seen counts something that was looked at.
func (g *gatherer) seen() error {
	if g.entries++; g.entries > maxEntries {
		return fmt.Errorf("%w: more than %d entries", ErrRefused, maxEntries)
	}
	return nil
}

// place takes a path, of which no other may differ in case only: on some file systems the two are one file,
// and which of them was signed would depend on the machine. A file is no folder of another.
func (g *gatherer) place(name string) error {
	for p := name; p != "."; p = path.Dir(p) {
		kind := "/"
		if p == name {
			kind = ""
		}
		low := strings.ToLower(p)
		switch was, ok := g.folded[low]; {
		case ok && kind == "" && was == p:
			return fmt.Errorf("%w: %q stands twice", ErrRefused, p)
		case ok && was != p+kind:
			return fmt.Errorf("%w: %q and %q are one path where case does not count", ErrRefused, strings.TrimSuffix(was, "/"), p)
		}
		g.folded[low] = p + kind
	}
	return nil
}

func (g *gatherer) add(name string, data []byte) error {
	if !validName(name) || !known(name) && name != SignedFile {
		return fmt.Errorf("%w: %q has no place in a bundle", ErrRefused, action.Clip(name, maxName))
	}
	if strings.Count(name, "/") >= MaxDepth {
		return fmt.Errorf("%w: %q is nested deeper than %d", ErrRefused, name, MaxDepth)
	}
	if len(data) > MaxFileBytes {
		return fmt.Errorf("%w: %q is larger than %d bytes", ErrRefused, name, MaxFileBytes)
	}
	if err := g.place(name); err != nil {
		return err
	}
	if name == SignedFile {
		g.signed = data
		return nil
	}
	if g.total += int64(len(data)); g.total > MaxBytes || len(g.files) >= MaxFiles {
		return fmt.Errorf("%w: more than %d files or %d bytes", ErrRefused, MaxFiles, MaxBytes)
	}
	g.files[name] = data
	return nil
}
