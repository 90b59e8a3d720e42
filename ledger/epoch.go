// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/sallyport/sallyport/action"
)

// A log that lost its end, as a restored backup has, may not go on under its name: every witness and
// every kept checkpoint would rightly call it a fork. Recover opens a new epoch instead: the same tree
// goes on under a new origin and key, and its first record names the restored head, the newest head that
// is known, and the lost range, signed by the key before. Verify reports the gap for ever.

const (
	fileEpochs  = "log.epochs"      // public keys of all epochs, oldest first; its last line is in force
	fileNext    = "log.key.next"    // signing key of an epoch that is being opened
	fileRequest = "recover.request" // what the first of two operators asked for

	headEpochs  = "sallyport epochs 1"
	headRequest = "sallyport recover 1"

	codeEpoch  = "epoch.opened"
	requestFor = 24 * time.Hour
	maxEpochs  = 1000
)

// Head is a size with its root.
type Head struct {
	Size uint64 `json:"size"`
	Root string `json:"root"` // "sha256:..."
}

// Gap is a range of entries that were acknowledged and are lost.
type Gap struct {
	Epoch    int64  `json:"epoch"` // that goes on after it, from 2
	Index    uint64 `json:"index"` // of the record that opens the epoch
	Origin   string `json:"origin"`
	Vkey     string `json:"vkey"`
	Restored Head   `json:"restored"`
	Known    Head   `json:"known"` // the newest head of the epoch before that anybody could show
	Signed   bool   `json:"signed"`
}

// Rotation reports whether nothing is lost: only the key is another one from here on.
func (g *Gap) Rotation() bool { return g.Known == g.Restored }

func (g *Gap) String() string {
	if g.Rotation() {
		return fmt.Sprintf("KEY: nothing is lost; epoch %d goes on at entry %d as %s", g.Epoch, g.Index, g.Origin)
	}
	return fmt.Sprintf("GAP: entries %d to %d were recorded and are lost; epoch %d goes on at entry %d as %s",
		g.Restored.Size, g.Known.Size-1, g.Epoch, g.Index, g.Origin)
}

// handover is what the key before signs.
func (g *Gap) handover() []byte {
	return fmt.Appendf(nil, "sallyport epoch %d\n%s\n%d %s\n%d %s\n", g.Epoch, g.Vkey, g.Restored.Size, g.Restored.Root, g.Known.Size, g.Known.Root)
}

// Recovery is how far a recovery has come.
type Recovery struct {
	Gap
	Operator string         `json:"operator"` // who asked first
	Second   string         `json:"second"`   // who agreed; "" while nobody has
	Record   action.Receipt `json:"record"`   // of the new epoch; zero until it is open
}

// Recover goes on with a log that Open refuses with ErrBehind. It takes two people and two calls: the
// first writes down what is lost and changes nothing else; the second, within a day, by another operator
// and on an unchanged log, opens the new epoch. Names are what the callers say they are; where both run
// under one uid the record's separation is "none". It errs if the log is not behind, or is corrupt:
// damage is repaired from a copy first. No owner may be at work.
//
// Known are checkpoints that others kept, a witness for example, and that the head cell lacks.
func Recover(cfg Config, operator string, known ...[]byte) (Recovery, error) {
	cfg.recovering, cfg.known = true, known
	return nextEpoch(cfg, operator, (*Log).gap)
}

// Rotate gives the log another signing key. It takes two people and two calls, as Recover does, and opens an epoch in
// the same way, but loses nothing: its first record, signed by the key before, names the head at which the new key
// takes over, and a checkpoint of the old key beyond that is a fault. The log may have grown between the two calls; no
// owner may be at work in either. The old private key is overwritten.
func Rotate(cfg Config, operator string) (Recovery, error) {
	return nextEpoch(cfg, operator, (*Log).rotation)
}

func nextEpoch(cfg Config, operator string, find func(*Log) (Gap, error)) (Recovery, error) {
	var out Recovery
	if !identifier(operator) || operator == "" {
		return out, errors.New("ledger: recover: an operator without spaces in the name is needed")
	}
	probe := cfg
	probe.ReadOnly = true
	l, err := Open(probe)
	if err != nil {
		return out, err
	}
	out.Gap, err = find(l)
	if err = errors.Join(err, l.Close()); err != nil {
		return out, err
	}
	request, err := readRequest(&l.cfg)
	if err != nil {
		return out, err
	}
	if request == nil || !request.fits(&out.Gap) || l.cfg.Now().Sub(request.at).Abs() >= requestFor {
		out.Operator = operator
		return out, writeRequest(&l.cfg, &out.Gap, operator)
	}
	out.Operator = request.operator
	if request.operator == operator {
		return out, fmt.Errorf("ledger: recover: %q asked for it; somebody else must agree", operator)
	}
	out.Second = operator
	if l, err = Open(cfg); err != nil {
		return out, err
	}
	separation := action.SeparationNone
	if request.uid != os.Geteuid() {
		separation = action.SeparationUID
	}
	err = l.openEpoch(&out, separation)
	return out, errors.Join(err, l.release())
}

// fits reports whether what was asked for is what would be done: the same loss, or a new key.
func (r *recoverRequest) fits(g *Gap) bool {
	return r.Restored == g.Restored && r.Known == g.Known || r.Rotation() && g.Rotation()
}

type recoverRequest struct {
	Gap
	operator string
	uid      int
	at       time.Time
}

func writeRequest(c *Config, g *Gap, operator string) error {
	text := fmt.Sprintf("%s\n%s\n%d\n%d\n%d %s\n%d %s\n", headRequest, operator, os.Geteuid(), c.Now().UnixMilli(),
		g.Restored.Size, g.Restored.Root, g.Known.Size, g.Known.Root)
	return writeFile(c.disk, filepath.Join(c.Keys, fileRequest), []byte(text), true)
}

func readRequest(c *Config) (*recoverRequest, error) {
	b, err := readFile(c.disk, filepath.Join(c.Keys, fileRequest), maxKeyFileBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: recover: %w", err)
	}
	var r recoverRequest
	var ms int64
	var head string
	if i := bytes.IndexByte(b, '\n'); i > 0 {
		head = string(b[:i])
		b = b[i+1:]
	}
	n, err := fmt.Sscanf(string(b), "%s\n%d\n%d\n%d %s\n%d %s\n", &r.operator, &r.uid, &ms, &r.Restored.Size, &r.Restored.Root, &r.Known.Size, &r.Known.Root)
	if head != headRequest || n != 7 || err != nil {
		return nil, nil // not ours: as if nobody had asked
	}
	r.at = time.UnixMilli(ms)
	return &r, nil
}

// takeKnown adds the checkpoints that others kept.
func (l *Log) takeKnown() error {
	for _, b := range l.cfg.known {
		cp, err := ParseCheckpoint(b, l.keys.verifier)
		if err != nil {
			return fmt.Errorf("ledger: recover: known checkpoint: %w", err)
		}
		l.behind = append(l.behind, cp)
	}
	return nil
}

// gap compares the log with the newest signed head known.
func (l *Log) gap() (Gap, error) {
	g := Gap{Epoch: int64(len(l.keys.epochs)) + 1, Restored: Head{l.size, digest(l.tree.root())}}
	for _, cp := range l.behind {
		if cp.Size > g.Known.Size {
			g.Known = Head{cp.Size, digest(cp.Root)}
		}
	}
	if g.Known.Size <= g.Restored.Size {
		return g, errors.New("ledger: recover: the log is not behind any head that is known; there is nothing to recover")
	}
	return g, g.allowed()
}

// rotation is a gap that loses nothing.
func (l *Log) rotation() (Gap, error) {
	head := Head{l.size, digest(l.tree.root())}
	g := Gap{Epoch: int64(len(l.keys.epochs)) + 1, Restored: head, Known: head}
	return g, g.allowed()
}

func (g *Gap) allowed() error {
	if g.Epoch > maxEpochs {
		return errors.New("ledger: recover: too many epochs")
	}
	return nil
}

// openEpoch writes the first record of a new epoch. What a crash leaves is either the old epoch, still
// behind, or the new one: the file of epochs decides, and it comes after the record and the head cell.
func (l *Log) openEpoch(out *Recovery, separation action.Separation) error {
	g := &out.Gap
	old, oldVkey := l.keys.signer, l.keys.vkey
	first, _, _ := strings.Cut(l.keys.epochs[0].Name(), "/epoch-")
	g.Index, g.Origin = l.size, first+"/epoch-"+strconv.FormatInt(g.Epoch, 10)
	private, public, err := newSigningKey(l.cfg.Rand, g.Origin)
	if err != nil {
		return err
	}
	g.Vkey = public
	if err := l.keys.write(fileNext, headSigner, private); err != nil {
		return fmt.Errorf("ledger: recover: %w", err)
	}
	signature, err := old.Sign(g.handover())
	if err != nil {
		return fmt.Errorf("ledger: recover: %w", err)
	}
	if l.keys.signer, err = note.NewSigner(private); err != nil {
		return err
	}
	if l.keys.verifier, err = note.NewVerifier(public); err != nil {
		return err
	}
	g.Signed = true
	out.Record, err = l.Append(context.Background(), &action.Record{Kind: action.KindKey, Tenant: l.cfg.Tenant, TimeMs: l.Now().UnixMilli(), Actor: out.Operator,
		Grant: l.keys.pseudonym("actor", out.Second), Separation: separation, Subject: public, Binding: base64.StdEncoding.EncodeToString(signature),
		Epoch: g.Epoch, Status: action.StatusDone, Codes: []string{codeEpoch, "restored/" + g.Restored.text(), "known/" + g.Known.text()}})
	if err != nil {
		return err
	}
	l.head.sync()
	lines := []string{}
	for _, v := range l.keys.epochVkeys {
		lines = append(lines, v)
	}
	if len(lines) == 0 {
		lines = append(lines, oldVkey)
	}
	if err := l.keys.write(fileEpochs, headEpochs, append(lines, public)...); err != nil {
		return fmt.Errorf("ledger: recover: %w", err)
	}
	if err := finishEpoch(l.cfg.disk, l.cfg.Keys); err != nil {
		return err
	}
	if l.cfg.Tiles != "" {
		for _, name := range []string{fileWitnessed, "checkpoint"} {
			if err := l.cfg.disk.Remove(filepath.Join(l.cfg.Tiles, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("ledger: recover: %w", err)
			}
		}
	}
	return l.cfg.disk.Remove(filepath.Join(l.cfg.Keys, fileRequest))
}

// earlier reports whether an epoch before the newest signed b.
func (c *checker) earlier(b []byte) bool {
	return slices.ContainsFunc(c.epochs[:len(c.epochs)-1], func(e note.Verifier) bool {
		_, err := ParseCheckpoint(b, e)
		return err == nil
	})
}

func (h Head) text() string { return strconv.FormatUint(h.Size, 10) + "/" + h.Root }

func readHeadText(s, prefix string) (Head, bool) {
	rest, ok := strings.CutPrefix(s, prefix)
	number, root, cut := strings.Cut(rest, "/")
	n, err := strconv.ParseUint(number, 10, 63)
	b, err2 := hex.DecodeString(strings.TrimPrefix(root, "sha256:"))
	return Head{n, root}, ok && cut && err == nil && err2 == nil && len(b) == hashBytes && strings.HasPrefix(root, "sha256:")
}

// finishEpoch puts the key in force that the file of epochs names last.
func finishEpoch(d disk, dir string) error {
	vkeys, err := readEpochs(d, dir)
	if err != nil || len(vkeys) == 0 {
		return err
	}
	last := vkeys[len(vkeys)-1]
	b, err := readFile(d, filepath.Join(dir, fileVkey), maxKeyFileBytes)
	if err != nil {
		return fmt.Errorf("ledger: keys: %w", err)
	}
	if strings.TrimSpace(string(b)) != last {
		if err := writeFile(d, filepath.Join(dir, fileVkey), []byte(last+"\n"), true); err != nil {
			return fmt.Errorf("ledger: keys: %w", err)
		}
	}
	next, err := readFile(d, filepath.Join(dir, fileNext), maxKeyFileBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ledger: keys: %w", err)
	}
	if lines := strings.Split(string(next), "\n"); len(lines) > 1 && lines[0] == headSigner {
		v, err := note.NewVerifier(last)
		if s, err2 := note.NewSigner(lines[1]); err == nil && err2 == nil && s.Name() == v.Name() && s.KeyHash() == v.KeyHash() {
			return replaceSecret(d, filepath.Join(dir, fileNext), filepath.Join(dir, fileSigner))
		}
	}
	return d.SyncDir(dir)
}

// readEpochs returns the public keys of all epochs, or none while there is only the first.
func readEpochs(d disk, dir string) ([]string, error) {
	b, err := readFile(d, filepath.Join(dir, fileEpochs), 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: keys: %w", err)
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if lines[0] != headEpochs || len(lines) < 3 || len(lines) > maxEpochs+1 {
		return nil, fmt.Errorf("%w: %q does not begin with %q", ErrFormat, fileEpochs, headEpochs)
	}
	return lines[1:], nil
}

// epochVerifiers parses the keys of all epochs; newest is the one in force.
func epochVerifiers(vkeys []string, newest note.Verifier) ([]note.Verifier, error) {
	if len(vkeys) == 0 {
		return []note.Verifier{newest}, nil
	}
	var out []note.Verifier
	for _, vkey := range vkeys {
		v, err := readVkey([]byte(vkey))
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(o note.Verifier) bool { return o.Name() == v.Name() }) {
			return nil, fmt.Errorf("ledger: keys: epoch %q stands twice", v.Name())
		}
		out = append(out, v)
	}
	return out, nil
}

// epochOpened reads the record that opens an epoch, and nil if l is none. before is the key of the epoch
// before, or nil where it is not known.
func epochOpened(index uint64, l *Leaf, before note.Verifier) *Gap {
	if l.Kind != action.KindKey || len(l.Codes) != 3 || l.Codes[0] != codeEpoch {
		return nil
	}
	restored, ok := readHeadText(l.Codes[1], "restored/")
	known, ok2 := readHeadText(l.Codes[2], "known/")
	v, err := note.NewVerifier(l.Subject)
	if !ok || !ok2 || err != nil || restored.Size != index || known.Size < restored.Size || known.Size == restored.Size && known != restored {
		return nil
	}
	g := &Gap{Epoch: l.Epoch, Index: index, Origin: v.Name(), Vkey: l.Subject, Restored: restored, Known: known}
	signature, err := base64.StdEncoding.DecodeString(l.Binding)
	g.Signed = err == nil && before != nil && len(signature) == ed25519.SignatureSize && before.Verify(g.handover(), signature)
	return g
}
