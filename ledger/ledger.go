// SPDX-License-Identifier: Apache-2.0

// Package ledger is the append-only, tamper-evident record of every action.
//
// # Failure model
//
// Append returns only after the record, the Merkle root over it and the signed checkpoint of that root
// are on stable storage, in one fdatasync. A crash loses no acknowledged record. A failed write or
// fsync stops the log for ever: the pages may be gone from memory, so trying again would prove nothing;
// Open reads what is really there. After any error of Append the record may or may not be in the log;
// appending it again returns ErrDuplicate if it is.
//
// # What is trusted
//
// The signing key and the head cell are trusted; witnesses, where there are any, are trusted to remember. Segments and tiles are not: whoever can write them can
// destroy the log or withhold its end, and each is found by Open or Verify, the loss of the end by the
// head cell or by anybody's older checkpoint. Whoever holds the signing key can rewrite the whole log;
// only checkpoints that others keep speak against him: witnesses, who cosign only what continues what they
// saw, time stamping authorities, and whoever stored one. Witnesses that Open can reach are asked before
// anything is signed.
//
// # Erasure and loss
//
// Payload parts are sealed with a key of their (owner, class). Erase destroys keys and nothing else, so
// every proof still holds. A log that lost its end goes on, by the word of two people, in a new epoch under
// a new origin; Verify reports the gap for ever.
//
// # Formats
//
// Each segment, frame, leaf and key file begins with a format number. An unknown one stops: ErrFormat.
package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"golang.org/x/mod/sumdb/note"
)

// Config says where a log lives. The zero value of every field but the required ones is useful.
type Config struct {
	Wal   string // folder of the segments; required
	Keys  string // folder of the keys; required
	Tiles string // folder of the published tiles; "" publishes none
	// Anchors is the folder of what third parties said of checkpoints; "" allows no anchoring.
	Anchors string
	// Head is a file outside Wal that remembers the newest checkpoint, against restored older copies; ""
	// means "head" in Keys. It guards best where it is not copied and restored together with Wal.
	Head string
	// NewHead accepts that Head is missing though the log is not empty: the operator says so, once.
	NewHead bool
	// ReadOnly opens the log for reading, proving and exporting beside its owner or without one: nothing is
	// changed, an interrupted write at the end is passed over, Append is ErrClosed, and 32 bytes are kept
	// for each leaf. What the owner appends later is not seen.
	ReadOnly bool

	// Snapshot is a file that remembers what a start needs of the log's past, so that the next one reads the
	// end only; "" means that every start reads the whole log. It may be lost or removed at any time.
	Snapshot      string
	SnapshotEvery int // records between two snapshots; 0 means 100,000

	// Ordered is told of every record when it gets its index, in that order and under the log's lock: it must
	// return at once, and must not call the log. The record may yet fail to become durable; then the log stops.
	Ordered func(r *action.Record, index uint64)

	Tenant string // "" means "default"; one log per tenant
	Origin string // name of the log for ever; "" means the one it has, or a random one for a new log

	SegmentBytes int64         // of a preallocated segment; 0 means 64 MiB, at least 64 KiB; the first has at most 8 MiB
	ReserveBytes int64         // kept for records whose Kind is Reserved; 0 means a quarter of a segment
	MinFreeBytes int64         // no new segment is made below it; 0 means two segments
	QueueBytes   int64         // bound of what waits for the disk in memory; 0 means 64 MiB
	RecordBytes  int64         // largest payload of one record; 0 means 32 MiB
	UniqueKeys   int           // (action, round, kind) remembered at least; 0 means 1<<20
	AgentBytes   int64         // record bytes of one agent per minute, Reserved kinds excepted; 0 means no quota
	Publish      time.Duration // interval of tiles; 0 means 200 ms

	Witnesses  []Witness     // that cosign the published checkpoints; they need Tiles
	Quorum     int           // how many of them a witnessed record waits for; 0 means all
	WitnessFor time.Duration // how long it waits, and a submission takes at most; 0 means 5 s
	Client     *http.Client  // for witnesses; nil means a plain one that follows no redirects

	// Shards gives each (owner, class) a key for each month, which Retain needs.
	Shards bool
	// Wrap keeps the tenant key, which wraps the keys of payloads in Keys. Nil lets them lie plain; once they
	// are wrapped it is required, but for reading, where wrapped parts stay sealed without it.
	Wrap Wrapper

	Now  func() time.Time // nil means time.Now
	Rand io.Reader        // nil means crypto/rand.Reader

	disk disk // nil means the real one

	recovering bool     // open though the log is behind
	known      [][]byte // checkpoints that a recovery has beside the log's own
}

// The errors that callers act on.
var (
	// ErrStopped means that a write or fsync failed: nothing more enters until the log is opened again.
	ErrStopped = errors.New("ledger: the log has stopped")
	// ErrClosed means that the log was closed.
	ErrClosed = errors.New("ledger: the log is closed")
	// ErrDuplicate means that (action, round, kind) is in the log; the receipt is the first one's.
	ErrDuplicate = errors.New("ledger: this record of the action exists")
	// ErrFull means that the disk has no room for a record of this kind.
	ErrFull = errors.New("ledger: the disk is full")
	// ErrQuota means that the agent has used its record bytes of this minute.
	ErrQuota = errors.New("ledger: the agent's quota of record bytes is used up")
	// ErrCorrupt means that what stands in the log is not what was written.
	ErrCorrupt = errors.New("ledger: the log is corrupt")
	// ErrBehind means that the log is older than the newest checkpoint known of it, or another log.
	ErrBehind = errors.New("ledger: the log is behind its newest checkpoint")
	// ErrFormat means a format that this version does not know.
	ErrFormat = errors.New("ledger: unknown format")
	// ErrErased means that the key of a part was destroyed.
	ErrErased = errors.New("ledger: erased")
	// ErrTwo means that a part is opened in the word of two people only.
	ErrTwo = errors.New("ledger: reasoning is opened by two people")
	// ErrNotFound means that there is no such entry or part.
	ErrNotFound = errors.New("ledger: no such entry")
	// ErrVerification means that a proof or a log does not hold.
	ErrVerification = errors.New("ledger: verification failed")
	// ErrLocked means that another process has the log open.
	ErrLocked = errors.New("ledger: another process has the log open")
)

// Log is an open log with its one writer. Its methods are safe for concurrent use.
type Log struct {
	cfg  Config
	keys *keyring
	lock file
	head *headCell

	growing sync.Mutex // held while a segment is made; before mu

	mu       sync.Mutex
	err      error             // why nothing more is accepted; guarded by mu
	queue    []*batch          // not yet taken by a leader; guarded by mu
	leading  bool              // somebody commits, or has been told to; guarded by mu
	next     uint64            // index of the next leaf; guarded by mu
	queued   int64             // bytes in memory that wait for the disk; guarded by mu
	drained  chan struct{}     // closed and replaced when queued falls; guarded by mu
	tail     *segment          // that new records are planned into; guarded by mu
	spare    *segment          // made ahead; nil if none; guarded by mu
	full     time.Time         // when making a segment last failed; guarded by mu
	segments []segmentSpan     // of committed data; guarded by mu
	marks    []mark            // positions of some leaves; guarded by mu
	size     uint64            // committed leaves; guarded by mu
	newest   Checkpoint        // guarded by mu
	newestAt time.Time         // guarded by mu
	changed  chan struct{}     // closed and replaced at each commit; guarded by mu
	unique   uniqueSet         // guarded by mu
	usual    int               // records of the last batch; guarded by mu
	quota    quotas            // guarded by mu
	stats    counters          // guarded by mu
	shelves  map[string]*shelf // of committed leaves; guarded by mu
	edge     tree              // under newest; guarded by mu
	at, last place             // where the last batch ends and begins; guarded by mu
	unread   *snapshot         // what the start did not read and Run has still to; guarded by mu once Run is at work
	kick     chan struct{}     // tells Run that a lazy record waits; never closed
	needs    chan struct{}     // tells Run that a spare is wanted; never closed
	running  atomic.Bool       // Run is at work

	behind  []Checkpoint // newer heads than the log's, where recovering
	leaves  []hash       // of a log opened for reading
	tree    tree         // owned by the leader
	scratch []byte       // owned by the leader

	sessions sync.Map // string -> *session
	high     atomic.Int64

	tiles publisher
	wit   *witnesses
}

var (
	_ enforce.Recorder = (*Log)(nil)
	_ enforce.Payloads = (*Log)(nil)
)

// session is the end of a session's chain.
type session struct {
	mu   sync.Mutex // held while a leaf of the session is made and queued; before Log.mu
	seq  int64
	prev hash // of leaf seq

	durable int64 // the last leaf that is; guarded by Log.mu
	end     hash  // of leaf durable; guarded by Log.mu
}

// before is what the next leaf says of the one before it.
func (s *session) before() string {
	if s.seq == 0 {
		return ""
	}
	return digestText(&s.prev)
}

// Open opens the log, making it if there is none, and recovers from a crash. It errs with ErrCorrupt,
// ErrBehind, ErrFormat or ErrLocked where signing on would hide something. It reads the log once, from
// its snapshot on if there is one that fits, and starts no goroutine: Run does the work behind, and reads
// what the snapshot stood for.
//
// Memory after Open is about 200 bytes for each session ever recorded, 2 bytes for each leaf, and 60
// bytes for each remembered (action, round, kind).
func Open(cfg Config) (*Log, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	if !cfg.ReadOnly {
		if err := cfg.disk.MkdirAll(cfg.Wal); err != nil {
			return nil, fmt.Errorf("ledger: open: %w", err)
		}
	}
	l := &Log{
		cfg:     cfg,
		drained: make(chan struct{}), changed: make(chan struct{}),
		kick: make(chan struct{}, 1), needs: make(chan struct{}, 1),
		unique: newUniqueSet(cfg.UniqueKeys), quota: newQuotas(cfg.AgentBytes), shelves: map[string]*shelf{},
	}
	var err error
	if l.wit, err = l.cfg.openWitnesses(); err != nil {
		return nil, err
	}
	if err := l.open(); err != nil {
		return nil, errors.Join(err, l.release())
	}
	return l, nil
}

func (l *Log) open() error {
	if l.cfg.ReadOnly {
		return l.openReadOnly()
	}
	lock, err := l.cfg.disk.Open(filepath.Join(l.cfg.Wal, "lock"), openCreate)
	if err != nil {
		return fmt.Errorf("ledger: open: %w", err)
	}
	l.lock = lock
	if err := lock.Lock(); err != nil {
		return fmt.Errorf("%w: %q", ErrLocked, l.cfg.Wal)
	}
	names, err := listSegments(l.cfg.disk, l.cfg.Wal)
	if err != nil {
		return err
	}
	l.keys, err = openKeyring(l.cfg.disk, l.cfg.Keys, l.cfg.Tenant, l.cfg.Origin, l.cfg.Rand, len(names) == 0)
	if err != nil {
		return err
	}
	if err := l.keys.unlock(l.cfg.Wrap); err != nil {
		return err
	}
	if l.cfg.Shards {
		l.keys.month = func() string { return shard(l.Now()) }
	}
	if l.stats.fsync, err = measureSync(l.cfg.disk, l.cfg.Wal); err != nil {
		return fmt.Errorf("ledger: open: fdatasync: %w", err)
	}
	return l.recover(names)
}

func (l *Log) openReadOnly() error {
	l.err = ErrClosed
	names, err := listSegments(l.cfg.disk, l.cfg.Wal)
	if err != nil {
		return err
	}
	if l.keys, err = openReadKeys(l.cfg.disk, l.cfg.Keys, l.cfg.Tenant); err != nil {
		return err
	}
	if err := l.keys.unlockToRead(l.cfg.Wrap); err != nil {
		return err
	}
	return l.recover(names)
}

func (c *Config) complete() error {
	if c.Wal == "" || c.Keys == "" {
		return errors.New("ledger: config: Wal and Keys are required")
	}
	if c.Head == "" {
		c.Head = filepath.Join(c.Keys, fileHead)
	}
	if filepath.Dir(filepath.Clean(c.Head)) == filepath.Clean(c.Wal) {
		return errors.New("ledger: config: Head must not lie in Wal")
	}
	if len(c.Origin) > maxOriginBytes {
		return fmt.Errorf("ledger: config: origin %q is longer than %d bytes", clip(c.Origin), maxOriginBytes)
	}
	or(&c.Tenant, "default")
	or(&c.SegmentBytes, 64<<20)
	c.SegmentBytes = max(c.SegmentBytes, 64<<10)
	or(&c.ReserveBytes, c.SegmentBytes/4)
	c.ReserveBytes = min(c.ReserveBytes, c.SegmentBytes/2)
	or(&c.MinFreeBytes, 2*c.SegmentBytes)
	or(&c.QueueBytes, 64<<20)
	or(&c.RecordBytes, 32<<20)
	or(&c.UniqueKeys, 1<<20)
	or(&c.SnapshotEvery, 100_000)
	or(&c.Publish, 200*time.Millisecond)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.disk == nil {
		c.disk = realDisk{}
	}
	return nil
}

func or[T comparable](p *T, value T) {
	if *p == *new(T) {
		*p = value
	}
}

// Close commits what is queued, refuses more, and releases the log. Run must have returned.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.err == nil {
		l.err = ErrClosed
	}
	close(l.changed) // Follow ends, now or once it has seen what is still queued
	l.changed = make(chan struct{})
	l.notifyDrained()
	for l.leading {
		changed := l.drained
		l.mu.Unlock()
		<-changed
		l.mu.Lock()
	}
	var err error
	if len(l.queue) > 0 {
		l.leading = true
		b := l.queue[len(l.queue)-1]
		l.mu.Unlock()
		err = l.lead(b)
		l.mu.Lock()
	}
	sound := errors.Is(l.err, ErrClosed)
	l.mu.Unlock()
	if err == nil && sound && l.head != nil && l.news() >= leastNews {
		_ = l.Snapshot(context.Background()) // without it the next start reads more
	}
	return errors.Join(err, l.release())
}

func (l *Log) release() error {
	var errs []error
	if l.head != nil && l.head.file != nil {
		errs = append(errs, l.head.close())
	}
	for _, s := range []*segment{l.tail, l.spare} {
		if s != nil {
			errs = append(errs, s.file.Close())
		}
	}
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
	}
	return errors.Join(errs...)
}

// Run does the work behind until ctx ends: it commits lazy records within 10 ms, makes segments ahead,
// makes the head cell durable once a second, publishes tiles and has them witnessed, writes snapshots, and
// stops the log if what the start skipped is damaged. Without it everything but lazy works, with a pause
// at each new segment. It returns nil when ctx ends.
func (l *Log) Run(ctx context.Context) error {
	if l.cfg.ReadOnly {
		return errors.New("ledger: the log is open for reading only")
	}
	if !l.running.CompareAndSwap(false, true) {
		return errors.New("ledger: Run is at work already")
	}
	defer l.running.Store(false)
	var wg sync.WaitGroup
	wg.Go(func() { l.runFlush(ctx) })
	wg.Go(func() { l.runGrow(ctx) })
	wg.Go(func() { l.runPublish(ctx) })
	wg.Go(func() { l.runWitness(ctx) })
	wg.Go(func() { l.runSnapshot(ctx) })
	wg.Go(func() { l.runScrub(ctx) })
	wg.Wait()
	l.flush()
	return nil
}

// Origin returns the name of the log.
func (l *Log) Origin() string { return l.keys.verifier.Name() }

// Vkey returns the public key in the text form of signed notes.
func (l *Log) Vkey() string { return l.keys.vkey }

// Verifier returns the public key of the checkpoints.
func (l *Log) Verifier() note.Verifier { return l.keys.verifier }

// Checkpoint returns the newest durable checkpoint.
func (l *Log) Checkpoint() Checkpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newest
}

// Now returns the log's time: the wall clock, or the highest time ever recorded if the clock stands
// behind it. Whatever expires, expires by it: setting a clock back revives nothing.
func (l *Log) Now() time.Time {
	now := l.cfg.Now()
	if high := l.high.Load(); now.UnixMilli() < high {
		return time.UnixMilli(high)
	}
	return now
}

// Pseudonym returns what stands in leaves for an identity of kind "agent", "user", "actor", "server" or
// "tool". A tool's id is action.ToolKey. It errs for a tenant that is not the log's.
func (l *Log) Pseudonym(tenant, kind, id string) (string, error) {
	if tenant != l.cfg.Tenant {
		return "", fmt.Errorf("ledger: tenant %q is not %q", clip(tenant), l.cfg.Tenant)
	}
	return l.keys.pseudonym(kind, id), nil
}

// Fingerprint returns a keyed digest of parts, comparable only within this log and label: 43 characters
// of base64url. Without the log's secret it neither reveals nor confirms a guess of what went in.
func (l *Log) Fingerprint(label string, parts ...[]byte) string {
	return l.keys.prints.text(label, parts)
}

// kindKey reports whether records of kind k are unique per (action, round).
func kindKey(k action.Kind, id string) bool { return id != "" && k != action.KindAccess }
