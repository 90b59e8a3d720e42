// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"
)

// headCell remembers the newest checkpoint outside the folder of the segments, so that an older copy of
// that folder is not taken for the log. It is written after each commit and before its acknowledgement,
// but made durable only once a second and at Close: a power failure may set it back by a second of
// records, a killed process sets it back by none.
//
// The file has two slots, written in turn, so that one torn write leaves the other.
type headCell struct {
	file  file
	turn  int64
	dirty chan struct{} // one token while there is something to make durable
	known Checkpoint    // when opened

	missing bool // there was none when opened
}

const headSlotBytes = 1024

// openHead reads the cell at path and, unless readOnly is set, makes one if there is none.
func openHead(d disk, path string, v note.Verifier, readOnly bool) (*headCell, error) {
	old, err := readFile(d, path, 1<<20)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("ledger: head cell: %w", err)
	}
	h := &headCell{dirty: make(chan struct{}, 1)}
	h.missing = len(old) == 0 // a process may have been killed before it wrote anything
	found := false
	for slot := int64(0); slot < 2; slot++ {
		cp, ok := headSlot(old, slot, v)
		if ok && (!found || cp.Size >= h.known.Size) {
			h.known, h.turn, found = cp, slot+1, true
		}
	}
	if !h.missing && !found {
		return nil, fmt.Errorf("%w: head cell %q holds no checkpoint of %q", ErrBehind, path, v.Name())
	}
	if readOnly {
		return h, nil
	}
	if err := d.MkdirAll(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("ledger: head cell: %w", err)
	}
	if h.file, err = d.Open(path, openCreate); err != nil {
		return nil, fmt.Errorf("ledger: head cell: %w", err)
	}
	return h, nil
}

func headSlot(b []byte, slot int64, v note.Verifier) (Checkpoint, bool) {
	at := slot * headSlotBytes
	if at >= int64(len(b)) {
		return Checkpoint{}, false
	}
	f, err := parseFrame(b[at:min(at+headSlotBytes, int64(len(b)))])
	if err != nil || f.kind != frameCheckpoint {
		return Checkpoint{}, false
	}
	cp, err := ParseCheckpoint(f.body, v)
	return cp, err == nil
}

// ReadHead returns the checkpoint in a head cell, for verification without the owner.
func ReadHead(path string, v note.Verifier) (Checkpoint, error) {
	b, err := readFile(realDisk{}, path, 1<<20)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("ledger: head cell: %w", err)
	}
	one, ok1 := headSlot(b, 0, v)
	two, ok2 := headSlot(b, 1, v)
	switch {
	case ok2 && (!ok1 || two.Size > one.Size):
		return two, nil
	case ok1:
		return one, nil
	}
	return Checkpoint{}, fmt.Errorf("ledger: head cell %q holds no checkpoint of %q: %w", path, v.Name(), io.ErrUnexpectedEOF)
}

// set writes cp into the slot whose turn it is. Only the leader calls it.
func (h *headCell) set(cp Checkpoint) error {
	var slot [headSlotBytes]byte
	appendFrame(slot[:0], frameCheckpoint, cp.Note)
	_, err := h.file.WriteAt(slot[:], h.turn%2*headSlotBytes)
	h.turn++
	wake(h.dirty)
	return err
}

// sync makes the cell durable. A failure only widens the window that the cell leaves open.
func (h *headCell) sync() {
	select {
	case <-h.dirty:
		if h.file.Sync() != nil {
			wake(h.dirty)
		}
	default:
	}
}

func (h *headCell) close() error {
	h.sync()
	return h.file.Close()
}
