// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger/anchor"
)

// Anchored is a checkpoint that a third party put a time on.
type Anchored struct {
	Index   uint64 `json:"index"` // of the anchor record; the token is older than it
	Kind    string `json:"kind"`
	Size    uint64 `json:"size"`    // leaves that existed at the time
	TimeMs  int64  `json:"time_ms"` // 0 while nothing that is trusted says one
	Signer  string `json:"signer"`
	Trusted bool   `json:"trusted"` // by roots that the verifier gave
}

// Anchor has the newest checkpoint anchored by a third party, stores token and checkpoint in the folder of
// anchors as "SIZE.KIND" and "SIZE.checkpoint", and records them: Subject is "KIND/SIZE", Codes are
// "token/sha256:..." and "checkpoint/sha256:...". It needs Config.Anchors.
func (l *Log) Anchor(ctx context.Context, a anchor.Anchor, actor string) (Anchored, action.Receipt, error) {
	var out Anchored
	if l.cfg.Anchors == "" || l.cfg.ReadOnly {
		return out, action.Receipt{}, errors.New("ledger: anchor: no folder for anchors is configured")
	}
	cp := l.Checkpoint()
	token, err := a.Anchor(ctx, cp.Note)
	if err != nil {
		return out, action.Receipt{}, err
	}
	if !identifier(token.Kind) || strings.ContainsAny(token.Kind, "/.") || token.Kind == "" || token.Kind == "checkpoint" {
		return out, action.Receipt{}, fmt.Errorf("ledger: anchor: kind %q", clip(token.Kind))
	}
	number := strconv.FormatUint(cp.Size, 10)
	if err := l.cfg.disk.MkdirAll(l.cfg.Anchors); err != nil {
		return out, action.Receipt{}, fmt.Errorf("ledger: anchor: %w", err)
	}
	for name, b := range map[string][]byte{number + ".checkpoint": cp.Note, number + "." + token.Kind: token.Data} {
		if err := writeFile(l.cfg.disk, filepath.Join(l.cfg.Anchors, name), b, true); err != nil {
			return out, action.Receipt{}, fmt.Errorf("ledger: anchor: %w", err)
		}
	}
	r, err := l.Append(ctx, &action.Record{Kind: action.KindAnchor, Tenant: l.cfg.Tenant, TimeMs: l.Now().UnixMilli(), Actor: actor,
		Subject: token.Kind + "/" + number, Status: action.StatusDone,
		Codes: []string{"token/" + digest(sha256.Sum256(token.Data)), "checkpoint/" + digest(sha256.Sum256(cp.Note))}})
	return Anchored{Index: r.Index, Kind: token.Kind, Size: cp.Size, TimeMs: timeMs(token.Time)}, r, err
}

func timeMs(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// completed is appended to the name of a proof that its calendars have completed since it was recorded.
const completed = "-complete"

// CompleteAnchors asks calendars for what was pending when it was recorded, and stores what it gets beside
// the recorded proof. It returns how many proofs it completed and how many are still pending.
func (l *Log) CompleteAnchors(ctx context.Context, o anchor.OTS) (done, pending int, err error) {
	if l.cfg.Anchors == "" || l.cfg.ReadOnly {
		return 0, 0, errors.New("ledger: anchor: no folder for anchors is configured")
	}
	names, err := l.cfg.disk.List(l.cfg.Anchors)
	if err != nil {
		return 0, 0, fmt.Errorf("ledger: anchor: %w", err)
	}
	var errs []error
	for _, name := range names {
		number, ok := strings.CutSuffix(name, "."+anchor.KindOTS)
		if !ok || slices.Contains(names, name+completed) {
			continue
		}
		data, err := readFile(l.cfg.disk, filepath.Join(l.cfg.Anchors, name), 1<<20)
		cp, err2 := readFile(l.cfg.disk, filepath.Join(l.cfg.Anchors, number+".checkpoint"), 1<<20)
		better := false
		if err = errors.Join(err, err2); err == nil {
			data, better, err = o.Upgrade(ctx, data, cp)
		}
		if err == nil && better {
			err = writeFile(l.cfg.disk, filepath.Join(l.cfg.Anchors, name+completed), data, true)
		}
		if err != nil || !better {
			errs = append(errs, err)
			pending++
			continue
		}
		done++
	}
	if done > 0 {
		return done, pending, nil
	}
	return done, pending, errors.Join(errs...)
}

// anchored checks the token of an anchor record, where it is at hand.
func (c *checker) anchored(index uint64, l *Leaf) {
	kind, number, _ := strings.Cut(l.Subject, "/")
	size, err := strconv.ParseUint(number, 10, 63)
	if err != nil || size > index || strconv.FormatUint(size, 10) != number || strings.ContainsAny(kind, "/\\.") || len(l.Codes) != 2 {
		c.problem(&index, "anchor", "the record names no anchor of a checkpoint before it")
		return
	}
	if c.anchors == "" {
		return
	}
	token, err := readFile(realDisk{}, filepath.Join(c.anchors, number+"."+kind), 1<<20)
	cp, err2 := readFile(realDisk{}, filepath.Join(c.anchors, number+".checkpoint"), 1<<20)
	if err = errors.Join(err, err2); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			c.note(fmt.Sprintf("entry %d: the token of the anchor at %d leaves is not at hand", index, size))
			return
		}
		c.problem(&index, "anchor", err.Error())
		return
	}
	if l.Codes[0] != "token/"+digest(sha256.Sum256(token)) || l.Codes[1] != "checkpoint/"+digest(sha256.Sum256(cp)) {
		c.problem(&index, "anchor", "token or checkpoint is not the one that was recorded")
		return
	}
	parsed, err := ParseCheckpoint(cp, nil)
	if err == nil {
		err = c.signed(cp)
	}
	if err != nil || parsed.Size != size {
		c.problem(&index, "anchor", "what was anchored is no checkpoint of this log")
		return
	}
	if b, err := readFile(realDisk{}, filepath.Join(c.anchors, number+"."+kind+completed), 1<<20); err == nil && kind == anchor.KindOTS {
		token = b // it is about the same checkpoint, or Verify says so
	}
	checked, err := anchor.Verify(kind, token, cp, c.trust)
	if err != nil {
		c.problem(&index, "anchor", err.Error())
		return
	}
	if root, ok := c.watch[size]; !ok || root == nil || *root != parsed.Root {
		c.problem(&index, "anchor", fmt.Sprintf("its root of %d leaves is not the log's", size))
		return
	}
	c.report.Anchors = append(c.report.Anchors, Anchored{Index: index, Kind: kind, Size: size, TimeMs: timeMs(checked.Time),
		Signer: checked.Signer, Trusted: checked.Trusted})
}

// watchAnchors has the roots remembered that anchors are about: their sizes are known before the scan.
func (c *checker) watchAnchors() error {
	if c.anchors == "" {
		return nil
	}
	names, err := realDisk{}.List(c.anchors)
	if err != nil {
		return fmt.Errorf("ledger: verify: %w", err)
	}
	for _, name := range names {
		if number, ok := strings.CutSuffix(name, ".checkpoint"); ok {
			if size, err := strconv.ParseUint(number, 10, 63); err == nil {
				if _, ok := c.watch[size]; !ok {
					c.watch[size] = nil
				}
			}
		}
	}
	if _, ok := c.watch[0]; ok {
		empty := (&tree{}).root()
		c.watch[0] = &empty
	}
	return nil
}

// readRoots parses certificates in PEM.
func readRoots(pem []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("ledger: verify: no certificate among the authorities' roots")
	}
	return pool, nil
}
