// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
)

// Retention is for how long the contents of each class stay readable. Classes that are not named stay.
type Retention struct {
	Keep map[action.PartName]time.Duration
	Held []string // owners whose contents stay whatever their age: a legal hold
}

// subjectRetention stands as the subject of the erasure records of a retention. Their Codes name keys of
// several owners, as "OWNER/CLASS/GENERATION".
const subjectRetention = "retention"

// maxRetained bounds the keys that one record names.
const maxRetained = 500

// shard is the month of a time. With Config.Shards each (owner, class) has a key of its own for each month, so
// that contents can end by age.
func shard(t time.Time) string { return t.UTC().Format("200601") }

// sharded is the class of a key for a month.
func sharded(class, month string) string {
	if month == "" {
		return class
	}
	return class + "@" + month
}

// keyClass reads the class of a key: a part, and its month or "".
func keyClass(class string) (part, month string, ok bool) {
	part, month, dated := strings.Cut(class, "@")
	if dated {
		if _, err := time.Parse("200601", month); err != nil {
			return "", "", false
		}
	}
	return part, month, partNames[part]
}

// Retain destroys the keys of contents whose month has ended longer ago than their class is kept, and returns
// how many. As with Erase, what is destroyed is on record before, and a crash in between is made good at the
// next Open. Keys that were made without Config.Shards have no month and stay.
func (l *Log) Retain(ctx context.Context, r Retention) (int, error) {
	if l.cfg.ReadOnly {
		return 0, ErrClosed
	}
	held := map[string]bool{}
	for _, id := range r.Held {
		held[l.keys.pseudonym("owner", id)] = true
	}
	due, err := l.keys.due(l.Now(), r.Keep, held)
	if err != nil {
		return 0, err
	}
	for batch := range slices.Chunk(due, maxRetained) {
		_, err := l.Append(ctx, &action.Record{Kind: action.KindErasure, Tenant: l.cfg.Tenant, TimeMs: l.Now().UnixMilli(), Actor: subjectRetention,
			Subject: subjectRetention, Codes: batch, Count: int64(len(batch)), Status: action.StatusDone})
		if err != nil {
			return 0, err
		}
		for _, name := range batch {
			owner, key, _ := strings.Cut(name, "/")
			if _, err := l.keys.destroy(owner, func(n string) bool { return n == key }); err != nil {
				return 0, err
			}
		}
	}
	return len(due), nil
}

// due lists the keys whose time is over, as "OWNER/CLASS/GENERATION".
func (k *keyring) due(now time.Time, keep map[action.PartName]time.Duration, held map[string]bool) ([]string, error) {
	k.files.RLock()
	defer k.files.RUnlock()
	names, err := k.disk.List(k.dir)
	if err != nil {
		return nil, fmt.Errorf("ledger: keys: %w", err)
	}
	var out []string
	for _, name := range names {
		rest, sealed := strings.CutPrefix(name, "seal-")
		owner, class, _ := strings.Cut(rest, "-")
		part, month, ok := keyClass(class)
		life, limited := keep[action.PartName(part)]
		if !sealed || !ok || month == "" || !limited || held[owner] {
			continue
		}
		begin, err := time.Parse("200601", month)
		if err != nil || !now.After(begin.AddDate(0, 1, 0).Add(life)) {
			continue
		}
		key, err := k.loadSealKey(name, owner+"/"+class)
		if err != nil {
			return nil, fmt.Errorf("ledger: keys: %w", err)
		}
		out = append(out, key.kid)
	}
	return out, nil
}

// finishKey destroys a key that an erasure record names, if it is still there. An empty file is one that was
// being destroyed.
func (l *Log) finishKey(owner, class, generation string) error {
	if _, _, ok := keyClass(class); !ok || owner == "" || strings.ContainsAny(owner, "/\\.-") {
		return nil
	}
	path := filepath.Join(l.cfg.Keys, sealName(owner, class))
	b, err := readFile(l.cfg.disk, path, maxKeyFileBytes)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("ledger: erase: %w", err)
	}
	if lines := strings.Split(string(b), "\n"); strings.TrimSpace(string(b)) != "" && (len(lines) < 2 || lines[1] != generation) {
		return nil // a later generation
	}
	if err := errors.Join(shred(l.cfg.disk, path), l.cfg.disk.SyncDir(l.cfg.Keys)); err != nil {
		return fmt.Errorf("ledger: erase: %w", err)
	}
	return nil
}
