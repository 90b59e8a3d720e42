// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/identity"
)

// TestSeedsComeAtTimesThatNothingForetells lets a schedule run for two years of its clock.
func TestSeedsComeAtTimesThatNothingForetells(t *testing.T) {
	calm := true
	var at []time.Time
	var now time.Time
	seen := map[string]int{}
	s := &seeder{cfg: SeedsConfig{PerWeek: 5, Hours: "9-17", Days: []string{"mon", "tue", "wed", "thu", "fri"}, Groups: []string{"a", "b"}},
		patterns: []pattern{{Tool: "x/1"}, {Tool: "x/2"}, {Tool: "x/3"}}, rand: rand.NewChaCha8([32]byte{7}),
		quiet: func(context.Context) (bool, error) { return calm, nil },
		show: func(_ context.Context, p pattern, group string) error {
			at = append(at, now)
			seen[p.Tool]++
			seen[group]++
			return nil
		}}
	run := func(weeks int) {
		at = nil
		begin := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
		for m := range weeks * 7 * 24 * 60 {
			now = begin.Add(time.Duration(m) * time.Minute)
			if err := s.turn(t.Context(), now); err != nil {
				t.Fatal(err)
			}
		}
	}
	run(104)
	// 520 are expected; five standard deviations are 114.
	if len(at) < 406 || len(at) > 634 {
		t.Fatalf("%d in 104 weeks", len(at))
	}
	hours, days := map[int]bool{}, map[time.Weekday]bool{}
	for _, when := range at {
		hours[when.Hour()], days[when.Weekday()] = true, true
		if when.Hour() < 9 || when.Hour() >= 17 || when.Weekday() == time.Saturday || when.Weekday() == time.Sunday {
			t.Fatalf("one comes at %v", when)
		}
	}
	if len(hours) != 8 || len(days) != 5 {
		t.Errorf("they come at %v on %v", hours, days)
	}
	for _, what := range []string{"x/1", "x/2", "x/3", "a", "b"} {
		if seen[what] < 60 {
			t.Errorf("%q is drawn %d times of %d", what, seen[what], len(at))
		}
	}
	calm = false
	run(4)
	if len(at) != 0 {
		t.Errorf("%d come while something is going on", len(at))
	}
	s.rand, calm = bytes.NewReader(nil), true
	if err := s.turn(t.Context(), time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)); err == nil {
		t.Error("without randomness a time is found")
	}
}

func TestSeedScheduleIsCheckedAtTheStart(t *testing.T) {
	groups := []Group{{Name: "payments"}}
	for _, c := range []struct {
		name string
		cfg  SeedsConfig
		ok   bool
	}{
		{"none", SeedsConfig{}, true},
		{"all of it", SeedsConfig{PerWeek: 3, From: "f", Hours: "0-24", Days: []string{"sat"}, Groups: []string{"payments"}}, true},
		{"no file", SeedsConfig{PerWeek: 3}, false},
		{"very many", SeedsConfig{PerWeek: 51, From: "f"}, false},
		{"fewer than none", SeedsConfig{PerWeek: -1, From: "f"}, false},
		{"hours that end before they begin", SeedsConfig{Hours: "17-9"}, false},
		{"no hours between", SeedsConfig{Hours: "9-9"}, false},
		{"hours of another planet", SeedsConfig{Hours: "9-25"}, false},
		{"half of them", SeedsConfig{Hours: "9-"}, false},
		{"a day of no week", SeedsConfig{Days: []string{"Mon"}}, false},
		{"a group that nobody is in", SeedsConfig{Groups: []string{"others"}}, false},
	} {
		if err := c.cfg.check(groups); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for _, c := range []struct{ name, file string }{
		{"nothing", `[]`}, {"no list", `{}`}, {"no tool", `[{"agent":"a"}]`}, {"an unknown field", `[{"tool":"a/b","agent":"a","x":1}]`},
		{"a name twice", `[{"tool":"a/b","tool":"c/d","agent":"a"}]`}, {"a name in capitals", `[{"Tool":"a/b","agent":"a"}]`},
		{"arguments that are no object", `[{"tool":"a/b","agent":"a","arguments":[1]}]`}, {"neither agent nor facts", `[{"tool":"a/b"}]`},
		{"both", `[{"tool":"a/b","agent":"a","facts":{}}]`}, {"too many", "[" + strings.TrimSuffix(strings.Repeat(`{"tool":"a/b","agent":"a"},`, 201), ",") + "]"},
	} {
		if got, err := patterns([]byte(c.file)); err == nil {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func FuzzSeedPatterns(f *testing.F) {
	f.Add([]byte(`[{"tool":"a/b","agent":"a","user":"u","arguments":{"x":1}}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := patterns(b)
		if err == nil && (len(all) == 0 || slices.ContainsFunc(all, func(p pattern) bool { return p.Tool == "" })) {
			t.Errorf("%+v", all)
		}
	})
}

// TestASeedOfTheScheduleIsARequestLikeAny shows one, denies it, and stops the next with a kill.
func TestASeedOfTheScheduleIsARequestLikeAny(t *testing.T) {
	dir := t.TempDir()
	from := filepath.Join(dir, "seeds.json")
	if err := os.WriteFile(from, []byte(`[{"tool":"desk/wipe_all","agent":"clerk","user":"ann","arguments":{"everything":true}}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := PatientConfig()
	cfg.Data, cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Ledger.SegmentBytes = filepath.Join(dir, "data"), "none", "none", 8<<20
	cfg.Approval.Groups = []Group{{Name: "payments", Members: []string{"olga"}}}
	cfg.Approval.Seeds = SeedsConfig{PerWeek: 1, From: from, Groups: []string{"payments"}}
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	s.seeds.rand = zeros{} // it is always time
	if err := s.seeds.turn(t.Context(), s.Ledger.Now()); err != nil {
		t.Fatal(err)
	}
	open, err := s.Approval.List(t.Context(), approval.Filter{})
	if err != nil || len(open) != 1 || open[0].Agent != "clerk" || open[0].Requester != "ann" || open[0].Test != "" || open[0].Needs[0].Group != "payments" || len(open[0].Session) != 26 {
		t.Fatalf("%+v", open)
	}
	if _, err := s.Approval.Deny(t.Context(), open[0].ID, approval.Actor{ID: seedAuthor, Channel: action.RankOperator}, ""); err == nil {
		t.Error("its author answers it")
	}
	if v, err := s.Approval.Deny(t.Context(), open[0].ID, approval.Actor{ID: "olga", Channel: action.RankOperator}, "no"); err != nil || v.Test != "caught" {
		t.Fatal(v.Test, err)
	}
	got, err := s.reviews.Reviewers(t.Context(), 0)
	if err != nil || len(got) != 1 || got[0].Person != "olga" || got[0].Seeded != 1 || got[0].Caught != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := s.Kill.Kill(t.Context(), identity.Actor{ID: "olga", Credential: "c"}, identity.Target{Scope: identity.KillAgent, ID: "other"}, "drill"); err != nil {
		t.Fatal(err)
	}
	if err := s.seeds.turn(t.Context(), s.Ledger.Now()); err != nil {
		t.Fatal(err)
	}
	if open, err = s.Approval.List(t.Context(), approval.Filter{State: approval.Pending}); err != nil || len(open) != 0 {
		t.Fatalf("while something is stopped there comes %+v, %v", open, err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
