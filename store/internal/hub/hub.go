// SPDX-License-Identifier: Apache-2.0

// Package hub tells the watches of a store what changed, for the backends whose writers share a process.
package hub

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/sallyport/sallyport/store"
)

// Hub spreads events to watches. Its zero value is ready, its methods are safe for concurrent use, and
// none of them blocks on a reader.
type Hub struct {
	mu     sync.Mutex
	closed bool
	open   map[*watch]struct{}
}

type watch struct {
	prefix string
	events chan store.Event // closed by the hub, which alone sends on it
	stop   func() bool
}

// Watch opens a watch on prefix that ends with ctx, with Close, or by falling behind.
func (h *Hub) Watch(ctx context.Context, prefix string) (<-chan store.Event, error) {
	if err := store.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, store.ErrClosed
	}
	if h.open == nil {
		h.open = map[*watch]struct{}{}
	}
	w := &watch{prefix: prefix, events: make(chan store.Event, store.WatchBuffer)}
	h.open[w] = struct{}{}
	w.stop = context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.end(w)
	})
	return w.events, nil
}

// Publish sends e to every watch whose prefix fits. The caller keeps order by publishing one event after
// the other. The watches share one copy of the value.
func (h *Hub) Publish(e store.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	copied := false
	for w := range h.open {
		if !strings.HasPrefix(e.Key, w.prefix) {
			continue
		}
		if !copied {
			e.Value, copied = slices.Clone(e.Value), true
		}
		select {
		case w.events <- e:
		default:
			h.end(w)
		}
	}
}

// Close ends every watch and refuses new ones.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for w := range h.open {
		h.end(w)
	}
}

// end closes w once; mu is held.
func (h *Hub) end(w *watch) {
	if _, ok := h.open[w]; !ok {
		return
	}
	delete(h.open, w)
	w.stop()
	close(w.events)
}
