// SPDX-License-Identifier: Apache-2.0

package sqlite_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/store"
	"github.com/sallyport/sallyport/store/sqlite"
	"github.com/sallyport/sallyport/store/storetest"
)

func openAt(t testing.TB, path string) store.Store {
	s, err := sqlite.Open(context.Background(), sqlite.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func fresh(t testing.TB) store.Store { return openAt(t, filepath.Join(t.TempDir(), "store.db")) }

func TestStore(t *testing.T) { storetest.Run(t, fresh) }

func TestStoreSurvivesReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "odd ?name#%41.db")
	storetest.RunDurable(t, func(t testing.TB) store.Store { return openAt(t, path) })
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the file has another name: %v", err)
	}
}

func BenchmarkStore(b *testing.B) { storetest.Bench(b, fresh) }

func TestFileIsPrivate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store.db")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, path)
	if _, err := s.Put(context.Background(), "default/a", []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		st, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o, want 600", f.Name(), st.Mode().Perm())
		}
	}
}

// write fills a store with so many entries of 5,000 bytes.
func write(t *testing.T, path string, entries int) {
	s := openAt(t, path)
	for i := range entries {
		if _, err := s.Put(context.Background(), "default/"+string(rune('a'+i)), bytes.Repeat([]byte{'v'}, 5000), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// damage changes the bytes of a file.
func damage(t *testing.T, path string, change func(b []byte) []byte) {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefusesWhatIsNoSoundStore(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		name string
		make func(t *testing.T, path string)
		want error
	}{
		{"a text file", func(t *testing.T, path string) {
			damage(t, touch(t, path), func([]byte) []byte { return bytes.Repeat([]byte("not a database "), 100) })
		}, store.ErrDamaged},
		{"a store cut to half its length", func(t *testing.T, path string) {
			write(t, path, 20)
			damage(t, path, func(b []byte) []byte { return b[:len(b)/2] })
		}, store.ErrDamaged},
		{"a store with a page of noise", func(t *testing.T, path string) {
			write(t, path, 20)
			damage(t, path, func(b []byte) []byte { copy(b[4096:8192], bytes.Repeat([]byte{0xa5}, 4096)); return b })
		}, store.ErrDamaged},
		{"a database of another kind", func(t *testing.T, path string) {
			db, err := sqlite.OpenDB(ctx, path, sqlite.Options{Application: 7, Format: 1, Schema: "CREATE TABLE x (y)"})
			if err != nil {
				t.Fatal(err)
			}
			db.Close()
		}, store.ErrDamaged},
		{"a store of a later format", func(t *testing.T, path string) {
			write(t, path, 1)
			damage(t, path, func(b []byte) []byte { b[63] = 2; return b })
		}, store.ErrDamaged},
		{"a link", func(t *testing.T, path string) {
			write(t, path+".real", 1)
			if err := os.Symlink(path+".real", path); err != nil {
				t.Fatal(err)
			}
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store.db")
			c.make(t, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s, err := sqlite.Open(ctx, sqlite.Config{Path: path})
			if err == nil {
				s.Close()
				t.Fatal("it was opened")
			}
			if c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
				t.Errorf("the refused file was changed (%v)", err)
			}
		})
	}
}

func touch(t *testing.T, path string) string {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenTwiceIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := openAt(t, path)
	if _, err := sqlite.Open(context.Background(), sqlite.Config{Path: path}); !errors.Is(err, store.ErrLocked) {
		t.Fatalf("second open: %v, want ErrLocked", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openAt(t, path)
}

func TestStoreIsBounded(t *testing.T) {
	s, err := sqlite.Open(context.Background(), sqlite.Config{Path: filepath.Join(t.TempDir(), "s.db"), MaxBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 100 {
		_, err = s.Put(context.Background(), "default/"+string(rune('a'+i)), make([]byte, 50_000), 0)
		if err != nil {
			break
		}
	}
	if !errors.Is(err, store.ErrFull) {
		t.Fatalf("beyond the bound: %v, want ErrFull", err)
	}
	if e, err := s.Get(context.Background(), "default/a"); err != nil || len(e.Value) != 50_000 {
		t.Fatalf("a full store no longer reads: %v", err)
	}
}
