// SPDX-License-Identifier: Apache-2.0

// Package witness has a witness of another make, that of transparency-dev, watch our log.
package witness

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/witness/persistence/inmemory"
	"github.com/transparency-dev/witness/witness"
	"golang.org/x/mod/sumdb/note"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
)

// serve runs the other witness, which knows one log.
func serve(t *testing.T, log note.Verifier) ledger.Witness {
	t.Helper()
	private, public, err := note.GenerateKey(rand.Reader, "witness.example")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := fnote.NewSignerForCosignatureV1(private)
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := fnote.VKeyToCosignatureV1(public)
	if err != nil {
		t.Fatal(err)
	}
	w, err := witness.New(t.Context(), witness.Opts{Persistence: inmemory.New(), Signers: []note.Signer{signer},
		VerifierForLog: func(_ context.Context, origin string) (note.Verifier, bool, error) {
			return log, origin == log.Name(), nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", witness.NewHTTPHandler(w).AddCheckpoint)
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return ledger.Witness{URL: srv.URL, Vkey: vkey}
}

// work has a log do something and closes it.
func work(t *testing.T, cfg ledger.Config, do func(l *ledger.Log)) {
	t.Helper()
	l, err := ledger.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = l.Run(ctx) })
	do(l)
	cancel()
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func add(t *testing.T, l *ledger.Log, n int, d action.Durability) {
	t.Helper()
	_, err := l.Append(t.Context(), &action.Record{Kind: action.KindIntent, Action: fmt.Sprintf("a-%06d", n), Session: "s", Agent: "agent", User: "eve",
		Effect: action.EffectSpend, Verdict: action.Allow, Status: action.StatusIntended, Durability: d})
	if err != nil {
		t.Fatal(err)
	}
}

// TestIndependentWitnessAcceptsAndRefuses has it cosign records that wait for it, batch after batch. Then an older copy of
// the log is put back, which goes on by itself: the witness holds what speaks against it, and signs nothing of it.
func TestIndependentWitnessAcceptsAndRefuses(t *testing.T) {
	dir := t.TempDir()
	cfg := ledger.Config{Wal: filepath.Join(dir, "wal"), Keys: filepath.Join(dir, "keys"), Tiles: filepath.Join(dir, "tiles"),
		Origin: "test.example/log", SegmentBytes: 64 << 10, MinFreeBytes: 1, Publish: 20 * time.Millisecond, WitnessFor: 10 * time.Second}
	var vkey string
	work(t, cfg, func(l *ledger.Log) { vkey = l.Vkey() })
	log, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	at := serve(t, log)
	cfg.Witnesses = []ledger.Witness{at}
	work(t, cfg, func(l *ledger.Log) { add(t, l, 0, action.DurabilityWitnessed) })
	older := filepath.Join(t.TempDir(), "older")
	if err := os.CopyFS(older, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	work(t, cfg, func(l *ledger.Log) {
		for i := range 30 {
			add(t, l, 1+i, action.DurabilityWitnessed)
		}
	})
	r, err := ledger.Verify(t.Context(), ledger.Source{Dir: dir}, ledger.Options{Vkey: vkey, Witnesses: []string{at.Vkey}})
	if err != nil || r.Witnessed.Size < 31 {
		t.Fatal(r, err)
	}
	cfg.Wal, cfg.Keys, cfg.Tiles = filepath.Join(older, "wal"), filepath.Join(older, "keys"), filepath.Join(older, "tiles")
	if _, err := ledger.Open(cfg); !errors.Is(err, ledger.ErrBehind) {
		t.Fatal("an older copy:", err)
	}
	cfg.Witnesses = nil // whoever restores it may well switch the question off
	work(t, cfg, func(l *ledger.Log) {
		for i := range 40 {
			add(t, l, 1000+i, "")
		}
		resp, err := http.Post(at.URL+"/add-checkpoint", "text/plain", strings.NewReader(ask(t, l, 31)))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode != http.StatusUnprocessableEntity {
			t.Error("our fork:", resp.Status)
		}
	})
}

// ask is a request out of a log's published tiles.
func ask(t *testing.T, l *ledger.Log, old uint64) string {
	t.Helper()
	if err := l.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	cp, proof, err := l.Consistency(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "old %d\n", old)
	for _, h := range proof {
		b.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
	}
	return b.String() + "\n" + string(cp.Note)
}
