// SPDX-License-Identifier: Apache-2.0

package modelsig

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/sallyport/sallyport/attest"
)

// ignored is the fixed list of what a model's folder may hold unsigned, at its top only. The signer's own
// list is never honoured: files on it would ride along unsigned.
var ignored = []string{".git", ".gitattributes", ".github", ".gitignore"}

// tree is the model at hand.
type tree struct {
	root    *os.Root
	files   map[string]fs.FileInfo // by slash path; "." never stands here
	single  string                 // its one file's name when the model is a file
	ignored []string
	bytes   int64
}

func (t *tree) close() { _ = t.root.Close() } // opened to read

// walk lists the model. It refuses links, devices, names that differ only in case, and too many files.
func (v *Verifier) walk(ctx context.Context, evidence []byte) (*tree, error) {
	info, err := os.Lstat(v.c.Path)
	if err != nil {
		return nil, attest.RefuseFor(err, attest.Missing, "model")
	}
	t := &tree{files: map[string]fs.FileInfo{}}
	dir := v.c.Path
	if info.Mode().IsRegular() {
		dir, t.single = filepath.Split(v.c.Path)
		if dir == "" {
			dir = "."
		}
	} else if !info.IsDir() {
		return nil, attest.Refuse(attest.Unproved, "model: %q is neither a folder nor a file", v.c.Path)
	}
	if t.root, err = os.OpenRoot(dir); err != nil {
		return nil, attest.RefuseFor(err, attest.Missing, "model")
	}
	if t.single != "" {
		t.files[t.single], t.bytes = info, info.Size()
		return t, nil
	}
	w := walker{v: v, t: t, evidence: evidence, folded: map[string]string{}}
	if err := fs.WalkDir(t.root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return attest.RefuseFor(err, attest.Missing, "model: %q", p)
		case ctx.Err() != nil:
			return attest.RefuseFor(ctx.Err(), attest.Stopped, "model")
		case p == ".":
			return nil
		}
		return w.entry(p, d)
	}); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

type walker struct {
	v        *Verifier
	t        *tree
	evidence []byte
	folded   map[string]string // folded name to the name that has it
}

// entry adds one name of a folder to the tree.
func (w *walker) entry(p string, d fs.DirEntry) error {
	switch {
	case slices.Contains(ignored, p):
		w.t.ignored = append(w.t.ignored, p)
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	case !d.IsDir() && !d.Type().IsRegular():
		return attest.Refuse(attest.Unproved, "model: %q is a link or a device", p)
	case !plain(p):
		return attest.Refuse(attest.Unproved, "model: the name %q differs between file systems", p)
	case len(w.folded) > 2*w.v.mostFiles():
		return attest.Refuse(attest.Unsupported, "model: more than %d files and folders", 2*w.v.mostFiles())
	}
	if other, ok := w.folded[fold(p)]; ok {
		return attest.Refuse(attest.Unproved, "model: %q and %q are one name on some file systems", p, other)
	}
	w.folded[fold(p)] = p
	if d.IsDir() {
		return nil
	}
	info, err := d.Info()
	if err != nil {
		return attest.RefuseFor(err, attest.Missing, "model: %q", p)
	}
	if p == w.v.signature() {
		w.t.ignored = append(w.t.ignored, p)
		if w.evidence == nil { // measured, not verified: whatever signature there is covers itself as little
			return nil
		}
		return w.t.same(p, info, w.evidence)
	}
	if len(w.t.files) == w.v.mostFiles() {
		return attest.Refuse(attest.Unsupported, "model: more than %d files", w.v.mostFiles())
	}
	w.t.files[p] = info
	w.t.bytes += info.Size()
	return nil
}

// same checks that the signature file in the folder is the evidence, so that nothing else hides under it.
func (t *tree) same(name string, info fs.FileInfo, evidence []byte) error {
	if info.Size() == int64(len(evidence)) {
		f, err := t.root.Open(name)
		if err != nil {
			return attest.RefuseFor(err, attest.Missing, "model: %q", name)
		}
		defer func() { _ = f.Close() }()
		if data, err := io.ReadAll(io.LimitReader(f, int64(len(evidence))+1)); err == nil && bytes.Equal(data, evidence) {
			return nil
		}
	}
	return attest.Refuse(attest.Unproved, "model: %q in the folder is not the signature that is verified", name)
}

// compare checks that the signed files and those at hand are the same set.
func (t *tree) compare(m *manifest) error {
	if _, single := m.files["."]; single != (t.single != "") {
		return attest.Refuse(attest.Mismatch, "model: one is a folder, the other a single file: at hand and as signed")
	} else if single {
		return nil
	}
	for p := range t.files {
		if _, ok := m.files[p]; !ok {
			return attest.Refuse(attest.Unproved, "model: %q is not signed", p)
		}
	}
	for p := range m.files {
		if _, ok := t.files[p]; !ok {
			return attest.Refuse(attest.Mismatch, "model: %q is signed and not there", p)
		}
	}
	return nil
}

type job struct {
	path string
	piece
	size  int64 // of the whole file
	first bool
}

// check hashes every file in parallel and compares it. It returns the files whose content looks like a
// pickle.
func (v *Verifier) check(ctx context.Context, t *tree, m *manifest) ([]string, error) {
	var jobs []job
	for name, pieces := range m.files {
		if name == "." {
			name = t.single
		}
		for i, p := range pieces {
			jobs = append(jobs, job{name, p, t.files[name].Size(), i == 0})
		}
	}
	slices.SortFunc(jobs, func(a, b job) int { return int(min(max(b.size-a.size, -1), 1)) }) // large ones first
	var (
		mu     sync.Mutex // guards pickle
		pickle []string
	)
	err := spread(ctx, v, t.bytes, jobs, func(ctx context.Context, j job, buf []byte, count func(int)) error {
		code, err := j.hash(ctx, t.root, m.fresh(), buf, count)
		if code {
			mu.Lock()
			pickle = append(pickle, j.path)
			mu.Unlock()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return pickle, nil
}

// spread hands jobs in their order to v's workers, each with a buffer of its own, and returns the first error; after it no
// more jobs begin. What do counts is told to v's progress, out of total bytes.
func spread[J any](ctx context.Context, v *Verifier, total int64, jobs []J, do func(ctx context.Context, j J, buf []byte, count func(int)) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		mu   sync.Mutex // guards done and the progress
		done int64
		next = make(chan J)
		wg   sync.WaitGroup
	)
	count := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		if done += int64(n); v.c.Progress != nil {
			v.c.Progress(done, total)
		}
	}
	for range v.workers() {
		wg.Go(func() {
			buf := make([]byte, 1<<20)
			for j := range next {
				if err := do(ctx, j, buf, count); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, j := range jobs {
		if ctx.Err() != nil {
			break
		}
		next <- j
	}
	close(next)
	wg.Wait()
	err := context.Cause(ctx)
	var e *attest.Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return attest.RefuseFor(err, attest.Stopped, "model")
}

// hash reads one piece and compares its digest.
func (j job) hash(ctx context.Context, root *os.Root, h hash.Hash, buf []byte, count func(int)) (code bool, err error) {
	f, err := root.Open(filepath.FromSlash(j.path))
	if err != nil {
		return false, attest.RefuseFor(err, attest.Missing, "model: %q", j.path)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() != j.size {
		return false, attest.Refuse(attest.Mismatch, "model: %q changed while it was read", j.path)
	}
	end := j.end
	if end < 0 {
		end = j.size
	}
	if end > j.size {
		return false, attest.Refuse(attest.Mismatch, "model: %q has %d bytes, not as signed", j.path, j.size)
	}
	for at := j.start; at < end; {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		n, err := f.ReadAt(buf[:min(int64(len(buf)), end-at)], at)
		if n == 0 {
			return false, attest.RefuseFor(err, attest.Mismatch, "model: %q changed while it was read", j.path)
		}
		if at == 0 && j.first {
			code = looksLikePickle(buf[:n])
		}
		h.Write(buf[:n])
		at += int64(n)
		count(n)
	}
	if subtle.ConstantTimeCompare(h.Sum(nil), j.digest) != 1 {
		return code, attest.Refuse(attest.Mismatch, "model: %q is not as signed", j.path)
	}
	return code, nil
}

// covered checks that the shards reach the end of each file.
func (t *tree) covered(m *manifest) error {
	for name, pieces := range m.files {
		if name == "." {
			name = t.single
		}
		if end := pieces[len(pieces)-1].end; end >= 0 && end != t.files[name].Size() {
			return attest.Refuse(attest.Mismatch, "model: %q has %d bytes, %d are signed", name, t.files[name].Size(), end)
		}
	}
	return nil
}

// pickleNames are the endings of formats that can run code when they are loaded.
var pickleNames = []string{".pkl", ".pickle", ".p", ".pt", ".pth", ".ckpt", ".bin", ".joblib", ".dill", ".cloudpickle", ".npy", ".npz",
	".mar", ".h5", ".hdf5", ".keras", ".nemo", ".pdparams"}

// looksLikePickle knows the binary pickle protocols and the zip archives that PyTorch puts them in.
func looksLikePickle(head []byte) bool {
	return len(head) > 2 && head[0] == 0x80 && head[1] >= 2 && head[1] <= 5 || bytes.HasPrefix(head, []byte("PK\x03\x04"))
}

// ending returns the lower-case ending of a path, with its dot.
func ending(p string) string { return strings.ToLower(path.Ext(p)) }
