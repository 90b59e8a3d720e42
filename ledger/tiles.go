// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The tiles are C2SP tlog-tiles: "checkpoint", "tile/L/N" with up to 256 hashes of level 8*L, and
// "tile/entries/N" with up to 256 leaves, each behind its length in 16 bits. They are a product of the
// segments: not synced, rebuilt at will, replaced where they do not lead to the log's own root.

const (
	tileLevels = 8
	tileWidth  = 1 << tileLevels
)

// levelEntries is the level of entry bundles in tilePath.
const levelEntries = -1

// tilePath returns the path of a tile; width 256 is a full one.
func tilePath(level int, n uint64, width int) string {
	p := "tile/entries/"
	if level != levelEntries {
		p = "tile/" + strconv.Itoa(level) + "/"
	}
	s := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		s = fmt.Sprintf("x%03d/%s", n%1000, s)
	}
	if width < tileWidth {
		s += ".p/" + strconv.Itoa(width)
	}
	return p + s
}

// parseTilePath is the inverse of tilePath, and accepts nothing else.
func parseTilePath(p string) (level int, n uint64, width int, ok bool) {
	rest, found := strings.CutPrefix(p, "tile/")
	name, rest, cut := strings.Cut(rest, "/")
	if !found || !cut || len(p) > 100 {
		return 0, 0, 0, false
	}
	level, width = levelEntries, tileWidth
	if name != "entries" {
		l, err := strconv.ParseUint(name, 10, 6)
		if err != nil || l > 7 {
			return 0, 0, 0, false
		}
		level = int(l)
	}
	if full, w, partial := strings.Cut(rest, ".p/"); partial {
		v, err := strconv.ParseUint(w, 10, 8)
		if err != nil || v == 0 {
			return 0, 0, 0, false
		}
		rest, width = full, int(v)
	}
	digits := strings.NewReplacer("x", "", "/", "").Replace(rest)
	v, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || tilePath(level, v, width) != p {
		return 0, 0, 0, false
	}
	return level, v, width, true
}

// tiler derives tiles from leaves and hands each over as soon as it is full.
type tiler struct {
	size   uint64
	levels [][]hash // of each level the hashes that do not fill a tile yet
	bundle []byte   // of the leaves that do not fill a bundle yet
	full   *hash    // root of the newest full tile of leaves, where somebody else derives it; nil to derive it here
	put    func(level int, n uint64, width int, data []byte) error
}

// publisher writes the tiles of the log.
type publisher struct {
	mu    sync.Mutex
	ready bool       // tiler and cp are what stands on disk
	cp    Checkpoint // published
	tiler
}

// Publish brings the tiles to the newest checkpoint. Run calls it at every Config.Publish.
func (l *Log) Publish(ctx context.Context) error {
	if l.cfg.ReadOnly {
		return ErrClosed
	}
	if l.cfg.Tiles == "" {
		return errors.New("ledger: no folder for tiles is configured")
	}
	p := &l.tiles
	p.mu.Lock()
	defer p.mu.Unlock()
	cp := l.Checkpoint()
	if p.ready && p.size == cp.Size && p.cp.Size == cp.Size {
		return nil
	}
	err := l.publish(ctx, p, cp)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.publish = ""
	if err != nil {
		p.ready = false // what is on disk is unknown: the next try reads it
		l.stats.publish = err.Error()
		return fmt.Errorf("ledger: tiles: %w", err)
	}
	l.stats.published = cp.Size
	return nil
}

// Rebuild makes the tiles anew from the segments.
func (l *Log) Rebuild(ctx context.Context) error {
	if l.cfg.ReadOnly {
		return ErrClosed
	}
	if l.cfg.Tiles == "" {
		return errors.New("ledger: no folder for tiles is configured")
	}
	p := &l.tiles
	p.mu.Lock()
	err := os.RemoveAll(filepath.Join(l.cfg.Tiles, "tile"))
	l.resetTiles(p)
	p.mu.Unlock()
	if err != nil {
		return fmt.Errorf("ledger: tiles: %w", err)
	}
	return l.Publish(ctx)
}

func (l *Log) resetTiles(p *publisher) {
	p.ready, p.cp, p.tiler = true, Checkpoint{}, tiler{put: l.putTile}
}

func (l *Log) publish(ctx context.Context, p *publisher, cp Checkpoint) error {
	c := cursor{log: l}
	defer c.close()
	if !p.ready {
		if err := l.resume(p, &c); err != nil {
			l.resetTiles(p)
			if len(l.keys.epochs) > 1 {
				// Tiles of entries that were lost must not stand in for those that took their place.
				stale := []string{filepath.Join(l.cfg.Tiles, "tile")}
				if _, err := l.Witnessed(); err != nil {
					stale = append(stale, filepath.Join(l.cfg.Tiles, fileWitnessed))
				}
				for _, name := range stale {
					if err := os.RemoveAll(name); err != nil {
						return err
					}
				}
			}
		}
	}
	old := p.size
	for p.size < cp.Size {
		if p.size%tileWidth == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		raw, err := c.leaf(p.size)
		if err != nil {
			return err
		}
		if err := p.add(raw); err != nil {
			return err
		}
	}
	if err := p.partials(); err != nil {
		return err
	}
	if root, err := p.root(); err != nil || root != cp.Root {
		return fmt.Errorf("the root of %d leaves differs from the checkpoint", cp.Size)
	}
	if err := l.cfg.disk.MkdirAll(l.cfg.Tiles); err != nil {
		return err
	}
	if err := writeFile(l.cfg.disk, filepath.Join(l.cfg.Tiles, "checkpoint"), cp.Note, false); err != nil {
		return err
	}
	p.cp = cp
	l.dropPartials(old, p.size)
	return nil
}

func appendBundle(dst, leaf []byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(leaf))), leaf...)
}

// parseBundle returns the leaves of an entry bundle.
func parseBundle(b []byte) ([][]byte, error) {
	var out [][]byte
	for len(b) > 0 {
		if len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b)) {
			return nil, errors.New("entry bundle ends within a leaf")
		}
		n := 2 + int(binary.BigEndian.Uint16(b))
		out, b = append(out, b[2:n]), b[n:]
	}
	return out, nil
}

// add appends a leaf. It is hashed where it comes to lie, while a zero stands before it.
func (t *tiler) add(raw []byte) error {
	at := len(t.bundle)
	t.bundle = append(append(t.bundle, 0, 0), raw...)
	h := sha256.Sum256(t.bundle[at+1:])
	binary.BigEndian.PutUint16(t.bundle[at:], uint16(len(raw)))
	return t.added(h)
}

// addHashed appends a leaf whose hash is known.
func (t *tiler) addHashed(raw []byte, h hash) error {
	t.bundle = appendBundle(t.bundle, raw)
	return t.added(h)
}

func (t *tiler) added(h hash) error {
	if t.size%tileWidth == tileWidth-1 {
		if err := t.put(levelEntries, t.size/tileWidth, tileWidth, t.bundle); err != nil {
			return err
		}
		t.bundle = t.bundle[:0]
	}
	if err := t.push(0, h); err != nil {
		return err
	}
	t.size++
	return nil
}

// push adds a hash to a level and, when that fills a tile, its root to the level above.
func (t *tiler) push(level int, h hash) error {
	if level == len(t.levels) {
		t.levels = append(t.levels, make([]hash, 0, tileWidth))
	}
	t.levels[level] = append(t.levels[level], h)
	if len(t.levels[level]) < tileWidth {
		return nil
	}
	// size counts the leaves before this one, so its quotient is the number of the tile just filled.
	if err := t.put(level, t.size>>(8*(uint(level)+1)), tileWidth, joinHashes(t.levels[level])); err != nil {
		return err
	}
	root := t.above(level)
	t.levels[level] = t.levels[level][:0]
	return t.push(level+1, root)
}

// above returns the root of the full tile at hand.
func (t *tiler) above(level int) hash {
	if level == 0 && t.full != nil {
		return *t.full
	}
	var sub tree
	for _, h := range t.levels[level] {
		sub.add(h)
	}
	return sub.root()
}

func joinHashes(hs []hash) []byte {
	b := make([]byte, 0, len(hs)*hashBytes)
	for _, h := range hs {
		b = append(b, h[:]...)
	}
	return b
}

func (l *Log) putTile(level int, n uint64, width int, data []byte) error {
	name := filepath.Join(l.cfg.Tiles, filepath.FromSlash(tilePath(level, n, width)))
	err := writeFile(l.cfg.disk, name, data, false)
	if errors.Is(err, fs.ErrNotExist) {
		if err = l.cfg.disk.MkdirAll(filepath.Dir(name)); err == nil {
			err = writeFile(l.cfg.disk, name, data, false)
		}
	}
	return err
}

// partials hands over what is not full.
func (t *tiler) partials() error {
	if len(t.bundle) > 0 {
		if err := t.put(levelEntries, t.size/tileWidth, int(t.size%tileWidth), t.bundle); err != nil {
			return err
		}
	}
	for level, hs := range t.levels {
		if len(hs) > 0 {
			if err := t.put(level, t.size>>(8*(uint(level)+1)), len(hs), joinHashes(hs)); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropPartials removes the partial tiles of the size before: they are prefixes of what stands there now,
// and would cost bytes in the square of the records at a low rate. What is left behind does no harm.
func (l *Log) dropPartials(old, size uint64) {
	for level := levelEntries; level < 8; level++ {
		shift := 8 * uint(max(level, 0))
		was, is := old>>shift, size>>shift
		if was == is || was%tileWidth == 0 {
			continue
		}
		name := filepath.Join(l.cfg.Tiles, filepath.FromSlash(tilePath(level, was/tileWidth, int(was%tileWidth))))
		_ = l.cfg.disk.Remove(name)
		if was/tileWidth != is/tileWidth {
			_ = l.cfg.disk.Remove(filepath.Dir(name))
		}
	}
}

// root derives the root from the hashes in hand: from the highest level down, left to right.
func (t *tiler) root() (hash, error) {
	var all tree
	for level := len(t.levels) - 1; level >= 0; level-- {
		for _, h := range t.levels[level] {
			all.addSubtree(h, 8*uint(level))
		}
	}
	if all.size != t.size {
		return hash{}, errors.New("tiles do not add up")
	}
	return all.root(), nil
}

// resume reads the partial tiles of the published checkpoint. Open has compared that with the segments.
func (l *Log) resume(p *publisher, c *cursor) error {
	b, err := readFile(l.cfg.disk, filepath.Join(l.cfg.Tiles, "checkpoint"), 1<<20)
	if err != nil {
		return err
	}
	cp, err := ParseCheckpoint(b, l.keys.verifier)
	if err != nil {
		return err
	}
	if cp.Size > l.Checkpoint().Size {
		return ErrBehind
	}
	l.resetTiles(p)
	p.size, p.cp = cp.Size, cp
	for level := 0; cp.Size>>(8*uint(level)) > 0; level++ {
		count := cp.Size >> (8 * uint(level))
		hs := make([]hash, 0, tileWidth)
		if w := int(count % tileWidth); w > 0 {
			if hs, err = l.tileHashes(level, count/tileWidth, w); err != nil {
				return err
			}
		}
		p.levels = append(p.levels, hs)
	}
	if root, err := p.root(); err != nil || root != cp.Root {
		return errors.New("the tiles do not lead to their checkpoint")
	}
	for i := cp.Size / tileWidth * tileWidth; i < cp.Size; i++ {
		raw, err := c.leaf(i)
		if err != nil {
			return err
		}
		p.bundle = appendBundle(p.bundle, raw)
	}
	return nil
}

func splitHashes(b []byte) ([]hash, error) {
	if len(b)%hashBytes != 0 || len(b) > tileWidth*hashBytes {
		return nil, fmt.Errorf("tile of %d bytes", len(b))
	}
	hs := make([]hash, 0, tileWidth)
	for ; len(b) > 0; b = b[hashBytes:] {
		hs = append(hs, hash(b[:hashBytes]))
	}
	return hs, nil
}

// readTile returns exactly width entries of the tile in dir, out of a wider file if it has grown since
// width was its size.
func readTile(d disk, dir string, level int, n uint64, width int) ([]byte, error) {
	const limit = tileWidth * (2 + MaxLeafBytes)
	full := filepath.Join(dir, filepath.FromSlash(tilePath(level, n, tileWidth)))
	name := filepath.Join(dir, filepath.FromSlash(tilePath(level, n, width)))
	b, err := readFile(d, name, limit)
	if errors.Is(err, fs.ErrNotExist) && width < tileWidth {
		if b, err = readFile(d, full, limit); errors.Is(err, fs.ErrNotExist) {
			b, err = readFile(d, widest(d, full+".p"), limit)
		}
	}
	if err != nil {
		return nil, err
	}
	return clipTile(b, level, width)
}

// widest returns the name of the widest partial tile in dir.
func widest(d disk, dir string) string {
	names, _ := d.List(dir) // none, where it cannot be read
	best := 0
	for _, name := range names {
		if w, err := strconv.Atoi(name); err == nil && w > best && w < tileWidth {
			best = w
		}
	}
	return filepath.Join(dir, strconv.Itoa(best))
}

// clipTile cuts a tile to width entries; one with fewer does not exist.
func clipTile(b []byte, level, width int) ([]byte, error) {
	if level != levelEntries {
		if len(b)%hashBytes != 0 {
			return nil, fmt.Errorf("tile of %d bytes", len(b))
		}
		if len(b) < width*hashBytes {
			return nil, fs.ErrNotExist
		}
		return b[:width*hashBytes], nil
	}
	leaves, err := parseBundle(b)
	if err != nil {
		return nil, err
	}
	if len(leaves) < width {
		return nil, fs.ErrNotExist
	}
	at := 0
	for _, leaf := range leaves[:width] {
		at += 2 + len(leaf)
	}
	return b[:at], nil
}

func (l *Log) tileHashes(level int, n uint64, width int) ([]hash, error) {
	b, err := readTile(l.cfg.disk, l.cfg.Tiles, level, n, width)
	if err != nil {
		return nil, err
	}
	return splitHashes(b)
}

// published returns a published checkpoint of at least size leaves, and the nodes under it.
func (l *Log) published(ctx context.Context, size uint64) (Checkpoint, nodes, error) {
	if l.cfg.ReadOnly {
		return l.Checkpoint(), leafNodes(l.leaves), nil
	}
	l.tiles.mu.Lock()
	cp := l.tiles.cp
	l.tiles.mu.Unlock()
	if cp.Size < size || cp.Origin == "" {
		if err := l.Publish(ctx); err != nil {
			return Checkpoint{}, nil, err
		}
		l.tiles.mu.Lock()
		cp = l.tiles.cp
		l.tiles.mu.Unlock()
	}
	if cp.Size < size {
		return Checkpoint{}, nil, fmt.Errorf("%w: %d of %d", ErrNotFound, size, cp.Size)
	}
	return cp, tileNodes(cp.Size, l.tileHashes), nil
}

// tileNodes gives the nodes of the tree of size leaves out of its tiles.
func tileNodes(size uint64, tile func(level int, n uint64, width int) ([]hash, error)) nodes {
	return func(level uint, index uint64) (hash, error) {
		tl := level / 8
		first := index << (level % 8) // among the hashes of the tile's level
		count := uint64(1) << (level % 8)
		n := first / tileWidth
		width := min(size>>(8*tl)-n*tileWidth, tileWidth)
		hs, err := tile(int(tl), n, int(width))
		if err != nil {
			return hash{}, fmt.Errorf("ledger: tiles: %w", err)
		}
		var t tree
		for _, h := range hs[first%tileWidth:][:count] {
			t.add(h)
		}
		return t.root(), nil
	}
}

// leafNodes gives the nodes of a tree whose leaf hashes are in memory.
func leafNodes(leaves []hash) nodes {
	return func(level uint, index uint64) (hash, error) {
		if (index+1)<<level > uint64(len(leaves)) {
			return hash{}, ErrNotFound
		}
		var t tree
		for _, h := range leaves[index<<level:][:1<<level] {
			t.add(h)
		}
		return t.root(), nil
	}
}

// runPublish publishes at intervals while there is something new.
func (l *Log) runPublish(ctx context.Context) {
	if l.cfg.Tiles == "" {
		return
	}
	tick := time.NewTicker(l.cfg.Publish)
	defer tick.Stop()
	for {
		_ = l.Publish(ctx) // Stats shows why the tiles are behind
		select {
		case <-ctx.Done():
			_ = l.Publish(context.WithoutCancel(ctx))
			return
		case <-tick.C:
		}
	}
}
