// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Keep writes the bundle with its signatures to folder/digest, whole or not at all. One that is there stays
// as it is; OpenKept tells whether it is still what it was.
func (b *Bundle) Keep(folder, digest string) (err error) {
	if !isDigest(digest) {
		return fmt.Errorf("bundle: %q is no digest", digest)
	}
	to := filepath.Join(folder, digest)
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	tmp, err := os.MkdirTemp(folder, ".new-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if err := b.write(filepath.Join(tmp, "b"), 0o700, 0o600); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(tmp, "b"), to); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (b *Bundle) write(dir string, folders, files fs.FileMode) error {
	if err := os.Mkdir(dir, folders); err != nil {
		return err
	}
	put := func(name string, data []byte) error {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), folders); err != nil {
			return err
		}
		f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, files)
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		return errors.Join(err, f.Sync(), f.Close())
	}
	for _, name := range b.names {
		if err := put(name, b.files[name]); err != nil {
			return err
		}
	}
	if b.signed != nil {
		return put(SignedFile, b.signed)
	}
	return nil
}

// OpenKept reads what Keep wrote. Whether it still has that digest is for the caller to find out: the engines
// of this build count in it.
func OpenKept(folder, digest string) (*Bundle, error) {
	if !isDigest(digest) {
		return nil, fmt.Errorf("bundle: %q is no digest", digest)
	}
	return Open(filepath.Join(folder, digest), nil)
}
