// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
)

// codeForgotten marks the record that says until when what people agreed to does not count any more.
const codeForgotten = "known.forgotten"

// knownFacts is what people may change of what is known.
type knownFacts struct{ s *Sallyport }

// Forget is on record, because a store that was lost is made again from intents, and must not know again what
// was forgotten.
func (k knownFacts) Forget(ctx context.Context, tenant, agent, user string, everyone bool, by string) (int, error) {
	now := k.s.Ledger.Now().UnixMilli()
	keys, err := k.s.Flow.Unlearn(ctx, tenant, agent, user, everyone, now)
	for _, key := range keys {
		_, logged := k.s.Ledger.Append(ctx, &action.Record{Kind: action.KindContext, Tenant: tenant, TimeMs: now, Actor: by,
			Status: action.StatusNone, Codes: []string{codeForgotten}, Subject: key})
		if err == nil {
			err = logged
		}
	}
	return len(keys), err
}

func (k knownFacts) Canary(tenant, name string) (string, error) {
	return k.s.Detect.Canary(tenant, name)
}

// restoreForgotten takes again what people had forgotten.
func (s *Sallyport) restoreForgotten(ctx context.Context, e ledger.Entry) error {
	if l := e.Leaf; len(l.Codes) == 1 && l.Codes[0] == codeForgotten {
		return s.Flow.UnlearnKey(ctx, l.Subject, l.TimeMs)
	}
	return nil
}
