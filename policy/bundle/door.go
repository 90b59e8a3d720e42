// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"fmt"
	"slices"
	"strings"
)

// Doors returns the names of the doors that have a bundle of their own in b, sorted.
func (b *Bundle) Doors() []string {
	var out []string
	for _, name := range b.names {
		if rest, ok := strings.CutPrefix(name, DoorsFolder+"/"); ok {
			door, _, _ := strings.Cut(rest, "/")
			out = append(out, door)
		}
	}
	return slices.Compact(out)
}

// Door returns the bundle of the folder doors/name: what goes through that door is decided by it alone. It is signed, put in
// force and replaced with b, whose sequence and end are its own, too. Its name is another one, so that the log tells them apart.
func (b *Bundle) Door(name string) (*Bundle, error) {
	d := &Bundle{files: map[string][]byte{}}
	for _, file := range b.names {
		if inner, ok := strings.CutPrefix(file, DoorsFolder+"/"+name+"/"); ok {
			d.files[inner] = b.files[file]
			d.names = append(d.names, inner)
		}
	}
	if err := d.interpret(); err != nil {
		return nil, fmt.Errorf("%s/%s: %w", DoorsFolder, name, err)
	}
	switch m := &d.Manifest; {
	case m.Name == b.Manifest.Name:
		return nil, fmt.Errorf("%w: %s/%s has the name of the bundle that it is in", ErrRefused, DoorsFolder, name)
	case !m.Expires.IsZero() || !m.NotBefore.IsZero() || m.Parent != "" || m.Rollback != "" || m.Settings != "" || len(m.Tools) > 0:
		return nil, fmt.Errorf("%w: %s/%s: expires, not_before, parent, rollback, settings and tools stand in the bundle that it is in", ErrRefused, DoorsFolder, name)
	}
	d.Manifest.Expires = b.Manifest.Expires
	return d, nil
}
