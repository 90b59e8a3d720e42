// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger/anchor"
	"golang.org/x/mod/sumdb/note"
)

// checker re-derives a log leaf by leaf, from whatever source.
type checker struct {
	opt      Options
	report   *Report
	verifier note.Verifier
	keys     *keyring // nil leaves payloads sealed

	witnesses []note.Verifier

	trust      anchor.Trust // what anchors are held against
	anchors    string       // folder; "" leaves tokens unchecked
	epochVkeys []string
	epochs     []note.Verifier // oldest first; the last is verifier
	kept       int             // the epoch whose key the verifier gave

	tree     tree
	watch    map[uint64]*hash // roots to remember, by size
	held     []heldCheckpoint
	cell     uint64     // size in the head cell
	head     Checkpoint // the log's own newest
	sessions map[string]*chainEnd
	open     map[string]uint64 // intents without outcome, by action
	unique   uniqueSet
	tiles    *tileCheck
}

type heldCheckpoint struct {
	name string
	cp   Checkpoint
}

type chainEnd struct {
	seq, logMs int64
	prev       hash
}

func newChecker(opt Options) *checker {
	return &checker{
		opt: opt, report: &Report{Kinds: map[string]uint64{}, Open: []OpenIntent{}, Notes: []string{}, Problems: []Problem{}, Gaps: []Gap{}, Anchors: []Anchored{}},
		watch: map[uint64]*hash{}, sessions: map[string]*chainEnd{}, open: map[string]uint64{},
		unique: newUniqueSet(1 << 20),
	}
}

func (c *checker) note(s string) { c.report.Notes = append(c.report.Notes, s) }

func (c *checker) problem(index *uint64, where, what string) {
	c.report.Found++
	if len(c.report.Problems) < c.opt.Problems {
		c.report.Problems = append(c.report.Problems, Problem{Index: index, Where: where, What: what})
	}
}

// leaf takes the next leaf in order.
func (c *checker) leaf(index uint64, raw []byte, known *checked) {
	h, l := known.hash, known.leaf
	if c.opt.Progress != nil && index%4096 == 0 {
		c.opt.Progress(index)
	}
	var before hash
	if known.err == nil && opensEpoch(l) {
		before = c.tree.root()
	}
	c.tree.add(h)
	if _, ok := c.watch[c.tree.size]; ok {
		root := c.tree.root()
		c.watch[c.tree.size] = &root
	}
	if c.tiles != nil {
		c.tiles.add(c, raw, h)
	}
	if known.err != nil {
		c.problem(&index, "leaf", known.err.Error())
		return
	}
	c.epoch(index, l, before)
	if l.Kind == action.KindAnchor {
		c.anchored(index, l)
	}
	c.chain(index, l, h)
	c.life(index, l, known.key)
	c.inspect(index, l, "", nil)
	c.report.Kinds[string(l.Kind)]++
	if c.report.FirstMs == 0 {
		c.report.FirstMs = l.LogMs
	}
	c.report.LastMs = max(c.report.LastMs, l.LogMs)
}

// chain checks that nothing of the session is missing before this leaf.
func (c *checker) chain(index uint64, l *Leaf, h hash) {
	end := c.sessions[l.Session]
	if end == nil {
		end = &chainEnd{}
		c.sessions[strings.Clone(l.Session)] = end // the leaf's own text would keep all of the leaf
	}
	want := ""
	if end.seq > 0 {
		want = digestText(&end.prev)
	}
	switch {
	case l.Seq != end.seq+1:
		c.problem(&index, "session "+l.Session, fmt.Sprintf("record %d of the session follows record %d", l.Seq, end.seq))
	case l.Prev != want:
		c.problem(&index, "session "+l.Session, "the record before it in the session is another one")
	case l.LogMs < end.logMs:
		c.problem(&index, "session "+l.Session, "the log's time runs backwards")
	}
	end.seq, end.prev, end.logMs = l.Seq, h, l.LogMs
}

// life follows actions from intent to outcome.
func (c *checker) life(index uint64, l *Leaf, k uniqueKey) {
	if !kindKey(l.Kind, l.Action) {
		return
	}
	if first, ok := c.unique.get(k); ok {
		c.problem(&index, "action "+l.Action, fmt.Sprintf("a second %s of round %d, after entry %d", l.Kind, l.Round, first))
	}
	c.unique.put(k, index)
	switch l.Kind {
	case action.KindIntent:
		c.open[strings.Clone(l.Action)] = index
	case action.KindOutcome, action.KindUnknown, action.KindLate:
		delete(c.open, l.Action)
	}
}

// newest takes the log's own newest checkpoint.
func (c *checker) newest(cp Checkpoint) { c.head = cp }

// finish compares what was held against the log and completes the report.
func (c *checker) finish() *Report {
	r := c.report
	r.Size = c.tree.size
	root := c.tree.root()
	r.Root = digest(root)
	if c.tree.size > 0 || c.head.Origin != "" {
		if c.head.Size != c.tree.size || c.head.Root != root {
			c.problem(nil, "checkpoint", fmt.Sprintf("the signed checkpoint has %d leaves and another root than the %d leaves that are here", c.head.Size, c.tree.size))
		}
	}
	empty := (&tree{}).root()
	for _, h := range c.held {
		seen := c.watch[h.cp.Size]
		if h.cp.Size == 0 {
			seen = &empty
		}
		lost := slices.IndexFunc(r.Gaps, func(g Gap) bool {
			return !g.Rotation() && h.cp.Size > g.Restored.Size && h.cp.Origin != g.Origin && h.cp.Origin != r.Origin
		})
		switch {
		case lost >= 0:
			c.note(fmt.Sprintf("%s lies in the gap before epoch %d", h.name, r.Gaps[lost].Epoch))
		case h.cp.Size > c.tree.size:
			c.problem(nil, h.name, fmt.Sprintf("it covers %d leaves, the log holds %d: the end is missing, or this is an older copy", h.cp.Size, c.tree.size))
		case seen == nil || *seen != h.cp.Root:
			c.problem(nil, h.name, fmt.Sprintf("its root of %d leaves is not the log's: the log was rewritten or forked", h.cp.Size))
		default:
			r.Held++
		}
	}
	if c.tiles != nil {
		c.tiles.finish(c)
	}
	c.quorum()
	r.Sessions = len(c.sessions)
	for id, index := range c.open {
		r.Open = append(r.Open, OpenIntent{Index: index, Action: id})
	}
	slices.SortFunc(r.Open, func(a, b OpenIntent) int { return int(int64(a.Index) - int64(b.Index)) })
	r.OK = r.Found == 0
	return r
}

func opensEpoch(l *Leaf) bool { return l.Kind == action.KindKey && slices.Contains(l.Codes, codeEpoch) }

// epoch reports the gap before a new epoch, and that it was opened by the key before.
func (c *checker) epoch(index uint64, l *Leaf, before hash) {
	if !opensEpoch(l) {
		return
	}
	n := len(c.report.Gaps)
	var old note.Verifier
	if n < len(c.epochs)-1 {
		old = c.epochs[n]
	}
	g := epochOpened(index, l, old)
	switch {
	case g == nil || g.Restored.Root != digest(before) || g.Epoch != int64(n)+2:
		c.problem(&index, "epoch", "the record that opens an epoch does not fit the log before it")
		return
	case old != nil && !g.Signed:
		c.problem(&index, "epoch", "the key of the epoch before did not sign it")
	case old != nil && c.epochs[n+1].Name() != g.Origin:
		c.problem(&index, "epoch", "it names another key than the one that goes on")
	}
	c.report.Gaps = append(c.report.Gaps, *g)
	c.note(g.String())
}

// signed checks the signature of a checkpoint of any epoch.
func (c *checker) signed(b []byte) error {
	var err error
	for i := len(c.epochs) - 1; i >= 0; i-- {
		if _, err = ParseCheckpoint(b, c.epochs[i]); err == nil {
			return nil
		}
	}
	return err
}

// signatures checks the signatures of checkpoints, several at a time.
func (c *checker) signatures(notes []Checkpoint) {
	errs := make([]error, len(notes))
	var at atomic.Int64
	var work sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		work.Go(func() {
			for i := int(at.Add(1)) - 1; i < len(notes); i = int(at.Add(1)) - 1 {
				errs[i] = c.signed(notes[i].Note)
			}
		})
	}
	work.Wait()
	for i, err := range errs {
		if err != nil {
			c.problem(nil, fmt.Sprintf("checkpoint %d", notes[i].Size), err.Error())
		}
	}
	c.report.Signatures += uint64(len(notes))
}

// cosigned takes a checkpoint that witnesses may have cosigned; the log is held against it.
func (c *checker) cosigned(signed []byte) {
	cp, err := ParseCheckpoint(signed, c.verifier)
	if err != nil && c.earlier(signed) {
		c.note("the witnessed checkpoint is of the epoch before")
		return
	}
	if err != nil {
		c.problem(nil, "witnessed checkpoint", err.Error())
		return
	}
	c.held = append(c.held, heldCheckpoint{"witnessed checkpoint", cp})
	if _, ok := c.watch[cp.Size]; !ok {
		c.watch[cp.Size] = nil
	}
	c.report.Witnessed = Witnessed{Size: cp.Size, Quorum: c.opt.Quorum, By: Cosignatures(signed, c.witnesses)}
}

// quorum states what the witnesses prove.
func (c *checker) quorum() {
	w := &c.report.Witnessed
	switch {
	case len(c.witnesses) == 0:
		w.Size, w.By = 0, []Cosignature{}
		c.note("no witness was asked for: whoever holds the log's key can rewrite it as a whole and sign it anew")
	case len(w.By) < c.opt.Quorum:
		c.problem(nil, "witnesses", fmt.Sprintf("%d of the %d that must have cosigned a checkpoint of this log", len(w.By), c.opt.Quorum))
	case w.Size < c.tree.size:
		c.note(fmt.Sprintf("the newest %d entries are not witnessed yet", c.tree.size-w.Size))
	}
}

// tileCheck compares tiles with the ones that the leaves give.
type tileCheck struct {
	tiler
	until uint64
	done  bool
}

// compareTiles makes the checker compare the tiles of the tree of size leaves.
func (c *checker) compareTiles(size uint64, fetch func(level int, n uint64, width int) ([]byte, error)) {
	t := &tileCheck{until: size}
	t.put = func(level int, n uint64, width int, want []byte) error {
		path := tilePath(level, n, width)
		got, err := fetch(level, n, width)
		first := n * tileWidth << (8 * uint(max(level, 0)))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			c.problem(&first, path, "the tile is missing")
		case err != nil:
			c.problem(&first, path, err.Error())
		case !bytes.Equal(got, want):
			c.problem(&first, path, "the tile differs from the leaves")
		default:
			c.report.Tiles++
		}
		return nil
	}
	c.tiles = t
}

func (t *tileCheck) add(c *checker, raw []byte, h hash) {
	if t.size < t.until {
		t.full = &c.tree.tile         // the leaf is in there already
		_ = t.tiler.addHashed(raw, h) // put never errs
	}
	if t.size == t.until {
		t.finish(c)
	}
}

func (t *tileCheck) finish(*checker) {
	if !t.done && t.size == t.until {
		t.done = true
		_ = t.partials() // put never errs
	}
}
