// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// disk is the part of a file system that the log writes through; tests put faults behind it.
type disk interface {
	Open(name string, flag int) (file, error) // with mode 0600
	List(dir string) ([]string, error)        // names in order; none if dir is missing
	MkdirAll(dir string) error                // with mode 0700
	Rename(from, to string) error
	Remove(name string) error
	SyncDir(dir string) error
	Free(dir string) (int64, error) // bytes that may still be written
}

// file is an open file of a disk.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error // of the data, and of the metadata that reading it needs
	Size() (int64, error)
	Truncate(size int64) error
	Lock() error // exclusive, until Close; fails at once if another process holds it
}

// realDisk is the operating system's file system.
type realDisk struct{}

type realFile struct{ *os.File }

func (realDisk) Open(name string, flag int) (file, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return realFile{f}, nil
}

func (realDisk) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (realDisk) MkdirAll(dir string) error    { return os.MkdirAll(dir, 0o700) }
func (realDisk) Rename(from, to string) error { return os.Rename(from, to) }
func (realDisk) Remove(name string) error     { return os.Remove(name) }

func (realDisk) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (f realFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// writeFile puts data at name so that after a crash either the old or the new content is there. With
// sync the new content is durable on return.
func writeFile(d disk, name string, data []byte, sync bool) error {
	tmp := name + ".tmp"
	f, err := d.Open(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(data, 0); err == nil && sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, d.Remove(tmp))
	}
	if err := d.Rename(tmp, name); err != nil {
		return err
	}
	if !sync {
		return nil
	}
	return d.SyncDir(filepath.Dir(name))
}

// readFile returns the content of name, of at most limit bytes.
func readFile(d disk, name string, limit int64) ([]byte, error) {
	return readFileOn(nil, d, name, limit)
}

// readFileOn is readFile on the memory of spare, if that is large enough.
func readFileOn(spare []byte, d disk, name string, limit int64) ([]byte, error) {
	f, err := d.Open(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n, err := f.Size()
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("%s: %d bytes are more than %d", name, n, limit)
	}
	b := spare[:0]
	if int64(cap(b)) < n {
		b = make([]byte, n)
	}
	b = b[:n]
	if m, err := f.ReadAt(b, 0); err != nil && (!errors.Is(err, io.EOF) || int64(m) < n) {
		return nil, err
	}
	return b, nil
}

// zeroFill writes size zeros and makes them durable, so that later writes change no metadata. It syncs
// piece by piece and rests between them: one sync of a whole segment would hold up the log's own.
func zeroFill(f file, from, size int64, rest time.Duration) error {
	const piece = 2 << 20
	zeros := make([]byte, min(1<<20, size))
	for at, end := from, from+size; at < end; {
		for stop := min(at+piece, end); at < stop; {
			n, err := f.WriteAt(zeros[:min(int64(len(zeros)), stop-at)], at)
			if err != nil {
				return err
			}
			at += int64(n)
		}
		if err := f.Sync(); err != nil {
			return err
		}
		time.Sleep(rest)
	}
	return nil
}
