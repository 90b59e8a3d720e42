// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"time"

	"github.com/sallyport/sallyport/policy/bundle"
)

// watchEvery is how often a watched folder is looked at. Looking is a walk over the names of one bundle.
const watchEvery = 250 * time.Millisecond

// watch calls do, and again whenever a file below dir is another one by its name, size or time, until ctx ends or do
// errs. What changes while do runs calls it once more.
func watch(ctx context.Context, dir string, every time.Duration, do func() error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		was := looks(dir)
		if err := do(); err != nil || ctx.Err() != nil {
			return err
		}
		for looks(dir) == was {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	}
}

// looks is a number that another content of dir would change. It reads at most as many names as a bundle may have.
func looks(dir string) uint64 {
	h, n := fnv.New64a(), 0
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if n++; n > 4*bundle.MaxFiles {
			return fs.SkipAll
		}
		if err != nil {
			return err
		}
		if d.IsDir() && len(d.Name()) > 1 && d.Name()[0] == '.' {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s\x00%d\x00%d\x00%v\n", name, info.Size(), info.ModTime().UnixNano(), info.Mode())
		return nil
	})
	fmt.Fprint(h, err)
	return h.Sum64()
}
