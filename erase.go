// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"fmt"
	"slices"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/ledger"
)

// Erase destroys the keys of everything recorded of a subject, in the word of actor, and returns once all
// that was made from it has let go of it too: what waits for an approval ends, what was shown to approvers
// goes, the index is made anew. The asks go first: that they ended is recorded with what was shown, which
// needs its key to be destroyed like the others.
func (s *Sallyport) Erase(ctx context.Context, subject, actor string) (ledger.Erased, error) {
	if slices.Contains(s.Config.Ledger.LegalHolds, subject) {
		return ledger.Erased{}, errHeld
	}
	if _, err := s.Approval.Erase(ctx, subject, approval.Actor{ID: actor, Channel: action.RankOperator}); err != nil {
		return ledger.Erased{}, fmt.Errorf("erase: approvals: %w", err)
	}
	done, err := s.Ledger.Erase(ctx, "default", subject, actor)
	if err != nil {
		return done, err
	}
	if err := s.Flow.Erase(ctx, "default", subject); err != nil {
		return done, err
	}
	if err := s.Store.Settle(ctx); err != nil {
		return done, err
	}
	return done, s.indexed(ctx)
}
