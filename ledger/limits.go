// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/sallyport/sallyport/action"
)

// uniqueKey is a digest of (action, round, kind).
type uniqueKey [16]byte

func newUniqueKey(id string, round int, k action.Kind) uniqueKey {
	b := make([]byte, 0, 128)
	b = append(append(b, k...), 0)
	b = binary.BigEndian.AppendUint64(b, uint64(round))
	sum := sha256.Sum256(append(b, id...))
	return uniqueKey(sum[:16])
}

// uniqueSet remembers the newest keys, at least limit and at most twice as many: two generations, of
// which the older is dropped when the younger is full. Open fills it from the log in the log's order,
// so a restart remembers what the process before it did. An action that is older than limit records can
// be recorded twice; the path keeps its own open actions, whose records it never repeats.
type uniqueSet struct {
	limit    int
	now, old generation
}

// generation is a set of keys, in one of two forms: a map with the order of what went in, or, as a
// snapshot brings it, sorted and complete.
type generation struct {
	places map[uniqueKey]uint32 // in entries; nil if those are sorted
	// entries is only ever appended to, or replaced: a copy of the slice taken under Log.mu stays valid.
	entries []uniqueEntry
}

type uniqueEntry struct {
	key   uniqueKey
	index uint64
}

func newUniqueSet(limit int) uniqueSet {
	return uniqueSet{limit: limit, now: generation{places: map[uniqueKey]uint32{}}}
}

func (g *generation) get(k uniqueKey) (uint64, bool) {
	if g.places != nil {
		i, ok := g.places[k]
		if !ok {
			return 0, false
		}
		return g.entries[i].index, true
	}
	i, ok := slices.BinarySearchFunc(g.entries, k, func(e uniqueEntry, k uniqueKey) int { return bytes.Compare(e.key[:], k[:]) })
	if !ok {
		return 0, false
	}
	return g.entries[i].index, true
}

func (u *uniqueSet) get(k uniqueKey) (uint64, bool) {
	if i, ok := u.now.get(k); ok {
		return i, true
	}
	return u.old.get(k)
}

func (u *uniqueSet) put(k uniqueKey, index uint64) {
	if len(u.now.entries) >= u.limit {
		u.old, u.now = u.now, generation{places: make(map[uniqueKey]uint32, u.limit/4)}
	}
	u.now.places[k] = uint32(len(u.now.entries))
	u.now.entries = append(u.now.entries, uniqueEntry{k, index})
}

// quotas counts the bytes of each agent in the current minute.
type quotas struct {
	limit  int64 // 0 means none
	minute int64
	used   map[string]int64
}

func newQuotas(limit int64) quotas { return quotas{limit: limit, used: map[string]int64{}} }

func (q *quotas) take(agent string, n, nowMs int64) bool {
	if q.limit == 0 || agent == "" {
		return true
	}
	if m := nowMs / 60000; m != q.minute {
		q.minute = m
		clear(q.used)
	}
	if q.used[agent]+n > q.limit {
		return false
	}
	q.used[agent] += n
	return true
}

type counters struct {
	appended, batches, bytes uint64
	fsync                    time.Duration
	growth                   string
	cut                      int64
	published                uint64
	publish                  string
	snapshot                 uint64
	snapshotError            string
	scrubbed                 uint64
}

// Stats is how the log does. Durations are in microseconds, sizes in bytes.
type Stats struct {
	Origin       string `json:"origin"`
	Size         uint64 `json:"size"`
	Root         string `json:"root"` // "sha256:..."
	CheckpointMs int64  `json:"checkpoint_ms"`
	FdatasyncUs  int64  `json:"fdatasync_p50_us"` // measured at Open
	Appended     uint64 `json:"appended"`         // since Open
	Batches      uint64 `json:"batches"`
	Bytes        uint64 `json:"bytes"`
	QueueBytes   int64  `json:"queue_bytes"`
	RoomBytes    int64  `json:"room_bytes"`    // preallocated and free
	CutBytes     int64  `json:"cut_bytes"`     // of an interrupted write that Open removed
	Published    uint64 `json:"published"`     // leaves in the tiles
	Stopped      string `json:"stopped"`       // why nothing is accepted; "" otherwise
	Growth       string `json:"growth"`        // why the last segment could not be made
	Publish      string `json:"publish"`       // why the tiles are behind
	Snapshot     uint64 `json:"snapshot"`      // leaves that the next start need not read
	SnapshotLate string `json:"snapshot_late"` // why the last snapshot could not be written
	Unread       uint64 `json:"unread"`        // leaves that this start skipped and that Run has not read yet

	Witnesses   []WitnessStatus `json:"witnesses"`
	Quorum      int             `json:"quorum"`
	Witnessed   uint64          `json:"witnessed"`    // leaves under a checkpoint with a quorum, since Open
	WitnessedMs int64           `json:"witnessed_ms"` // when that was reached
}

// Stats returns how the log does.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{
		Origin: l.Origin(), Size: l.size, Root: digest(l.newest.Root), CheckpointMs: l.newestAt.UnixMilli(),
		FdatasyncUs: l.stats.fsync.Microseconds(), Appended: l.stats.appended, Batches: l.stats.batches,
		Bytes: l.stats.bytes, QueueBytes: l.queued, CutBytes: l.stats.cut,
		Published: l.stats.published, Growth: l.stats.growth, Publish: l.stats.publish,
		Snapshot: l.stats.snapshot, SnapshotLate: l.stats.snapshotError,
	}
	if l.unread != nil {
		s.Unread = l.unread.cp.Size
	}
	for _, seg := range []*segment{l.tail, l.spare} {
		if seg != nil {
			s.RoomBytes += seg.room()
		}
	}
	if l.err != nil {
		s.Stopped = l.err.Error()
	}
	l.statusOfWitnesses(&s)
	return s
}
