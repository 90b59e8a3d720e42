// SPDX-License-Identifier: Apache-2.0

package attester

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport/sallyport/attest/measure"
)

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestWatchLogsWhatChanged looks at a file and a model, again and again.
func TestWatchLogsWhatChanged(t *testing.T) {
	dir := t.TempDir()
	exe, model := filepath.Join(dir, "exe"), filepath.Join(dir, "model")
	put(t, exe, "program")
	put(t, model, "weights")
	log := NewLog()
	w := NewWatch(measure.Spec{Executable: exe, Command: []string{exe}, Model: model}, log)
	for _, c := range []struct {
		name   string
		change func()
		events int
		last   string
	}{
		{"the first look", func() {}, 3, "model"},
		{"nothing changed", func() {}, 3, "model"},
		{"written again with the same content", func() { put(t, exe, "program") }, 3, "model"},
		{"another program of the same length", func() { put(t, exe, "gromarp") }, 4, "executable"},
		{"another model", func() { put(t, model, "stolen!") }, 5, "model"},
		{"the old model again", func() { put(t, model, "weights") }, 6, "model"},
	} {
		c.change()
		if err := w.Look(t.Context()); err != nil {
			t.Fatal(c.name, err)
		}
		if got := log.Events(); len(got) != c.events || got[len(got)-1].Kind != c.last {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	if err := os.Remove(model); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.Look(t.Context()); err == nil {
			t.Error("a model that is gone is fine")
		}
	}
}

func TestAnAttesterNeedsWhatItsKindNeeds(t *testing.T) {
	for name, c := range map[string]Config{"no address": {Kind: "software", Log: NewLog()}, "no log": {URL: "http://x", Kind: "software"}, "no chip": {URL: "http://x", Kind: "tpm", Log: NewLog()}} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestLeasesAreRenewedInGoodTime(t *testing.T) {
	for _, c := range []struct {
		name       string
		lasts, max time.Duration
	}{
		{"as a rule", time.Minute, 30 * time.Second},
		{"at high risk", 5 * time.Second, 2500 * time.Millisecond},
		{"the shortest", 2 * time.Second, time.Second},
		{"the longest", 5 * time.Minute, time.Minute},
		{"none, as after a refusal", 0, time.Second},
	} {
		if got := (Lease{RenewedMs: 7, EndsMs: 7 + c.lasts.Milliseconds()}).pause(); got != c.max {
			t.Errorf("%s: after %s, want %s", c.name, got, c.max)
		}
	}
}
