// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/attest"
)

// softTPM starts a software TPM and returns its socket.
func softTPM(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("swtpm"); err != nil {
		t.Skip("swtpm is not installed (Debian: swtpm, swtpm-tools)")
	}
	sock := filepath.Join(t.TempDir(), "t")
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+t.TempDir(), "--server", "type=unixio,path="+sock,
		"--ctrl", "type=unixio,path="+sock+".ctrl", "--flags", "not-need-init,startup-clear", "--seccomp", "action=none")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 500 {
		if _, err := os.Stat(sock); err == nil {
			return sock
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("swtpm does not open its socket")
	return ""
}

// TestATPMIsUsedFromTheCommandLine enrols a chip, acts under the lease that it earns, and verifies its quote by hand.
func TestATPMIsUsedFromTheCommandLine(t *testing.T) {
	sock := softTPM(t)
	p := newPlace(t, "")
	agent := p.folder("bin") + "/agent"
	if err := os.WriteFile(agent, []byte("#!/bin/sh\nexec true\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	var events []attest.Event
	if err := json.Unmarshal([]byte(p.must("attest", "measure", "--json", "--", agent)), &events); err != nil {
		t.Fatal(err)
	}
	config := "version: 1\ngateway: {listen: none}\nadmin: {listen: none}\nledger: {segment_bytes: 8388608}\n" +
		"attest: {agents: [{agent: local, kinds: [tpm], assurance: 1, references: ["
	for _, e := range events {
		config += fmt.Sprintf("{kind: %s, digests: [%s]},", e.Kind, e.Digest)
	}
	p.write("config/sallyport/sallyport.yaml", config+"]}]}\n")
	p.up()

	chip := []string{"--tpm", sock, "--agent", "local"}
	keep := append([]string{"attest", "keep"}, append(chip, "--", agent)...)
	if out, errs, code := p.run(keep...); code == 0 || !strings.Contains(errs, "is not enrolled") {
		t.Errorf("before it is enrolled: %d %s %s", code, out, errs)
	}
	if out := p.must(append([]string{"attest", "enroll"}, chip...)...); !strings.Contains(out, "enrolled key ") || !strings.Contains(out, "of chip ") {
		t.Errorf("enroll: %s", out)
	}
	if out, errs, code := p.run(keep...); code != 0 || !strings.Contains(errs, "A1 M0 by tpm") {
		t.Errorf("an enrolled chip: %d %s %s", code, out, errs)
	}
	if status := p.must("attest", "status"); !strings.Contains(status, "A1 M0 tpm") || !strings.Contains(status, "no maker vouches for the chip") || !strings.Contains(status, "key ") {
		t.Errorf("status: %s", status)
	}

	quote := p.must(append([]string{"attest", "quote", "--nonce", "0a0b", "--pcrs", "13"}, chip...)...)
	file := p.write("quote.json", quote)
	if out := p.must("attest", "verify", "--kind", "tpm", "--pcrs", "13", "--nonce", "0a0b", file); !strings.Contains(out, "tpm, verified") || !strings.Contains(out, "replayed yes") {
		t.Errorf("verify: %s", out)
	}
	if out, errs, code := p.run("attest", "verify", "--kind", "tpm", "--pcrs", "13", "--nonce", "0a0c", file); code != 5 || !strings.Contains(errs, "not over the nonce") {
		t.Errorf("another nonce: %d %s %s", code, out, errs)
	}

	if err := os.WriteFile(agent, []byte("#!/bin/sh\nexec false\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := p.run(keep...); code == 0 || !strings.Contains(errs, "measured, and no reference value") {
		t.Errorf("another program: %d %s %s", code, out, errs)
	}
}
