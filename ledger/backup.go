// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Backup copies the log up to its newest checkpoint into dir, which must be empty or not there, while it
// goes on: segments under "wal", keys and a head cell under "keys", so that dir is a data directory that
// verifies and opens. Tiles and index are left out: they are made anew. It returns the head that the copy
// ends with.
//
// The copy holds the signing key and the keys of payloads. Whoever keeps it keeps what is erased later
// readable: a backup must not outlive the limit that erasure promises. Open of a restored copy destroys
// the keys of every erasure that the copy itself records, and no others.
func (l *Log) Backup(ctx context.Context, dir string) (Head, error) {
	d := l.cfg.disk
	for _, sub := range []string{"wal", "keys"} {
		names, err := d.List(filepath.Join(dir, sub))
		if err != nil {
			return Head{}, fmt.Errorf("ledger: backup: %w", err)
		}
		if len(names) > 0 {
			return Head{}, fmt.Errorf("ledger: backup: %q is not empty", filepath.Join(dir, sub))
		}
		if err := d.MkdirAll(filepath.Join(dir, sub)); err != nil {
			return Head{}, fmt.Errorf("ledger: backup: %w", err)
		}
	}
	l.mu.Lock()
	spans := append([]segmentSpan(nil), l.segments...)
	cp := l.newest
	l.mu.Unlock()
	for _, span := range spans {
		if err := ctx.Err(); err != nil {
			return Head{}, err
		}
		if err := copySegment(d, span, segmentName(filepath.Join(dir, "wal"), span.number)); err != nil {
			return Head{}, fmt.Errorf("ledger: backup: segment %d: %w", span.number, err)
		}
	}
	// After the segments: every key that they need was made before them.
	if err := l.copyKeys(filepath.Join(dir, "keys")); err != nil {
		return Head{}, fmt.Errorf("ledger: backup: keys: %w", err)
	}
	cell := make([]byte, headSlotBytes)
	appendFrame(cell[:0], frameCheckpoint, cp.Note)
	err := errors.Join(writeFile(d, filepath.Join(dir, "keys", fileHead), cell, true), d.SyncDir(filepath.Join(dir, "wal")))
	if err != nil {
		return Head{}, fmt.Errorf("ledger: backup: %w", err)
	}
	return Head{cp.Size, digest(cp.Root)}, nil
}

// copySegment copies what is committed of a segment and leaves zeros behind it.
func copySegment(d disk, span segmentSpan, to string) (err error) {
	from, err := d.Open(span.name, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	size, err := from.Size()
	if err != nil {
		return err
	}
	out, err := d.Open(to, openCreate)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := out.Truncate(size); err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for at := int64(0); at < span.end; {
		b := buf[:min(int64(len(buf)), span.end-at)]
		if _, err := from.ReadAt(b, at); err != nil {
			return err
		}
		if _, err := out.WriteAt(b, at); err != nil {
			return err
		}
		at += int64(len(b))
	}
	return out.Sync()
}

func (l *Log) copyKeys(to string) error {
	l.keys.files.RLock()
	defer l.keys.files.RUnlock()
	names, err := l.cfg.disk.List(l.cfg.Keys)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == fileHead || name == fileRequest || strings.HasSuffix(name, ".tmp") {
			continue
		}
		b, err := readFile(l.cfg.disk, filepath.Join(l.cfg.Keys, name), 1<<20)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = writeFile(l.cfg.disk, filepath.Join(to, name), b, true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
