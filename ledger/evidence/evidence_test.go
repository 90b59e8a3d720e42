// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
)

// newLog holds three actions of two people: one that ends, one that is denied, one whose end is missing.
func newLog(t *testing.T) *ledger.Log {
	t.Helper()
	dir := t.TempDir()
	l, err := ledger.Open(ledger.Config{Wal: filepath.Join(dir, "wal"), Keys: filepath.Join(dir, "keys"), Origin: "log.example/1", SegmentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	bundle := action.Bundle{Name: "house", Digest: "sha256:aa", Sequence: 4}
	add := func(r action.Record) {
		r.Tenant, r.TimeMs = "default", 1
		if _, err := l.Append(t.Context(), &r); err != nil {
			t.Fatal(err)
		}
	}
	part := func(owner, text string) []action.PayloadPart {
		return []action.PayloadPart{{Name: action.PartArguments, Owner: owner, Data: []byte(text)}, {Name: action.PartReasoning, Owner: owner, Data: []byte("thought of " + owner)}}
	}
	add(action.Record{Kind: action.KindPolicy, Bundle: bundle, Subject: bundle.Digest, Codes: []string{"policy.in_force"}})
	add(action.Record{Kind: action.KindIntent, Action: "a1", Session: "s1", Agent: "bot", User: "ann", Verdict: action.Allow, Enforced: true, Bundle: bundle, Tool: "t", Server: "s", Parts: part("ann", "hello bob")})
	add(action.Record{Kind: action.KindOutcome, Action: "a1", Session: "s1", Agent: "bot", User: "ann", Status: action.StatusDone})
	add(action.Record{Kind: action.KindDecision, Action: "a2", Session: "s1", Agent: "bot", User: "ann", Verdict: action.Deny, Enforced: true, Bundle: bundle, Rules: []string{"no.deleting"}})
	add(action.Record{Kind: action.KindIntent, Action: "a3", Session: "s2", Agent: "bot", User: "bea", Verdict: action.Allow, Enforced: true, Bundle: bundle, Parts: part("bea", "secret of bea")})
	return l
}

// made writes a package and returns its file.
func made(t *testing.T, c Config) string {
	t.Helper()
	c.TempDir = t.TempDir()
	var b bytes.Buffer
	if err := Write(t.Context(), &b, c); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(c.TempDir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	file := filepath.Join(t.TempDir(), "package.tar")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAPackageVerifiesAndCounts(t *testing.T) {
	l := newLog(t)
	file := made(t, Config{Log: l, About: About{Kind: KindEvidence}})
	if !IsPackage(file) {
		t.Error("it does not look like a package")
	}
	r, log, err := Verify(t.Context(), file, t.TempDir(), ledger.Options{Vkey: l.Vkey()})
	if err != nil || !log.OK {
		t.Fatal(err)
	}
	if r.Records["intent"] != 2 || r.Verdicts["deny"] != 1 || !slices.Equal(r.Open, []uint64{4}) || len(r.Bundles) != 1 || r.Bundles[0].Decisions != 3 || r.Size != 5 {
		t.Errorf("%+v", r)
	}
	if log.Parts.Opened != 0 {
		t.Errorf("%d parts are opened", log.Parts.Opened)
	}
	for _, row := range r.Rows {
		if row.ID == "nist-800-53/SC-7" && (row.Counts[0].N != 1 || row.Counts[0].First != 3 || row.Counts[1].N != 0) {
			t.Errorf("%+v", row)
		}
	}
	for name, want := range map[string]string{memberText: "Article 12 Record-keeping", memberHTML: "<td>Article 12 Record-keeping</td>"} {
		if got := member(t, file, name); !strings.Contains(got, want) || !strings.Contains(got, "not a finding of compliance") {
			t.Errorf("%s:\n%s", name, got)
		}
	}
	later := made(t, Config{Log: l, About: About{Kind: KindEvidence, SinceMs: 1 << 50}})
	if r, _, err := Verify(t.Context(), later, "", ledger.Options{}); err != nil || len(r.Records) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestASubjectsPackageOpensWhatIsItsOwn(t *testing.T) {
	l := newLog(t)
	owner, _ := l.Pseudonym("default", "owner", "ann")
	user, _ := l.Pseudonym("default", "user", "ann")
	if _, _, err := l.Disclose(t.Context(), 1, action.PartArguments, "olga", "curious"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Opened(t.Context(), ledger.Access{Actor: "otto", Subject: "records", Parts: []ledger.PartAt{{Index: 4, Part: action.PartArguments}}}); err != nil {
		t.Fatal(err)
	}
	olga, _ := l.Pseudonym("default", "actor", "olga")
	open := func(_ uint64, leaf *ledger.Leaf, part action.PartName) bool {
		return part == action.PartArguments && strings.HasPrefix(leaf.Parts[0].Kid, owner+"/")
	}
	file := made(t, Config{Log: l, About: About{Kind: KindSubject, Subject: owner, User: user}, Open: open, Actor: "priya", Purpose: "request",
		Names: map[string]string{user: "ann|<b>", olga: "olga"}})
	r, log, err := Verify(t.Context(), file, "", ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if log.Parts.Opened != 1 || len(r.Timeline) != 3 {
		t.Errorf("%d parts opened, %d records", log.Parts.Opened, len(r.Timeline))
	}
	if len(r.Reads) != 2 || r.Reads[0].Actor != olga || r.Reads[0].Parts != 1 || !strings.HasPrefix(r.Reads[1].Where, "export/") {
		t.Errorf("reads %+v", r.Reads)
	}
	all, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"hello bob": true, "thought of ann": false, "secret of bea": false, "curious": false} {
		if bytes.Contains(all, []byte(text)) != want {
			t.Errorf("%q is in the package: %t", text, !want)
		}
	}
	if text := member(t, file, memberText); !strings.Contains(text, "ann\\|&lt;b>") || !strings.Contains(text, "olga") {
		t.Error(text)
	}
	if html := member(t, file, memberHTML); strings.Contains(html, "<b>") {
		t.Error("a name is a tag")
	}
}

func TestAnIncidentIsOneSession(t *testing.T) {
	l := newLog(t)
	bea, _ := l.Pseudonym("default", "owner", "bea")
	r, _, err := Verify(t.Context(), made(t, Config{Log: l, About: About{Kind: KindIncident, Session: "s2"}}), "", ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Timeline) != 1 || r.Timeline[0].Index != 4 || !slices.Equal(r.Owners, []string{bea}) || len(r.Open) != 1 || len(r.Bundles) != 1 {
		t.Errorf("%+v", r)
	}
}

// TestAnyChangeOfAPackageIsFound flips a byte in each member, leaves each out, adds one, and signs another's.
func TestAnyChangeOfAPackageIsFound(t *testing.T) {
	l := newLog(t)
	file := made(t, Config{Log: l, About: About{Kind: KindIncident, Session: "s1"}, Names: map[string]string{"x": "y"}})
	members := read(t, file)
	if len(members) != 7 {
		t.Fatalf("%d members", len(members))
	}
	bad := func(name string, change func(m []document) []document) {
		t.Helper()
		var copied []document
		for _, d := range members {
			copied = append(copied, document{d.name, bytes.Clone(d.data)})
		}
		to := filepath.Join(t.TempDir(), "p.tar")
		write(t, to, change(copied))
		if _, _, err := Verify(t.Context(), to, "", ledger.Options{}); err == nil {
			t.Errorf("%s is not found", name)
		}
	}
	for i, d := range members {
		bad("a changed "+d.name, func(m []document) []document { m[i].data[len(m[i].data)/2] ^= 1; return m })
		bad("a missing "+d.name, func(m []document) []document { return slices.Delete(m, i, i+1) })
		bad("a second "+d.name, func(m []document) []document { return append(m, m[i]) })
	}
	bad("one more member", func(m []document) []document { return slices.Insert(m, 1, document{"note.txt", []byte("x")}) })
	// A signed report that says something else than the log: only who holds the key can make one.
	bad("a report that lies", func(m []document) []document {
		m[1].data = bytes.Replace(m[1].data, []byte(`"deny": 1`), []byte(`"deny": 0`), 1)
		return resigned(t, l, m)
	})
	to := filepath.Join(t.TempDir(), "p.tar")
	write(t, to, resigned(t, l, members))
	if _, _, err := Verify(t.Context(), to, "", ledger.Options{}); err != nil {
		t.Errorf("signed again as it was: %v", err)
	}
	other := newLog(t)
	if _, _, err := Verify(t.Context(), file, "", ledger.Options{Vkey: other.Vkey()}); err == nil {
		t.Error("another log's key verifies it")
	}
}

func resigned(t *testing.T, l *ledger.Log, m []document) []document {
	t.Helper()
	write(t, filepath.Join(t.TempDir(), "unsigned.tar"), m)
	dir := t.TempDir()
	file := filepath.Join(dir, "p.tar")
	write(t, file, m)
	p, err := unpack(file, dir)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := l.Sign(p.list)
	if err != nil {
		t.Fatal(err)
	}
	m = slices.Clone(m)
	m[len(m)-1].data = signed
	return m
}

func read(t *testing.T, file string) (out []document) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, document{h.Name, b})
	}
}

func write(t *testing.T, file string, members []document) {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, d := range members {
		if err := put(w, d.name, int64(len(d.data)), bytes.NewReader(d.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), os.WriteFile(file, b.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func member(t *testing.T, file, name string) string {
	t.Helper()
	for _, d := range read(t, file) {
		if d.name == name {
			return string(d.data)
		}
	}
	t.Fatalf("no %s", name)
	return ""
}

// TestTheMappingIsTiedToWhatThereIs holds every row to a metric of the reference and a file of policy tests.
func TestTheMappingIsTiedToWhatThereIs(t *testing.T) {
	m, err := LoadMapping()
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := os.ReadFile("../../docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	refs := map[string]bool{}
	for _, r := range m.Rows {
		refs[r.ID] = true
		for _, s := range r.From {
			if s.Metric != "" && !bytes.Contains(metrics, []byte("`"+s.Metric+"`")) {
				t.Errorf("%s: there is no metric %q", r.ID, s.Metric)
			}
			if s.Test != "" {
				if _, err := os.Stat("../../" + s.Test); err != nil {
					t.Errorf("%s: %v", r.ID, err)
				}
			}
		}
	}
	for _, n := range []string{"9", "12", "13", "14", "15", "19", "26", "72", "73"} {
		if !refs["eu-ai-act/"+n] {
			t.Errorf("no row for article %s", n)
		}
	}
	for name, text := range map[string]string{
		"a row tied to nothing":     "version: 1\nrows: [{id: a, framework: f, ref: r, title: t, shows: s, from: []}]",
		"an unknown kind":           "version: 1\nrows: [{id: a, framework: f, ref: r, title: t, shows: s, from: [{record: fax}]}]",
		"two places at once":        "version: 1\nrows: [{id: a, framework: f, ref: r, title: t, shows: s, from: [{record: intent, metric: m}]}]",
		"a verdict of a metric":     "version: 1\nrows: [{id: a, framework: f, ref: r, title: t, shows: s, from: [{metric: m, verdict: deny}]}]",
		"an unknown verdict":        "version: 1\nrows: [{id: a, framework: f, ref: r, title: t, shows: s, from: [{record: intent, verdict: maybe}]}]",
		"an unknown key":            "version: 1\nrows: [{id: a, framework: f, ref: r, title: t, shows: s, from: [{record: intent}], compliant: yes}]",
		"no rows":                   "version: 1\nrows: []",
		"a version of another time": "version: 2\nrows: [{id: a, framework: f, ref: r, title: t, shows: s, from: [{record: intent}]}]",
	} {
		if _, err := readMapping([]byte(text)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
