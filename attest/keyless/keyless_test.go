// SPDX-License-Identifier: Apache-2.0

package keyless

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

func codeOf(err error) attest.Code {
	var e *attest.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

var anyRelease = Identity{login, "https://code.example/org/repo/*"}

func TestGeneratedSignaturesAreAccepted(t *testing.T) {
	w := newWorld(t)
	s := w.build()
	for _, i := range []Identity{{login, workflow}, anyRelease} {
		got, err := w.verify(s, Identity{"https://other.example", workflow}, i)
		if err != nil || got.Identity != i || got.Subject != workflow || got.Issuer != login || !got.Time.Equal(w.now) || !got.Key.Equal(&w.own.PublicKey) {
			t.Errorf("%+v: %+v %v", i, got, err)
		}
	}
	for name, shape := range map[string]func(w *world){
		"the only entry of a log":     func(w *world) { w.index, w.size, w.siblings = 0, 1, nil },
		"the last of five":            func(w *world) { w.index, w.size = 4, 5 },
		"no start of the log's years": func(w *world) { w.root = func(map[string]any) {} },
	} {
		w := newWorld(t)
		shape(w)
		if _, err := w.verify(w.build(), anyRelease); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGeneratedSignaturesAreRefused(t *testing.T) {
	stranger := newWorld(t)
	spec := func(b map[string]any) map[string]any { return b["spec"].(map[string]any) }
	for _, c := range []struct {
		name   string
		code   attest.Code
		change func(w *world)
	}{
		{"somebody else", attest.Unproved, func(w *world) { w.subject = "https://code.example/other/repo" }},
		{"the same name by another login", attest.Unproved, func(w *world) { w.issuer = "https://evil.example" }},
		{"no name", attest.Malformed, func(w *world) { w.subject = "" }},
		{"two names", attest.Malformed, func(w *world) { w.leaf.EmailAddresses = []string{"a@example.org"} }},
		{"no login", attest.Malformed, func(w *world) { w.issuer = "" }},
		{"two logins", attest.Malformed, func(w *world) {
			w.leaf.ExtraExtensions = []pkix.Extension{{Id: extIssuerRaw, Value: []byte("https://evil.example")}}
		}},
		{"a certificate for servers", attest.Unproved, func(w *world) { w.leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }},
		{"a certificate that had expired when the log took it", attest.Unproved, func(w *world) { w.leaf.NotAfter = w.now.Add(-time.Second) }},
		{"a certificate that did not hold yet", attest.Unproved, func(w *world) { w.leaf.NotBefore = w.now.Add(time.Second) }},
		{"another authority", attest.Unproved, func(w *world) { w.root = func(f map[string]any) { stranger.copyRoot(f, "certificateAuthorities") } }},
		{"another log", attest.Unproved, func(w *world) { w.root = func(f map[string]any) { stranger.copyRoot(f, "tlogs") } }},
		{"another log of certificates", attest.Unproved, func(w *world) { w.root = func(f map[string]any) { stranger.copyRoot(f, "ctlogs") } }},
		{"a log that was closed before", attest.Unproved, func(w *world) { w.root = func(f map[string]any) { closed(f, "tlogs", w.now) } }},
		{"a log of certificates that was closed before", attest.Unproved, func(w *world) { w.root = func(f map[string]any) { closed(f, "ctlogs", w.now) } }},
		{"no time stamp", attest.Missing, func(w *world) { w.stamp = false }},
		{"an entry of another payload", attest.Mismatch, func(w *world) {
			w.body = func(b map[string]any) { spec(b)["payloadHash"] = hashed{"sha256", strings.Repeat("0", 64)} }
		}},
		{"an entry of another signature", attest.Mismatch, func(w *world) {
			w.body = func(b map[string]any) { spec(b)["signatures"].([]any)[0].(map[string]string)["signature"] = "AAAA" }
		}},
		{"an entry of another certificate", attest.Mismatch, func(w *world) {
			w.body = func(b map[string]any) { spec(b)["signatures"].([]any)[0].(map[string]string)["verifier"] = "AAAA" }
		}},
		{"an entry of two signatures", attest.Mismatch, func(w *world) {
			w.body = func(b map[string]any) {
				spec(b)["signatures"] = append(spec(b)["signatures"].([]any), map[string]string{"signature": "", "verifier": ""})
			}
		}},
		{"an entry with a member that nobody knows", attest.Malformed, func(w *world) { w.body = func(b map[string]any) { b["more"] = 1 } }},
		{"an entry of another kind", attest.Unsupported, func(w *world) { w.entry = func(e *Entry) { e.Kind.Kind = "hashedrekord" } }},
		{"an entry of a version that nobody knows", attest.Unsupported, func(w *world) { w.entry = func(e *Entry) { e.Kind.Version = "0.0.3" } }},
		{"an entry of the second version by name", attest.Malformed, func(w *world) { w.entry = func(e *Entry) { e.Kind.Version = "0.0.2" } }},
		{"no promise", attest.Malformed, func(w *world) { w.entry = func(e *Entry) { e.Promise = nil } }},
		{"no proof", attest.Malformed, func(w *world) { w.entry = func(e *Entry) { e.Proof = nil } }},
		{"another time than promised", attest.Unproved, func(w *world) { w.entry = func(e *Entry) { e.Time = e.Time[:len(e.Time)-1] + "7" } }},
		{"another place than promised", attest.Unproved, func(w *world) { w.entry = func(e *Entry) { e.Index = "101" } }},
		{"a proof for another place", attest.Unproved, func(w *world) { w.index = 1 }},
		{"a place outside the tree", attest.Malformed, func(w *world) { w.index = 3 }},
		{"a proof that is too short", attest.Unproved, func(w *world) { w.entry = func(e *Entry) { e.Proof.Hashes = nil } }},
		{"a proof that is too long", attest.Malformed, func(w *world) {
			w.entry = func(e *Entry) { e.Proof.Hashes = append(e.Proof.Hashes, e.Proof.Hashes...) }
		}},
		{"a checkpoint of another tree", attest.Mismatch, func(w *world) {
			w.entry = func(e *Entry) {
				e.Proof.Checkpoint.Envelope = strings.Replace(e.Proof.Checkpoint.Envelope, "\n3\n", "\n4\n", 1)
			}
		}},
		{"a checkpoint that a stranger signed", attest.Unproved, func(w *world) {
			w.entry = func(e *Entry) {
				text, _, _ := strings.Cut(e.Proof.Checkpoint.Envelope, "\n\n")
				id, _ := base64.StdEncoding.DecodeString(e.Log.ID)
				e.Proof.Checkpoint.Envelope = text + "\n\n— log.example " + base64.StdEncoding.EncodeToString(append(slices.Clone(id[:4]), sign(t, stranger.logKey, []byte(text+"\n"))...)) + "\n"
			}
		}},
		{"a checkpoint without a signature", attest.Malformed, func(w *world) {
			w.entry = func(e *Entry) { e.Proof.Checkpoint.Envelope, _, _ = strings.Cut(e.Proof.Checkpoint.Envelope, "—") }
		}},
	} {
		w := newWorld(t)
		stranger.build()
		c.change(w)
		if got, err := w.verify(w.build(), anyRelease); codeOf(err) != c.code || got != nil {
			t.Errorf("%s: %+v %v, want %q", c.name, got, err, c.code)
		}
	}
}

// copyRoot puts this world's part of a trusted root into another one's.
func (w *world) copyRoot(f map[string]any, name string) {
	var own map[string]any
	w.root = func(mine map[string]any) { own = mine }
	w.build()
	f[name] = own[name]
}

func closed(f map[string]any, name string, now time.Time) {
	k := f[name].([]any)[0].(map[string]any)["publicKey"].(map[string]any)
	k["validFor"] = map[string]any{"start": now.AddDate(-1, 0, 0), "end": now.Add(-time.Hour)}
}

// TestNoByteIsFree changes a bit of each byte that a bundle carries.
func TestNoByteIsFree(t *testing.T) {
	w := newWorld(t)
	s := w.build()
	try := func(what string, text *string, i int) {
		b := []byte(*text)
		b[i] ^= 1
		was := *text
		*text = string(b)
		if _, err := w.verify(s, anyRelease); err == nil {
			t.Errorf("%s, byte %d is free", what, i)
		}
		*text = was
	}
	e := &s.Entry
	for what, text := range map[string]*string{"index": &e.Index, "log": &e.Log.ID, "kind": &e.Kind.Kind, "version": &e.Kind.Version, "time": &e.Time, "promise": &e.Promise.Signed,
		"proof's index": &e.Proof.Index, "root": &e.Proof.Root, "size": &e.Proof.Size, "hash": &e.Proof.Hashes[0], "body": &e.Body} {
		for i := range *text {
			try(what, text, i)
		}
	}
	note := &e.Proof.Checkpoint.Envelope
	name := strings.Index(*note, "— log.example ") + len("— ")
	for i := range *note {
		if i >= name && i < name+len("log.example") {
			continue // the name before a signature is a hint: the key's own hash follows, and the text names the log
		}
		try("checkpoint", note, i)
	}
	for i := range s.Certificate {
		bad := *s
		bad.Certificate = bytes.Clone(s.Certificate)
		bad.Certificate[i] ^= 1
		if _, err := w.verify(&bad, anyRelease); err == nil {
			t.Errorf("certificate, byte %d is free", i)
		}
	}
}

func TestIdentitiesMatchWholly(t *testing.T) {
	for _, c := range []struct {
		i               Identity
		issuer, subject string
		want            bool
	}{
		{Identity{login, "a@example.org"}, login, "a@example.org", true},
		{Identity{login, "a@example.org"}, login, "a@example.org.evil", false},
		{Identity{login, "a@example.org"}, login + "/", "a@example.org", false},
		{Identity{login, "https://x/*"}, login, "https://x/y", true},
		{Identity{login, "https://x/*"}, login, "https://y/x", false},
		{Identity{login, "*"}, login, "anybody", false},
		{Identity{"", "a"}, "", "a", false},
		{Identity{login, ""}, login, "", false},
	} {
		if got := c.i.matches(c.issuer, c.subject); got != c.want {
			t.Errorf("%+v, %q by %q: %v", c.i, c.subject, c.issuer, got)
		}
	}
}

func TestRootsAreChecked(t *testing.T) {
	w := newWorld(t)
	w.build()
	for name, bad := range map[string][]byte{"nothing": nil, "another type": bytes.Replace(w.rootJSON, []byte("trustedroot"), []byte("bundle"), 1),
		"no authority": bytes.Replace(w.rootJSON, []byte("certificateAuthorities"), []byte("others"), 1), "too long": make([]byte, MaxRootBytes+1)} {
		if _, err := ReadRoot(bad); err == nil {
			t.Errorf("%s is a root", name)
		}
	}
}

func FuzzVerify(f *testing.F) {
	w := newWorld(f)
	s := w.build()
	data, err := action.Canonical(s.Entry)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, s.Certificate)
	root, err := ReadRoot(w.rootJSON)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, entry, certificate []byte) {
		bad := *s
		bad.Certificate, bad.Entry = certificate, Entry{}
		if action.Read(entry, &bad.Entry, action.Limits{}) != nil {
			return
		}
		got, err := (&Verifier{Root: root, Identities: []Identity{anyRelease}}).Verify(&bad)
		if (got == nil) == (err == nil) || err != nil && codeOf(err) == "" {
			t.Errorf("%+v %v", got, err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	w := newWorld(b)
	s := w.build()
	root, err := ReadRoot(w.rootJSON)
	if err != nil {
		b.Fatal(err)
	}
	v := &Verifier{Root: root, Identities: []Identity{anyRelease}}
	for b.Loop() {
		if _, err := v.Verify(s); err != nil {
			b.Fatal(err)
		}
	}
}
