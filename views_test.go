// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/index"
	"github.com/sallyport/sallyport/ledger"
)

func TestWhatIsShownIsOnRecordOnceAWhile(t *testing.T) {
	cfg := PatientConfig()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Ledger.SegmentBytes = "none", "none", 8<<20
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	ann, bob := &gateway.Caller{Name: "ann"}, &gateway.Caller{Name: "bob"}
	one, two := index.PartAt{Index: 3, Part: action.PartExplanation}, index.PartAt{Index: 5, Part: action.PartDetail}
	for _, c := range []struct {
		name  string
		who   *gateway.Caller
		parts []index.PartAt
		want  string // the new record's span; "" for none
	}{
		{"a first look", ann, []index.PartAt{one}, "explanation/3"},
		{"the same again", ann, []index.PartAt{one}, ""},
		{"one more on the page", ann, []index.PartAt{one, two}, "detail/5"},
		{"somebody else", bob, []index.PartAt{one}, "explanation/3"},
	} {
		before := s.Ledger.Checkpoint().Size
		if err := s.shown(t.Context(), c.who, "records", c.parts); err != nil {
			t.Fatal(c.name, err)
		}
		after := s.Ledger.Checkpoint().Size
		if c.want == "" {
			if after != before {
				t.Errorf("%s: recorded", c.name)
			}
			continue
		}
		e, err := s.Ledger.Read(before)
		if err != nil || after != before+1 || len(e.Leaf.Codes) != 1 || e.Leaf.Codes[0] != c.want || e.Leaf.Subject != "records" {
			t.Errorf("%s: %+v, %v", c.name, e.Leaf, err)
		}
	}
	var v views
	now := time.Unix(0, 0)
	v.unseen(now, "ann", nil)
	v.saw(now, "ann", []index.PartAt{one})
	if len(v.unseen(now.Add(viewFor-1), "ann", []index.PartAt{one})) != 0 || len(v.unseen(now.Add(viewFor), "ann", []index.PartAt{one})) != 1 {
		t.Error("a look holds for another time than a quarter of an hour")
	}
	if err := s.opening(context.Background(), []index.PartAt{one}); err == nil {
		t.Error("nobody read something")
	}
	_ = s.Ledger.Close() // from here on nothing can be recorded
	if err := s.shown(t.Context(), bob, "records", []index.PartAt{two}); err == nil {
		t.Error("it was shown off the record")
	}
	if _, err := s.Ledger.Opened(t.Context(), ledger.Access{Actor: "a", Subject: "s", Parts: []ledger.PartAt{{}}}); err == nil {
		t.Error("a closed log records")
	}
}
