// SPDX-License-Identifier: Apache-2.0

// Package measure takes the digests of what an agent is made of: the program that runs, the scripts and packages
// that it interprets, its prompts, its tools and its model.
//
// # What a measurement is worth
//
// It says what lay in these files when they were read. Whoever can change them between reading and use, and back
// again, is not seen: root can, and so can the same user. Repeat it, and let a chip or another user hold the log.
package measure

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/modelsig"
)

// Spec names what is measured. Each file or folder becomes one event of its kind; a folder is one digest over
// its files in order of names, links included as what they say.
type Spec struct {
	Executable string   // the program: a file
	Command    []string // the command line and what else decides what the program does; one digest
	Image      string   // digest in hex that the program's container image is pinned to
	Scripts    []string // what it interprets
	Packages   []string // lock files, site-packages or node_modules folders
	Prompts    []string
	Tools      []string // manifests of tools
	Model      string   // folder or file of weights
	ModelHash  string   // "sha256" or "blake3", as it is signed with; "" means sha256
	PCR        int      // the register of the events
	Progress   func(done, total int64)
}

// The bounds of one measurement.
const (
	maxFiles = 200_000
	maxItems = 256
)

// Take measures everything that s names, the model last.
func Take(ctx context.Context, s Spec) ([]attest.Event, error) {
	var out []attest.Event
	if s.Command != nil {
		line, err := action.Canonical(s.Command)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(line)
		out = append(out, attest.Event{PCR: s.PCR, Kind: "command", Digest: hex.EncodeToString(sum[:])})
	}
	if s.Image != "" {
		if d, err := hex.DecodeString(s.Image); err != nil || len(d) != sha256.Size {
			return nil, fmt.Errorf("measure: image: %q is no SHA-256 in hex", s.Image)
		}
		out = append(out, attest.Event{PCR: s.PCR, Kind: "image", Digest: s.Image})
	}
	for _, group := range []struct {
		kind  string
		paths []string
	}{{"executable", one(s.Executable)}, {"script", s.Scripts}, {"packages", s.Packages}, {"prompt", s.Prompts}, {"tools", s.Tools}} {
		for _, path := range group.paths {
			d, err := Digest(ctx, path)
			if err != nil {
				return nil, err
			}
			out = append(out, attest.Event{PCR: s.PCR, Kind: group.kind, Digest: d})
		}
	}
	if s.Model != "" {
		m, err := s.Weights(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, s.Loaded(m)...)
	}
	if len(out) > maxItems {
		return nil, fmt.Errorf("measure: %d things are more than %d", len(out), maxItems)
	}
	return out, nil
}

// Weights hashes the model of s.
func (s *Spec) Weights(ctx context.Context) (*modelsig.Measured, error) {
	return modelsig.Measure(ctx, modelsig.Config{Path: s.Model, Hash: s.ModelHash, Progress: s.Progress})
}

// Loaded are the events of a measured model: its digest, and once more, as "verity", where the kernel keeps to it.
func (s *Spec) Loaded(m *modelsig.Measured) []attest.Event {
	out := []attest.Event{{PCR: s.PCR, Kind: "model", Digest: m.Root}}
	if m.Sealed {
		out = append(out, attest.Event{PCR: s.PCR, Kind: "verity", Digest: m.Root})
	}
	return out
}

func one(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// Digest returns the SHA-256 of a file, or one over a folder, in hex.
func Digest(ctx context.Context, path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("measure: %w", err)
	}
	if !info.IsDir() {
		f, err := os.Open(path)
		if err != nil {
			return "", fmt.Errorf("measure: %w", err)
		}
		defer func() { _ = f.Close() }() // opened to read
		return File(ctx, f)
	}
	return tree(ctx, path)
}

// File returns the SHA-256 of what an open file holds from where it stands, in hex.
func File(ctx context.Context, f *os.File) (string, error) {
	h := sha256.New()
	buf := make([]byte, 1<<20)
	for ctx.Err() == nil {
		n, err := f.Read(buf)
		h.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", fmt.Errorf("measure: %w", err)
		}
	}
	return "", ctx.Err()
}

// tree digests names, kinds, the right to execute, and contents.
func tree(ctx context.Context, dir string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("measure: %w", err)
	}
	defer func() { _ = root.Close() }()
	var names []string
	err = fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if len(names) > maxFiles {
			return fmt.Errorf("%q holds more than %d files", dir, maxFiles)
		}
		if !d.IsDir() {
			names = append(names, p)
		}
		return ctx.Err()
	})
	if err != nil {
		return "", fmt.Errorf("measure: %w", err)
	}
	slices.Sort(names)
	h := sha256.New()
	for _, name := range names {
		if err := entry(ctx, h, root, dir, name); err != nil {
			return "", fmt.Errorf("measure: %w", err)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func entry(ctx context.Context, h hash.Hash, root *os.Root, dir, name string) error {
	info, err := root.Lstat(filepath.FromSlash(name))
	if err != nil {
		return err
	}
	kind, digest := "file", ""
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		kind = "link"
		to, err := os.Readlink(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		sum := sha256.Sum256([]byte(to))
		digest = hex.EncodeToString(sum[:])
	case !info.Mode().IsRegular():
		kind = "other"
	default:
		if info.Mode()&0o111 != 0 {
			kind = "program"
		}
		f, err := root.Open(filepath.FromSlash(name))
		if err != nil {
			return err
		}
		digest, err = File(ctx, f)
		_ = f.Close() // opened to read
		if err != nil {
			return err
		}
	}
	fmt.Fprintf(h, "%s %d:%s %s\n", kind, len(name), name, digest)
	return nil
}
