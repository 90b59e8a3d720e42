// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

func TestSpoolKeepsWhatItWasGivenAndNothingReadable(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []int{0, 1, spoolChunk - 1, spoolChunk, spoolChunk + 1, 5*spoolChunk + 7} {
		s, err := newSpool(dir, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("the spool has a name: %v", left)
		}
		was := []byte(strings.Repeat("a secret ", n/9+1)[:n])
		for rest := was; len(rest) > 0; {
			k := min(len(rest), 1000)
			if _, err := s.Write(rest[:k]); err != nil {
				t.Fatal(err)
			}
			rest = rest[k:]
		}
		for range 2 {
			r, err := s.reader()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, was) || s.size != int64(n) {
				t.Fatalf("%d bytes: %v, %d came back, size %d", n, err, len(got), s.size)
			}
		}
		disk := make([]byte, 2*n+64)
		k, _ := s.f.ReadAt(disk, 0)
		if n > 100 && bytes.Contains(disk[:k], []byte("secret")) {
			t.Error("the file can be read")
		}
		if n > spoolChunk { // a changed byte, and chunks in another order
			if _, err := s.f.WriteAt([]byte{disk[5] ^ 1}, 5); err != nil {
				t.Fatal(err)
			}
			r, _ := s.reader()
			if _, err := io.ReadAll(r); !errors.Is(err, errSpool) {
				t.Errorf("a changed spool is read: %v", err)
			}
			if n > 3*spoolChunk {
				sealed := spoolChunk + s.aead.Overhead()
				if _, err := s.f.WriteAt(disk[sealed:2*sealed], 0); err != nil {
					t.Fatal(err)
				}
				r, _ := s.reader()
				if _, err := io.ReadAll(r); !errors.Is(err, errSpool) {
					t.Errorf("chunks in another order are read: %v", err)
				}
			}
		}
		s.close()
	}
}

// pack packs text as a list of encodings says.
func pack(t *testing.T, list, text string) []byte {
	t.Helper()
	data := []byte(text)
	for _, enc := range strings.Split(list, ",") {
		var b bytes.Buffer
		var w io.WriteCloser
		switch strings.TrimSpace(enc) {
		case "gzip":
			w = gzip.NewWriter(&b)
		case "deflate":
			w = zlib.NewWriter(&b)
		case "br":
			w = brotli.NewWriter(&b)
		case "zstd":
			z, err := zstd.NewWriter(&b)
			if err != nil {
				t.Fatal(err)
			}
			w = z
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		data = b.Bytes()
	}
	return data
}

func TestPackedBodiesAreRead(t *testing.T) {
	long := strings.Repeat("x", 1<<21)
	for _, enc := range []string{"gzip", "deflate", "br", "zstd", "gzip, br", "br,zstd"} {
		for _, c := range []struct {
			name, text string
			readable   bool
		}{{"a text", "the words", true}, {"more than there is room for", long, false}} {
			b := readBody(http.Header{"Content-Encoding": {strings.ToUpper(enc)}, "Content-Type": {"text/plain"}}, pack(t, enc, c.text), 1<<20)
			if b.opaque == c.readable || c.readable && string(b.value) != `"the words"` {
				t.Errorf("%s of %s: opaque %v, %.40s", enc, c.name, b.opaque, b.value)
			}
		}
		whole := pack(t, enc, "the words")
		if b := readBody(http.Header{"Content-Encoding": {enc}}, whole[:len(whole)-2], 1<<20); !b.opaque {
			t.Errorf("%s that was cut short is read: %s", enc, b.value)
		}
	}
	for _, enc := range []string{"gzip,gzip,gzip,gzip", "compress", "gzip;q=1", "identity, x"} {
		if b := readBody(http.Header{"Content-Encoding": {enc}}, []byte("\x1f\x8b"), 1<<20); !b.opaque {
			t.Errorf("%q is read", enc)
		}
	}
}
