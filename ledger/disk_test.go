// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// memDisk is a disk in memory that loses what was not synced when it crashes, and fails when told to.
type memDisk struct {
	mu    sync.Mutex
	files map[string]*memFile
	free  int64
	ops   int                                // changing operations so far
	fault func(n int, op, name string) fault // nil injects nothing
}

// fault is how an operation fails.
type fault int

const (
	healthy   fault = iota
	failed          // with an error, and nothing happened
	persisted       // with an error, though it happened
	half            // with an error, after half of it
	noSpace         // ENOSPC, and nothing happened
)

var errInjected = errors.New("injected: input/output error")

type memFile struct {
	data   []byte // what readers see
	stable []byte // what a crash leaves for sure
	dirty  []write
	locked bool
}

type write struct {
	at   int64
	data []byte
}

func newMemDisk() *memDisk { return &memDisk{files: map[string]*memFile{}, free: 1 << 30} }

// step counts an operation and says how it goes. mu is held.
func (d *memDisk) step(op, name string) (fault, error) {
	n := d.ops
	d.ops++
	if d.fault == nil {
		return healthy, nil
	}
	f := d.fault(n, op, name)
	switch f {
	case healthy:
		return f, nil
	case noSpace:
		return f, syscall.ENOSPC
	}
	return f, fmt.Errorf("%s %s: %w", op, filepath.Base(name), errInjected)
}

func (d *memDisk) Open(name string, flag int) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.files[name]
	if f == nil {
		if flag&os.O_CREATE == 0 {
			return nil, fs.ErrNotExist
		}
		if _, err := d.step("create", name); err != nil {
			return nil, err
		}
		f = &memFile{}
		d.files[name] = f
	}
	if flag&os.O_TRUNC != 0 {
		d.free += int64(len(f.data))
		f.data, f.stable, f.dirty = nil, nil, nil
	}
	return &memHandle{d, f, name}, nil
}

func (d *memDisk) List(dir string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for name := range d.files {
		if filepath.Dir(name) == dir {
			out = append(out, filepath.Base(name))
		}
	}
	slices.Sort(out)
	return out, nil
}

func (d *memDisk) MkdirAll(string) error { return nil }

func (d *memDisk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := d.step("rename", to)
	if f == healthy || f == persisted {
		d.files[to] = d.files[from]
		delete(d.files, from)
	}
	return err
}

func (d *memDisk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := d.step("remove", name)
	if f == healthy || f == persisted {
		if d.files[name] == nil {
			return fs.ErrNotExist
		}
		d.free += int64(len(d.files[name].data))
		delete(d.files, name)
	}
	return err
}

func (d *memDisk) SyncDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, err := d.step("syncdir", dir)
	return err
}

func (d *memDisk) Free(string) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.free, nil
}

type memHandle struct {
	d    *memDisk
	f    *memFile
	name string
}

func (h *memHandle) ReadAt(b []byte, at int64) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if at >= int64(len(h.f.data)) {
		return 0, io.EOF
	}
	n := copy(b, h.f.data[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (h *memHandle) WriteAt(b []byte, at int64) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	f, err := h.d.step("write", h.name)
	switch f {
	case failed, noSpace:
		return 0, err
	case half:
		b = b[:len(b)/2]
	}
	if grow := at + int64(len(b)) - int64(len(h.f.data)); grow > 0 {
		if grow > h.d.free {
			return 0, syscall.ENOSPC
		}
		h.d.free -= grow
		h.f.data = append(h.f.data, make([]byte, grow)...)
	}
	copy(h.f.data[at:], b)
	h.f.dirty = append(h.f.dirty, write{at, slices.Clone(b)})
	return len(b), err
}

func (h *memHandle) Sync() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	f, err := h.d.step("sync", h.name)
	switch f {
	case healthy, persisted:
		h.f.settle()
	case failed, half:
		// As Linux does: the pages count as clean, readers see them, the device does not have them.
		h.f.dirty = nil
	}
	return err
}

// settle makes the pages that were written since the last sync durable, and no others.
func (f *memFile) settle() {
	if n := len(f.data) - len(f.stable); n > 0 {
		f.stable = append(f.stable, make([]byte, n)...)
	}
	for _, w := range f.dirty {
		from := int(w.at) &^ 4095
		to := min((int(w.at)+len(w.data)+4095)&^4095, len(f.data))
		copy(f.stable[from:to], f.data[from:to])
	}
	f.dirty = nil
}

func (h *memHandle) Size() (int64, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	return int64(len(h.f.data)), nil
}

func (h *memHandle) Truncate(int64) error { return nil }

func (h *memHandle) Lock() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.f.locked {
		return errors.New("locked")
	}
	h.f.locked = true
	return nil
}

func (h *memHandle) Close() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	h.f.locked = false
	return nil
}

// crash returns the disk as another process finds it: after a power failure with what was synced and, of
// the rest, the sectors that random chooses; with a nil random after a killed process, where everything
// can be read but what was not synced is still at risk.
func (d *memDisk) crash(random *rand.Rand) *memDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := newMemDisk()
	out.free = d.free
	for name, f := range d.files {
		g := &memFile{data: slices.Clone(f.data), stable: slices.Clone(f.stable), dirty: slices.Clone(f.dirty)}
		if random != nil {
			g.data = slices.Clone(f.stable)
			for _, w := range f.dirty {
				for at := 0; at < len(w.data); at += 512 {
					if part := w.data[at:min(at+512, len(w.data))]; random.IntN(2) == 0 {
						end := int(w.at) + at + len(part)
						if end > len(g.data) {
							g.data = append(g.data, make([]byte, end-len(g.data))...)
						}
						copy(g.data[int(w.at)+at:], part)
					}
				}
			}
			g.stable, g.dirty = slices.Clone(g.data), nil
		}
		out.files[name] = g
	}
	return out
}
