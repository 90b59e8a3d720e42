// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"path/filepath"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

// The shortest times that Tessera's POSIX driver takes: it batches for a while, and publishes checkpoints at
// most ten times a second.
const (
	tesseraBatch      = 1024
	tesseraBatchAge   = 2 * time.Millisecond
	tesseraCheckpoint = 100 * time.Millisecond
	tesseraPoll       = 2 * time.Millisecond
)

func openTessera(ctx context.Context, dir string, payload int, provable bool) (peerRun, error) {
	secret, _, err := note.GenerateKey(rand.Reader, "bench.example/log")
	if err != nil {
		return peerRun{}, err
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		return peerRun{}, err
	}
	driver, err := posix.New(ctx, posix.Config{Path: filepath.Join(dir, "log")})
	if err != nil {
		return peerRun{}, err
	}
	ctx, stop := context.WithCancel(ctx)
	opt := tessera.NewAppendOptions().WithCheckpointSigner(signer).WithBatching(tesseraBatch, tesseraBatchAge).
		WithCheckpointInterval(tesseraCheckpoint).WithPushback(1 << 16)
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, opt)
	if err != nil {
		stop()
		return peerRun{}, err
	}
	awaiter := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, tesseraPoll)
	return peerRun{
		append: func(ctx context.Context, writer int, n int64) error {
			b, err := contents(writer, n, payload)
			if err != nil {
				return err
			}
			future := appender.Add(ctx, tessera.NewEntry(b))
			if provable {
				_, _, err = awaiter.Await(ctx, future)
			} else {
				_, err = future()
			}
			return err
		},
		disk: diskUse(dir),
		close: func() error {
			defer stop()
			return shutdown(context.WithoutCancel(ctx))
		},
	}, nil
}
