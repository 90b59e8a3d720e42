// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/action"
)

// What people had forgotten stays forgotten, even where the store is lost and intents bring back the rest.
func TestForgottenDestinationsOutliveTheStore(t *testing.T) {
	ctx := context.Background()
	cfg := PatientConfig()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Ledger.SegmentBytes = "none", "none", 8<<20
	s, err := Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	sending := func(id, session string) *action.Query {
		q := action.NewQuery(action.Before)
		q.ID, q.Subject.ID, q.Subject.User.ID, q.Context.Session.ID = id, "mailer", "ann", session
		q.Context.Session.State, q.Context.Time.UnixMilli = action.SessionLive, s.Ledger.Now().UnixMilli()
		q.Resource.Server, q.Resource.Name, q.Action.Effect = "mail", "send", action.EffectSend
		q.Action.Arguments = []byte(`{"to":"bob@example.org"}`)
		q.Context.Approval = action.Approval{Status: action.ApprovalGranted, Channel: action.RankOperator}
		return q
	}
	inform := func(q *action.Query) action.Tri {
		t.Helper()
		p, err := s.Flow.Inform(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		p.Put(q)
		return q.Context.Flow.Arguments[0].Known
	}
	agreed := sending("1", "s1")
	inform(agreed)
	if err := s.Flow.Reserve(ctx, agreed); err != nil {
		t.Fatal(err)
	}
	s.Flow.Settle(ctx, agreed, action.StatusDone)
	if got := inform(sending("2", "s2")); got != action.Yes {
		t.Fatalf("agreed to: %s", got)
	}
	if n, err := (knownFacts{s}).Forget(ctx, "default", "mailer", "", true, "olga"); err != nil || n != 1 {
		t.Fatalf("%d, %v", n, err)
	}
	if got := inform(sending("3", "s3")); got != action.No {
		t.Errorf("forgotten: %s", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	stores, err := filepath.Glob(filepath.Join(cfg.Data, "store.db*"))
	if err != nil || len(stores) == 0 {
		t.Fatalf("no store: %v", err)
	}
	for _, f := range stores {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	if s, err = Open(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	if err := s.Flow.Restore(ctx, agreed); err != nil {
		t.Fatal(err)
	}
	if got := inform(sending("4", "s4")); got != action.No {
		t.Errorf("an older intent brought back what was forgotten: %s", got)
	}
}
