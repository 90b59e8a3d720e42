// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// Erased says what an erasure destroyed.
type Erased struct {
	Subject string           `json:"subject"` // pseudonym of the owner, as it stands in the leaf
	Keys    []string         `json:"keys"`    // "CLASS/GENERATION" of each destroyed key
	Records []action.Receipt `json:"records"` // of the erasure records
}

// Erase makes every part of an owner unreadable for ever: it destroys the keys of all classes, on disk
// and in memory. Leaves, tree and proofs stay as they are. First an erasure record is durable that says
// who did it, the owner's pseudonym, and in Codes each key as "CLASS/GENERATION"; if the process dies
// before the last key is gone, the next Open destroys the rest. Parts of the owner that come later are
// sealed with new keys; a part that was being sealed meanwhile may share the fate of the old ones.
//
// Key files are overwritten before they are removed. That reaches no copy in a backup, in a snapshot or
// in worn cells of a flash disk: backups of keys must not outlive their own limit. Pseudonyms in leaves
// stay, and who holds log.secret can still derive them from a name.
//
// It returns ErrNotFound, and records nothing, if the owner has no keys.
func (l *Log) Erase(ctx context.Context, tenant, owner, actor string) (Erased, error) {
	var out Erased
	if tenant != l.cfg.Tenant || owner == "" || actor == "" {
		return out, errors.New("ledger: erase: the log's tenant, an owner and an actor are needed")
	}
	if l.cfg.ReadOnly {
		return out, ErrClosed
	}
	out.Subject = l.keys.pseudonym("owner", owner)
	recorded := map[string]bool{}
	for {
		names, err := l.keys.generations(out.Subject)
		if err != nil {
			return out, err
		}
		fresh := slices.DeleteFunc(names, func(name string) bool { return recorded[name] })
		if len(fresh) == 0 && len(recorded) == 0 {
			return out, fmt.Errorf("%w: the subject has no keys", ErrNotFound)
		}
		if len(fresh) > 0 {
			r, err := l.Append(ctx, &action.Record{Kind: action.KindErasure, Tenant: tenant, TimeMs: l.Now().UnixMilli(),
				Actor: actor, Subject: out.Subject, Codes: fresh, Count: int64(len(fresh)), Status: action.StatusDone})
			if err != nil {
				return out, err
			}
			out.Records = append(out.Records, r)
		}
		for _, name := range fresh {
			recorded[name] = true
		}
		// A key of another class may have been made since the list was read: nothing goes unrecorded.
		rest, err := l.keys.destroy(out.Subject, func(name string) bool { return recorded[name] })
		if err != nil {
			return out, err
		}
		if !rest {
			break
		}
	}
	for name := range recorded {
		out.Keys = append(out.Keys, name)
	}
	slices.Sort(out.Keys)
	return out, nil
}

// generations lists the keys of an owner as "CLASS/GENERATION".
func (k *keyring) generations(owner string) ([]string, error) {
	k.files.RLock()
	defer k.files.RUnlock()
	return k.list(owner)
}

// list is generations; files is held.
func (k *keyring) list(owner string) ([]string, error) {
	names, err := k.disk.List(k.dir)
	if err != nil {
		return nil, fmt.Errorf("ledger: keys: %w", err)
	}
	var out []string
	for _, name := range names {
		class, ok := strings.CutPrefix(name, sealName(owner, ""))
		if _, _, known := keyClass(class); !ok || !known {
			continue
		}
		key, err := k.loadSealKey(name, owner+"/"+class)
		if err != nil {
			return nil, fmt.Errorf("ledger: keys: %w", err)
		}
		out = append(out, strings.TrimPrefix(key.kid, owner+"/"))
	}
	slices.Sort(out)
	return out, nil
}

// destroy removes those keys of an owner that which names, and reports whether others are left.
func (k *keyring) destroy(owner string, which func(name string) bool) (rest bool, err error) {
	k.files.Lock()
	defer k.files.Unlock()
	names, err := k.list(owner)
	if err != nil {
		return false, err
	}
	gone := false
	for _, name := range names {
		if !which(name) {
			rest = true
			continue
		}
		class, _, _ := strings.Cut(name, "/")
		file := sealName(owner, class)
		k.mu.Lock()
		delete(k.cache, keyName{owner, class})
		k.mu.Unlock()
		for _, path := range []string{file, file + ".tmp"} {
			if err := shred(k.disk, filepath.Join(k.dir, path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return true, fmt.Errorf("ledger: erase: %w", err)
			}
		}
		gone = true
	}
	if gone {
		if err := k.disk.SyncDir(k.dir); err != nil {
			return true, fmt.Errorf("ledger: erase: %w", err)
		}
	}
	return rest, nil
}

// shred overwrites a file, as far as the file system lets it, and removes it.
func shred(d disk, name string) error {
	f, err := d.Open(name, os.O_RDWR)
	if err != nil {
		return err
	}
	n, err := f.Size()
	if err == nil {
		// Not empty but without meaning: a crash before the removal leaves a file that is no key.
		_, err = f.WriteAt(bytes.Repeat([]byte{'\n'}, int(min(n, maxKeyFileBytes))), 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return d.Remove(name)
}

// finishErasure destroys what an erasure record says is destroyed, after a crash or where a backup
// brought a key back.
func (l *Log) finishErasure(leaf *Leaf) error {
	if leaf.Kind != action.KindErasure || l.cfg.ReadOnly {
		return nil
	}
	for _, name := range leaf.Codes {
		owner := leaf.Subject
		if owner == subjectRetention {
			owner, name, _ = strings.Cut(name, "/")
		}
		class, generation, _ := strings.Cut(name, "/")
		if err := l.finishKey(owner, class, generation); err != nil {
			return err
		}
	}
	return nil
}

// Disclose opens a part of the entry at index for a person. First an access record is durable that says
// who opened what: Subject is "INDEX/PART", and purpose is sealed with it as the actor's own data. Its
// errors are Entry.Open's; without the record nothing is opened. An erased part is recorded as asked for.
//
// Reasoning takes two people: DiscloseByTwo.
func (l *Log) Disclose(ctx context.Context, index uint64, part action.PartName, actor, purpose string) ([]byte, action.Receipt, error) {
	if part == action.PartReasoning {
		return nil, action.Receipt{}, ErrTwo
	}
	return l.disclose(ctx, index, part, "", actor, purpose)
}

// AskToDisclose puts on record that actor wants a part opened that takes two people.
func (l *Log) AskToDisclose(ctx context.Context, index uint64, part action.PartName, actor, purpose string) (action.Receipt, error) {
	r, err := l.accessTo(index, part, actor, purpose)
	if err != nil {
		return action.Receipt{}, err
	}
	r.Status = action.StatusAsked
	return l.Append(ctx, r)
}

// DiscloseByTwo is Disclose in the word of two people, who must be two: who they are the caller has proved.
// The record is the second's, and names the first in Codes as "first/PSEUDONYM".
func (l *Log) DiscloseByTwo(ctx context.Context, index uint64, part action.PartName, first, second, purpose string) ([]byte, action.Receipt, error) {
	if first == "" || strings.EqualFold(first, second) {
		return nil, action.Receipt{}, ErrTwo
	}
	return l.disclose(ctx, index, part, first, second, purpose)
}

func (l *Log) disclose(ctx context.Context, index uint64, part action.PartName, first, actor, purpose string) ([]byte, action.Receipt, error) {
	r, err := l.accessTo(index, part, actor, purpose)
	if err != nil {
		return nil, action.Receipt{}, err
	}
	if first != "" {
		r.Codes = []string{"first/" + l.keys.pseudonym("actor", first)}
	}
	e, err := l.Read(index)
	if err != nil {
		return nil, action.Receipt{}, err
	}
	receipt, err := l.Append(ctx, r)
	if err != nil {
		return nil, action.Receipt{}, fmt.Errorf("ledger: disclose: not recorded, not opened: %w", err)
	}
	data, err := e.Open(part)
	return data, receipt, err
}

// accessTo is the record of an access to a part, if there is such a part.
func (l *Log) accessTo(index uint64, part action.PartName, actor, purpose string) (*action.Record, error) {
	if actor == "" || len(purpose) > 4096 {
		return nil, errors.New("ledger: disclose: an actor, and a purpose of at most 4096 bytes, are needed")
	}
	e, err := l.Read(index)
	if err != nil {
		return nil, err
	}
	if e.Leaf.part(part) == nil {
		return nil, fmt.Errorf("%w: entry %d has no part %q", ErrNotFound, index, clip(string(part)))
	}
	r := &action.Record{Kind: action.KindAccess, Tenant: l.cfg.Tenant, TimeMs: l.Now().UnixMilli(), Actor: actor,
		Subject: strconv.FormatUint(index, 10) + "/" + string(part), Status: action.StatusDone}
	if purpose != "" {
		r.Parts = []action.PayloadPart{{Name: action.PartDetail, Owner: actor, Data: []byte(purpose)}}
	}
	return r, nil
}
