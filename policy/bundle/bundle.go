// SPDX-License-Identifier: Apache-2.0

// Package bundle reads a policy bundle: a folder of policies, parameters, cases and a manifest, taken in
// once, bounded, and named by the digest of everything in it.
//
// # What a bundle may hold
//
//	sallyport-bundle.yaml   the manifest (required)
//	params.yaml             typed parameters
//	trust.yaml              whose signatures the next bundle needs; absent: as before
//	sallyport-bundle.signed.json  what signers signed; no part of the bundle
//	*.rego, *.cedar         policies, in any folder; *_test.rego decides nothing
//	opa/*                   policies of the profile opa: *.rego, and data.json or data.yaml in any folder of it
//	tests/*.yaml            cases
//	tools/*.yaml            tool packs, handed out by name and not read here
//	constitution/*.md, .yaml  what a second system judges by, likewise
//	monitor/*.yaml          chains of actions that the monitor tells of, likewise
//	flow/*.yaml             what results of servers carry, likewise
//	doors/NAME/*            a whole bundle that decides at a door of its own, see Door
//	*.md, *.txt, LICENSE    carried along
//
// Anything else is refused, because a policy with a mistyped ending would be a rule that never fires.
// Names that begin with a dot and the folder testdata are not part of the bundle. Links, names with odd
// characters or that differ in case only, and bundles beyond the limits are refused whole; nothing is ever
// read half.
package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// The bounds of a bundle.
const (
	MaxFiles     = 2000
	MaxFileBytes = 8 << 20
	MaxBytes     = 32 << 20
	MaxDepth     = 8
	maxName      = 200
)

// The two files with a fixed name.
const (
	ManifestFile = "sallyport-bundle.yaml"
	ParamsFile   = "params.yaml"
)

// The folders whose files other parts of an owner read. They are signed, activated and replayed with the policies, and
// change with them at once: whoever reads them reads those of the bundle in force, at each use.
const (
	ToolsFolder        = "tools"
	ConstitutionFolder = "constitution"
	MonitorFolder      = "monitor"
	FlowFolder         = "flow"
	DoorsFolder        = "doors"
)

var handedOut = map[string]bool{ToolsFolder: true, ConstitutionFolder: true, MonitorFolder: true, FlowFolder: true}

// ErrRefused is wrapped by every refusal of a bundle's form.
var ErrRefused = errors.New("bundle refused")

// Bundle is a bundle as it was read. It is immutable and safe for concurrent reading.
type Bundle struct {
	Manifest Manifest
	Params   Params
	Next     *Trust // TrustFile; nil keeps the trust as it is
	files    map[string][]byte
	names    []string // sorted
	signed   []byte   // SignedFile; nil without
}

// Open reads the folder dir with overlay, see Read. Links are refused, and the folder is opened so that none can lead out of it
// even if it changes meanwhile.
func Open(dir string, overlay map[string][]byte) (*Bundle, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("bundle %q: %w", dir, err)
	}
	defer root.Close()
	b, err := Read(root.FS(), overlay)
	if err != nil {
		return nil, fmt.Errorf("bundle %q: %w", dir, err)
	}
	return b, nil
}

// Read reads the bundle at the top of fsys. Files of overlay replace those of the same name or are
// added; they count in the digest like all others.
func Read(fsys fs.FS, overlay map[string][]byte) (*Bundle, error) {
	g := newGatherer()
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = g.seen()
		}
		if err != nil || name == "." {
			return err
		}
		if strings.HasPrefix(d.Name(), ".") || name == "testdata" {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if err := acceptable(name, d); err != nil || d.IsDir() {
			return err
		}
		if _, replaced := overlay[name]; replaced {
			return nil
		}
		data, err := readFile(fsys, name)
		if err != nil {
			return err
		}
		return g.add(name, data)
	})
	if err != nil {
		return nil, err
	}
	for name, data := range overlay {
		if name == SignedFile {
			return nil, fmt.Errorf("%w: overlay %q", ErrRefused, name)
		}
		if err := g.add(name, slices.Clone(data)); err != nil {
			return nil, err
		}
	}
	return g.bundle()
}

// bundle interprets what was taken in.
func (g *gatherer) bundle() (*Bundle, error) {
	b := &Bundle{files: g.files, signed: g.signed}
	for name := range b.files {
		b.names = append(b.names, name)
	}
	slices.Sort(b.names)
	return b, b.interpret()
}

func (b *Bundle) interpret() error {
	data, ok := b.files[ManifestFile]
	if !ok {
		return fmt.Errorf("%w: no %s", ErrRefused, ManifestFile)
	}
	var err error
	if b.Manifest, err = ReadManifest(data); err != nil {
		return err
	}
	if data, ok := b.files[ParamsFile]; ok {
		if b.Params, err = ReadParams(data); err != nil {
			return err
		}
	}
	if data, ok := b.files[TrustFile]; ok {
		if b.Next, err = ReadTrust(TrustFile, data); err != nil {
			return err
		}
		if b.Next.Bundle != b.Manifest.Name {
			return fmt.Errorf("%s: it is for bundle %q, and this is %q", TrustFile, b.Next.Bundle, b.Manifest.Name)
		}
	}
	return nil
}

func acceptable(name string, d fs.DirEntry) error {
	switch {
	case !validName(name):
		return fmt.Errorf("%w: name %q", ErrRefused, action.Clip(name, maxName))
	case strings.Count(name, "/") >= MaxDepth:
		return fmt.Errorf("%w: %q is nested deeper than %d", ErrRefused, name, MaxDepth)
	case d.IsDir():
		return nil
	case d.Type()&fs.ModeSymlink != 0:
		return fmt.Errorf("%w: %q is a link", ErrRefused, name)
	case !d.Type().IsRegular():
		return fmt.Errorf("%w: %q is no regular file", ErrRefused, name)
	case !known(name) && name != SignedFile:
		return fmt.Errorf("%w: %q has no place in a bundle", ErrRefused, name)
	}
	return nil
}

// validName allows plain relative names only: no dot-dot, no leading slash, no odd characters.
func validName(name string) bool {
	if name == "" || len(name) > maxName || !fs.ValidPath(name) {
		return false
	}
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("._-/", r):
		default:
			return false
		}
	}
	return true
}

func known(name string) bool {
	if name == ManifestFile || name == ParamsFile || name == TrustFile {
		return true
	}
	first, rest, nested := strings.Cut(name, "/")
	ext := path.Ext(name)
	switch {
	case nested && first == DoorsFolder:
		_, inner, ok := strings.Cut(rest, "/")
		top, _, _ := strings.Cut(inner, "/")
		return ok && inner != TrustFile && top != DoorsFolder && !handedOut[top] && known(inner)
	case nested && (first == "tests" || handedOut[first]):
		return ext == ".yaml" || ext == ".rego" && first == "tests" || ext == ".md" && first == ConstitutionFolder
	case nested && first == OPAFolder && (path.Base(name) == "data.json" || path.Base(name) == "data.yaml"):
		return true
	}
	switch ext {
	case ".rego", ".cedar", ".md", ".txt":
		return true
	}
	return path.Base(name) == "LICENSE"
}

func readFile(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxFileBytes {
		return nil, fmt.Errorf("%w: %q is larger than %d bytes", ErrRefused, name, MaxFileBytes)
	}
	return data, nil
}

// File is one named file of a bundle.
type File struct {
	Name string
	Data []byte
}

// File returns the content of the named file. The caller must not change it.
func (b *Bundle) File(name string) ([]byte, bool) {
	data, ok := b.files[name]
	return data, ok
}

// Names returns the names of all files, sorted. The caller must not change them.
func (b *Bundle) Names() []string { return b.names }

// Files returns the files in folder ("" is everywhere) whose name ends in ext, sorted by name.
func (b *Bundle) Files(folder, ext string) []File {
	var out []File
	for _, name := range b.names {
		if path.Ext(name) == ext && (folder == "" || strings.HasPrefix(name, folder+"/")) {
			out = append(out, File{Name: name, Data: b.files[name]})
		}
	}
	return out
}

// Policies returns the files that decide and end in ext: neither tests nor testdata, nor what the profile opa or a door runs.
func (b *Bundle) Policies(ext string) []File {
	return slices.DeleteFunc(b.Files("", ext), func(f File) bool {
		return strings.HasPrefix(f.Name, "tests/") || strings.HasPrefix(f.Name, DoorsFolder+"/") || strings.HasPrefix(f.Name, OPAFolder+"/") || strings.HasSuffix(f.Name, "_test.rego")
	})
}

// Format is the version of the digest's input.
const Format = "sallyport.bundle.v1"

// Evaluator names what, besides the files, a decision depends on.
type Evaluator struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Capabilities string `json:"capabilities"` // digest of what the engine lets policies use
}

type listed struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"`
}

type canonical struct {
	Format  string      `json:"format"`
	Schema  string      `json:"schema"`
	Engines []Evaluator `json:"engines"`
	Files   []listed    `json:"files"`
}

// Digest returns "sha256:..." over the RFC 8785 form of {format, input schema, engines, every file's name,
// size and digest}: equal digests mean equal decisions on equal input.
func (b *Bundle) Digest(schema string, engines []Evaluator) (string, error) {
	data, err := action.Canonical(b.canonical(schema, engines))
	if err != nil {
		return "", err
	}
	return Sum(data), nil
}

func (b *Bundle) canonical(schema string, engines []Evaluator) canonical {
	c := canonical{Format: Format, Schema: schema, Engines: slices.Clone(engines)}
	slices.SortFunc(c.Engines, func(x, y Evaluator) int { return strings.Compare(x.Name, y.Name) })
	for _, name := range b.names {
		c.Files = append(c.Files, listed{Path: name, Bytes: int64(len(b.files[name])), Digest: Sum(b.files[name])})
	}
	return c
}

// Sum returns "sha256:" and the hexadecimal digest of data.
func Sum(data []byte) string {
	s := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(s[:])
}
