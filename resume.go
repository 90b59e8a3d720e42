// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/store"
)

// A start brings back what the columns knew: counters, labels, profiles, alarms, calls that may be
// repeated. All of it follows from the ledger. So that a start does not have to read all of the ledger,
// what the columns know is written down now and then, sealed, and a start replays what came after.
//
// A record is in the ledger some time before the columns have heard of it. A past is therefore kept in two
// steps: first the size of the ledger is noted, and settleFor later what the columns know. Records below
// that size have reached them by then; those above are replayed, and the counters know which of those are
// in their numbers already. Labels are in the store, and are only ever raised by a replay: the store holds
// the name of the last past, so that neither an older store nor an older past is taken for the newest.

const (
	keepEvery = 5 * time.Minute
	settleFor = 5 * time.Second
	keptHead  = "sallyport past 1 "
	keptName  = "default/sallyport/past"
)

// keptPast says from where the ledger has to be replayed. The zero value says: from the beginning.
type keptPast struct {
	Name   string `json:"name"`   // random
	Size   uint64 `json:"size"`   // records that counters, labels and alarms need not hear again
	Oldest uint64 `json:"oldest"` // the first record that the enforcer has to hear again

	atMs int64
}

func (s *Sallyport) pastPath() string { return filepath.Join(layout(s.Config.Data).snapshots, "past") }

func (s *Sallyport) sealPast(body []byte) string { return s.Ledger.Fingerprint("past", body) }

// beginPast notes the size of the ledger.
func (s *Sallyport) beginPast() keptPast {
	s.Monitor.Begin()
	return keptPast{Name: rand.Text(), Size: s.Ledger.Checkpoint().Size, atMs: s.Ledger.Now().UnixMilli()}
}

// keep writes down what the columns know. Where something is not where a start would look for it, the past
// before stays.
func (s *Sallyport) keep(ctx context.Context, p keptPast) error {
	if !s.Flow.Saved() || s.Alarms.Since(p.atMs) < p.atMs {
		return errors.New("past: labels or alerts wait to be written")
	}
	counters, err := s.Monitor.Snapshot()
	if err != nil {
		return err
	}
	p.Oldest = s.Enforcer.Oldest(p.Size)
	line, err := action.Canonical(p)
	if err != nil {
		return err
	}
	body := append(append(line, '\n'), counters...)
	if err := s.snapshot(); err != nil {
		return err
	}
	if err := writeDurably(s.pastPath(), append([]byte(keptHead+s.sealPast(body)+"\n"), body...)); err != nil {
		return err
	}
	e, err := s.Store.Get(ctx, keptName)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	_, err = s.Store.Put(ctx, keptName, []byte(p.Name), e.Revision)
	return err
}

// keepPast keeps the past every keepEvery. The last one is finished by Close, when nothing moves any more.
func (s *Sallyport) keepPast(ctx context.Context) error {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.ending = s.beginPast()
			return nil
		case <-tick.C:
		}
		p := s.beginPast()
		settle := time.NewTimer(settleFor)
		select {
		case <-ctx.Done():
			settle.Stop()
			s.ending = s.beginPast()
			return nil
		case <-settle.C:
		}
		_ = s.keep(ctx, p) // without it the next start replays more
	}
}

// keepEnding finishes the past that Run began at its end.
func (s *Sallyport) keepEnding() {
	if s.ending.Name != "" {
		_ = s.keep(context.Background(), s.ending)
		s.ending = keptPast{}
	}
}

// resume loads the counters and says from where to replay.
func (s *Sallyport) resume(ctx context.Context) (p keptPast) {
	b, err := os.ReadFile(s.pastPath())
	if err != nil {
		return keptPast{}
	}
	head, body, ok := bytes.Cut(b, []byte("\n"))
	told, ours := bytes.CutPrefix(head, []byte(keptHead))
	line, counters, cut := bytes.Cut(body, []byte("\n"))
	if !ok || !ours || !cut || subtle.ConstantTimeCompare(told, []byte(s.sealPast(body))) != 1 || action.Read(line, &p, action.Limits{}) != nil {
		return keptPast{}
	}
	e, err := s.Store.Get(ctx, keptName)
	if err != nil || string(e.Value) != p.Name || p.Size > s.Ledger.Checkpoint().Size || p.Oldest > p.Size {
		return keptPast{}
	}
	if s.Monitor.Load(counters) != nil {
		return keptPast{}
	}
	return p
}

// history replays what the enforcer has to hear.
func (s *Sallyport) history(ctx context.Context, fn func(index uint64, r *action.Record) error) error {
	return s.Ledger.HistoryFrom(ctx, s.resumed.Oldest, fn)
}

// restore brings back what keeps counts, profiles and labels, then lets enforce close what a crash left
// open.
func (s *Sallyport) restore(ctx context.Context) error {
	since := s.Ledger.Now().AddDate(0, -1, -1).UnixMilli() // the longest window of a counter is a month
	learnt := s.loadProfiles()
	s.resumed = s.resume(ctx)
	from := min(learnt, s.resumed.Size)
	err := s.Ledger.Select(ctx, 0, []string{string(action.KindContext)}, func(e ledger.Entry) error {
		return errors.Join(s.records.restore(e), s.restoreForgotten(ctx, e))
	})
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	open, err := s.stillOpen(from)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	err = s.Ledger.Select(ctx, 0, []string{string(action.KindAlert)}, func(e ledger.Entry) error {
		if e.Index < from && e.Leaf.TimeMs >= since {
			s.restoreAlert(e, false)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	err = s.Ledger.RecordsFrom(ctx, from, func(e ledger.Entry) error {
		recent, fresh := e.Leaf.TimeMs >= since && e.Index >= s.resumed.Size, e.Index >= learnt
		if recent || fresh {
			return s.restoreEntry(ctx, e, open, recent, fresh)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	s.Monitor.Ready()
	s.Profiles.Ready()
	s.Alarms.Ready()
	if err := s.Enforcer.Restore(ctx); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	for id, q := range open { // enforce has made them unknown
		if q == nil { // erased
			s.Profiles.Settle(ctx, only(id), action.StatusUnknown)
			continue
		}
		s.Monitor.Settle(ctx, q, action.StatusUnknown)
		s.Profiles.Settle(ctx, q, action.StatusUnknown)
		s.Flow.Settle(ctx, q, action.StatusUnknown)
	}
	return nil
}

// stillOpen are the queries of actions that were open when the past was kept and whose intents the replay
// does not come to.
func (s *Sallyport) stillOpen(from uint64) (map[string]*action.Query, error) {
	open := map[string]*action.Query{}
	for _, id := range append(s.Monitor.Open(), s.Profiles.Open()...) {
		for round := range maxRounds {
			index, ok := s.Ledger.Find(id, round, action.KindIntent)
			if !ok || index >= from {
				continue
			}
			e, err := s.Ledger.Read(index)
			if err != nil {
				return nil, err
			}
			q, err := recordedInput(e, action.PartInputBefore)
			if err != nil {
				return nil, err
			}
			open[id] = q // nil where it was erased
		}
		if open[id] == nil { // its reservation can still be ended
			open[id] = action.NewQuery(action.Before)
			open[id].ID = id
		}
	}
	return open, nil
}

// maxRounds bounds the asks of one action that are looked through for its intent.
const maxRounds = 16
