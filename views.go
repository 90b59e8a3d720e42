// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/index"
	"github.com/sallyport/sallyport/ledger"
)

// reader is who reads sealed parts through the index, and where they are shown.
type reader struct{ actor, where string }

type readerKey struct{}

// reading says in a context who reads. What opens parts without it is refused.
func reading(ctx context.Context, c *gateway.Caller, where string) context.Context {
	return context.WithValue(ctx, readerKey{}, reader{c.Name, where})
}

// opening puts on record what the index opens for a reader.
func (s *Sallyport) opening(ctx context.Context, parts []index.PartAt) error {
	r, ok := ctx.Value(readerKey{}).(reader)
	if !ok {
		return errors.New("nobody is named who reads")
	}
	return s.opened(ctx, r.actor, r.where, parts)
}

// shown puts on record what a page of the index shows to a caller: once for a quarter of an hour, so that a
// page that is loaded again and again makes no record each time.
func (s *Sallyport) shown(ctx context.Context, c *gateway.Caller, where string, parts []index.PartAt) error {
	now := s.Ledger.Now()
	if parts = s.views.unseen(now, c.Name, parts); len(parts) == 0 {
		return nil
	}
	if err := s.opened(ctx, c.Name, where, parts); err != nil {
		return err
	}
	s.views.saw(now, c.Name, parts)
	return nil
}

// views remembers what is on record as shown to whom. The zero value is ready. It is safe for concurrent
// use.
type views struct {
	mu    sync.Mutex
	by    map[string]map[index.PartAt]bool // actor -> parts; guarded by mu
	since time.Time                        // when by began; guarded by mu
	n     int                              // parts in by; guarded by mu
}

const (
	viewFor  = 15 * time.Minute
	maxViews = 100_000 // parts remembered; beyond it all is forgotten, and recorded again
)

// unseen returns the parts that actor is not on record to have been shown lately.
func (v *views) unseen(now time.Time, actor string, parts []index.PartAt) []index.PartAt {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.by == nil || now.Sub(v.since) >= viewFor || v.n > maxViews {
		v.by, v.since, v.n = map[string]map[index.PartAt]bool{}, now, 0
	}
	var out []index.PartAt
	for _, p := range parts {
		if !v.by[actor][p] {
			out = append(out, p)
		}
	}
	return out
}

// saw remembers what was recorded.
func (v *views) saw(now time.Time, actor string, parts []index.PartAt) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if now.Sub(v.since) >= viewFor {
		return
	}
	if v.by[actor] == nil {
		v.by[actor] = map[index.PartAt]bool{}
	}
	for _, p := range parts {
		v.by[actor][p] = true
	}
	v.n += len(parts)
}

func (s *Sallyport) opened(ctx context.Context, actor, where string, parts []index.PartAt) error {
	a := ledger.Access{Actor: actor, Subject: where}
	for _, p := range parts {
		a.Parts = append(a.Parts, ledger.PartAt{Index: p.Index, Part: p.Part})
	}
	_, err := s.Ledger.Opened(ctx, a)
	return err
}
