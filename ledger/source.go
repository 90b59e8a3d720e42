// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
)

// url verifies tiles that somebody serves.
func (c *checker) url(ctx context.Context, src Source) error {
	if err := c.key(c.opt.Vkey, nil, ""); err != nil {
		return err
	}
	client := src.Client
	if client == nil {
		client = &http.Client{Timeout: time.Minute}
	}
	base := strings.TrimSuffix(src.URL, "/") + "/"
	get := func(path string) ([]byte, error) { return fetch(ctx, client, base+path) }
	b, err := get("checkpoint")
	if err != nil {
		return fmt.Errorf("ledger: verify: %w", err)
	}
	cp, err := ParseCheckpoint(b, c.verifier)
	if err != nil {
		c.problem(nil, "checkpoint", err.Error())
		return nil
	}
	c.report.Checkpoints, c.report.Signatures = 1, 1
	c.newest(cp)
	c.cosigned(b)
	c.compareTiles(cp.Size, func(level int, n uint64, width int) ([]byte, error) {
		if level == levelEntries {
			return c.tiles.bundle, nil // the leaves came out of it
		}
		return get(tilePath(level, n, width))
	})
	for n := uint64(0); n*tileWidth < cp.Size; n++ {
		width := min(cp.Size-n*tileWidth, tileWidth)
		path := tilePath(levelEntries, n, int(width))
		b, err := get(path)
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		if !c.bundle(path, n, int(width), b, err) {
			return nil
		}
	}
	return nil
}

// bundle takes the leaves of an entry bundle and reports whether the next one can follow.
func (c *checker) bundle(path string, n uint64, width int, b []byte, err error) bool {
	first := n * tileWidth
	var leaves [][]byte
	if err == nil {
		leaves, err = parseBundle(b)
	}
	if err == nil && len(leaves) != width {
		err = fmt.Errorf("%d leaves, not %d", len(leaves), width)
	}
	if err != nil {
		c.problem(&first, path, err.Error())
		return false
	}
	for i, raw := range leaves {
		c.leaf(first+uint64(i), raw, check(nil, raw, nil))
	}
	return true
}

func fetch(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, fmt.Errorf("%s: %w", url, fs.ErrNotExist)
	default:
		return nil, fmt.Errorf("%s: status %d", url, resp.StatusCode)
	}
	const limit = tileWidth * (2 + MaxLeafBytes)
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err == nil && len(b) > limit {
		err = fmt.Errorf("%s: more than %d bytes", url, limit)
	}
	return b, err
}

// A bundle is a tar of, in this order: "format" (which holds "sallyport bundle 1"), "vkey", "checkpoint",
// "witnessed" if there is such a checkpoint (cosigned, of the same log, not newer), and the entry bundles of C2SP tlog-tiles under their paths, each followed by the opened parts of its
// leaves as "part/INDEX/NAME": the salt of the commitment and then the plaintext.
const bundleFormat = "sallyport bundle 1\n"

// ExportOptions say what goes into a bundle besides the leaves.
type ExportOptions struct {
	// Open chooses the parts that are disclosed; nil discloses none. Erased parts are left out.
	Open    func(index uint64, l *Leaf, part action.PartName) bool
	Actor   string // who discloses; required with Open, and recorded before anything is opened
	Purpose string // why; sealed with the access record
}

// Export writes the whole log up to its newest checkpoint as one file that Verify accepts.
func (l *Log) Export(ctx context.Context, w io.Writer, opt ExportOptions) error {
	recorded := uint64(0) // entries whose opened parts are on record
	if opt.Open != nil {
		var err error
		if recorded, err = l.recordExport(ctx, opt); err != nil {
			return err
		}
	}
	cp := l.Checkpoint()
	t := tar.NewWriter(w)
	put := func(name string, b []byte) error {
		err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(b)), Format: tar.FormatPAX})
		if err == nil {
			_, err = t.Write(b)
		}
		return err
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{"format", []byte(bundleFormat)}, {"vkey", []byte(l.Vkey() + "\n")}, {"checkpoint", cp.Note}} {
		if err := put(f.name, f.data); err != nil {
			return fmt.Errorf("ledger: export: %w", err)
		}
	}
	if w, err := l.Witnessed(); err == nil && w.Size <= cp.Size {
		if err := put("witnessed", w.Note); err != nil {
			return fmt.Errorf("ledger: export: %w", err)
		}
	}
	c := cursor{log: l}
	defer c.close()
	var bundle []byte
	var parts []func() error
	for i := uint64(0); i < cp.Size; i++ {
		if i%tileWidth == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		e, err := c.read(i)
		if err != nil {
			return err
		}
		bundle = appendBundle(bundle, e.Raw)
		for _, ref := range e.Leaf.Parts {
			if i < recorded && opt.Open(i, e.Leaf, ref.Name) {
				parts = append(parts, func() error { return l.exportPart(put, e, ref.Name) })
			}
		}
		if i%tileWidth != tileWidth-1 && i != cp.Size-1 {
			continue
		}
		if err := put(tilePath(levelEntries, i/tileWidth, int(i%tileWidth)+1), bundle); err != nil {
			return fmt.Errorf("ledger: export: %w", err)
		}
		for _, part := range parts {
			if err := part(); err != nil {
				return fmt.Errorf("ledger: export: %w", err)
			}
		}
		bundle, parts = bundle[:0], parts[:0]
	}
	if err := t.Close(); err != nil {
		return fmt.Errorf("ledger: export: %w", err)
	}
	return nil
}

// recordExport puts on record which parts of the first size entries are about to be opened.
func (l *Log) recordExport(ctx context.Context, opt ExportOptions) (size uint64, err error) {
	if opt.Actor == "" {
		return 0, errors.New("ledger: export: disclosing parts needs an actor")
	}
	var parts []PartAt
	err = l.Records(ctx, func(e Entry) error {
		size = e.Index + 1
		for _, ref := range e.Leaf.Parts {
			if opt.Open(e.Index, e.Leaf, ref.Name) {
				parts = append(parts, PartAt{e.Index, ref.Name})
			}
		}
		return nil
	})
	if err != nil || len(parts) == 0 {
		return size, err
	}
	_, err = l.Opened(ctx, Access{Actor: opt.Actor, Subject: "export/" + strconv.FormatUint(size, 10), Purpose: opt.Purpose, Parts: parts})
	return size, err
}

// Leaves calls fn with every leaf of a bundle, in order. It proves nothing: Verify does, of the same file.
func Leaves(file string, fn func(index uint64, l *Leaf) error) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("ledger: bundle: %w", err)
	}
	defer f.Close()
	r := tar.NewReader(f)
	for index := uint64(0); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("ledger: bundle: %w", err)
		}
		if !strings.HasPrefix(h.Name, "tile/") {
			continue
		}
		if h.Size > tileWidth*(2+MaxLeafBytes) {
			return fmt.Errorf("%w: bundle member of %d bytes", ErrCorrupt, h.Size)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("ledger: bundle: %w", err)
		}
		leaves, err := parseBundle(b)
		if err != nil {
			return fmt.Errorf("ledger: bundle: %w", err)
		}
		for _, raw := range leaves {
			l, err := DecodeLeaf(raw)
			if err != nil {
				return err
			}
			if err := fn(index, l); err != nil {
				return err
			}
			index++
		}
	}
}

func (l *Log) exportPart(put func(string, []byte) error, e Entry, part action.PartName) error {
	salt, data, err := e.open(part)
	if errors.Is(err, ErrErased) {
		return nil
	}
	if err != nil {
		return err
	}
	return put(fmt.Sprintf("part/%d/%s", e.Index, part), append(salt, data...))
}

// file verifies a bundle, in one pass over it.
func (c *checker) file(ctx context.Context, src Source) error {
	f, err := os.Open(src.File)
	if err != nil {
		return fmt.Errorf("ledger: verify: %w", err)
	}
	defer f.Close()
	r := tar.NewReader(f)
	head := map[string][]byte{}
	for _, name := range []string{"format", "vkey", "checkpoint"} {
		h, err := r.Next()
		if err != nil || h.Name != name || h.Size > 1<<20 {
			return fmt.Errorf("ledger: verify: %q is not a bundle: %q expected", src.File, name)
		}
		if head[name], err = io.ReadAll(r); err != nil {
			return fmt.Errorf("ledger: verify: %w", err)
		}
	}
	if string(head["format"]) != bundleFormat {
		return fmt.Errorf("%w: bundle %q", ErrFormat, clip(string(head["format"])))
	}
	if err := c.key(c.opt.Vkey, head["vkey"], "bundle"); err != nil {
		return err
	}
	cp, err := ParseCheckpoint(head["checkpoint"], c.verifier)
	if err != nil {
		c.problem(nil, "checkpoint", err.Error())
		return nil
	}
	c.report.Checkpoints, c.report.Signatures = 1, 1
	c.newest(cp)
	return c.members(ctx, r, cp.Size)
}

// members reads entry bundles and parts.
func (c *checker) members(ctx context.Context, r *tar.Reader, size uint64) error {
	refs := map[uint64]*Leaf{} // of the newest entry bundle
	first := true
	for n := uint64(0); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			c.problem(nil, "bundle", err.Error())
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if h.Size > 1<<30 {
			c.problem(nil, "bundle", fmt.Sprintf("member of %d bytes", h.Size))
			return nil
		}
		b, err := io.ReadAll(r)
		if err != nil {
			c.problem(nil, "bundle", err.Error())
			return nil
		}
		if h.Name == "witnessed" && first {
			c.cosigned(b)
			first = false
			continue
		}
		first = false
		if strings.HasPrefix(h.Name, "part/") {
			c.part(h.Name, b, refs)
			continue
		}
		width := min(size-min(size, n*tileWidth), tileWidth)
		if path := tilePath(levelEntries, n, int(width)); width == 0 || h.Name != path {
			c.problem(nil, "bundle", fmt.Sprintf("member %q out of place", clip(h.Name)))
			return nil
		}
		if !c.bundle(h.Name, n, int(width), b, nil) {
			return nil
		}
		clear(refs)
		leaves, _ := parseBundle(b) // it has been parsed before
		for i, raw := range leaves {
			if l, err := DecodeLeaf(raw); err == nil {
				refs[n*tileWidth+uint64(i)] = l
			}
		}
		n++
	}
}

// part checks a disclosed part against the commitment in its leaf.
func (c *checker) part(name string, b []byte, refs map[uint64]*Leaf) {
	number, part, _ := strings.Cut(strings.TrimPrefix(name, "part/"), "/")
	index, err := strconv.ParseUint(number, 10, 63)
	if err != nil {
		c.problem(nil, name, "not a part")
		return
	}
	l := refs[index]
	for i := range l.parts() {
		ref := &l.Parts[i]
		if string(ref.Name) != part {
			continue
		}
		if len(b) < saltBytes || !commits(ref, b[:saltBytes], b[saltBytes:]) {
			c.problem(&index, "part "+part, "the part does not match its commitment")
			return
		}
		c.report.Parts.Opened++
		c.inspect(index, l, ref.Name, b[saltBytes:])
		return
	}
	c.problem(&index, "part "+clip(part), "no leaf before it names the part")
}

func (l *Leaf) parts() []PartRef {
	if l == nil {
		return nil
	}
	return l.Parts
}
