// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
