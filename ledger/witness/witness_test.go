// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/ledger"
)

func logConfig(t testing.TB) (string, ledger.Config) {
	t.Helper()
	dir := t.TempDir()
	return dir, ledger.Config{Wal: filepath.Join(dir, "wal"), Keys: filepath.Join(dir, "keys"), Tiles: filepath.Join(dir, "tiles"),
		Origin: "test.example/log", SegmentBytes: 64 << 10, MinFreeBytes: 1, Publish: 20 * time.Millisecond, WitnessFor: 2 * time.Second}
}

func openLog(t testing.TB, cfg ledger.Config) *ledger.Log {
	t.Helper()
	l, err := ledger.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// run has a log at work until the returned function is called.
func run(t testing.TB, l *ledger.Log) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = l.Run(ctx) })
	return func() {
		cancel()
		wg.Wait()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

func record(n int, d action.Durability) *action.Record {
	return &action.Record{Kind: action.KindIntent, Action: fmt.Sprintf("a-%06d", n), Session: "s", Agent: "agent", User: "eve", Effect: action.EffectSpend,
		Verdict: action.Allow, Status: action.StatusIntended, Durability: d}
}

func add(t testing.TB, l *ledger.Log, n int, d action.Durability) {
	t.Helper()
	if _, err := l.Append(t.Context(), record(n, d)); err != nil {
		t.Fatal(err)
	}
}

// start serves a witness of the logs; on makes it answer or hang up.
func start(t testing.TB, vkey string) (w *Witness, at ledger.Witness, on func(bool)) {
	t.Helper()
	w, err := Open(Config{Dir: t.TempDir(), Logs: []string{vkey}})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	up := true
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		here := up
		mu.Unlock()
		if !here {
			panic(http.ErrAbortHandler)
		}
		w.Handler().ServeHTTP(rw, r)
	}))
	srv.Config.ErrorLog = nil
	t.Cleanup(func() { srv.Close(); _ = w.Close() })
	return w, ledger.Witness{URL: srv.URL, Vkey: w.Vkey()}, func(b bool) { mu.Lock(); defer mu.Unlock(); up = b }
}

// keyed makes the key of a log before it is opened with witnesses, and returns it.
func keyed(t testing.TB, cfg ledger.Config) string {
	t.Helper()
	l := openLog(t, cfg)
	defer func() { _ = l.Close() }()
	return l.Vkey()
}

func post(t testing.TB, w *Witness, body string) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	w.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/add-checkpoint", strings.NewReader(body)))
	return rec
}

// ask is a request out of a log's published tiles.
func ask(t testing.TB, l *ledger.Log, old uint64) string {
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

func TestWitnessRefusesWhatDoesNotContinue(t *testing.T) {
	dir, cfg := logConfig(t)
	vkey := keyed(t, cfg)
	fork := filepath.Join(t.TempDir(), "fork")
	if err := os.CopyFS(fork, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	l := openLog(t, cfg)
	defer func() { _ = l.Close() }()
	for i := range 5 {
		add(t, l, i, "")
	}
	state := t.TempDir()
	w, err := Open(Config{Dir: state, Logs: []string{vkey}, Name: "w.example"})
	if err != nil {
		t.Fatal(err)
	}
	first := ask(t, l, 0)
	if r := post(t, w, first); r.Code != 200 || !strings.HasPrefix(r.Body.String(), "— w.example ") {
		t.Fatal(r.Code, r.Body)
	}
	for i := range 4 {
		add(t, l, 10+i, "")
	}
	next := ask(t, l, 5)
	cfg2 := cfg
	cfg2.Wal, cfg2.Keys, cfg2.Tiles = filepath.Join(fork, "wal"), filepath.Join(fork, "keys"), filepath.Join(fork, "tiles")
	other := openLog(t, cfg2)
	defer func() { _ = other.Close() }()
	for i := range 5 {
		add(t, other, 100+i, "")
	}
	sameSize := ask(t, other, 5)
	for i := range 3 {
		add(t, other, 200+i, "")
	}
	forked := ask(t, other, 5)
	_, strangerCfg := logConfig(t)
	stranger := openLog(t, strangerCfg)
	defer func() { _ = stranger.Close() }()
	add(t, stranger, 1, "")
	strange := ask(t, stranger, 0)
	type row struct {
		name, body string
		status     int
		size       string
	}
	for _, try := range []row{
		{"not the form", "hello", 400, ""},
		{"no old size", strings.TrimPrefix(next, "old "), 400, ""},
		{"an old size with a leading zero", strings.Replace(next, "old 5", "old 05", 1), 400, ""},
		{"a proof line that is no hash", strings.Replace(next, "old 5\n", "old 5\nAAAA\n", 1), 400, ""},
		{"64 proof lines", "old 5\n" + strings.Repeat(base64.StdEncoding.EncodeToString(make([]byte, 32))+"\n", 64) + next[strings.Index(next, "\n\n")+1:], 400, ""},
		{"an old size above the new one", strings.Replace(first, "old 0", "old 6", 1), 400, ""},
		{"another log's origin", strings.ReplaceAll(next, "test.example/log", "else.example/log"), 404, ""},
		{"another log's key under our name", strange, 403, ""},
		{"the first once more from nothing", first, 409, "5\n"},
		{"from a size that it never saw", ask(t, l, 3), 409, "5\n"},
		{"another root at the same size", sameSize, 409, ""},
		{"a fork", forked, 422, ""},
		{"a proof that is missing", next[:6] + next[strings.Index(next, "\n\n")+1:], 422, ""},
	} {
		r := post(t, w, try.body)
		if r.Code != try.status || try.size != "" && (r.Body.String() != try.size || r.Header().Get("Content-Type") != "text/x.tlog.size") {
			t.Errorf("%s: %d %q, wanted %d %q", try.name, r.Code, r.Body, try.status, try.size)
		}
	}
	// It remembers, and refuses the same after a restart.
	if _, err := Open(Config{Dir: state, Logs: []string{vkey}}); err == nil {
		t.Fatal("two processes hold one witness")
	}
	key := w.Vkey()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if w, err = Open(Config{Dir: state, Logs: []string{vkey}}); err != nil || w.Vkey() != key {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	if r := post(t, w, forked); r.Code != 422 {
		t.Fatal(r.Code, r.Body)
	}
	if r := post(t, w, next); r.Code != 200 {
		t.Fatal(r.Code, r.Body)
	}
	if r := post(t, w, ask(t, l, 9)); r.Code != 200 {
		t.Fatal("the same checkpoint once more:", r.Code, r.Body)
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte("old 5\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\norigin\n6\nAAAA\n\n— a b\n"))
	f.Add([]byte("old 0\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRequest(b)
		if err == nil && (len(r.proof) > maxProof || !bytes.HasSuffix(b, r.note)) {
			t.Errorf("%q: %+v", b, r)
		}
	})
}

func TestWitnessedRecordsWaitForTheQuorum(t *testing.T) {
	dir, cfg := logConfig(t)
	vkey := keyed(t, cfg)
	_, one, _ := start(t, vkey)
	_, two, onTwo := start(t, vkey)
	_, stranger, _ := start(t, vkey)
	if l := openLog(t, cfg); true {
		if _, err := l.Append(t.Context(), record(900, action.DurabilityWitnessed)); !errors.Is(err, enforce.ErrDurability) || l.Checkpoint().Size != 0 {
			t.Fatal("nobody is there to witness it, and it must not enter:", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	cfg.Witnesses = []ledger.Witness{one, two}
	cfg.WitnessFor = 500 * time.Millisecond
	l := openLog(t, cfg)
	if _, err := l.Append(t.Context(), record(0, action.DurabilityWitnessed)); !errors.Is(err, enforce.ErrDurability) {
		t.Fatal("without Run nobody asks the witnesses:", err)
	}
	stop := run(t, l)
	var took []time.Duration
	for i := range 40 {
		from := time.Now()
		add(t, l, 1+i, action.DurabilityWitnessed)
		took = append(took, time.Since(from))
	}
	slices.Sort(took)
	t.Logf("witnessed by 2 of 2 over loopback, with tiles: p50 %v, p95 %v", took[20], took[38])
	web := httptest.NewServer(l.Handler())
	defer web.Close()
	resp, err := http.Get(web.URL + "/log/checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	published, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	// Another implementation of the format accepts the cosignatures.
	var verifiers []note.Verifier
	for _, w := range []ledger.Witness{one, two} {
		v, err := fnote.NewVerifierForCosignatureV1(w.Vkey)
		if err != nil {
			t.Fatal(err)
		}
		verifiers = append(verifiers, v)
	}
	opened, err := note.Open(published, note.VerifierList(append(verifiers, l.Verifier())...))
	if err != nil || len(opened.Sigs) != 3 {
		t.Fatalf("%v: %s", err, published)
	}
	if cp, err := ledger.ParseCheckpoint(published, l.Verifier()); err != nil || cp.Size != 41 {
		t.Fatal(cp.Size, err)
	}

	// One of two is not enough, and no action goes on meanwhile; local records do.
	onTwo(false)
	if _, err := l.Append(t.Context(), record(100, action.DurabilityWitnessed)); !errors.Is(err, enforce.ErrDurability) {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), record(100, action.DurabilityWitnessed)); !errors.Is(err, enforce.ErrDurability) {
		t.Fatal("the second try is no way around:", err)
	}
	add(t, l, 101, "")
	if s := l.Stats(); s.Witnesses[1].Error == "" || s.Witnesses[0].Error != "" || s.Witnessed != 41 || s.Quorum != 2 {
		t.Fatalf("%+v", s)
	}
	onTwo(true)
	add(t, l, 102, action.DurabilityWitnessed)
	if _, err := l.Append(t.Context(), record(100, action.DurabilityWitnessed)); !errors.Is(err, ledger.ErrDuplicate) {
		t.Fatal(err)
	}
	add(t, l, 103, "")
	file := filepath.Join(t.TempDir(), "bundle.tar")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Export(t.Context(), f, ledger.ExportOptions{}), f.Close()); err != nil {
		t.Fatal(err)
	}
	stop()
	for name, src := range map[string]ledger.Source{"directory": {Dir: dir}, "url": {URL: web.URL + "/log"}, "bundle": {File: file}} {
		opt := ledger.Options{Vkey: vkey, Witnesses: []string{one.Vkey, two.Vkey}}
		r, err := ledger.Verify(t.Context(), src, opt)
		if err != nil || len(r.Witnessed.By) != 2 || r.Witnessed.Size < 44 || !strings.Contains(r.Text(), "witnessed up to") {
			t.Errorf("%s: %v %+v", name, err, r)
		}
		opt.Witnesses = append(opt.Witnesses, stranger.Vkey)
		if r, err := ledger.Verify(t.Context(), src, opt); !errors.Is(err, ledger.ErrVerification) {
			t.Errorf("%s: 2 of 3 pass for 3: %v %+v", name, err, r)
		}
		opt.Quorum = 2
		if r, err := ledger.Verify(t.Context(), src, opt); err != nil {
			t.Errorf("%s: %v %+v", name, err, r)
		}
		// The same key given twice is one witness.
		if r, err := ledger.Verify(t.Context(), src, ledger.Options{Vkey: vkey, Witnesses: []string{one.Vkey, one.Vkey}}); !errors.Is(err, ledger.ErrVerification) {
			t.Errorf("%s: %v %+v", name, err, r)
		}
	}
}

// TestNewEpochIsAnotherLogToTheWitness loses the end of a witnessed log and goes on in a new epoch with the
// same witness.
func TestNewEpochIsAnotherLogToTheWitness(t *testing.T) {
	dir, cfg := logConfig(t)
	vkey := keyed(t, cfg)
	w, at, _ := start(t, vkey)
	cfg.Witnesses = []ledger.Witness{at}
	l := openLog(t, cfg)
	stop := run(t, l)
	add(t, l, 0, action.DurabilityWitnessed)
	backup := filepath.Join(t.TempDir(), "backup")
	if _, err := l.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		add(t, l, 1+i, action.DurabilityWitnessed)
	}
	cosigned, err := l.Witnessed()
	if err != nil || cosigned.Size != 6 {
		t.Fatal(cosigned.Size, err)
	}
	stop()
	// Everything is lost but the backup and what the witness remembers.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.Open(cfg); !errors.Is(err, ledger.ErrBehind) {
		t.Fatal("the witness is not asked:", err)
	}
	if _, err := ledger.Recover(cfg, "alice"); err == nil {
		t.Fatal("nothing is known to be lost, and yet")
	}
	for _, who := range []string{"alice", "bob"} {
		if _, err := ledger.Recover(cfg, who, cosigned.Note); err != nil {
			t.Fatal(err)
		}
	}
	key, err := os.ReadFile(filepath.Join(cfg.Keys, "log.vkey"))
	if err != nil {
		t.Fatal(err)
	}
	next := &Witness{cfg: Config{Dir: w.cfg.Dir, Logs: []string{vkey, string(key)}, Now: time.Now}, logs: map[string]*state{}}
	if err := next.open(); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(next.Handler())
	defer srv.Close()
	cfg.Witnesses[0].URL = srv.URL
	l = openLog(t, cfg)
	stop = run(t, l)
	add(t, l, 20, action.DurabilityWitnessed)
	stop()
	r, err := ledger.Verify(t.Context(), ledger.Source{Dir: dir}, ledger.Options{Vkey: vkey, Witnesses: []string{at.Vkey}, Old: [][]byte{cosigned.Note}})
	if err != nil || len(r.Gaps) != 1 || r.Gaps[0].Known.Size != 6 || r.Witnessed.Size != 3 {
		t.Fatalf("%v %+v", err, r)
	}
}

func TestQuorumPassesOneDeadWitness(t *testing.T) {
	_, cfg := logConfig(t)
	vkey := keyed(t, cfg)
	_, one, _ := start(t, vkey)
	_, two, onTwo := start(t, vkey)
	onTwo(false)
	cfg.Witnesses, cfg.Quorum = []ledger.Witness{two, one}, 1
	l := openLog(t, cfg)
	defer run(t, l)()
	for i := range 10 {
		add(t, l, i, action.DurabilityWitnessed)
	}
}

// TestRestoredCopiesAreRefused puts an older copy of everything back, head cell included: only a witness
// can know.
func TestRestoredCopiesAreRefused(t *testing.T) {
	dir, cfg := logConfig(t)
	vkey := keyed(t, cfg)
	_, at, on := start(t, vkey)
	cfg.Witnesses = []ledger.Witness{at}
	l := openLog(t, cfg)
	stop := run(t, l)
	add(t, l, 0, action.DurabilityWitnessed)
	stop()
	older, empty := filepath.Join(t.TempDir(), "older"), filepath.Join(t.TempDir(), "empty")
	if err := os.CopyFS(older, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(empty, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{"wal", "tiles", "keys/head"} {
		if err := os.RemoveAll(filepath.Join(empty, gone)); err != nil {
			t.Fatal(err)
		}
	}
	l = openLog(t, cfg)
	stop = run(t, l)
	for i := range 4 {
		add(t, l, 1+i, action.DurabilityWitnessed)
	}
	stop()
	in := func(dir string) ledger.Config {
		c := cfg
		c.Wal, c.Keys, c.Tiles = filepath.Join(dir, "wal"), filepath.Join(dir, "keys"), filepath.Join(dir, "tiles")
		return c
	}
	for name, d := range map[string]string{"an older copy": older, "an emptied directory with the keys": empty} {
		if _, err := ledger.Open(in(d)); !errors.Is(err, ledger.ErrBehind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The witness cannot be reached at the start: the copy opens, and stops once the witness answers.
	on(false)
	fork := openLog(t, in(older))
	add(t, fork, 50, "")
	on(true)
	stop = run(t, fork)
	deadline := time.Now().Add(20 * time.Second)
	for fork.Stats().Stopped == "" && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	_, err := fork.Append(t.Context(), record(51, ""))
	if !errors.Is(err, ledger.ErrStopped) || !errors.Is(err, ledger.ErrBehind) {
		t.Fatal(err)
	}
	stop()
	// The log itself goes on.
	l = openLog(t, cfg)
	defer run(t, l)()
	add(t, l, 10, action.DurabilityWitnessed)
}
