// SPDX-License-Identifier: Apache-2.0

package index

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
)

// TestEntriesComeTogetherUntilSomebodyWaits makes the pause so long that only a waiting reader can end it.
func TestEntriesComeTogetherUntilSomebodyWaits(t *testing.T) {
	l := newLog()
	c := l.config(filepath.Join(t.TempDir(), "index.db"))
	c.Gather = time.Hour
	x, stop := runningWith(t, c)
	defer stop()
	total := uint64(0)
	for round := range 4 { // the first pause comes after the first commit
		for n := range 3 * (round + 1) {
			l.append(act(t, round*100+n, "s", "a", "files/read", action.EffectRead, `{}`)...)
		}
		size, err := l.head(t.Context())
		if err != nil || size <= total {
			t.Fatal(size, err)
		}
		total = size
		if err := x.Wait(t.Context(), size-1); err != nil {
			t.Fatal(err)
		}
		if s, err := x.Status(t.Context()); err != nil || s.Indexed != size {
			t.Fatalf("%d of %d, %v", s.Indexed, size, err)
		}
	}
}

// TestViewThatIsFarBehindDoesNotPause fills a view from a long log, though nobody waits.
func TestViewThatIsFarBehindDoesNotPause(t *testing.T) {
	l := newLog()
	for n := range 3 * maxBatch / 2 {
		l.append(act(t, n, "s", "a", "files/read", action.EffectRead, `{}`)...)
	}
	size, err := l.head(t.Context())
	if err != nil || size < 3*maxBatch {
		t.Fatal(size, err)
	}
	c := l.config(filepath.Join(t.TempDir(), "index.db"))
	c.Gather = time.Hour
	x, stop := runningWith(t, c)
	defer stop()
	for { // a pause before it comes near would last an hour
		x.mu.Lock()
		next, changed := x.next, x.changed
		x.mu.Unlock()
		if next+maxBatch >= size {
			return
		}
		<-changed
	}
}
