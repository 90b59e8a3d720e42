// SPDX-License-Identifier: Apache-2.0

package modelsig

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestVerityIsTheKernelsDigest compares with published digests and, where it is installed, with fsverity itself.
func TestVerityIsTheKernelsDigest(t *testing.T) {
	if d, err := Verity(strings.NewReader("")); err != nil || hex.EncodeToString(d[:]) != "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95" {
		t.Errorf("of an empty file: %x %v", d, err)
	}
	tool, err := exec.LookPath("fsverity")
	if err != nil {
		t.Skip("fsverity is not installed (Debian: fsverity)")
	}
	sizes := []int{1, verityBlock - 1, verityBlock, verityBlock + 1, 128 * verityBlock, 128*verityBlock + 1, 129 * verityBlock}
	if !testing.Short() {
		sizes = append(sizes, 128*128*verityBlock+5) // three levels
	}
	for _, n := range sizes {
		path := filepath.Join(t.TempDir(), "f")
		data := bytes.Repeat([]byte("weights"), n/7+1)[:n]
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(tool, "digest", "--compact", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		if d, err := Verity(bytes.NewReader(data)); err != nil || hex.EncodeToString(d[:]) != strings.TrimPrefix(strings.TrimSpace(string(out)), "sha256:") {
			t.Errorf("%d bytes: %x, fsverity says %s", n, d, out)
		}
	}
}

// TestOnlyWhatTheKernelSealsIsSealed measures a model on a kernel that seals its files, some, or none.
func TestOnlyWhatTheKernelSealsIsSealed(t *testing.T) {
	dir := t.TempDir()
	files := []string{"a.safetensors", "b.safetensors"}
	for _, name := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	digest := func(name string) []byte {
		d, err := Verity(strings.NewReader(name))
		if err != nil {
			t.Fatal(err)
		}
		return d[:]
	}
	for _, c := range []struct {
		name   string
		kernel func(fd uintptr) ([]byte, error)
		want   bool
	}{
		{"none", func(uintptr) ([]byte, error) { return nil, errors.ErrUnsupported }, false},
		{"each with its own digest", func(fd uintptr) ([]byte, error) { return digest(filepath.Base(nameOf(t, fd))), nil }, true},
		{"one", func(fd uintptr) ([]byte, error) {
			if filepath.Base(nameOf(t, fd)) == files[0] {
				return digest(files[0]), nil
			}
			return nil, errors.ErrUnsupported
		}, false},
		{"with another digest", func(uintptr) ([]byte, error) { return make([]byte, 32), nil }, false},
	} {
		m, err := Measure(t.Context(), Config{Path: dir, kernel: c.kernel})
		if err != nil {
			t.Fatal(err)
		}
		if m.Sealed != c.want {
			t.Errorf("%s: sealed %v", c.name, m.Sealed)
		}
	}
}

func nameOf(t *testing.T, fd uintptr) string {
	t.Helper()
	name, err := os.Readlink(filepath.Join("/proc/self/fd", strconv.Itoa(int(fd))))
	if err != nil {
		t.Skip("the kernel shows no processes here")
	}
	return name
}

func TestAChangedPartIsFoundByAFullSample(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "w.safetensors")
	data := bytes.Repeat([]byte{7}, 3*sampleBytes+100)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := Measure(t.Context(), Config{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := m.Sample(t.Context(), 2*sampleBytes); err != nil || n == 0 || n > 2*sampleBytes {
		t.Errorf("%d bytes, %v", n, err)
	}
	if n, err := m.Sample(t.Context(), 1); err != nil || n == 0 {
		t.Errorf("a budget below one part: %d bytes, %v", n, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	data[2*sampleBytes] = 8
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil { // as root would
		t.Fatal(err)
	}
	if _, err := m.Sample(t.Context(), 100*sampleBytes); err == nil {
		t.Error("changed weights pass")
	}
}
