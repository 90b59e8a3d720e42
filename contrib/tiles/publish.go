// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"
)

// fetcher reads published tiles.
type fetcher interface {
	ReadCheckpoint(ctx context.Context) ([]byte, error)
	ReadTile(ctx context.Context, level, index uint64, partial uint8) ([]byte, error)
	ReadEntryBundle(ctx context.Context, index uint64, partial uint8) ([]byte, error)
}

// target keeps files by their path. Get returns fs.ErrNotExist for what is not there. Put returns once the bytes are
// durable; it replaces what stands there.
type target interface {
	Get(ctx context.Context, path string) ([]byte, error)
	Put(ctx context.Context, path string, data []byte) error
}

const (
	width   = layout.TileWidth
	workers = 8 // files on their way at once
)

// errAnotherLog means that the log at hand does not continue what was published.
var errAnotherLog = errors.New("the log does not continue what was published")

// publisher copies one log. It is not safe for concurrent use.
type publisher struct {
	key note.Verifier
	src fetcher
	dst target
}

func (p *publisher) open(raw []byte) (*log.Checkpoint, error) {
	cp, _, _, err := log.ParseCheckpoint(raw, p.key.Name(), p.key)
	return cp, err
}

// pass publishes what the log has and the target has not, and returns the size that is published then.
func (p *publisher) pass(ctx context.Context) (uint64, error) {
	raw, err := p.src.ReadCheckpoint(ctx)
	if err != nil {
		return 0, fmt.Errorf("checkpoint: %w", err)
	}
	cp, err := p.open(raw)
	if err != nil {
		return 0, fmt.Errorf("checkpoint: %w", err)
	}
	old := &log.Checkpoint{Hash: rfc6962.DefaultHasher.EmptyRoot()}
	switch was, err := p.dst.Get(ctx, layout.CheckpointPath); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return 0, fmt.Errorf("published checkpoint: %w", err)
	default:
		if old, err = p.open(was); err != nil {
			return 0, fmt.Errorf("%w: published checkpoint: %w", errAnotherLog, err)
		}
	}
	if err := p.continues(ctx, old, cp); err != nil {
		return old.Size, err
	}
	if cp.Size > old.Size {
		if err := p.copy(ctx, old.Size, cp); err != nil {
			return old.Size, err
		}
	}
	if err := p.dst.Put(ctx, layout.CheckpointPath, raw); err != nil {
		return old.Size, fmt.Errorf("checkpoint: %w", err)
	}
	return cp.Size, nil
}

// continues checks that the tree of now begins with that of old.
func (p *publisher) continues(ctx context.Context, old, now *log.Checkpoint) error {
	if now.Size < old.Size {
		return fmt.Errorf("%w: it has %d entries, %d are published", errAnotherLog, now.Size, old.Size)
	}
	if old.Size == 0 {
		return nil
	}
	var path [][]byte
	if now.Size > old.Size {
		b, err := client.NewProofBuilder(ctx, now.Size, p.src.ReadTile)
		if err == nil {
			path, err = b.ConsistencyProof(ctx, old.Size, now.Size)
		}
		if err != nil {
			return fmt.Errorf("consistency: %w", err)
		}
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, old.Size, now.Size, path, old.Hash, now.Hash); err != nil {
		return fmt.Errorf("%w: %w", errAnotherLog, err)
	}
	return nil
}

// copy puts every file that the tree of cp has beyond the first old entries, each checked against what is below it.
func (p *publisher) copy(ctx context.Context, old uint64, cp *log.Checkpoint) error {
	for level, had, have := uint64(0), old, cp.Size; have > 0; level, had, have = level+1, had/width, have/width {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(workers)
		for n := had / width; n*width < have && had < have; n++ {
			g.Go(func() error { return p.file(gctx, level, n, uint8(min(have-n*width, width)%width), cp.Size) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return p.root(ctx, cp)
}

// file checks and puts one tile, with the entries under one of level 0. partial is 0 for a full one.
func (p *publisher) file(ctx context.Context, level, n uint64, partial uint8, size uint64) error {
	tile, err := p.src.ReadTile(ctx, level, n, partial)
	if err != nil {
		return fmt.Errorf("tile %d/%d: %w", level, n, err)
	}
	want := int(partial)
	if partial == 0 {
		want = width
	}
	var below []byte
	if level == 0 {
		entries, err := p.src.ReadEntryBundle(ctx, n, partial)
		if err != nil {
			return fmt.Errorf("entries %d: %w", n, err)
		}
		var bundle api.EntryBundle
		if err := bundle.UnmarshalText(entries); err != nil {
			return fmt.Errorf("entries %d: %w", n, err)
		}
		for _, e := range bundle.Entries {
			below = append(below, rfc6962.DefaultHasher.HashLeaf(e)...)
		}
		if err := p.dst.Put(ctx, layout.EntriesPath(n, partial), entries); err != nil {
			return err
		}
	} else {
		for i := range uint64(want) {
			full, err := p.src.ReadTile(ctx, level-1, n*width+i, 0)
			if err != nil {
				return fmt.Errorf("tile %d/%d: %w", level-1, n*width+i, err)
			}
			below = append(below, rootOf(full)...)
		}
	}
	if len(below) != want*rfc6962.DefaultHasher.Size() || !bytes.Equal(tile, below) {
		return fmt.Errorf("tile %d/%d of a log of %d entries does not follow from what is below it", level, n, size)
	}
	return p.dst.Put(ctx, layout.TilePath(level, n, partial), tile)
}

// rootOf is the root of a full tile.
func rootOf(tile []byte) []byte {
	const size = 32
	for len(tile) > size {
		var up []byte
		for i := 0; i+2*size <= len(tile); i += 2 * size {
			up = append(up, rfc6962.DefaultHasher.HashChildren(tile[i:i+size], tile[i+size:i+2*size])...)
		}
		tile = up
	}
	return tile
}

// root checks that what stands in the target now has the signed root.
func (p *publisher) root(ctx context.Context, cp *log.Checkpoint) error {
	nodes, err := client.FetchRangeNodes(ctx, cp.Size, func(ctx context.Context, level, index uint64, partial uint8) ([]byte, error) {
		return p.dst.Get(ctx, layout.TilePath(level, index, partial))
	})
	if err != nil {
		return fmt.Errorf("published tiles: %w", err)
	}
	r, err := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewRange(0, cp.Size, nodes)
	if err != nil {
		return fmt.Errorf("published tiles: %w", err)
	}
	root, err := r.GetRootHash(nil)
	if err != nil || !bytes.Equal(root, cp.Hash) {
		return fmt.Errorf("published tiles have another root than the checkpoint of %d entries", cp.Size)
	}
	return nil
}
