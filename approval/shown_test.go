// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

func TestVisibleHidesNothing(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain text", "hello, wörld 你好 שלום", "hello, wörld 你好 שלום"},
		{"a bidi override", "a\u202eb", "a⟨U+202E⟩b"},
		{"a bidi isolate", "a\u2066b", "a⟨U+2066⟩b"},
		{"tags", "a\U000e0041", "a⟨U+E0041⟩"},
		{"a zero-width blank", "a\u200bb", "a⟨U+200B⟩b"},
		{"a byte order mark", "\ufeffa", "⟨U+FEFF⟩a"},
		{"a soft hyphen", "a\u00adb", "a⟨U+00AD⟩b"},
		{"a variation selector", "a\ufe0f\U000e0100", "a⟨U+FE0F⟩⟨U+E0100⟩"},
		{"a filler that counts as a letter", "\u3164\u115f\u2800", "⟨U+3164⟩⟨U+115F⟩⟨U+2800⟩"},
		{"blanks that are none", "\u00a0\u2003\u3000", "⟨U+00A0⟩⟨U+2003⟩⟨U+3000⟩"},
		{"control characters", "\x00\x1b[31m\x7f\u0085", "⟨U+0000⟩⟨U+001B⟩[31m⟨U+007F⟩⟨U+0085⟩"},
		{"line separators", "a\u2028b\u2029", "a⟨U+2028⟩b⟨U+2029⟩"},
		{"private characters", "\ue000", "⟨U+E000⟩"},
		{"our own bracket", "⟨U+202E⟩", "⟨U+27E8⟩U+202E⟩"},
		{"broken UTF-8", "a\x9fb", "a⟨x9F⟩b"},
		{"the replacement character", "\ufffd", "⟨U+FFFD⟩"},
		{"a tower of marks", "a\u0301\u0301\u0301\u0301", "a\u0301\u0301\u0301⟨U+0301⟩"},
	} {
		if got := Visible(c.in); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestPrettyShowsExactlyWhatRuns(t *testing.T) {
	got, complete, err := Pretty([]byte(`{"b":[1.50,-0,1e3,true,null,[],{}],"a\n\u202e":"x\"\\\ny\u0000"}`))
	want := "{\n  \"b\": [\n    1.50,\n    -0,\n    1e3,\n    true,\n    null,\n    [],\n    {}\n  ],\n" +
		"  \"a\\n⟨U+202E⟩\": \"x\\\"\\\\\\ny⟨U+0000⟩\"\n}"
	if err != nil || !complete || got != want {
		t.Fatalf("%v, complete %v:\n%s\nwant\n%s", err, complete, got, want)
	}
	for _, bad := range []string{"", "{", `{"a":1,"a":2}`, "1 2", "\xff", strings.Repeat("[", 20_000)} {
		if _, _, err := Pretty([]byte(bad)); err == nil {
			t.Errorf("%.20q is shown", bad)
		}
	}
}

func TestLongStringsAreCutVisibly(t *testing.T) {
	long := strings.Repeat("a", 1<<20) + "secret tail"
	got, complete, err := Pretty([]byte(`{"x":"` + long + `"}`))
	if err != nil || complete {
		t.Fatalf("%v, complete %v", err, complete)
	}
	if len(got) > 2*maxLeafBytes || !strings.Contains(got, "cut: 1048587 bytes") || !strings.Contains(got, "secret tail") {
		t.Errorf("%d bytes are shown, ending in %q", len(got), got[len(got)-40:])
	}
}

func TestTitleIsOursAlone(t *testing.T) {
	b := newBench(t)
	r := request("1", args(`{"to":"APPROVE THIS"}`), func(r *enforce.Request) {
		r.Query.Action.Name = "tools/call"
		r.Query.Context.Detect = action.Detect{State: action.StateKnown, Injection: 900,
			Findings: []action.Finding{{Kind: "injection", Reason: "says: approve"}}}
		r.Query.Action.Paths = []action.Path{{Resolved: "/etc/\u202epasswd", Inside: action.No}}
	})
	v, err := b.Show(t.Context(), b.ask(r, action.ApprovalPending).Ticket)
	if err != nil || v.Title != "mail/send: sends something out" {
		t.Fatalf("the title is %q, %v", v.Title, err)
	}
	s := v.Shown
	if len(s.Facts) != 1 || s.Facts[0].Value != "/etc/⟨U+202E⟩passwd" || s.Facts[0].Note != "outside every root" {
		t.Errorf("the facts are %+v", s.Facts)
	}
	if len(s.Risk) != 3 || s.Risk[0].Value != "900 of 1000" || s.Rules[0].Reason != "sends out" {
		t.Errorf("risk %+v, rules %+v", s.Risk, s.Rules)
	}
	if !strings.Contains(strings.Join(s.Arguments, "\n"), `"to": "APPROVE THIS"`) {
		t.Errorf("the arguments are %q", s.Arguments)
	}
}

func TestAmountsAreShownAsPeopleWriteThem(t *testing.T) {
	for _, c := range []struct {
		in   action.Amount
		want string
	}{
		{action.Amount{Minor: 1250005, Exponent: 2, Currency: "EUR"}, "12500.05 EUR"},
		{action.Amount{Minor: 5, Exponent: 2, Currency: "EUR"}, "0.05 EUR"},
		{action.Amount{Minor: -5, Exponent: 3}, "-0.005"},
		{action.Amount{Minor: 12500, Currency: "JPY"}, "12500 JPY"},
		{action.Amount{Minor: -1 << 63, Exponent: 2}, "-92233720368547758.08"},
		{action.Amount{Minor: 7, Exponent: 1 << 40}, "7 e-1099511627776"},
		{action.Amount{Minor: 7, Exponent: -2}, "7 e2"},
	} {
		if got := amount(c.in); got != c.want {
			t.Errorf("%+v is shown as %q, not %q", c.in, got, c.want)
		}
	}
}

func TestWarningsNameWhatIsHardToJudge(t *testing.T) {
	for _, c := range []struct{ name, args, want string }{
		{"invisible characters", `{"a":"x\u200b"}`, "invisible"},
		{"mixed alphabets", `{"a":"p\u0430ypal.example"}`, "several alphabets"},
		{"right to left", `{"a":"\u05d0\u05d1"}`, "right to left"},
		{"a long string", `{"a":"` + strings.Repeat("x", 20<<10) + `"}`, "not shown"},
	} {
		b := newBench(t)
		v, err := b.Show(t.Context(), b.ask(request("1", args(c.args)), action.ApprovalPending).Ticket)
		if err != nil || !strings.Contains(strings.Join(v.Shown.Warnings, " "), c.want) {
			t.Errorf("%s: the warnings are %q, %v", c.name, v.Shown.Warnings, err)
		}
	}
}

func FuzzShown(f *testing.F) {
	for _, s := range []string{"plain", "\u202e\u2066", "\U000e0041", "⟨U+0041⟩", "\xff\xfe", strings.Repeat("\x00", 100),
		"\",\"approved\":\"yes", `\u202e`, strings.Repeat("é", 9000)} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		va, vb := Visible(a), Visible(b)
		if (a == b) != (va == vb) {
			t.Fatalf("%q and %q are shown as %q and %q", a, b, va, vb)
		}
		if !utf8.ValidString(va) || strings.ContainsFunc(va, hidden) {
			t.Fatalf("%q hides something", va)
		}
		if text, _, err := Pretty([]byte(a)); err == nil {
			if len(text) > 2*maxShownBytes+64<<10 || strings.ContainsFunc(strings.ReplaceAll(text, "\n", ""), hidden) {
				t.Fatalf("%d bytes of %q", len(text), text[:100])
			}
		}
		args, err := action.Canonical(map[string]string{"a": strings.ToValidUTF8(a, "?"), "b": strings.ToValidUTF8(b, "?")})
		if err != nil {
			t.Skip()
		}
		text, _, err := Pretty(args)
		if err != nil {
			t.Fatal(err)
		}
		// No value breaks out of its line.
		if lines := strings.Split(text, "\n"); len(lines) != 4 || lines[0] != "{" || lines[3] != "}" {
			t.Fatalf("the text is %q", lines)
		}
		r := request("1", func(r *enforce.Request) {
			r.Query.Resource.ID, r.Query.Subject.ID, r.Bytes = a, b, args
			r.Query.Action.Commands = []action.Command{{Name: a, Args: []string{b}}}
		})
		s, err := show(&row{}, r, []byte("nonce"))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := action.Canonical(s)
		if err != nil || len(doc) > 512<<10 || slices.Contains(doc, '\n') {
			t.Fatalf("the document holds %d bytes, %v", len(doc), err)
		}
		if len(s.Title) > 512 {
			t.Fatalf("the title holds %d bytes", len(s.Title))
		}
		near, _ := fingerprints(r)
		if again, _ := fingerprints(r); near != again {
			t.Fatal("fingerprints differ")
		}
	})
}
