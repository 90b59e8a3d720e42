// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/sallyport/sallyport/action"
)

// errOther means that the log's entry before ours is not the one we know.
var errOther = errors.New("index: the log is not the one this view was made from")

// maxBatch is how many entries one transaction takes. There is no timer: a batch is what came in while
// the one before was written.
const maxBatch = 512

// Run fills the view from the log until ctx ends, Follow returns, or something fails; an ended ctx is no
// error. It starts over by itself when the view was emptied or the log is another one.
func (x *Index) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := x.shrunk(ctx); err != nil {
			return err
		}
		x.mu.Lock()
		if x.closed {
			x.mu.Unlock()
			return nil
		}
		fctx, stop := context.WithCancel(ctx)
		x.stop = stop
		from, last, fill := x.next, x.last, x.fills
		x.mu.Unlock()

		err := x.follow(fctx, stop, from, last, fill)
		stop()
		if errors.Is(err, errOther) {
			if err := x.Rebuild(ctx); err != nil {
				return err
			}
			continue
		}
		x.mu.Lock()
		again := x.fills != fill && !x.closed
		closed := x.closed
		x.stop = nil
		x.mu.Unlock()
		switch {
		case ctx.Err() != nil || closed:
			return nil
		case again:
			continue
		}
		return err
	}
	return nil
}

// follow reads the log from the entry before ours, if there is one, and writes what comes after it.
func (x *Index) follow(ctx context.Context, stop context.CancelFunc, from uint64, last string, fill int) error {
	steps := make(chan Step, maxBatch) // closed here, once Follow has returned
	wrote := make(chan error, 1)
	go func() {
		err := x.write(ctx, steps, fill)
		if err != nil {
			stop()
		}
		wrote <- err
	}()
	next := from
	check := from > 0 && last != ""
	if check {
		next--
	}
	err := x.c.Follow(ctx, next, func(e Entry) error {
		if e.Record == nil || e.Index != next {
			return fmt.Errorf("index: the log gave entry %d, wanted %d", e.Index, next)
		}
		next++
		if check {
			check = false
			if clean(e.Leaf, maxNameBytes) != last {
				return errOther
			}
			return nil
		}
		select {
		case steps <- stepOf(e):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	close(steps)
	if werr := <-wrote; werr != nil {
		return werr
	}
	return err
}

// write takes steps in batches until the channel is closed. Once it has failed it only drains.
func (x *Index) write(ctx context.Context, steps <-chan Step, fill int) error {
	batch := make([]Step, 0, maxBatch)
	for first := range steps {
		batch = append(batch[:0], first)
		for more := true; more && len(batch) < maxBatch; {
			select {
			case s, ok := <-steps:
				if more = ok; ok {
					batch = append(batch, s)
				}
			default:
				more = false
			}
		}
		if err := x.commit(ctx, batch, fill); err != nil {
			return err
		}
	}
	return nil
}

// commit writes a batch with the new head in one transaction. A batch from before the view was emptied
// is dropped.
func (x *Index) commit(ctx context.Context, batch []Step, fill int) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return ErrClosed
	}
	if x.fills != fill {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	tx, err := x.db.Write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("index: write: %w", err)
	}
	defer tx.Rollback()
	f, err := newFold(ctx, tx)
	if err != nil {
		return fmt.Errorf("index: write: %w", err)
	}
	erased := false
	for i := range batch {
		if err := f.add(ctx, &batch[i]); err != nil {
			return fmt.Errorf("index: write entry %d: %w", batch[i].Index, err)
		}
		erased = erased || (batch[i].Kind == action.KindErasure && batch[i].Index >= x.erased)
	}
	last := &batch[len(batch)-1]
	if _, err := tx.ExecContext(ctx, `UPDATE head SET next = ?, leaf = ?`, last.Index+1, last.Leaf); err != nil {
		return fmt.Errorf("index: write: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("index: write: %w", err)
	}
	x.next, x.last = last.Index+1, last.Leaf
	close(x.changed)
	x.changed = make(chan struct{})
	if erased {
		return x.empty(ctx)
	}
	return nil
}

// fold is the writing side of the view: the same entries in the same order always give the same tables.
type fold struct{ record, seen, names, session, agent, tally, words *sql.Stmt }

func newFold(ctx context.Context, tx *sql.Tx) (*fold, error) {
	f := &fold{}
	for _, s := range []struct {
		to  **sql.Stmt
		sql string
	}{
		{&f.record, `INSERT INTO records (` + columns + `) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`},
		{&f.seen, `SELECT EXISTS (SELECT 1 FROM records WHERE action = ? AND action <> ''), EXISTS (SELECT 1 FROM sessions WHERE id = ?)`},
		{&f.names, `SELECT agent, user, server, tool FROM records WHERE action = ? AND action <> '' ORDER BY idx LIMIT 1`},
		{&f.session, `INSERT INTO sessions VALUES (?1,?2,?3,?4,?5,?5,?6,?6,?7,?8,?9,?10,?11,?12,?13) ON CONFLICT (id) DO UPDATE SET
			agent = CASE agent WHEN '' THEN ?2 ELSE agent END, user = CASE user WHEN '' THEN ?3 ELSE user END,
			last_idx = ?5, last_ms = max(last_ms, ?6), actions = actions + ?7, allowed = allowed + ?8, asked = asked + ?9,
			denied = denied + ?10, quarantined = quarantined + ?11, unknown = unknown + ?12, unenforced = unenforced + ?13`},
		{&f.agent, `INSERT INTO agents VALUES (?1,?2,?2,?3,?4,?5,?6,?7,?8,?9) ON CONFLICT (id) DO UPDATE SET
			last_ms = max(last_ms, ?2), last_idx = ?3, sessions = sessions + ?4, actions = actions + ?5, allowed = allowed + ?6,
			asked = asked + ?7, denied = denied + ?8, alerts = alerts + ?9`},
		{&f.tally, `INSERT INTO tally VALUES (?,?,?,?,?,1) ON CONFLICT DO UPDATE SET n = n + 1`},
		{&f.words, `INSERT INTO words (rowid, kind, tool, rules, verdict, codes, session, reason) VALUES (?,?,?,?,?,?,?,?)`},
	} {
		st, err := tx.PrepareContext(ctx, s.sql)
		if err != nil {
			return nil, err
		}
		*s.to = st
	}
	return f, nil
}

func (f *fold) add(ctx context.Context, s *Step) error {
	var seen, open bool
	if err := f.seen.QueryRowContext(ctx, s.Action, s.Session).Scan(&seen, &open); err != nil {
		return err
	}
	if seen && s.unread {
		if err := f.names.QueryRowContext(ctx, s.Action).Scan(&s.Agent, &s.User, &s.Server, &s.Tool); err != nil {
			return err
		}
	}
	if _, err := f.record.ExecContext(ctx, s.values()...); err != nil {
		return err
	}
	started := count(s.Action != "" && !seen)
	before := s.Phase != action.After
	allowed, asked := count(before && s.Verdict == action.Allow), count(before && s.Verdict == action.Ask)
	denied, quarantined := count(before && s.Verdict == action.Deny), count(before && s.Verdict == action.Quarantine)
	if s.Session != "" {
		_, err := f.session.ExecContext(ctx, s.Session, s.Agent, s.User, string(s.Door), s.Index, s.TimeMs, started, allowed, asked, denied,
			quarantined, count(s.Kind == action.KindUnknown), count(s.Verdict != "" && s.Verdict != action.Allow && !s.Enforced))
		if err != nil {
			return err
		}
	}
	if s.Agent != "" {
		_, err := f.agent.ExecContext(ctx, s.Agent, s.TimeMs, s.Index, count(s.Session != "" && !open), started, allowed, asked,
			denied+quarantined, count(s.Kind == action.KindAlert))
		if err != nil {
			return err
		}
	}
	if s.Verdict != "" {
		day := s.TimeMs / 86_400_000
		if _, err := f.tally.ExecContext(ctx, day, string(s.Phase), string(s.Verdict), string(s.Effect), s.Enforced); err != nil {
			return err
		}
	}
	_, err := f.words.ExecContext(ctx, s.Index, string(s.Kind), s.ToolKey(), join(s.Rules), string(s.Verdict), join(s.Codes), s.Session, s.Reason)
	return err
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}
