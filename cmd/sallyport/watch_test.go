// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchCallsAgainOnEveryChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "a.rego")
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		calls := make(chan int)
		ended := make(chan error, 1)
		go func() {
			n := 0
			ended <- watch(ctx, dir, time.Second, func() error {
				n++
				calls <- n
				return nil
			})
		}()
		<-calls
		for name, change := range map[string]func(){
			"a new file":    func() { must(os.WriteFile(file, []byte("1"), 0o600)) },
			"a new content": func() { must(os.WriteFile(file, []byte("12"), 0o600)) },
			"the same size at another time": func() {
				must(os.WriteFile(file, []byte("21"), 0o600))
				must(os.Chtimes(file, time.Time{}, time.Unix(int64(len(calls)), 0)))
			},
			"another name":     func() { must(os.WriteFile(filepath.Join(dir, "b.rego"), nil, 0o600)) },
			"a file that went": func() { _ = os.Remove(file) },
			"no folder at all": func() { must(os.RemoveAll(dir)) },
			"a folder again":   func() { must(os.MkdirAll(dir, 0o700)) },
		} {
			before := looks(dir)
			change()
			if looks(dir) == before {
				continue // the order is anyone's, so that there may be nothing to remove
			}
			select {
			case <-calls:
			case <-time.After(time.Minute):
				t.Fatalf("%s is not noticed", name)
			}
		}
		must(os.MkdirAll(filepath.Join(dir, ".git"), 0o700))
		before := looks(dir)
		must(os.WriteFile(filepath.Join(dir, ".git", "index"), []byte("1"), 0o600))
		if looks(dir) != before {
			t.Error("a hidden folder counts")
		}
		go func() {
			for range calls { //nolint:revive // what the new folder caused
			}
		}()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		close(calls)
		want := errors.New("x")
		if err := watch(t.Context(), dir, time.Second, func() error { return want }); !errors.Is(err, want) {
			t.Error(err)
		}
	})
}
