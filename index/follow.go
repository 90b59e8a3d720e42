// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/store/sqlite"
)

// errOther means that the log's entry before ours is not the one we know.
var errOther = errors.New("index: the log is not the one this view was made from")

// maxBatch is how many entries one transaction takes. A batch is what came in while the one before was
// written, and during Config.Gather after it.
const maxBatch = 512

// readAhead is how many entries are read before the writer takes them: during a pause the reader, too, comes
// to rest, so that what is left for the actions is not spent on waking it for each of them.
const readAhead = 32

// Run fills the view from the log until ctx ends, Follow returns or errs; an ended ctx is no error. It
// starts over by itself when the view was emptied or the log is another one. A file that cannot be written
// never ends it: Run waits, makes a damaged file anew, and goes on; Status says what is wrong. A start opens the file
// unread, so Run reads it through beside the following, and makes it anew if its structure is damaged.
func (x *Index) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	checked := make(chan struct{}) // closed once check has returned
	go func() {
		defer close(checked)
		x.check(ctx)
	}()
	defer func() { stop(); <-checked }()
	for renew := false; ctx.Err() == nil; {
		again, err := x.round(ctx)
		if errors.Is(err, ErrClosed) || ctx.Err() != nil {
			return nil
		}
		var file *fileError
		if errors.As(err, &file) {
			x.mu.Lock()
			x.problem = err
			x.mu.Unlock()
			select {
			case <-time.After(x.c.Retry):
			case <-ctx.Done():
			}
			if renew = renew || unusable(err); renew {
				renew = x.renew(ctx) != nil
			}
			continue
		}
		if err != nil || !again {
			return err
		}
	}
	return nil
}

// check reads the file through once. What a damaged page held is made again from the log.
func (x *Index) check(ctx context.Context) {
	x.mu.Lock()
	done := x.checked || x.closed
	x.mu.Unlock()
	if done {
		return
	}
	db := x.db.Load()
	err := db.Check(ctx)
	for errors.Is(err, sqlite.ErrRot) && x.db.Load() == db && x.renew(ctx) != nil { // else Run has made it anew itself
		select { // the disk may be full; Run says so by its own writes
		case <-time.After(x.c.Retry):
		case <-ctx.Done():
			return
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.checked = ctx.Err() == nil
}

// fileError is a failure of our own file, not of the log.
type fileError struct{ cause error }

func (e *fileError) Error() string { return e.cause.Error() }
func (e *fileError) Unwrap() error { return e.cause }

// unusable reports whether err says that the file is damaged (SQLITE_CORRUPT, SQLITE_NOTADB) or lacks our
// tables (SQLITE_ERROR).
func unusable(err error) bool {
	var coded interface{ Code() int }
	if !errors.As(err, &coded) {
		return false
	}
	code := coded.Code() & 0xff
	return code == 1 || code == 11 || code == 26
}

// round follows the log once, and reports whether the view was emptied meanwhile.
func (x *Index) round(ctx context.Context) (again bool, err error) {
	if err := x.shrunk(ctx); err != nil {
		return false, err
	}
	fctx, stop := context.WithCancel(ctx)
	defer stop()
	x.mu.Lock()
	if x.closed {
		x.mu.Unlock()
		return false, ErrClosed
	}
	x.stop = stop
	from, fill := x.next, x.fills
	x.mu.Unlock()

	err = x.follow(fctx, stop, from, fill)
	if errors.Is(err, errOther) {
		err = x.Rebuild(ctx)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stop = nil
	if x.closed {
		return false, ErrClosed
	}
	var file *fileError
	if x.fills != fill && !errors.As(err, &file) {
		return true, nil // what ended the follow was that
	}
	return false, err
}

// follow reads the log from the entry before ours, if there is one, and writes what comes after it.
func (x *Index) follow(ctx context.Context, stop context.CancelFunc, from uint64, fill int) error {
	steps := make(chan Step, readAhead) // closed here, once Follow has returned
	wrote := make(chan error, 1)
	go func() {
		err := x.write(ctx, steps, fill)
		if err != nil {
			stop()
		}
		wrote <- err
	}()
	names := &learner{pseudonym: x.c.Pseudonym, known: map[named]bool{}}
	next := from
	check := from > 0
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
			return x.same(ctx, e)
		}
		select {
		case steps <- stepOf(e, names):
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

// same reports errOther unless e is the entry that the view holds under its index, as far as the view
// tells: reasons and hints may have been erased since.
func (x *Index) same(ctx context.Context, e Entry) error {
	var ours Step
	err := ours.scan(x.db.Load().Write.QueryRowContext(ctx, `SELECT `+columns+` FROM records WHERE idx = ?`, e.Index))
	if errors.Is(err, sql.ErrNoRows) {
		return errOther
	}
	if err != nil {
		return &fileError{fmt.Errorf("index: entry %d: %w", e.Index, err)}
	}
	e.Open = nil
	theirs := stepOf(e, &learner{})
	ours.Reason, ours.Hint, theirs.Reason, theirs.Hint = "", "", "", ""
	if fmt.Sprint(ours.values()...) != fmt.Sprint(theirs.values()...) {
		return errOther
	}
	return nil
}

// write takes steps in batches until the channel is closed or one cannot be written.
func (x *Index) write(ctx context.Context, steps <-chan Step, fill int) error {
	batch := make([]Step, 0, maxBatch)
	var last time.Time // of the commit before
	for first := range steps {
		batch = append(batch[:0], first)
		x.pause(ctx, first.Index, x.c.Gather-time.Since(last))
		batch = x.collect(ctx, batch, steps)
		if err := x.commit(ctx, batch, fill); err != nil {
			return err
		}
		last = time.Now()
	}
	return nil
}

// pause waits for d, unless the view is far behind or somebody waits for it.
func (x *Index) pause(ctx context.Context, index uint64, d time.Duration) {
	if d <= 0 {
		return
	}
	if head, err := x.c.Head(ctx); err != nil || head > index+maxBatch {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-x.wanted:
	case <-ctx.Done():
	}
}

// maxCollect bounds the wait for entries that the log says it has.
const maxCollect = 20 * time.Millisecond

// collect adds to a batch what the log holds already.
func (x *Index) collect(ctx context.Context, batch []Step, steps <-chan Step) []Step {
	head, err := x.c.Head(ctx)
	if err != nil {
		return batch
	}
	timer := time.NewTimer(maxCollect)
	defer timer.Stop()
	for len(batch) < maxBatch && batch[len(batch)-1].Index+1 < head {
		select {
		case s, ok := <-steps:
			if !ok {
				return batch
			}
			batch = append(batch, s)
		case <-timer.C:
			return batch
		}
	}
	return batch
}

// commit writes a batch. A batch from before the view was emptied is dropped.
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
	if err := x.put(ctx, batch); err != nil {
		return &fileError{err}
	}
	x.next, x.problem = batch[len(batch)-1].Index+1, nil
	close(x.changed)
	x.changed = make(chan struct{})
	for i := range batch {
		if batch[i].Kind == action.KindErasure && batch[i].Index >= x.erased {
			return x.empty(ctx)
		}
	}
	return nil
}

// put writes a batch with the new head in one transaction; mu is held.
func (x *Index) put(ctx context.Context, batch []Step) error {
	tx, err := x.db.Load().Write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("index: write: %w", err)
	}
	defer tx.Rollback()
	f, err := newFold(ctx, tx)
	if err != nil {
		return fmt.Errorf("index: write: %w", err)
	}
	for i := range batch {
		if err := f.add(ctx, &batch[i]); err != nil {
			return fmt.Errorf("index: write entry %d: %w", batch[i].Index, err)
		}
	}
	if _, err := tx.ExecContext(ctx, `UPDATE head SET next = ?`, batch[len(batch)-1].Index+1); err != nil {
		return fmt.Errorf("index: write: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("index: write: %w", err)
	}
	return nil
}

// fold is the writing side of the view: the same entries in the same order always give the same tables.
type fold struct{ record, seen, name, named, session, agent, tally, rule, words *sql.Stmt }

func newFold(ctx context.Context, tx *sql.Tx) (*fold, error) {
	f := &fold{}
	for _, s := range []struct {
		to  **sql.Stmt
		sql string
	}{
		{&f.record, `INSERT INTO records (` + columns + `) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`},
		{&f.seen, `SELECT EXISTS (SELECT 1 FROM records WHERE action = ? AND action <> ''), EXISTS (SELECT 1 FROM sessions WHERE id = ?)`},
		{&f.name, `INSERT OR IGNORE INTO names VALUES (?,?,?)`},
		{&f.named, `SELECT name FROM names WHERE kind = ? AND pseudonym = ?`},
		{&f.session, `INSERT INTO sessions VALUES (?1,?2,?3,?4,?5,?5,?6,?6,?7,?8,?9,?10,?11,?12,?13) ON CONFLICT (id) DO UPDATE SET
			agent = CASE agent WHEN '' THEN ?2 ELSE agent END, user = CASE user WHEN '' THEN ?3 ELSE user END,
			last_idx = ?5, last_ms = max(last_ms, ?6), actions = actions + ?7, allowed = allowed + ?8, asked = asked + ?9,
			denied = denied + ?10, quarantined = quarantined + ?11, unknown = unknown + ?12, unenforced = unenforced + ?13`},
		{&f.agent, `INSERT INTO agents VALUES (?1,?2,?2,?3,?4,?5,?6,?7,?8,?9) ON CONFLICT (id) DO UPDATE SET
			last_ms = max(last_ms, ?2), last_idx = ?3, sessions = sessions + ?4, actions = actions + ?5, allowed = allowed + ?6,
			asked = asked + ?7, denied = denied + ?8, alerts = alerts + ?9`},
		{&f.tally, `INSERT INTO tally VALUES (?,?,?,?,?,1) ON CONFLICT DO UPDATE SET n = n + 1`},
		{&f.rule, `INSERT INTO rule_tally VALUES (?,?,?,1) ON CONFLICT DO UPDATE SET n = n + 1`},
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
	for _, n := range s.learned {
		if _, err := f.name.ExecContext(ctx, n.kind, n.pseudonym, n.name); err != nil {
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
	for _, rule := range s.opposing() {
		if _, err := f.rule.ExecContext(ctx, s.TimeMs/86_400_000, rule, s.opposition()); err != nil {
			return err
		}
	}
	key, err := f.toolKey(ctx, s)
	if err != nil {
		return err
	}
	_, err = f.words.ExecContext(ctx, s.Index, string(s.Kind), key, join(s.Rules), string(s.Verdict), join(s.Codes), s.Session, s.Reason)
	return err
}

// toolKey names the step's tool in readable words where they are known.
func (f *fold) toolKey(ctx context.Context, s *Step) (string, error) {
	r := *s
	if s.sealed {
		for _, n := range []struct {
			kind string
			p    *string
		}{{nameServer, &r.Server}, {nameTool, &r.Tool}} {
			if err := f.named.QueryRowContext(ctx, n.kind, *n.p).Scan(n.p); err != nil && !errors.Is(err, sql.ErrNoRows) {
				return "", err
			}
		}
	}
	return r.ToolKey(), nil
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}
