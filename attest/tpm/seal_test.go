// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// socket starts swtpm for programs that open it themselves.
func socket(t *testing.T) string {
	t.Helper()
	bin, err := exec.LookPath("swtpm")
	if err != nil {
		t.Skip("swtpm is not installed (Debian: swtpm, swtpm-tools)")
	}
	sock := filepath.Join(t.TempDir(), "tpm")
	cmd := exec.Command(bin, "socket", "--tpm2", "--tpmstate", "dir="+t.TempDir(), "--server", "type=unixio,path="+sock,
		"--ctrl", "type=unixio,path="+sock+".ctrl", "--flags", "not-need-init,startup-clear", "--seccomp", "action=none")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 200 {
		if _, err := os.Stat(sock); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return sock
}

// TestSealedSecretsOpenOnTheirChipOnly seals on one chip and takes the bytes to another.
func TestSealedSecretsOpenOnTheirChipOnly(t *testing.T) {
	own, err := OpenSealer(socket(t))
	if err != nil {
		t.Fatal(err)
	}
	other, err := OpenSealer(socket(t))
	if err != nil {
		t.Fatal(err)
	}
	secret := bytes.Repeat([]byte{7, 9}, 16)
	sealed, err := own.Wrap(secret)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, secret[:8]) {
		t.Error("the secret stands in what was sealed")
	}
	for range 3 { // each time the slots of the chip are free again
		if got, err := own.Unwrap(sealed); err != nil || !bytes.Equal(got, secret) {
			t.Fatalf("%x %v", got, err)
		}
	}
	if own.Name() == other.Name() {
		t.Error("two chips of one name")
	}
	if got, err := other.Unwrap(sealed); err == nil {
		t.Errorf("another chip opens it: %x", got)
	}
	for i := 0; i < len(sealed); i += 7 {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if got, err := own.Unwrap(changed); err == nil {
			t.Errorf("byte %d changed: %x", i, got)
		}
	}
	for name, bad := range map[string][]byte{"nothing": nil, "a length alone": {0, 9}, "too much": make([]byte, maxSealed+1)} {
		if _, err := own.Unwrap(bad); err == nil {
			t.Errorf("%s opens", name)
		}
	}
	if _, err := own.Wrap(nil); err == nil {
		t.Error("nothing is sealed")
	}
}
