// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/sallyport/sallyport/enforce"
)

// Witness is a party that cosigns our checkpoints: C2SP tlog-witness.
type Witness struct {
	URL  string // submission prefix
	Vkey string
}

// fileWitnessed, in the folder of tiles, is the newest checkpoint that a quorum cosigned.
const fileWitnessed = "witnessed"

// openFor bounds how long Open waits for witnesses.
const openFor = 3 * time.Second

// witnesses is the client side of witnessing.
type witnesses struct {
	list   []*witness // fixed by Open
	kick   chan struct{}
	rounds sync.WaitGroup

	mu      sync.Mutex
	cp      Checkpoint        // of the round; guarded by mu
	lines   map[string]string // cosignatures of cp by witness; guarded by mu
	covered uint64            // leaves under the newest checkpoint with a quorum; guarded by mu
	atMs    int64             // when that was reached; guarded by mu
	changed chan struct{}     // closed and replaced when covered grows; guarded by mu
	problem string            // why the file could not be written; guarded by mu
}

type witness struct {
	url  string
	key  *cosignVerifier
	busy atomic.Bool // a submission is under way

	mu   sync.Mutex
	size uint64 // newest that it has cosigned as far as we know; guarded by mu
	met  bool   // it has agreed with this log since Open; guarded by mu
	err  string // of the last submission; guarded by mu
	atMs int64  // of the last success; guarded by mu
}

// WitnessStatus is how a witness does.
type WitnessStatus struct {
	Name   string `json:"name"`
	URL    string `json:"url"`
	Size   uint64 `json:"size"`    // newest checkpoint that it cosigned
	TimeMs int64  `json:"time_ms"` // when; 0 if not since the start
	Error  string `json:"error"`   // of the last try; "" if it succeeded
}

// openWitnesses checks the configuration.
func (c *Config) openWitnesses() (*witnesses, error) {
	w := &witnesses{kick: make(chan struct{}, 1), changed: make(chan struct{}), lines: map[string]string{}}
	for _, given := range c.Witnesses {
		key, err := readWitnessKey(given.Vkey)
		if err != nil {
			return nil, err
		}
		u, err := url.Parse(given.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("ledger: config: witness %q: %q is no address", key.name, clip(given.URL))
		}
		if slices.ContainsFunc(w.list, func(o *witness) bool { return o.key.name == key.name || bytes.Equal(o.key.key, key.key) }) {
			return nil, fmt.Errorf("ledger: config: witness %q stands twice", key.name)
		}
		w.list = append(w.list, &witness{url: strings.TrimSuffix(given.URL, "/"), key: key})
	}
	if len(w.list) > 0 && c.Tiles == "" && !c.ReadOnly {
		return nil, errors.New("ledger: config: witnesses need the tiles")
	}
	if c.Quorum < 0 || c.Quorum > len(w.list) {
		return nil, fmt.Errorf("ledger: config: a quorum of %d among %d witnesses", c.Quorum, len(w.list))
	}
	or(&c.Quorum, len(w.list))
	or(&c.WitnessFor, 5*time.Second)
	if c.Client == nil {
		c.Client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return w, nil
}

// errElsewhere means that a witness knows more of this log than we do, or other things.
var errElsewhere = fmt.Errorf("%w, as a witness knows it", ErrBehind)

// askWitnesses holds the log against its witnesses before anything is signed. One that does not answer
// is asked again by Run, and stops the log then if it disagrees.
func (l *Log) askWitnesses(cp Checkpoint) error {
	if l.cfg.ReadOnly || len(l.wit.list) == 0 {
		return nil
	}
	var err error
	if cp.Origin == "" {
		if cp, err = signCheckpoint(l.keys.signer, 0, (&tree{}).root()); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), openFor)
	defer cancel()
	errs := make([]error, len(l.wit.list))
	var wg sync.WaitGroup
	for i, w := range l.wit.list {
		wg.Go(func() {
			_, size, err := l.post(ctx, w, cp.Size, nil, cp)
			w.mu.Lock()
			defer w.mu.Unlock()
			switch {
			case err == nil:
				w.size, w.met, w.atMs = cp.Size, true, l.cfg.Now().UnixMilli()
			case errors.Is(err, errOldSize) && size < cp.Size:
				w.size = size // whether the log continues that is seen at the first submission
			case errors.Is(err, errOldSize) && size == cp.Size || errors.Is(err, errFork):
				errs[i] = fmt.Errorf("%w: witness %q has another root at %d leaves: a fork", errElsewhere, w.key.name, cp.Size)
			case errors.Is(err, errOldSize):
				errs[i] = fmt.Errorf("%w: witness %q has %d leaves, the log %d", errElsewhere, w.key.name, size, cp.Size)
			default:
				w.err = err.Error()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

var (
	errOldSize = errors.New("another size was cosigned")
	errFork    = errors.New("the witness holds a checkpoint that this one does not continue")
)

// post submits cp and returns the cosignature line. With errOldSize comes the size that the witness says.
func (l *Log) post(ctx context.Context, w *witness, old uint64, proof []hash, cp Checkpoint) (string, uint64, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "old %d\n", old)
	for _, h := range proof {
		b.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
	}
	b.WriteByte('\n')
	b.Write(cp.Note)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/add-checkpoint", &b)
	if err != nil {
		return "", 0, err
	}
	resp, err := l.cfg.Client.Do(r)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return "", 0, err
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		cos := Cosignatures(append(slices.Clone(cp.Note), body...), []note.Verifier{w.key})
		if len(cos) == 0 {
			return "", 0, errors.New("the answer holds no cosignature by its key")
		}
		return cos[0].line, 0, nil
	case resp.StatusCode == http.StatusConflict && resp.Header.Get("Content-Type") == "text/x.tlog.size":
		size, err := strconv.ParseUint(strings.TrimSuffix(string(body), "\n"), 10, 63)
		if err != nil {
			return "", 0, errors.New("status 409 without a size")
		}
		return "", size, errOldSize
	case resp.StatusCode == http.StatusConflict || resp.StatusCode == http.StatusUnprocessableEntity:
		return "", 0, errFork
	}
	return "", 0, fmt.Errorf("status %d", resp.StatusCode)
}

// submit brings a witness to cp and returns its cosignature.
func (l *Log) submit(ctx context.Context, w *witness, cp Checkpoint, n nodes) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.WitnessFor)
	defer cancel()
	w.mu.Lock()
	old := w.size
	w.mu.Unlock()
	for range 3 {
		if old > cp.Size {
			return "", fmt.Errorf("%w: witness %q has %d leaves, the log %d", errElsewhere, w.key.name, old, l.Checkpoint().Size)
		}
		proof, err := n.consistency(old, cp.Size)
		if err != nil {
			return "", err
		}
		line, size, err := l.post(ctx, w, old, proof, cp)
		switch {
		case err == nil:
			return line, nil
		case errors.Is(err, errOldSize) && size != old:
			old = size
		case errors.Is(err, errFork) || errors.Is(err, errOldSize):
			return "", fmt.Errorf("%w: witness %q: from %d to %d: %w", errElsewhere, w.key.name, old, cp.Size, errFork)
		default:
			return "", err
		}
	}
	return "", fmt.Errorf("witness %q keeps changing its size", w.key.name)
}

// Witness submits the newest checkpoint to every witness that is not busy with an earlier one, and
// returns when a quorum has cosigned it, all have answered, or Config.WitnessFor is over. Run calls it at
// every Config.Publish, and at once for a record that waits.
func (l *Log) Witness(ctx context.Context) error {
	if len(l.wit.list) == 0 {
		return errors.New("ledger: no witness is configured")
	}
	if err := l.Publish(ctx); err != nil {
		return err
	}
	cp, n, err := l.published(ctx, 0)
	if err != nil {
		return err
	}
	l.wit.mu.Lock()
	if cp.Size == 0 || l.wit.covered == cp.Size {
		l.wit.mu.Unlock()
		return nil
	}
	l.wit.cp, l.wit.lines = cp, map[string]string{}
	changed := l.wit.changed
	l.wit.mu.Unlock()
	all := make(chan struct{})
	var round sync.WaitGroup
	for _, w := range l.wit.list {
		if !w.busy.CompareAndSwap(false, true) {
			continue
		}
		round.Add(1)
		l.wit.rounds.Go(func() {
			defer round.Done()
			defer w.busy.Store(false)
			line, err := l.submit(ctx, w, cp, n)
			l.heard(w, cp, line, err)
		})
	}
	l.wit.rounds.Go(func() { round.Wait(); close(all) })
	select {
	case <-changed:
	case <-all:
	}
	return nil
}

// heard takes a witness's answer.
func (l *Log) heard(w *witness, cp Checkpoint, line string, err error) {
	w.mu.Lock()
	met := w.met
	if err == nil {
		w.size, w.met, w.err, w.atMs = max(w.size, cp.Size), true, "", l.cfg.Now().UnixMilli()
	} else {
		w.err = err.Error()
	}
	w.mu.Unlock()
	if err != nil {
		if errors.Is(err, errElsewhere) && !met {
			// Open could not ask it. Once it has agreed with us, its word alone stops nothing.
			l.stop(err)
		}
		return
	}
	l.wit.mu.Lock()
	defer l.wit.mu.Unlock()
	if l.wit.cp.Size != cp.Size {
		return
	}
	l.wit.lines[w.key.name] = line
	if len(l.wit.lines) < l.cfg.Quorum {
		return
	}
	signed := slices.Clone(cp.Note)
	for _, name := range slices.Sorted(maps.Keys(l.wit.lines)) {
		signed = append(signed, l.wit.lines[name]...)
	}
	if err := writeFile(l.cfg.disk, filepath.Join(l.cfg.Tiles, fileWitnessed), signed, true); err != nil {
		l.wit.problem = err.Error()
		return // a cosignature that we cannot show is none
	}
	l.wit.problem = ""
	if cp.Size > l.wit.covered {
		l.wit.covered, l.wit.atMs = cp.Size, l.cfg.Now().UnixMilli()
		close(l.wit.changed)
		l.wit.changed = make(chan struct{})
	}
}

// stop lets nothing more in.
func (l *Log) stop(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	l.err = fmt.Errorf("%w: %w", ErrStopped, err)
	close(l.changed)
	l.changed = make(chan struct{})
	l.notifyDrained()
}

// awaitWitnesses returns when a quorum has cosigned a checkpoint that covers index, or
// enforce.ErrDurability after Config.WitnessFor.
func (l *Log) awaitWitnesses(ctx context.Context, index uint64) error {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.WitnessFor)
	defer cancel()
	for {
		l.wit.mu.Lock()
		covered, changed := l.wit.covered, l.wit.changed
		l.wit.mu.Unlock()
		if covered > index {
			return nil
		}
		wake(l.wit.kick)
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("ledger: entry %d is recorded, but %d of %d witnesses did not cosign it in time: %w", index, l.cfg.Quorum, len(l.wit.list), enforce.ErrDurability)
		}
	}
}

// runWitness submits at intervals while there is something new.
func (l *Log) runWitness(ctx context.Context) {
	if len(l.wit.list) == 0 {
		return
	}
	defer l.wit.rounds.Wait()
	tick := time.NewTicker(l.cfg.Publish)
	defer tick.Stop()
	for {
		_ = l.Witness(ctx) // Stats shows what each witness said
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-l.wit.kick:
		}
	}
}

// Witnessed returns the newest checkpoint that a quorum cosigned, with its cosignatures, or ErrNotFound.
func (l *Log) Witnessed() (Checkpoint, error) {
	b, err := readFile(l.cfg.disk, filepath.Join(l.cfg.Tiles, fileWitnessed), 1<<20)
	if err != nil || l.cfg.Tiles == "" {
		return Checkpoint{}, fmt.Errorf("%w: no witnessed checkpoint", ErrNotFound)
	}
	return ParseCheckpoint(b, l.keys.verifier)
}

// statusOfWitnesses fills the witnesses' part of Stats.
func (l *Log) statusOfWitnesses(s *Stats) {
	l.wit.mu.Lock()
	s.Quorum, s.Witnessed, s.WitnessedMs = l.cfg.Quorum, l.wit.covered, l.wit.atMs
	if l.wit.problem != "" {
		s.Publish = l.wit.problem
	}
	l.wit.mu.Unlock()
	s.Witnesses = []WitnessStatus{}
	for _, w := range l.wit.list {
		w.mu.Lock()
		s.Witnesses = append(s.Witnesses, WitnessStatus{w.key.name, w.url, w.size, w.atMs, w.err})
		w.mu.Unlock()
	}
}
