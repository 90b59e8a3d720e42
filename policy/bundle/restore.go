// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sallyport/sallyport/action"
)

// Restores returns "" if b is old again: every file is the same, and the manifests differ in nothing but sequence, parent,
// expires, not_before, settings and rollback. Otherwise it returns the first difference. A trust may differ as well: keys
// that were given up stay given up.
func (b *Bundle) Restores(old *Bundle) string {
	same := func(name string) bool {
		return name == ManifestFile || name == TrustFile || bytes.Equal(b.files[name], old.files[name])
	}
	for _, name := range b.names {
		if _, there := old.files[name]; name != TrustFile && !there || !same(name) {
			return fmt.Sprintf("%q differs", name)
		}
	}
	for _, name := range old.names {
		if _, there := b.files[name]; name != TrustFile && !there {
			return fmt.Sprintf("%q is missing", name)
		}
	}
	if !sameManifest(b.Manifest, old.Manifest) {
		return fmt.Sprintf("%q differs in more than its place in the sequence", ManifestFile)
	}
	return ""
}

// sameManifest compares everything but a bundle's place in the sequence.
func sameManifest(x, y Manifest) bool {
	var text [2][]byte
	for i, m := range []Manifest{x, y} {
		m.Sequence, m.Parent, m.Settings, m.Rollback, m.Expires, m.NotBefore = 0, "", "", "", time.Time{}, time.Time{}
		var err error
		if text[i], err = yaml.Marshal(m); err != nil {
			return false
		}
	}
	return bytes.Equal(text[0], text[1])
}

// SameDeclarations reports whether two manifests say the same but for their place in the sequence, what they are
// called by people, and whom they only observe.
func SameDeclarations(x, y Manifest) bool {
	x.Description, x.Owner, x.Observe = y.Description, y.Owner, y.Observe
	return sameManifest(x, y)
}

var topKey = regexp.MustCompile(`^([a-z_]+):`)

// Rollback returns the files of b as the next bundle after the one in force, of digest parent, that ends at expires
// and brings digest back, which is b's own. Whom to trust and which settings it is for are those of the one in force. Nothing
// is signed.
func (b *Bundle) Rollback(digest string, after *Bundle, parent string, expires time.Time) (*Bundle, error) {
	sequence := after.Manifest.Sequence + 1
	var lines []string
	for line := range strings.Lines(string(b.files[ManifestFile])) {
		m := topKey.FindStringSubmatch(line)
		if m != nil {
			switch m[1] {
			case "sequence", "parent", "expires", "not_before", "rollback", "settings":
				continue
			}
		}
		lines = append(lines, strings.TrimRight(line, "\n"))
	}
	lines = append(lines, fmt.Sprintf("sequence: %d", sequence), "parent: "+parent, "rollback: "+digest,
		"expires: "+expires.UTC().Format(time.RFC3339))
	if now := after.Manifest.Settings; now != "" {
		lines = append(lines, "settings: "+now)
	}
	g := newGatherer()
	g.files = maps.Clone(b.files)
	g.files[ManifestFile] = []byte(strings.Join(lines, "\n") + "\n")
	if trust, ok := after.files[TrustFile]; ok { // keys that were given up stay given up
		g.files[TrustFile] = trust
	}
	out, err := g.bundle()
	if err != nil {
		return nil, err
	}
	if diff := out.Restores(b); diff != "" || out.Manifest.Sequence != sequence || out.Manifest.Rollback != digest {
		return nil, fmt.Errorf("%w: %s of %s cannot be edited by its lines; write it in block style", ErrRefused, ManifestFile, action.Clip(digest, 80))
	}
	return out, nil
}

// Write writes the files of b into the folder dir, which must not exist.
func (b *Bundle) Write(dir string) error { return b.write(dir, 0o755, 0o644) }
