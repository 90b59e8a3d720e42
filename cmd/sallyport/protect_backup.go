// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
)

// change is what becomes of one file of another program.
type change struct {
	Path   string   `json:"path"`
	What   string   `json:"what"` // for people
	before []byte   // nil: there was no file
	after  []byte   // nil: there will be none
	clean  []byte   // before without anything of ours
	lines  []string // what comes ("+ ...") and goes ("- ...")
	mode   fs.FileMode
}

func (c *change) changes() bool {
	return !bytes.Equal(c.before, c.after) || (c.before == nil) != (c.after == nil)
}

// backup is how a file was before we changed it.
type backup struct {
	Path     string `json:"path"`
	Existed  bool   `json:"existed"`
	Original []byte `json:"original"` // base64 on disk
	Written  string `json:"written"`  // digest of what we left
}

// backups keeps the originals below the data directory, which agents may not read.
type backups struct{ dir string }

func (s backups) file(kind, path string) string {
	return filepath.Join(s.dir, kind+"-"+sumOf([]byte(path))[:24]+".json")
}

func (s backups) load(kind, path string) (*backup, error) {
	b, err := os.ReadFile(s.file(kind, path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	var k backup
	if err := action.Read(b, &k, action.Limits{Bytes: 64 << 20}); err != nil || k.Path != path {
		return nil, fmt.Errorf("backup of %q cannot be read: %w", path, errors.Join(err))
	}
	return &k, nil
}

func (s backups) save(kind string, k *backup) error {
	b, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return replaceFile(s.file(kind, k.Path), b, 0o600)
}

// apply writes c, after the original is safe. The original of a file that we changed before is the one
// of then, unless somebody has changed the file since.
func (s backups) apply(kind string, c *change) error {
	old, err := s.load(kind, c.Path)
	if err != nil {
		return err
	}
	k := &backup{Path: c.Path, Existed: c.clean != nil, Original: c.clean}
	if old != nil && c.before != nil && old.Written == sumOf(c.before) {
		k.Existed, k.Original = old.Existed, old.Original
	}
	k.Written = sumOf(c.after)
	if err := s.save(kind, k); err != nil {
		return err
	}
	return replaceFile(c.Path, c.after, c.mode)
}

// undo plans the way back: to the very bytes of before if nobody has changed the file since, else
// without what is ours.
func (s backups) undo(kind string, c *change) error {
	old, err := s.load(kind, c.Path)
	if err != nil {
		return err
	}
	c.after, c.lines = c.clean, reversed(c.lines)
	if old != nil && c.before != nil && old.Written == sumOf(c.before) {
		c.after = nil
		if old.Existed {
			c.after = append([]byte{}, old.Original...)
		}
		c.What = "as it was before"
		return nil
	}
	if c.changes() {
		c.What = "without what is ours (the file has changed since)"
	}
	return nil
}

// commit carries an undo out and forgets the backup.
func (s backups) commit(kind string, c *change) error {
	var err error
	switch {
	case !c.changes():
	case c.after == nil:
		err = os.Remove(c.Path)
	default:
		err = replaceFile(c.Path, c.after, c.mode)
	}
	if err != nil {
		return err
	}
	if err := os.Remove(s.file(kind, c.Path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// load reads the file of a change; a file that is not there is no error.
func readFile(path string) (b []byte, mode fs.FileMode, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0o600, nil
	}
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() || info.Size() > 32<<20 {
		return nil, 0, fmt.Errorf("%q is not a file of settings", path)
	}
	b, err = os.ReadFile(path)
	if b == nil {
		b = []byte{}
	}
	return b, info.Mode().Perm(), err
}

// replaceFile writes a file so that a crash leaves the old one or the new one. A link stays a link.
func replaceFile(path string, b []byte, mode fs.FileMode) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".sallyport-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(b)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// show prints what changes in our words: the lines of a file may hold secrets.
func (a *app) show(w io.Writer, c *change) {
	fmt.Fprintf(w, "%s: %s\n", c.Path, c.What)
	if !c.changes() {
		return
	}
	for _, l := range c.lines {
		col := green
		if l[0] == '-' {
			col = red
		}
		fmt.Fprintln(w, a.colour(w, col, "  "+l))
	}
}

// reversed are the lines of the way back.
func reversed(lines []string) []string {
	var out []string
	for _, l := range lines {
		switch l[0] {
		case '+':
			out = append(out, "-"+l[1:])
		case '-':
			out = append(out, "+"+l[1:])
		}
	}
	return out
}
