// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/ledger"
)

// runs lets the owner's background work run until the test ends.
func (h *house) runs() {
	h.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	h.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
		h.stop()
	})
}

func TestKillCancelsWhatIsUnderWay(t *testing.T) {
	dir := bundle(t, "")
	h := open(t, func(c *sallyport.Config) { c.Policy.Dir = dir })
	h.server("desk", readTool)
	sub, sess := h.agent("clerk")
	other, otherSess := h.agent("other")
	h.runs()
	started, ended := make(chan struct{}), make(chan error, 1)
	free := make(chan struct{})
	var bystander error
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _, bystander = h.Enforcer.Do(t.Context(), attempt(other, otherSess, "desk", "read_note", `{"name":"b"}`),
			func(ctx context.Context, _ enforce.Admission) (enforce.Outcome, error) {
				select {
				case <-ctx.Done():
					return enforce.Outcome{}, context.Cause(ctx)
				case <-free:
					return enforce.Outcome{Status: action.ResultDone, Content: []byte(`"done"`)}, nil
				}
			})
	})
	var rel enforce.Release
	wg.Go(func() {
		_, rel, _ = h.Enforcer.Do(t.Context(), attempt(sub, sess, "desk", "read_note", `{"name":"a"}`),
			func(ctx context.Context, _ enforce.Admission) (enforce.Outcome, error) {
				close(started)
				<-ctx.Done()
				ended <- context.Cause(ctx)
				return enforce.Outcome{}, ctx.Err()
			})
	})
	<-started
	if _, err := h.Kill.Kill(t.Context(), identity.Actor{ID: "ada", Credential: "t1"}, identity.Target{Scope: identity.KillAgent, ID: "clerk"}, "drill"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, enforce.ErrStopped) {
		t.Fatalf("the call ended with %v", err)
	}
	close(free)
	wg.Wait()
	if rel.Status != action.StatusWithheld || bystander != nil {
		t.Fatalf("its release is %q; the other's call says %v", rel.Status, bystander)
	}
	found := false
	err := h.Ledger.Records(t.Context(), func(e ledger.Entry) error {
		found = found || e.Leaf.Kind == action.KindOutcome && e.Leaf.Status == action.StatusFailed && slices.Contains(e.Leaf.Rules, "kernel.killed")
		return nil
	})
	if err != nil || !found {
		t.Fatalf("the outcome of a stopped call is recorded: %v, %v", found, err)
	}
}

// TestKillStopsAThousandActionsASecond says how long after a kill an action still passes. Its load is agents that act
// one action after the other, each with its intent and outcome on stable storage; they share what is synced, so that
// more of them make a higher rate.
func TestKillStopsAThousandActionsASecond(t *testing.T) {
	dir := bundle(t, "")
	h := open(t, func(c *sallyport.Config) { c.Policy.Dir = dir })
	h.server("desk", readTool)
	h.runs()
	var killed, last atomic.Int64 // ns since the start
	var passed atomic.Int64
	const agents = 64
	var wg sync.WaitGroup
	var subs [agents]action.Subject
	var sessions [agents]string
	for w := range agents {
		subs[w], sessions[w] = h.agent(fmt.Sprintf("a%d", w))
	}
	began := time.Now()
	for w := range agents {
		sub, sess := subs[w], sessions[w]
		wg.Go(func() {
			for i := 0; ; i++ {
				adm, _, err := h.Enforcer.Do(context.Background(), attempt(sub, sess, "desk", "read_note", fmt.Sprintf(`{"name":"%d"}`, i)),
					func(context.Context, enforce.Admission) (enforce.Outcome, error) {
						if k := killed.Load(); k != 0 {
							last.Store(max(last.Load(), int64(time.Since(began))))
						}
						return enforce.Outcome{Status: action.ResultDone, Content: []byte(`"x"`)}, nil
					})
				if err != nil {
					t.Error(err)
					return
				}
				if adm.Verdict == action.Deny {
					return
				}
				passed.Add(1)
			}
		})
	}
	for passed.Load() < agents { // everybody has begun
		time.Sleep(time.Millisecond)
	}
	before, from := passed.Load(), time.Now()
	for passed.Load() < before+2000 && time.Since(from) < 4*time.Second {
		time.Sleep(time.Millisecond)
	}
	rate := float64(passed.Load()-before) / time.Since(from).Seconds()
	at := time.Since(began)
	if _, err := h.Kill.Kill(t.Context(), identity.Actor{ID: "ada", Credential: "t1"}, identity.Target{Scope: identity.KillTenant}, "drill"); err != nil {
		t.Fatal(err)
	}
	done := time.Since(began)
	killed.Store(int64(done))
	wg.Wait()
	t.Logf("%.0f actions/s; the kill took %v to be recorded; the last agent was refused %v after it was ordered", rate, done-at, time.Since(began)-at)
	if last.Load() != 0 && time.Duration(last.Load())-done > time.Second {
		t.Errorf("an action ran %v after the kill had returned", time.Duration(last.Load())-done)
	}
}

// TestRestoredStoreRevivesNoApproval puts an older copy of the state back under a newer ledger.
func TestRestoredStoreRevivesNoApproval(t *testing.T) {
	h, sub, sess := payHouse(t)
	key := h.passkeyOf("olga")
	const args = `{"amount":50,"currency":"EUR","payee":"DE02120300000000202051"}`
	ticket := h.pay(sub, sess, args).Ticket
	if _, err := h.Approval.Approve(t.Context(), ticket, h.signs("olga", key, ticket, "approve", "", ""), ""); err != nil {
		t.Fatal(err)
	}
	h.stop()
	copyStore(t, h.cfg.Data, "saved")
	h.start()
	if adm := h.pay(sub, sess, args); adm.Verdict != action.Allow {
		t.Fatalf("the approved payment gets %+v", adm)
	}
	if _, err := h.Signers.Remove(t.Context(), h.Signers.Of("olga")[0].ID, "olga"); err != nil {
		t.Fatal(err)
	}
	h.stop()
	restoreStore(t, h.cfg.Data, "saved")
	h.start()
	if v, err := h.Approval.Show(t.Context(), ticket); err == nil && (v.State == approval.Granted || v.State == approval.Pending) {
		t.Fatalf("the used grant is %s again", v.State)
	}
	if err := h.Approval.Consume(t.Context(), ticket, "again"); !errors.Is(err, enforce.ErrConsumed) {
		t.Fatalf("using it once more says %v", err)
	}
	if len(h.Signers.Of("olga")) != 0 {
		t.Fatal("the withdrawn key is back")
	}
}

// copyStore and restoreStore save and put back the state, but not the ledger.
func copyStore(t *testing.T, data, name string) { copyFiles(t, data, filepath.Join(data, "..", name)) }

func restoreStore(t *testing.T, data, name string) {
	copyFiles(t, filepath.Join(data, "..", name), data)
}

func copyFiles(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		b, err := os.ReadFile(filepath.Join(from, "store.db"+suffix))
		if errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(filepath.Join(to, "store.db"+suffix))
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(to, "store.db"+suffix), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
