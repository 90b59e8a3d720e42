// SPDX-License-Identifier: Apache-2.0

package index

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

func TestSearchFindsWhatMayBeSearched(t *testing.T) {
	l := newLog()
	story(t, l, 0, 30)
	x, _ := running(t, l, filepath.Join(t.TempDir(), "index.db"))
	caughtUp(t, x, l)
	for _, c := range []struct {
		text string
		hits int
	}{
		{"fs/send_mail", 6}, {"send_mail", 6}, {"mail deny", 0}, {"write_file deny", 6}, {"deny.outside", 6}, {"base.send", 6},
		{"leaves organisation", 6}, {"organ*", 6}, {"organ", 0}, {"ses-3 ask", 1}, {"DENY", 6}, {"alert", 2},
		{"eve@out.example", 0}, {"passwd", 0}, {"agent-1", 0}, // arguments and names of people are not searched
	} {
		p, err := x.Search(t.Context(), c.text, Filter{}, 0, "")
		if err != nil || len(p.Items) != c.hits {
			t.Errorf("%q: %d hits, want %d (%v)", c.text, len(p.Items), c.hits, err)
		}
		for i := range p.Items {
			if i > 0 && p.Items[i].Index >= p.Items[i-1].Index {
				t.Errorf("%q: hits out of order", c.text)
			}
		}
	}
	first, err := x.Search(t.Context(), "deny", Filter{}, 4, "")
	if err != nil || len(first.Items) != 4 || first.Next == "" {
		t.Fatalf("first page: %+v, %v", first, err)
	}
	rest, err := x.Search(t.Context(), "deny", Filter{}, 4, first.Next)
	if err != nil || len(rest.Items) != 2 || rest.Next != "" || rest.Items[0].Index >= first.Items[3].Index {
		t.Errorf("second page: %+v, %v", rest, err)
	}
}

func TestHostileTextIsInert(t *testing.T) {
	l := newLog()
	evil := []string{`x" OR words MATCH "y`, "'; DROP TABLE records; --", "a\x00b", "\x1b[2J\x1b]0;owned\x07", "\u202egnp.exe", "NEAR(a b)",
		"{tool} : x", "-other", "^a", "a AND b OR NOT c", strings.Repeat("(", 300), strings.Repeat("\"", 300), "\xff\xfe", "line\nbreak\ttab", "\u200b"}
	for i, s := range evil {
		l.append(action.Record{Kind: action.KindDecision, TimeMs: int64(i), Action: "act-" + s, Session: s, Agent: s, User: s, Actor: s, Server: s,
			Tool: s, Verdict: action.Deny, Phase: action.Before, Rules: []string{s, s}, Codes: []string{s}, Subject: s})
	}
	x, _ := running(t, l, filepath.Join(t.TempDir(), "index.db"))
	caughtUp(t, x, l)
	for _, s := range evil {
		p, err := x.Search(t.Context(), s, Filter{}, 0, "")
		if err != nil && !errors.Is(err, ErrQuery) {
			t.Errorf("search %.20q: %v", s, err)
		}
		if len(p.Items) > 5 {
			t.Errorf("search %.20q: %d hits of %d: it was read as an expression", s, len(p.Items), len(evil))
		}
		for _, f := range []Filter{{Agent: s}, {Session: s}, {Server: s, Tool: s}} {
			if p, err := x.Records(t.Context(), f, 0, ""); err != nil || len(p.Items) > 1 {
				t.Errorf("filter %.20q: %d hits, %v", s, len(p.Items), err)
			}
		}
	}
	p, err := x.Records(t.Context(), Filter{}, 200, "")
	if err != nil || len(p.Items) != len(evil) {
		t.Fatalf("%d records, want %d (%v)", len(p.Items), len(evil), err)
	}
	for i := range p.Items {
		text := p.Items[i].Format()
		if strings.ContainsAny(text, "\x00\x1b\x07\n\t\r\u202e\u200b") {
			t.Errorf("the screen is not safe from %q", text)
		}
		if len(text) > 5000 {
			t.Errorf("a step of %d bytes", len(text))
		}
	}
}

func FuzzMatch(f *testing.F) {
	for _, s := range []string{"a b", `"`, `a"*`, "NOT x", "x*", "**", "a\x00b", "\xff", "col:x", "ä*"} {
		f.Add(s)
	}
	l := newLog()
	story(f, l, 0, 5)
	x, _ := running(f, l, filepath.Join(f.TempDir(), "index.db"))
	caughtUp(f, x, l)
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := x.Search(t.Context(), s, Filter{}, 1, ""); err != nil && !errors.Is(err, ErrQuery) {
			t.Errorf("%q: %v", s, err)
		}
	})
}
