// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
)

// logAt opens a log in dir.
func logAt(t *testing.T, dir string) *ledger.Log {
	t.Helper()
	l, err := ledger.Open(ledger.Config{Wal: filepath.Join(dir, "wal"), Keys: filepath.Join(dir, "keys"), Tiles: filepath.Join(dir, "tiles"),
		Origin: "log.example/1", SegmentBytes: 1 << 20, MinFreeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func grow(t *testing.T, l *ledger.Log, n int) {
	t.Helper()
	done := make(chan error)
	for i := range n {
		go func() {
			_, err := l.Append(t.Context(), &action.Record{Kind: action.KindAlert, Agent: "bot", Session: fmt.Sprint(i % 7)})
			done <- err
		}()
	}
	for range n {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// stored reads a target as a verifier reads any log.
type stored struct{ target }

func (s stored) ReadCheckpoint(ctx context.Context) ([]byte, error) {
	return s.Get(ctx, layout.CheckpointPath)
}

func (s stored) ReadTile(ctx context.Context, level, index uint64, partial uint8) ([]byte, error) {
	return s.Get(ctx, layout.TilePath(level, index, partial))
}

func (s stored) ReadEntryBundle(ctx context.Context, index uint64, partial uint8) ([]byte, error) {
	return s.Get(ctx, layout.EntriesPath(index, partial))
}

func hashes(b []byte) (out [][]byte, err error) {
	var bundle api.EntryBundle
	if err := bundle.UnmarshalText(b); err != nil {
		return nil, err
	}
	for _, e := range bundle.Entries {
		out = append(out, rfc6962.DefaultHasher.HashLeaf(e))
	}
	return out, nil
}

// targets are the stores that this machine has.
func targets(t *testing.T) map[string]target {
	t.Helper()
	web := httptest.NewServer(gofakes3.New(s3mem.New(), gofakes3.WithAutoBucket(true)).Server())
	t.Cleanup(web.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_REGION", "us-east-1")
	b, err := openBucket(strings.TrimPrefix(web.URL, "http://"), "logs", "tenants/one", true)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]target{"s3": b}
	if dsn := mariadb(t); dsn != "" {
		m, err := openMySQL(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.db.Close() })
		out["mysql"] = m
	}
	return out
}

// mariadb starts a server of its own and returns the file with its data source name, "" where there is none.
func mariadb(t *testing.T) string {
	t.Helper()
	server, err := exec.LookPath("mariadbd")
	if err != nil {
		t.Log("mariadb is not installed: only the object store is tried")
		return ""
	}
	dir, err := os.MkdirTemp("", "sqlt") // short, for its socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	data, socket := filepath.Join(dir, "data"), filepath.Join(dir, "s")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	as := []string{"--no-defaults", "--datadir=" + data, "--socket=" + socket, "--skip-networking", "--skip-grant-tables"}
	if os.Getuid() == 0 {
		as = append(as, "--user=root")
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, server, as...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); _ = cmd.Wait() })
	file := filepath.Join(dir, "dsn")
	if err := os.WriteFile(file, []byte("root@unix("+socket+")/logs\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("mysql", "root@unix("+socket+")/")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) { // until it has started
		_, err := db.ExecContext(t.Context(), "CREATE DATABASE logs")
		if err == nil {
			return file
		}
		if time.Since(begin) > time.Minute {
			t.Fatal(err)
		}
	}
}

// failing refuses puts after the first few, once.
type failing struct {
	target
	left int
}

func (f *failing) Put(ctx context.Context, path string, data []byte) error {
	if f.left--; f.left < 0 {
		return errors.New("the store is away")
	}
	return f.target.Put(ctx, path, data)
}

// TestPublishedTilesPassTheFsckOfTessera follows a log into each store over many sizes, with passes that break off, and has
// tessera check what is published after each.
func TestPublishedTilesPassTheFsckOfTessera(t *testing.T) {
	for name, dst := range targets(t) {
		dir := t.TempDir()
		l := logAt(t, dir)
		p := &publisher{key: l.Verifier(), src: client.FileFetcher{Root: filepath.Join(dir, "tiles")}, dst: dst}
		for i, n := range []int{1, 4, 250, 1, 1, 600, 0, 66_000} {
			if n == 66_000 && name == "mysql" {
				n = 900
			}
			grow(t, l, n)
			p.dst = &failing{dst, i}
			if size, err := p.pass(t.Context()); err == nil && i < 2 {
				t.Errorf("%s: a pass that broke off says %d", name, size)
			}
			p.dst = dst
			if size, err := p.pass(t.Context()); err != nil || size != l.Checkpoint().Size {
				t.Fatalf("%s: %d, %v", name, size, err)
			}
			if err := fsck.New(l.Origin(), l.Verifier(), stored{dst}, hashes, fsck.Opts{N: 2}).Check(t.Context()); err != nil {
				t.Fatalf("%s: size %d: %v", name, l.Checkpoint().Size, err)
			}
		}
	}
}

// TestAnotherLogIsNotPublished tries a restored older copy that went on, a shorter one, another key, and files that
// were changed: nothing of them becomes what readers see.
func TestAnotherLogIsNotPublished(t *testing.T) {
	for name, dst := range targets(t) {
		dir, copied := t.TempDir(), filepath.Join(t.TempDir(), "copy")
		l := logAt(t, dir)
		grow(t, l, 300)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		l = logAt(t, dir)
		grow(t, l, 300)
		fork := logAt(t, copied)
		from := func(dir string, l *ledger.Log) *publisher {
			return &publisher{key: l.Verifier(), src: client.FileFetcher{Root: filepath.Join(dir, "tiles")}, dst: dst}
		}
		good := from(dir, l)
		if _, err := good.pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		published, err := dst.Get(t.Context(), layout.CheckpointPath)
		if err != nil {
			t.Fatal(err)
		}
		refused := func(what string, p *publisher, want error) {
			t.Helper()
			if _, err := p.pass(t.Context()); err == nil || want != nil && !errors.Is(err, want) {
				t.Errorf("%s: %s: %v", name, what, err)
			}
			if now, err := dst.Get(t.Context(), layout.CheckpointPath); err != nil || string(now) != string(published) {
				t.Errorf("%s: %s: another checkpoint is published: %v", name, what, err)
			}
		}
		refused("a shorter copy", from(copied, fork), errAnotherLog)
		grow(t, fork, 400)
		refused("a copy that went on by itself", from(copied, fork), errAnotherLog)
		other := logAt(t, t.TempDir())
		refused("another key", &publisher{key: other.Verifier(), src: good.src, dst: dst}, nil)
		grow(t, l, 300)
		tiles := filepath.Join(dir, "tiles", "tile")
		err = filepath.WalkDir(tiles, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.Contains(path, "002") && !strings.Contains(path, "003") && !strings.Contains(path, "/1/") {
				return err
			}
			was, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			bad := append([]byte{}, was...)
			bad[len(bad)/2] ^= 1
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				return err
			}
			if read := strings.TrimPrefix(path, tiles); strings.Contains(read, "003") || strings.HasSuffix(read, "/002") {
				refused("a flipped bit in "+read, good, nil)
			}
			return os.WriteFile(path, was, 0o600)
		})
		if err != nil {
			t.Fatal(err)
		}
		if size, err := good.pass(t.Context()); err != nil || size != 900 {
			t.Errorf("%s: the log itself: %d, %v", name, size, err)
		}
	}
}

func TestRunRefusesWhatItCannotUse(t *testing.T) {
	dir := t.TempDir()
	l := logAt(t, dir)
	grow(t, l, 3)
	for name, args := range map[string][]string{
		"nothing":           nil,
		"no key":            {"--from", dir, "--to", "s3://b/p"},
		"no source":         {"--key", l.Vkey(), "--to", "s3://b/p"},
		"no target":         {"--key", l.Vkey(), "--from", dir},
		"a target unknown":  {"--key", l.Vkey(), "--from", dir, "--to", "ftp://b/p"},
		"no file of secret": {"--key", l.Vkey(), "--from", dir, "--to", "mysql", "--dsn-file", filepath.Join(dir, "none")},
	} {
		if err := run(t.Context(), append(args, "--every", "0")); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	web := httptest.NewServer(gofakes3.New(s3mem.New(), gofakes3.WithAutoBucket(true)).Server())
	defer web.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	err := run(t.Context(), []string{"--key", l.Vkey(), "--from", filepath.Join(dir, "tiles"), "--to", "s3://logs/one", "--endpoint", strings.TrimPrefix(web.URL, "http://"), "--insecure", "--every", "0"})
	if err != nil {
		t.Error(err)
	}
}
