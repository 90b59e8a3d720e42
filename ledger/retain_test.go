// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
)

func TestRetentionEndsContentsByClassAndAge(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Date(2026, 1, 20, 0, 0, 0, 0, time.UTC)
	cfg := testConfig(t)
	cfg.Shards, cfg.Now = true, func() time.Time { return now }
	l := mustOpen(t, cfg)
	own := func(session, who string) *action.Record {
		r := testRecord(session, 0)
		r.User = who
		for i := range r.Parts {
			r.Parts[i].Owner = who
		}
		return r
	}
	january := mustAppend(t, l, own("jan", "eve")).Index
	held := mustAppend(t, l, own("held", "kim")).Index
	now = time.Date(2026, 2, 10, 0, 0, 0, 0, time.UTC)
	february := mustAppend(t, l, own("feb", "eve")).Index
	before := map[string][]byte{}
	for f, text := range sealFiles(t, cfg.Keys) {
		before[f] = []byte(text)
	}
	policy := Retention{Keep: map[action.PartName]time.Duration{action.PartArguments: 30 * day}, Held: []string{"kim"}}
	readable := func(index uint64, part action.PartName) bool {
		t.Helper()
		_, err := l.Payload(t.Context(), index, part)
		if err != nil && !errors.Is(err, ErrErased) {
			t.Fatal(err)
		}
		return err == nil
	}
	for _, c := range []struct {
		name string
		at   time.Time
		want int
	}{
		{"the month has just ended", time.Date(2026, 2, 1, 0, 0, 0, 1, time.UTC), 0},
		{"thirty days after its end, not more", time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC), 0},
		{"more", time.Date(2026, 3, 3, 0, 0, 1, 0, time.UTC), 1},
		{"once more", time.Date(2026, 3, 3, 0, 0, 2, 0, time.UTC), 0},
	} {
		now = c.at
		size := l.Checkpoint().Size
		n, err := l.Retain(t.Context(), policy)
		if err != nil || n != c.want {
			t.Fatalf("%s: %d, %v", c.name, n, err)
		}
		if recorded := l.Checkpoint().Size > size; recorded != (c.want > 0) {
			t.Errorf("%s: recorded is %t", c.name, recorded)
		}
	}
	check := func(when string) {
		t.Helper()
		for _, c := range []struct {
			name  string
			index uint64
			part  action.PartName
			want  bool
		}{{"what is over", january, action.PartArguments, false}, {"another class", january, action.PartInputBefore, true},
			{"what is held", held, action.PartArguments, true}, {"a later month", february, action.PartArguments, true}} {
			if readable(c.index, c.part) != c.want {
				t.Errorf("%s: %s", when, c.name)
			}
		}
	}
	check("after the retention")
	mustClose(t, l)
	// A copy of the keys comes back: the record says that they are gone.
	for f, b := range before {
		if err := os.WriteFile(f, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l = mustOpen(t, cfg)
	check("after a restart with old keys")
	if err := l.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	rep, err := Verify(t.Context(), Source{Wal: cfg.Wal, Keys: cfg.Keys, Tiles: cfg.Tiles, Dir: filepath.Dir(cfg.Wal)}, Options{Vkey: l.Vkey(), Head: cfg.Head})
	if err != nil || rep.Parts.Erased != 1 {
		t.Errorf("%+v, %v", rep, err)
	}
	l = mustOpen(t, cfg)
	if done, err := l.Erase(t.Context(), "default", "eve", "op"); err != nil || len(done.Keys) != 3 {
		t.Errorf("an erasure finds keys of every month: %v, %v", done.Keys, err)
	}
	mustClose(t, l)
}

func TestKeyClassReadsOnlyWhatAKeyCanBe(t *testing.T) {
	for class, want := range map[string]bool{"result": true, "input.before@202601": true, "result@": false, "result@2026": false, "result@209913": false,
		"results": false, "@202601": false, "result@202601@202602": false, "result@../../x": false} {
		if _, _, ok := keyClass(class); ok != want {
			t.Errorf("%q: %t", class, ok)
		}
	}
}
