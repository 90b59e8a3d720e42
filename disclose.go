// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/ledger"
)

// twoWithin is how long a first person's word for opening reasoning counts.
const twoWithin = 15 * time.Minute

// askedTwo remembers who asked first for what takes two people. It is memory only: after a restart both ask
// again. The zero value is ready; it is safe for concurrent use.
type askedTwo struct {
	mu sync.Mutex
	by map[ledger.PartAt]firstWord // guarded by mu
}

type firstWord struct {
	actor, credential string
	at                time.Time
}

const maxFirstWords = 1000

// disclose opens a part. Of reasoning the first word is recorded and gives ledger.ErrTwo; the second, by
// another person with another credential, opens it. A first word is good for one opening.
func (s *Sallyport) disclose(ctx context.Context, c *gateway.Caller, index uint64, part action.PartName, purpose string) ([]byte, action.Receipt, error) {
	if part != action.PartReasoning {
		return s.Ledger.Disclose(ctx, index, part, c.Name, purpose)
	}
	at, now := ledger.PartAt{Index: index, Part: part}, s.Ledger.Now()
	if first := s.asked.take(at, c.Name, c.Subject.Channel.CredID, now); first != "" {
		return s.Ledger.DiscloseByTwo(ctx, index, part, first, c.Name, purpose)
	}
	receipt, err := s.Ledger.AskToDisclose(ctx, index, part, c.Name, purpose)
	if err != nil {
		return nil, receipt, err
	}
	s.asked.note(at, firstWord{c.Name, c.Subject.Channel.CredID, now})
	return nil, receipt, ledger.ErrTwo
}

// take returns who asked first, if that is another person in time, and uses the word up.
func (t *askedTwo) take(at ledger.PartAt, actor, credential string, now time.Time) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	w, ok := t.by[at]
	age := now.Sub(w.at)
	if !ok || age < 0 || age >= twoWithin || w.actor == "" || actor == "" || strings.EqualFold(w.actor, actor) ||
		w.credential == "" || credential == "" || w.credential == credential {
		return ""
	}
	delete(t.by, at)
	return w.actor
}

func (t *askedTwo) note(at ledger.PartAt, w firstWord) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by == nil || len(t.by) >= maxFirstWords {
		t.by = map[ledger.PartAt]firstWord{}
	}
	t.by[at] = w
}
