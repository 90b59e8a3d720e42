// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"path/filepath"
	"sync"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
)

// peers are the rows in their order. "durable" returns when the record is on disk, "provable" when a checkpoint
// that is on disk covers it besides.
func peers(payload int) []peer {
	return []peer{
		{name: "nothing", open: nothing},
		{name: "sallyport (provable, tiles, sealed)", open: func(ctx context.Context, dir string) (peerRun, error) { return own(ctx, dir, payload, true) }},
		{name: "sallyport (provable, no tiles, sealed)", open: func(ctx context.Context, dir string) (peerRun, error) { return own(ctx, dir, payload, false) }},
		{name: "tessera posix (durable)", open: func(ctx context.Context, dir string) (peerRun, error) { return openTessera(ctx, dir, payload, false) }},
		{name: "tessera posix (provable)", open: func(ctx context.Context, dir string) (peerRun, error) { return openTessera(ctx, dir, payload, true) }},
		{name: "sqlite FULL (durable)", open: func(ctx context.Context, dir string) (peerRun, error) { return openSQLite(ctx, dir, payload) }},
		{name: "postgresql (durable)", reason: postgresMissing(), open: func(ctx context.Context, dir string) (peerRun, error) { return openPostgres(ctx, dir, payload) }},
	}
}

func nothing(context.Context, string) (peerRun, error) {
	return peerRun{
		append: func(context.Context, int, int64) error { return nil },
		disk:   func() int64 { return 0 },
		close:  func() error { return nil },
	}, nil
}

// own is the ledger as the owner opens it, with its signatures and seals.
func own(ctx context.Context, dir string, payload int, tiles bool) (peerRun, error) {
	cfg := ledger.Config{Wal: filepath.Join(dir, "wal"), Keys: filepath.Join(dir, "keys")}
	if tiles {
		cfg.Tiles = filepath.Join(dir, "tiles")
	}
	l, err := ledger.Open(cfg)
	if err != nil {
		return peerRun{}, err
	}
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	var ran error
	running.Go(func() { ran = l.Run(ctx) })
	half := make([]byte, payload/2)
	return peerRun{
		append: func(ctx context.Context, writer int, n int64) error {
			_, err := l.Append(ctx, ledger.BenchRecord(writer, n, half))
			return err
		},
		disk: func() int64 { return int64(l.Stats().Bytes) + diskUse(cfg.Tiles)() },
		close: func() error {
			stop()
			running.Wait()
			if errors.Is(ran, context.Canceled) {
				ran = nil
			}
			return errors.Join(ran, l.Close())
		},
	}, nil
}

// contents are the bytes that the peers keep: the same leaf in canonical JSON, and the contents unsealed.
func contents(writer int, n int64, payload int) ([]byte, error) {
	r := ledger.BenchRecord(writer, n, nil)
	r.Parts = nil
	leaf, err := action.Canonical(r)
	return append(leaf, make([]byte, payload)...), err
}
