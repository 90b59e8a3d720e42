// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
)

func TestReportIsBelievedOnlyUnderATrustedKey(t *testing.T) {
	keys := make([]ed25519.PrivateKey, 3)
	for i := range keys {
		var err error
		if _, keys[i], err = ed25519.GenerateKey(rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	public := func(i int) string { return FormatKey(keys[i].Public().(ed25519.PublicKey)) }
	trust, err := ReadTrust("trust.yaml", fmt.Appendf(nil, "version: 1\nbundle: x\nauthors: {need: 1, keys: [%q]}\napprovers: {need: 1, keys: [%q]}\n", public(0), public(1)))
	if err != nil {
		t.Fatal(err)
	}
	report := map[string]any{"format": "r", "n": 3}
	for name, c := range map[string]struct {
		make func(e *Envelope) error
		good bool
	}{
		"signed by an author":                  {func(e *Envelope) error { return e.Sign(keys[0], Author) }, true},
		"signed by an approver and a stranger": {func(e *Envelope) error { return errors.Join(e.Sign(keys[1], Approver), e.Sign(keys[2], Author)) }, true},
		"signed by nobody":                     {func(*Envelope) error { return nil }, false},
		"signed by a stranger":                 {func(e *Envelope) error { return e.Sign(keys[2], Author) }, false},
		"signed under another role":            {func(e *Envelope) error { return e.Sign(keys[0], Approver) }, false},
		"with a false signature beside a good one": {func(e *Envelope) error {
			err := errors.Join(e.Sign(keys[0], Author), e.Sign(keys[1], Approver))
			e.Signatures[1].Sig = e.Signatures[0].Sig
			return err
		}, false},
		"changed after it was signed": {func(e *Envelope) error {
			err := e.Sign(keys[0], Author)
			e.Payload = base64.StdEncoding.EncodeToString([]byte(`{"format":"r","n":4}`))
			return err
		}, false},
		"signed as a bundle, then called a report": {func(e *Envelope) error {
			e.PayloadType = PayloadType
			err := e.Sign(keys[0], Author)
			e.PayloadType = DiffPayloadType
			return err
		}, false},
		"called a bundle": {func(e *Envelope) error { e.PayloadType = PayloadType; return e.Sign(keys[0], Author) }, false},
	} {
		e, err := SealReport(report)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.make(&e); err != nil {
			t.Fatal(name, err)
		}
		data, err := action.Canonical(e)
		if err != nil {
			t.Fatal(err)
		}
		payload, signers, err := trust.VerifyReport(data)
		if (err == nil) != c.good || err != nil && !errors.Is(err, ErrUntrusted) || c.good && (string(payload) != `{"format":"r","n":3}` || len(signers) != 1) {
			t.Errorf("%s: %s by %v, %v", name, payload, signers, err)
		}
	}
	// The same bytes under the type of a report are no bundle.
	s := Statement{Format: "sallyport.bundle.signed.v1", Name: "x", Expires: time.Now().Add(time.Hour).UnixMilli()}
	e, err := SealReport(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(e.Sign(keys[0], Author), e.Sign(keys[1], Approver)); err != nil {
		t.Fatal(err)
	}
	data, err := action.Canonical(e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trust.Verify(data, s, time.Now()); !errors.Is(err, ErrUntrusted) {
		t.Errorf("a report passes as a bundle: %v", err)
	}
	if e, err = Seal(s); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(e.Sign(keys[0], Author), e.Sign(keys[1], Approver)); err != nil {
		t.Fatal(err)
	}
	if data, err = action.Canonical(e); err != nil {
		t.Fatal(err)
	}
	if _, err := trust.Verify(data, s, time.Now()); err != nil {
		t.Errorf("the bundle itself does not pass: %v", err)
	}
}
