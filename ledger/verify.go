// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger/anchor"
)

// Source is where the log to verify comes from: exactly one of Dir, URL and File.
type Source struct {
	Dir    string       // data directory; nothing in it is changed, and its owner may be at work
	URL    string       // of C2SP tlog-tiles, ending before "checkpoint"
	File   string       // bundle made by Export
	Client *http.Client // for URL; nil means one with a timeout of a minute

	Wal, Tiles, Keys, Anchors string // of Dir; "" means its folders wal, tiles, keys and anchors
}

// Options say what the log is held against.
type Options struct {
	Vkey       string             // public key of the log; "" takes what comes with Dir or File, which proves less; required for URL
	Old        [][]byte           // checkpoints that the verifier kept from earlier
	Witnesses  []string           // public keys of the witnesses that the verifier trusts
	Quorum     int                // how many of them must have cosigned; 0 means all
	TSARoots   []byte             // certificates in PEM of time stamping authorities that the verifier trusts
	Logs       []byte             // public keys of Rekor logs that the verifier trusts, one on each line
	Blocks     []byte             // blocks that the verifier trusts: lines of a height and a Bitcoin header (80 bytes in hexadecimal), or of an Ethereum block's hash (0x)
	Head       string             // head cell; "" means "head" in the keys of Dir, if it is there
	Sealed     bool               // leave the payloads sealed even where their keys are at hand
	Signatures int                // checkpoints whose signatures are checked, the newest; 0 means 10,000
	Problems   int                // stop listing after so many; 0 means 1,000
	Progress   func(index uint64) // called now and then; nil for none

	// Inspect is called for each record of kind approval, key and kill: first with no part, then with each
	// part that could be opened, in the order of the log; and for each of kind attestation, with no part
	// but for those whose codes begin with "self.". What it returns, if not "", does not hold. Nil looks
	// at nothing.
	Inspect func(index uint64, l *Leaf, part action.PartName, data []byte) string
}

// Verify checks a log without its owner. It reads everything once, re-derives the tree from the leaves,
// and checks the signatures, the chains of the sessions, the tiles, the payloads that are there and the
// checkpoints that are held against it. The report lists what does not hold; then the error is
// ErrVerification. Any other error means that nothing could be said.
func Verify(ctx context.Context, src Source, opt Options) (*Report, error) {
	or(&opt.Signatures, 10000)
	or(&opt.Problems, 1000)
	or(&opt.Quorum, len(opt.Witnesses))
	if opt.Quorum < 0 || opt.Quorum > len(opt.Witnesses) {
		return nil, fmt.Errorf("ledger: verify: a quorum of %d among %d witnesses", opt.Quorum, len(opt.Witnesses))
	}
	began := time.Now()
	c := newChecker(opt)
	for _, vkey := range opt.Witnesses {
		w, err := ReadWitnessKey(vkey)
		if err != nil {
			return nil, err
		}
		c.witnesses = append(c.witnesses, w)
	}
	var err error
	if opt.TSARoots != nil {
		if c.trust.Roots, err = readRoots(opt.TSARoots); err != nil {
			return nil, err
		}
	}
	if c.trust.Blocks, err = anchor.ReadBlocks(opt.Blocks); err != nil {
		return nil, err
	}
	if c.trust.Hashes, err = anchor.ReadBlockHashes(opt.Blocks); err != nil {
		return nil, err
	}
	if c.trust.Logs, err = anchor.ReadLogs(opt.Logs); err != nil {
		return nil, err
	}
	switch {
	case src.Dir != "" && src.URL == "" && src.File == "":
		err = c.dir(ctx, src)
	case src.URL != "" && src.Dir == "" && src.File == "":
		err = c.url(ctx, src)
	case src.File != "" && src.Dir == "" && src.URL == "":
		err = c.file(ctx, src)
	default:
		err = errors.New("ledger: verify: exactly one of directory, URL and bundle is needed")
	}
	if err != nil {
		return nil, err
	}
	r := c.finish()
	r.Seconds = time.Since(began).Seconds()
	if !r.OK {
		return r, fmt.Errorf("%w: %d problems, first: %s", ErrVerification, r.Found, r.Problems[0])
	}
	return r, nil
}

// key decides which public key counts.
func (c *checker) key(given string, found []byte, from string) error {
	c.report.KeyFrom = "given"
	text := []byte(given)
	if given == "" {
		text, c.report.KeyFrom = found, from
	}
	if len(text) == 0 {
		return errors.New("ledger: verify: the public key of the log is needed")
	}
	v, err := readVkey(text)
	if err != nil {
		return err
	}
	if c.epochs, err = epochVerifiers(c.epochVkeys, v); err != nil {
		return err
	}
	// Whoever kept the key of an earlier epoch is led to the newest by the signatures of the keys between.
	for i, e := range c.epochs {
		if e.Name() == v.Name() && e.KeyHash() == v.KeyHash() {
			c.kept = i
			v = c.epochs[len(c.epochs)-1]
			break
		}
	}
	c.verifier, c.report.Origin = v, v.Name()
	if c.epochs[len(c.epochs)-1].KeyHash() != v.KeyHash() {
		c.epochs = []note.Verifier{v}
	}
	for i, b := range c.opt.Old {
		if err := c.hold(fmt.Sprintf("older checkpoint %d", i+1), b, v); err != nil {
			return err
		}
	}
	return nil
}

// hold makes finish compare a checkpoint that somebody kept.
func (c *checker) hold(name string, b []byte, v note.Verifier) error {
	cp, err := ParseCheckpoint(b, v)
	for _, e := range c.epochs {
		if err != nil {
			cp, err = ParseCheckpoint(b, e)
		}
	}
	if err != nil {
		return fmt.Errorf("ledger: verify: %s: %w", name, err)
	}
	c.held = append(c.held, heldCheckpoint{name, cp})
	c.watch[cp.Size] = nil
	return nil
}

// dir verifies a data directory.
func (c *checker) dir(ctx context.Context, src Source) error {
	wal, tiles, keys := filepath.Join(src.Dir, "wal"), filepath.Join(src.Dir, "tiles"), filepath.Join(src.Dir, "keys")
	for p, set := range map[*string]string{&wal: src.Wal, &tiles: src.Tiles, &keys: src.Keys} {
		if set != "" {
			*p = set
		}
	}
	var err error
	if c.epochVkeys, err = readEpochs(realDisk{}, keys); err != nil {
		return err
	}
	vkey, err := os.ReadFile(filepath.Join(keys, fileVkey))
	if err != nil && c.opt.Vkey == "" {
		return fmt.Errorf("ledger: verify: the public key of the log: %w", err)
	}
	if err := c.key(c.opt.Vkey, vkey, "directory"); err != nil {
		return err
	}
	head := c.opt.Head
	if head == "" {
		head = filepath.Join(keys, fileHead)
	}
	switch cp, err := ReadHead(head, c.verifier); {
	case err == nil:
		c.held, c.cell = append(c.held, heldCheckpoint{"head cell", cp}), cp.Size
		c.watch[cp.Size] = nil
	case errors.Is(err, fs.ErrNotExist) && c.opt.Head == "":
		c.note("no head cell: a restored older copy would not be noticed without an older checkpoint")
	default:
		c.problem(nil, "head cell", err.Error())
	}
	if !c.opt.Sealed {
		c.keys = readKeyring(keys)
	}
	if err := c.dirTiles(tiles); err != nil {
		return err
	}
	c.anchors = filepath.Join(src.Dir, "anchors")
	if src.Anchors != "" {
		c.anchors = src.Anchors
	}
	if err := c.watchAnchors(); err != nil {
		return err
	}
	return c.segments(ctx, wal)
}

// dirTiles prepares the comparison of the tiles, if there are any.
func (c *checker) dirTiles(dir string) error {
	cp, published, partial, err := c.published(dir)
	if errors.Is(err, fs.ErrNotExist) {
		c.note("no published tiles")
		return nil
	}
	if err != nil {
		return fmt.Errorf("ledger: verify: %w", err)
	}
	if published.Note == nil {
		if c.earlier(cp) {
			c.note("the published tiles are of the epoch before; the owner makes them anew")
			return nil
		}
		_, err := ParseCheckpoint(cp, c.verifier)
		c.problem(nil, "tiles/checkpoint", err.Error())
		return nil
	}
	c.held = append(c.held, heldCheckpoint{"published checkpoint", published})
	c.watch[published.Size] = nil
	if b, err := readFile(realDisk{}, filepath.Join(dir, fileWitnessed), 1<<20); err == nil {
		c.cosigned(b)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("ledger: verify: %w", err)
	}
	c.compareTiles(published.Size, func(level int, n uint64, width int) ([]byte, error) {
		if width < tileWidth {
			if b := partial[tilePath(level, n, width)]; b != nil {
				return b, nil
			}
		}
		return readTile(realDisk{}, dir, level, n, width)
	})
	return nil
}

// published reads the checkpoint of the tiles together with its partial tiles, which an owner at work
// replaces by wider ones: where one is missing and the checkpoint has become another, it reads anew.
// The Checkpoint has no note if the text is not signed by the log.
func (c *checker) published(dir string) (text []byte, cp Checkpoint, partial map[string][]byte, err error) {
	for range 100 {
		before := text
		if text, err = os.ReadFile(filepath.Join(dir, "checkpoint")); err != nil {
			return nil, Checkpoint{}, nil, err
		}
		if cp, err = ParseCheckpoint(text, c.verifier); err != nil {
			return text, Checkpoint{}, nil, nil
		}
		partial = map[string][]byte{}
		whole := true
		for level := levelEntries; level < 8; level++ {
			count := cp.Size >> (8 * uint(max(level, 0)))
			width := int(count % tileWidth)
			if width == 0 {
				continue
			}
			b, err := readTile(realDisk{}, dir, level, count/tileWidth, width)
			if err != nil {
				whole = false
				break
			}
			partial[tilePath(level, count/tileWidth, width)] = b
		}
		if whole || bytes.Equal(before, text) {
			break
		}
	}
	return text, cp, partial, nil
}

// segments scans the write-ahead log.
func (c *checker) segments(ctx context.Context, wal string) error {
	if _, err := os.Stat(wal); err != nil {
		return fmt.Errorf("ledger: verify: %w", err)
	}
	numbers, err := listSegments(realDisk{}, wal)
	if errors.Is(err, ErrCorrupt) {
		c.problem(nil, "wal", err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	s := &scanner{verifier: c.epochs[0], later: c.epochs[1:]}
	var notes []Checkpoint
	s.visit = func(e scanned) error {
		if e.index%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if e.checked == nil {
			e.checked = check(c.keys, e.raw, e.payloads)
		}
		c.leaf(e.index, e.raw, e.checked)
		c.payloads(e.index, e.checked)
		return nil
	}
	s.sealed = func(cp Checkpoint, _ place) error {
		c.report.Checkpoints++
		if notes = append(notes, Checkpoint{Size: cp.Size, Note: cp.Note}); len(notes) >= 2*c.opt.Signatures {
			notes = append(notes[:0], notes[len(notes)-c.opt.Signatures:]...)
		}
		return nil
	}
	var spare []byte // of the segment before the last: what was read of it is done with
	look := func(n uint64) *ahead {
		memory := spare
		spare = nil
		return lookAhead(n, c.keys, func(n uint64) ([]byte, error) {
			return readFileOn(memory, realDisk{}, segmentName(wal, n), maxSegmentBytes)
		})
	}
	var next *ahead
	defer func() {
		if next != nil {
			next.close()
		}
	}()
	for i, n := range numbers {
		now := next
		if now == nil {
			now = look(n)
		}
		if next = nil; i+1 < len(numbers) {
			next = look(numbers[i+1])
		}
		done, err := c.segment(s, wal, numbers[i:], now)
		now.close()
		spare = now.data
		if err != nil {
			return err
		}
		if done {
			break
		}
	}
	c.signatures(notes[max(0, len(notes)-c.opt.Signatures):])
	c.newest(s.cp)
	return nil
}

// segment scans one segment and reports whether the log ends in it. Damage is looked at twice: the owner
// may have been writing there. A segment that was listed and is gone was made ahead: an owner that starts
// removes such, and what else is missing the head cell and the published checkpoint tell.
func (c *checker) segment(s *scanner, wal string, rest []uint64, first *ahead) (done bool, err error) {
	var d *damage
	n := first.number
	read := func(n uint64) ([]byte, error) { return readFile(realDisk{}, segmentName(wal, n), maxSegmentBytes) }
	for try := range 3 {
		var data []byte
		if try == 0 {
			<-first.read
			data, err = first.data, first.err
		} else {
			data, err = read(n)
		}
		if n > 1 && errors.Is(err, fs.ErrNotExist) {
			d = nil
			time.Sleep(20 * time.Millisecond)
			continue
		}
		if err != nil {
			return false, fmt.Errorf("ledger: verify: %w", err)
		}
		if firstByte(data) < 0 && len(rest) == 1 {
			return true, nil // made ahead
		}
		if err = s.catchUp(n, data, read); err == nil {
			if try == 0 {
				s.ahead = first
			}
			err = s.segment(n, data)
			s.ahead = nil
		}
		if err == nil {
			return false, nil
		}
		if !errors.As(err, &d) {
			return false, err
		}
		time.Sleep(20 * time.Millisecond)
		if lost, err := c.lost(s, wal, rest, d); err != nil {
			return false, err
		} else if !lost && d.torn {
			c.note(fmt.Sprintf("%s: an interrupted write that nobody was told of, or one in progress", d))
			return true, nil
		}
	}
	if d == nil {
		return true, nil
	}
	at := d.index
	c.problem(&at, fmt.Sprintf("segment %d, byte %d", d.segment, d.offset), d.err.Error())
	return true, nil
}

// lost reports whether something acknowledged stands after the damage.
func (c *checker) lost(s *scanner, wal string, rest []uint64, d *damage) (bool, error) {
	for i, n := range rest {
		data, err := readFile(realDisk{}, segmentName(wal, n), maxSegmentBytes)
		if n > 1 && errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("ledger: verify: %w", err)
		}
		if i == 0 {
			data = data[min(d.offset, int64(len(data))):]
		}
		f := findCheckpoints(data, c.verifier, s.cp.Size)
		if i == 0 && !f.interrupted(c.cell) || i > 0 && f.checkpoints > 0 {
			return true, nil
		}
	}
	return false, nil
}

// payloads reports what was found in the payload frames of a leaf.
func (c *checker) payloads(index uint64, known *checked) {
	if known.leaf == nil {
		return
	}
	if known.parts != len(known.leaf.Parts) {
		c.problem(&index, "payload", fmt.Sprintf("%d sealed parts stand behind the leaf, which names %d", known.parts, len(known.leaf.Parts)))
		return
	}
	for _, w := range known.wrong {
		c.problem(&index, "payload "+w.part, w.what)
	}
	c.report.Parts.Sealed += known.count.Sealed
	c.report.Parts.Erased += known.count.Erased
	c.report.Parts.Opened += known.count.Opened
	for _, p := range known.opened {
		c.inspect(index, known.leaf, p.name, p.data)
	}
}

// inspect lets others look at what is theirs.
func (c *checker) inspect(index uint64, l *Leaf, part action.PartName, data []byte) {
	if c.opt.Inspect == nil || !inspected(l) && (l.Kind != action.KindAttestation || part != "") {
		return
	}
	if what := c.opt.Inspect(index, l, part, data); what != "" {
		c.problem(&index, string(l.Kind), what)
	}
}
