// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
)

// TestIndependentWitnessAcceptsAndRefuses runs against another implementation: SALLYPORT_WITNESS_PROGRAM
// takes a log's public key, prints "URL VKEY" and serves the protocol at URL.
func TestIndependentWitnessAcceptsAndRefuses(t *testing.T) {
	program := os.Getenv("SALLYPORT_WITNESS_PROGRAM")
	if program == "" {
		t.Skip("SALLYPORT_WITNESS_PROGRAM names no witness of another make")
	}
	dir, cfg := logConfig(t)
	vkey := keyed(t, cfg)
	cmd := exec.CommandContext(t.Context(), program, vkey)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var at ledger.Witness
	if _, err := fmt.Fscan(out, &at.URL, &at.Vkey); err != nil {
		t.Fatal(err)
	}
	cfg.Witnesses = []ledger.Witness{at}
	l := openLog(t, cfg)
	stop := run(t, l)
	add(t, l, 0, action.DurabilityWitnessed)
	stop()
	older := filepath.Join(t.TempDir(), "older")
	if err := os.CopyFS(older, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, cfg)
	stop = run(t, l)
	for i := range 30 {
		add(t, l, 1+i, action.DurabilityWitnessed)
	}
	stop()
	if r, err := ledger.Verify(t.Context(), ledger.Source{Dir: dir}, ledger.Options{Vkey: vkey, Witnesses: []string{at.Vkey}}); err != nil {
		t.Fatal(r, err)
	}
	cfg.Wal, cfg.Keys, cfg.Tiles = filepath.Join(older, "wal"), filepath.Join(older, "keys"), filepath.Join(older, "tiles")
	if _, err := ledger.Open(cfg); !errors.Is(err, ledger.ErrBehind) {
		t.Fatal("an older copy:", err)
	}
	cfg.Witnesses = nil // whoever restores it may well switch the question off
	fork := openLog(t, cfg)
	defer func() { _ = fork.Close() }()
	for i := range 40 {
		add(t, fork, 1000+i, "")
	}
	resp, err := http.Post(at.URL+"/add-checkpoint", "text/plain", strings.NewReader(ask(t, fork, 31)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusUnprocessableEntity {
		t.Fatal("our fork:", resp.Status)
	}
}
