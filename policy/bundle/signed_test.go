// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/sallyport/sallyport/action"
)

var (
	engines = []Evaluator{{Name: "rego", Version: "1.0.0", Capabilities: Sum([]byte("capabilities"))}}
	noon    = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
)

const until = "version: 1\nname: pack\nsequence: 3\nexpires: 2030-02-01T00:00:00Z\n"

func key(name string) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, name)
	return ed25519.NewKeyFromSeed(seed)
}

func trusting(t testing.TB, extra string) *Trust {
	t.Helper()
	public := func(name string) string { return FormatKey(key(name).Public().(ed25519.PublicKey)) }
	trust, err := ReadTrust("trust.yaml", fmt.Appendf(nil, "version: 1\nbundle: pack\nauthors: {need: 1, keys: [%q]}\napprovers: {need: 1, keys: [%q, %q]}\n%s",
		public("anna"), public("ben"), public("cleo"), extra))
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

func read(t testing.TB, files map[string]string) *Bundle {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, data := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(data)}
	}
	b, err := Read(fsys, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func statement(t testing.TB, b *Bundle) Statement {
	t.Helper()
	s, err := b.Statement("agent.v1", engines)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sealed(t testing.TB, s Statement, signers ...string) *Envelope {
	t.Helper()
	e, err := Seal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range signers {
		name, role, _ := strings.Cut(who, "/")
		if err := e.Sign(key(name), role); err != nil {
			t.Fatal(err)
		}
	}
	return &e
}

func encoded(t testing.TB, e *Envelope) []byte {
	t.Helper()
	data, err := action.Canonical(e)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestVerifyRefusesEveryOtherBundle(t *testing.T) {
	good := map[string]string{ManifestFile: until, "rules.rego": "package sallyport.pack\n"}
	with := func(name, data string) *Bundle {
		files := map[string]string{name: data}
		for n, d := range good {
			if _, ok := files[n]; !ok {
				files[n] = d
			}
		}
		return read(t, files)
	}
	b := read(t, good)
	want := statement(t, b)
	both := func() *Envelope { return sealed(t, want, "anna/author", "ben/approver") }
	edit := func(f func(e *Envelope)) []byte {
		e := both()
		f(e)
		return encoded(t, e)
	}
	other := func(x *Bundle, at time.Time) func() ([]byte, Statement, time.Time) {
		return func() ([]byte, Statement, time.Time) {
			w := statement(t, x)
			return encoded(t, sealed(t, w, "anna/author", "ben/approver")), w, at
		}
	}
	this := func(signed []byte) func() ([]byte, Statement, time.Time) {
		return func() ([]byte, Statement, time.Time) { return signed, want, noon }
	}
	resign := func(e *Envelope, payload []byte) {
		e.Payload, e.Signatures = base64.StdEncoding.EncodeToString(payload), nil
		for name, role := range map[string]string{"anna": Author, "ben": Approver} {
			if err := e.Sign(key(name), role); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		set  func() ([]byte, Statement, time.Time)
		want string // "" verifies
	}{
		"an author and an approver":              {this(encoded(t, both())), ""},
		"a stranger's signature besides":         {this(encoded(t, sealed(t, want, "anna/author", "mallory/approver", "ben/approver"))), ""},
		"no signature file":                      {this(nil), "no " + SignedFile},
		"an empty signature file":                {this([]byte{}), SignedFile},
		"no signature in it":                     {this(encoded(t, sealed(t, want))), "0 of 1 authors'"},
		"wrong keys only":                        {this(encoded(t, sealed(t, want, "mallory/author", "eve/approver"))), "2 by keys that are not trusted"},
		"one person in both roles":               {this(encoded(t, sealed(t, want, "anna/author"))), "0 of 1 approvers'"},
		"two approvers and no author":            {this(encoded(t, sealed(t, want, "ben/approver", "cleo/approver"))), "0 of 1 authors'"},
		"an author who calls himself approver":   {this(encoded(t, sealed(t, want, "anna/approver", "ben/approver"))), "is trusted as author"},
		"a signature without a key id":           {this(edit(func(e *Envelope) { e.Signatures[0].KeyID = "" })), "no key id"},
		"the same signature twice":               {this(edit(func(e *Envelope) { e.Signatures = append(e.Signatures, e.Signatures[1]) })), "signed twice"},
		"a signature of another content":         {this(edit(func(e *Envelope) { e.Signatures[0].Sig = e.Signatures[1].Sig })), "is false"},
		"a signature that is no base64":          {this(edit(func(e *Envelope) { e.Signatures[0].Sig = "!" })), "is false"},
		"an edited manifest":                     {this(edit(func(e *Envelope) { e.Payload = strings.Replace(e.Payload, "A", "B", 1) })), "false"},
		"another payload type":                   {this(edit(func(e *Envelope) { e.PayloadType = "application/json" })), "payload type"},
		"a member that it does not know":         {this(bytes.Replace(encoded(t, both()), []byte(`{"payload"`), []byte(`{"x":1,"payload"`), 1)), SignedFile},
		"a member twice":                         {this(bytes.Replace(encoded(t, both()), []byte(`{"payload"`), []byte(`{"payload":"","payload"`), 1)), SignedFile},
		"more signatures than anybody needs":     {this(edit(func(e *Envelope) { e.Signatures = make([]Signature, MaxSignatures+1) })), "more than 32"},
		"a manifest that is signed but not ours": {this(edit(func(e *Envelope) { resign(e, []byte(`{}`)) })), "manifest"},
		"a manifest that names a way out":        {this(edit(func(e *Envelope) { resign(e, escaping(t, want)) })), `names "../outside.rego"`},
		"an edited rule": {func() ([]byte, Statement, time.Time) {
			return encoded(t, both()), statement(t, with("rules.rego", "package x\n")), noon
		}, `"rules.rego" differs`},
		"a rule more": {func() ([]byte, Statement, time.Time) {
			return encoded(t, both()), statement(t, with("more.rego", "package x\n")), noon
		}, `"more.rego" is not in the manifest`},
		"a rule less": {func() ([]byte, Statement, time.Time) {
			return encoded(t, both()), statement(t, read(t, map[string]string{ManifestFile: until})), noon
		}, `"rules.rego" of the manifest is missing`},
		"the signatures of an older bundle": {func() ([]byte, Statement, time.Time) {
			return encoded(t, both()), statement(t, with(ManifestFile, strings.Replace(until, "3", "4", 1))), noon
		}, ManifestFile},
		"other engines":            {func() ([]byte, Statement, time.Time) { w := want; w.Engines = nil; return encoded(t, both()), w, noon }, "signed for engines"},
		"another name":             {other(with(ManifestFile, strings.Replace(until, "pack", "other", 1)), noon), `its name is "other"`},
		"no end":                   {other(with(ManifestFile, manifest), noon), "it has no end"},
		"at the moment of its end": {other(b, time.Date(2030, 2, 1, 0, 0, 0, 0, time.UTC)), "it expired at 2030-02-01"},
		"a moment before its end":  {other(b, time.Date(2030, 1, 31, 23, 59, 59, 0, time.UTC)), ""},
		"before its beginning":     {other(with(ManifestFile, until+"not_before: 2030-01-02T00:00:00Z\n"), noon), "not hold before 2030-01-02"},
		"a trust of its own that names the forgers": {func() ([]byte, Statement, time.Time) { return forged(t, good) }, "0 of 1 authors'"},
	} {
		t.Run(name, func(t *testing.T) {
			signed, w, at := c.set()
			_, err := trusting(t, "").Verify(signed, w, at)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), c.want)) {
				t.Fatalf("%v, want %q", err, c.want)
			}
		})
	}
}

// escaping is a statement that names a file outside of its folder.
func escaping(t *testing.T, s Statement) []byte {
	s.Files = append([]listed{{Path: "../outside.rego", Digest: Sum(nil)}}, s.Files...)
	data, err := action.Canonical(s)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// forged is a bundle that says itself whom to trust.
func forged(t *testing.T, good map[string]string) ([]byte, Statement, time.Time) {
	public := func(name string) string { return FormatKey(key(name).Public().(ed25519.PublicKey)) }
	files := map[string]string{TrustFile: fmt.Sprintf("version: 1\nbundle: pack\nauthors: {need: 1, keys: [%q]}\napprovers: {need: 1, keys: [%q]}\n", public("mallory"), public("eve"))}
	for n, d := range good {
		files[n] = d
	}
	w := statement(t, read(t, files))
	return encoded(t, sealed(t, w, "mallory/author", "eve/approver")), w, noon
}

func TestVerifyTellsTooFewFromWrong(t *testing.T) {
	want := statement(t, read(t, map[string]string{ManifestFile: until}))
	signers, err := trusting(t, "").Verify(encoded(t, sealed(t, want, "ben/approver")), want, noon)
	if !errors.Is(err, ErrTooFew) || !errors.Is(err, ErrUntrusted) || len(signers) != 1 || signers[0].Role != Approver {
		t.Fatalf("%v %v", signers, err)
	}
	if signers, err := trusting(t, "").Verify(encoded(t, sealed(t, want, "ben/approver")), want, noon.AddDate(1, 0, 0)); errors.Is(err, ErrTooFew) || signers != nil {
		t.Fatalf("expired: %v %v", signers, err)
	}
}

// The vector of the DSSE specification, protocol.md.
func TestPAEIsThatOfTheSpecification(t *testing.T) {
	got := PAE("http://example.com/HelloWorld", []byte("hello world"))
	if string(got) != "DSSEv1 29 http://example.com/HelloWorld 11 hello world" {
		t.Fatalf("%q", got)
	}
	if got := hex.EncodeToString(PAE("", nil)); got != hex.EncodeToString([]byte("DSSEv1 0  0 ")) {
		t.Fatal(got)
	}
}

func TestSignRefusesASecondSignatureOfOneKey(t *testing.T) {
	e := sealed(t, statement(t, read(t, map[string]string{ManifestFile: until})), "anna/author")
	if err := e.Sign(key("anna"), Approver); err == nil || !strings.Contains(err.Error(), "has signed already") {
		t.Fatal(err)
	}
	if err := e.Sign(key("ben"), "owner"); err == nil {
		t.Fatal("a role of its own")
	}
}

func TestReadTrustRefusesWhatTrustsTooMuch(t *testing.T) {
	a, b := FormatKey(key("a").Public().(ed25519.PublicKey)), FormatKey(key("b").Public().(ed25519.PublicKey))
	for name, c := range map[string]struct{ text, want string }{
		"both roles":              {"version: 1\nbundle: p\nauthors: {need: 1, keys: [A]}\napprovers: {need: 1, keys: [B]}\n", ""},
		"one key in both roles":   {"version: 1\nbundle: p\nauthors: {need: 1, keys: [A]}\napprovers: {need: 1, keys: [A]}\n", "stands twice"},
		"one key twice":           {"version: 1\nbundle: p\nauthors: {need: 2, keys: [A, A]}\napprovers: {need: 1, keys: [B]}\n", "stands twice"},
		"nobody needed":           {"version: 1\nbundle: p\nauthors: {need: 0, keys: [A]}\napprovers: {need: 1, keys: [B]}\n", "need 0"},
		"less than nobody":        {"version: 1\nbundle: p\nauthors: {need: -1, keys: [A]}\napprovers: {need: 1, keys: [B]}\n", "need -1"},
		"more than there are":     {"version: 1\nbundle: p\nauthors: {need: 2, keys: [A]}\napprovers: {need: 1, keys: [B]}\n", "need 2"},
		"no approvers":            {"version: 1\nbundle: p\nauthors: {need: 1, keys: [A]}\n", "need 0"},
		"no bundle":               {"version: 1\nauthors: {need: 1, keys: [A]}\napprovers: {need: 1, keys: [B]}\n", "name of a bundle"},
		"another version":         {"version: 2\nbundle: p\nauthors: {need: 1, keys: [A]}\napprovers: {need: 1, keys: [B]}\n", "version 2"},
		"a key that is too short": {"version: 1\nbundle: p\nauthors: {need: 1, keys: [\"ed25519:AAAA\"]}\napprovers: {need: 1, keys: [B]}\n", "32 bytes"},
		"a key of another kind":   {"version: 1\nbundle: p\nauthors: {need: 1, keys: [\"rsa:AAAA\"]}\napprovers: {need: 1, keys: [B]}\n", "32 bytes"},
		"a coverage beyond all":   {"version: 1\nbundle: p\ncoverage: 101\nauthors: {need: 1, keys: [A]}\napprovers: {need: 1, keys: [B]}\n", "coverage 101"},
		"a coverage below none":   {"version: 1\nbundle: p\ncoverage: -1\nauthors: {need: 1, keys: [A]}\napprovers: {need: 1, keys: [B]}\n", "coverage -1"},
		"a replay beyond bounds":  {"version: 1\nbundle: p\nreplay: 50001\nauthors: {need: 1, keys: [A]}\napprovers: {need: 1, keys: [B]}\n", "replay 50001"},
		"a mistyped key":          {"version: 1\nbundle: p\naproovers: {}\n", "aproovers"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.NewReplacer("[A]", "["+a+"]", "[B]", "["+b+"]", "[A, A]", "["+a+", "+a+"]").Replace(c.text)
			trust, err := ReadTrust("t.yaml", []byte(text))
			if c.want == "" {
				if err != nil || trust.Coverage != DefaultCoverage || trust.Replay != DefaultReplay {
					t.Fatalf("%+v %v", trust, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestReadRefusesATrustForAnotherBundle(t *testing.T) {
	text := "version: 1\nbundle: other\nauthors: {need: 1, keys: [" + FormatKey(key("a").Public().(ed25519.PublicKey)) + "]}\napprovers: {need: 1, keys: [" +
		FormatKey(key("b").Public().(ed25519.PublicKey)) + "]}\n"
	_, err := Read(fstest.MapFS{ManifestFile: {Data: []byte(until)}, TrustFile: {Data: []byte(text)}}, nil)
	if err == nil || !strings.Contains(err.Error(), `for bundle "other"`) {
		t.Fatal(err)
	}
}

func FuzzReadEnvelope(f *testing.F) {
	want := statement(f, read(f, map[string]string{ManifestFile: until, "r.rego": "package x"}))
	good := encoded(f, sealed(f, want, "anna/author", "ben/approver"))
	f.Add(good)
	f.Add([]byte(`{"payloadType":"","payload":"","signatures":[{"keyid":"","role":"","sig":""}]}`))
	trust := trusting(f, "")
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ReadEnvelope(data)
		if err != nil {
			return
		}
		_, err = trust.Verify(data, want, noon)
		if err != nil {
			return
		}
		payload, _ := base64.StdEncoding.DecodeString(e.Payload)
		if exact, _ := action.Canonical(want); !bytes.Equal(payload, exact) {
			t.Fatalf("accepted %q", data)
		}
	})
}

func FuzzReadTrust(f *testing.F) {
	k := FormatKey(key("a").Public().(ed25519.PublicKey))
	f.Add([]byte("version: 1\nbundle: p\nauthors: {need: 1, keys: [" + k + "]}\napprovers: {need: 1, keys: [" + k + "]}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		trust, err := ReadTrust("t.yaml", data)
		if err != nil {
			return
		}
		if trust.Authors.Need < 1 || trust.Approvers.Need < 1 || len(trust.keys) != len(trust.Authors.Keys)+len(trust.Approvers.Keys) ||
			trust.Coverage < 1 || trust.Replay < 1 {
			t.Fatalf("%+v", trust)
		}
	})
}
