// SPDX-License-Identifier: Apache-2.0

package attester

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/tpm"
)

// Log is what was measured since the machine started, in order. With a chip each event extends a register too,
// and the log lies in a file: a register cannot be set back, so that the log has to explain earlier runs as
// well. It is safe for concurrent use; the file is locked by one process.
type Log struct {
	chip *tpm.Chip
	path string
	file *os.File // locked

	mu  sync.Mutex // guards below
	doc logFile
}

type logFile struct {
	Resets   uint32         `json:"reset_count"`
	Restarts uint32         `json:"restart_count"`
	Events   []attest.Event `json:"events"`
}

// maxLogBytes bounds a log's file.
const maxLogBytes = 1 << 20

// NewLog returns an empty log that is kept in memory.
func NewLog() *Log { return &Log{} }

// OpenLog reads the log of a chip. One of an earlier boot is dropped: the registers were set back with it.
func OpenLog(path string, chip *tpm.Chip) (*Log, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("attester: log: %w", err)
	}
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("attester: log: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("attester: log %q: another process writes it: %w", path, err), f.Close())
	}
	l := &Log{chip: chip, path: path, file: f}
	resets, restarts, err := chip.Boots()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, errors.Join(fmt.Errorf("attester: log: %w", err), f.Close())
	default:
		if err := action.Read(data, &l.doc, action.Limits{Bytes: maxLogBytes}); err != nil {
			return nil, errors.Join(fmt.Errorf("attester: log %q: %w", path, err), f.Close())
		}
	}
	if l.doc.Resets != resets || l.doc.Restarts != restarts {
		l.doc = logFile{Resets: resets, Restarts: restarts}
	}
	return l, nil
}

// Close lets go of the file.
func (l *Log) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// Events returns the log so far.
func (l *Log) Events() []attest.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]attest.Event{}, l.doc.Events...)
}

// Begin marks the start of a run in a register: what counts is measured after it.
func (l *Log) Begin(pcr int) error {
	id := make([]byte, 32)
	if _, err := rand.Read(id); err != nil {
		return err
	}
	return l.Add(attest.Event{PCR: pcr, Kind: "run", Digest: hex.EncodeToString(id)})
}

// Add appends events. The file is written before the register: an event that a crash kept from the register
// makes the log useless until the machine restarts, one that the file has lost would do the same.
func (l *Log) Add(events ...attest.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		doc := l.doc
		doc.Events = append(slices.Clone(doc.Events), e)
		if l.chip != nil {
			data, err := action.Canonical(doc)
			if err != nil {
				return err
			}
			if len(data) > maxLogBytes {
				return fmt.Errorf("attester: log %q is full; it begins anew when the machine restarts", l.path)
			}
			if err := replace(l.path, data); err != nil {
				return fmt.Errorf("attester: log: %w", err)
			}
			if err := l.chip.Extend(e); err != nil {
				return err
			}
		}
		l.doc = doc
	}
	return nil
}

func replace(path string, data []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
