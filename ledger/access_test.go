// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"slices"
	"testing"

	"github.com/sallyport/sallyport/action"
)

func TestSpansNameWhatWasOpenedAndNeverLess(t *testing.T) {
	at := func(part action.PartName, indexes ...uint64) (out []PartAt) {
		for _, i := range indexes {
			out = append(out, PartAt{i, part})
		}
		return out
	}
	for name, c := range map[string]struct {
		parts []PartAt
		want  []string
	}{
		"one":                      {at("result", 7), []string{"result/7"}},
		"neighbours, in any order": {at("result", 9, 7, 8), []string{"result/7-9"}},
		"twice the same":           {at("result", 7, 7), []string{"result/7"}},
		"apart":                    {at("result", 7, 9), []string{"result/7", "result/9"}},
		"two parts":                {append(at("result", 7), at("arguments", 7, 8)...), []string{"arguments/7-8", "result/7"}},
	} {
		if got := spans(c.parts); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
	var many []PartAt
	for i := range uint64(5000) {
		many = append(many, PartAt{i * i, action.PartResult})
	}
	codes := spans(many)
	if len(codes) > maxAccessSpans {
		t.Fatalf("%d spans", len(codes))
	}
	l := &Leaf{Format: 1, Kind: action.KindAccess, Codes: codes}
	if _, err := l.Encode(); err != nil {
		t.Error(err)
	}
	for _, p := range many {
		if !l.Touches(p) {
			t.Fatalf("%v is left out", p)
		}
	}
	if l.Touches(PartAt{4, action.PartArguments}) || l.Touches(PartAt{5000 * 5000, action.PartResult}) {
		t.Error("what was not opened is named")
	}
	if (&Leaf{Kind: action.KindAlert, Codes: codes}).Touches(many[0]) {
		t.Error("another kind of record counts")
	}
}

func TestOpenedIsOnRecordBefore(t *testing.T) {
	l := mustOpen(t, testConfig(t))
	t.Cleanup(func() { mustClose(t, l) })
	if _, err := l.Opened(t.Context(), Access{Actor: "ann", Subject: "session/s1", Parts: []PartAt{{0, action.PartResult}}, Purpose: "complaint 17"}); err != nil {
		t.Fatal(err)
	}
	e, err := l.Read(l.Checkpoint().Size - 1)
	if err != nil {
		t.Fatal(err)
	}
	why, err := e.Open(action.PartDetail)
	if err != nil || string(why) != "complaint 17" || e.Leaf.Kind != action.KindAccess || e.Leaf.Count != 1 || !e.Leaf.Touches(PartAt{0, action.PartResult}) || e.Leaf.Actor == "ann" {
		t.Errorf("%s, %v, %+v", why, err, e.Leaf)
	}
	for name, a := range map[string]Access{"nobody": {Subject: "x", Parts: []PartAt{{}}}, "nothing": {Actor: "a", Subject: "x"}, "nowhere": {Actor: "a", Parts: []PartAt{{}}}} {
		if _, err := l.Opened(t.Context(), a); err == nil {
			t.Errorf("%s opened something", name)
		}
	}
}
