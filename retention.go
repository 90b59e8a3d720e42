// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
)

// RetentionRule says how long contents of a class stay readable.
type RetentionRule struct {
	Class string        `yaml:"class" doc:"name of the part, like result"`
	Keep  time.Duration `yaml:"keep" doc:"how long after the end of its month, like 2160h; at least a day"`
}

// errHeld means that a legal hold forbids an erasure.
var errHeld = errors.New("a legal hold keeps what is recorded of the subject")

func (c *LedgerConfig) checkRetention() error {
	seen := map[string]bool{}
	for _, r := range c.Retention {
		if !slices.Contains(action.PartName("").Values(), r.Class) || seen[r.Class] || r.Keep < 24*time.Hour {
			return fmt.Errorf("config: ledger.retention: %q is no class, stands twice, or is kept for less than a day", action.Clip(r.Class, 32))
		}
		seen[r.Class] = true
	}
	return nil
}

// RetentionState is how long contents stay readable here, and since which record that holds.
type RetentionState struct {
	Rules  []RetentionSpan `json:"rules"`  // by class
	Held   []string        `json:"held"`   // pseudonyms of the owners under a legal hold, sorted
	Record uint64          `json:"record"` // index of the record that says so
}

// RetentionSpan is how long a class is kept after the end of its month.
type RetentionSpan struct {
	Class  string `json:"class"`
	KeepMs int64  `json:"keep_ms"`
}

const (
	codeRetention = "retention.changed"
	retentionKey  = "default/ledger/retention"
)

// retentionNow is what the configuration says. Whom a hold is about stands in it as the leaves name him: a name
// would outlive the hold.
func (s *Sallyport) retentionNow() (RetentionState, error) {
	now := RetentionState{Rules: []RetentionSpan{}, Held: []string{}}
	for _, r := range s.Config.Ledger.Retention {
		now.Rules = append(now.Rules, RetentionSpan{r.Class, r.Keep.Milliseconds()})
	}
	for _, id := range s.Config.Ledger.LegalHolds {
		p, err := s.Ledger.Pseudonym("default", "owner", id)
		if err != nil {
			return now, err
		}
		now.Held = append(now.Held, p)
	}
	slices.SortFunc(now.Rules, func(a, b RetentionSpan) int { return strings.Compare(a.Class, b.Class) })
	slices.Sort(now.Held)
	return now, nil
}

// recordRetention puts on record that retention or legal holds are others than before, before anything ends by
// them: from what to what, and under whose user account the owner runs that read it.
func (s *Sallyport) recordRetention(ctx context.Context) error {
	now, err := s.retentionNow()
	if err != nil {
		return err
	}
	was := RetentionState{Rules: []RetentionSpan{}, Held: []string{}}
	revision, err := s.stored(ctx, retentionKey, &was)
	if err != nil {
		return err
	}
	s.retention = was
	if slices.Equal(was.Rules, now.Rules) && slices.Equal(was.Held, now.Held) {
		return nil
	}
	detail, err := action.Canonical(struct {
		Before RetentionState `json:"before"`
		Now    RetentionState `json:"now"`
	}{was, now})
	if err != nil {
		return err
	}
	receipt, err := s.Ledger.Append(ctx, &action.Record{Kind: action.KindPolicy, Tenant: "default", TimeMs: s.Ledger.Now().UnixMilli(), Actor: account(),
		Subject: "retention", Status: action.StatusNone, Codes: []string{codeRetention}, Count: int64(len(now.Held)),
		Parts: []action.PayloadPart{{Name: action.PartDetail, Owner: "policy", Data: detail}}})
	if err != nil {
		return fmt.Errorf("record of retention: %w", err)
	}
	now.Record = receipt.Index
	value, err := action.Canonical(now)
	if err != nil {
		return err
	}
	s.retention = now
	_, err = s.Store.Put(ctx, retentionKey, value, revision)
	return err
}

// account names the user account that this process runs under.
func account() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprintf("uid:%d", os.Getuid())
}

// retain ends contents by their age: at the start, then every hour.
func (s *Sallyport) retain(ctx context.Context) error {
	policy := ledger.Retention{Keep: map[action.PartName]time.Duration{}, Held: s.Config.Ledger.LegalHolds}
	for _, r := range s.Config.Ledger.Retention {
		policy.Keep[action.PartName(r.Class)] = r.Keep
	}
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if len(policy.Keep) > 0 {
			if _, err := s.Ledger.Retain(ctx, policy); err != nil && ctx.Err() == nil {
				return fmt.Errorf("retention: %w", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
