// SPDX-License-Identifier: Apache-2.0

package modelsig

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// sealingFolder is a folder of a file system that can seal files: one of our own in an image, which takes root.
func sealingFolder(t *testing.T) string {
	t.Helper()
	for _, tool := range []string{"mkfs.ext4", "fsverity", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	if _, err := os.Stat("/sys/fs/ext4/features/verity"); err != nil {
		t.Skip("the kernel seals no files (CONFIG_FS_VERITY)")
	}
	if os.Getuid() != 0 {
		t.Skip("the kernel seals no files for us: an image is mounted by root")
	}
	dir := t.TempDir()
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "at")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(32 << 20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, line := range [][]string{{"mkfs.ext4", "-q", "-b", "4096", "-O", "verity", image}, {"mount", "-o", "loop", image, at}} {
		if out, err := exec.Command(line[0], line[1:]...).CombinedOutput(); err != nil {
			t.Skipf("the kernel seals no files here: %q: %v: %s", line, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return at
}

// TestTheKernelsSealIsSeen seals a model's files on a real file system: the measurement says so, the kernel's digest is
// ours, and what is sealed cannot be written.
func TestTheKernelsSealIsSeen(t *testing.T) {
	dir := filepath.Join(sealingFolder(t), "model")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.safetensors", "b.safetensors"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("weights of "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range []string{"", "a.safetensors", "b.safetensors"} {
		if name != "" {
			if out, err := exec.Command("fsverity", "enable", filepath.Join(dir, name)).CombinedOutput(); err != nil {
				t.Fatalf("fsverity: %v: %s", err, out)
			}
		}
		m, err := Measure(t.Context(), Config{Path: dir})
		if err != nil {
			t.Fatal(err)
		}
		if m.Sealed != (i == 2) {
			t.Errorf("with %d files sealed: sealed %v", i, m.Sealed)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "a.safetensors"), []byte("other"), 0o600); err == nil {
		t.Error("a sealed file was written")
	}
}
