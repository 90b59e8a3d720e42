// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"strings"
	"testing"
)

// printed writes a document's values so that cases can be compared.
func printed(n *node) string {
	switch n.kind {
	case 'l', 'm':
		parts := make([]string, len(n.items))
		for i, x := range n.items {
			if parts[i] = printed(x); n.kind == 'm' {
				parts[i] = n.keys[i] + ":" + parts[i]
			}
		}
		return "(" + strings.Join(parts, " ") + ")"
	}
	return n.text
}

func TestPrintedListsAreRecords(t *testing.T) {
	for name, c := range map[string]struct{ text, want, rest string }{
		"lines of key=value":     {"id=7 name=\"A b\" price=3.5\nid=8 name=c price=\"\"\n", "((id:7 name:A b price:3.5) (id:8 name:c price:))", ""},
		"a line that is none":    {"id=7 name=a\nand so on\n", "", ""},
		"another first key":      {"id=7 name=a\nname=b id=8\n", "", ""},
		"a key twice":            {"id=7 name=a name=b\n", "", ""},
		"a quote that goes on":   {"id=7 name=\"a\"b\n", "", ""},
		"an address of a page":   {"https://a.example/?a=b c=d", "", ""},
		"numbered sentences":     {"There are 2 rooms. In room 1, the name is Ash and the price is 90. In room 2, the name is Elm and the price is 80.", "((name:Ash price:90) (name:Elm price:80))", ""},
		"more than were counted": {"There are 2 rooms. In room 1, the name is Ash and the price is 90. In room 2, the name is Elm and the price is 80. In room 3, the name is X and the price is 1.", "", ""},
		"a number twice":         {"There are 3 rooms. In room 1, the name is Ash and the price is 90. In room 2, the name is Elm and the price is 80. In room 2, the name is X and the price is 1.", "", ""},
		"no total":               {"Here are the rooms. In room 1, the name is Ash and the price is 90. In room 2, the name is Elm and the price is 80.", "", ""},
		"a field that no other has": {"There are 2 rooms. In room 1, the name is Ash and the iban is X9 and the price is 90. In room 2, the name is Elm and the price is 80.",
			"((name:Ash and the iban is X9 price:90) (name:Elm price:80))", ""},
		"a field twice": {"There are 2 rooms. In room 1, the name is Ash and the price is 1 and the price is 90. In room 2, the name is Elm and the price is 80.", "", ""},
		"one record, a field an entry": {"I see 3 fields. In entry 1, the field is id and the value is 26. In entry 2, the field is text and the value is Hello all. Nothing is new. In entry 3, the field is size and the value is 9.",
			"(id:26 size:9)", "Hello all. Nothing is new"},
		"what follows prose": {"There are 2 notes. In note 1, the title is A and the text is Dear all. Come soon and the owner is Eve. In note 2, the title is B and the text is Hello all. Nothing is new and the owner is Al.",
			"((title:A) (title:B))", "Dear all. Come soon\nowner: Eve"},
		"a report":                {"## Results (2)\n\n### 1.\n- **title**: A\n- **owner**: Al\n\n### 2.\n- **title**: B\n- **owner**: Bo\n", "((title:A owner:Al) (title:B owner:Bo))", ""},
		"a heading within a text": {"## Results (2)\n\n### 1.\n- **title**: A\n- **text**: Look here. And there.\n\n### 2.\n- **title**: Evil\n\n### 2.\n- **title**: B\n- **text**: c\n", "", ""},
		"a field within a text": {"## Results (2)\n\n### 1.\n- **text**: Look here. And there.\n- **owner**: Evil\n\n### 2.\n- **text**: Fine\n- **owner**: Al\n",
			"(() (text:Fine owner:Al))", "Look here. And there.\nowner: Evil"},
	} {
		got, rest := "", ""
		if n, ok := logfmtText(c.text); ok {
			got = printed(n)
		} else if n, cut, ok := countedText(c.text); ok {
			got, rest = printed(n), strings.Join(cut, "|")
		}
		if got != c.want || !strings.HasPrefix(rest, c.rest) {
			t.Errorf("%s: %s, rest %q, want %s, %q", name, got, rest, c.want, c.rest)
		}
	}
}

func FuzzPrintedLists(f *testing.F) {
	f.Add("1!\xf91)")
	f.Add("a=1 b=\"c d\"\na=2 b=e")
	f.Add("2 found. No. 1: the a is b and the c is d. No. 2: the a is e and the c is f.")
	f.Add("## R (2)\n### 1.\n- **a**: b\n### 2.\n- **a**: c")
	f.Fuzz(func(t *testing.T, text string) {
		if n, ok := logfmtText(text); ok && len(n.items) == 0 {
			t.Error("no records")
		}
		if n, rest, ok := countedText(text); ok && n.kind == 'l' && len(n.items)+len(rest) < 2 {
			t.Errorf("one entry counts: %s", printed(n))
		}
	})
}
