// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// file appends lines to a file that only its owner reads. It is opened for each batch, so that somebody
// else may move it away. Files that were put aside are named PATH.INDEX after the first record that is not
// in them, and are never deleted here.
type file struct {
	path   string
	rotate int64
}

// write returns once the lines are on stable storage.
func (f *file) write(_ context.Context, first uint64, records [][]byte) (err error) {
	lines := append(bytes.Join(records, []byte{'\n'}), '\n')
	if i, err := os.Lstat(f.path); err == nil && !i.Mode().IsRegular() {
		return errors.New("not a regular file") // opening a pipe would wait for its reader
	} else if err == nil && i.Size() > 0 && i.Size()+int64(len(lines)) > f.rotate {
		if err := f.putAside(first); err != nil {
			return err
		}
	}
	w, err := os.OpenFile(f.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	end, err := whole(w)
	if err != nil {
		return err
	}
	if _, err := w.WriteAt(lines, end); err != nil {
		return err
	}
	if err := w.Sync(); err != nil {
		return err
	}
	return syncFolder(f.path)
}

// whole cuts off a line that an interrupted write left unfinished, and returns where the file ends then.
// The cursor stands before that line's record: it is written again.
func whole(w *os.File) (int64, error) {
	end, err := w.Seek(0, io.SeekEnd)
	if err != nil || end == 0 {
		return 0, err
	}
	tail, keep := []byte(nil), 0
	for n := int64(4096); keep == 0 && int64(len(tail)) < min(end, maxLine); n *= 16 {
		tail = make([]byte, min(end, maxLine, n))
		if _, err := w.ReadAt(tail, end-int64(len(tail))); err != nil {
			return 0, err
		}
		keep = bytes.LastIndexByte(tail, '\n') + 1
	}
	torn := tail[keep:]
	if len(torn) == 0 {
		return end, nil
	}
	if torn[0] != '{' || keep == 0 && int64(len(tail)) < end {
		return 0, errors.New("the file ends in a line that is none of ours")
	}
	end -= int64(len(torn))
	return end, w.Truncate(end)
}

// maxLine is above any record: a leaf of at most 64 KiB, and ten parts, of which each is cut to 64 KiB and
// grows by escapes to six times that at most.
const maxLine = 4 << 20

// putAside renames the file to a name that is free.
func (f *file) putAside(first uint64) error {
	for n := range 1000 {
		name := fmt.Sprintf("%s.%d", f.path, first)
		if n > 0 {
			name = fmt.Sprintf("%s-%d", name, n)
		}
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return os.Rename(f.path, name)
		}
	}
	return errors.New("no free name for the full file")
}

func syncFolder(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
