// SPDX-License-Identifier: Apache-2.0

package keyless

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

// maxBodyBytes bounds an entry of a log.
const maxBodyBytes = 1 << 20

// body is an entry of the kind dsse, version 0.0.1.
type body struct {
	API  string `json:"apiVersion"`
	Kind string `json:"kind"`
	Spec struct {
		Envelope hashed `json:"envelopeHash"`
		Payload  hashed `json:"payloadHash"`
		Signed   []struct {
			Signature string `json:"signature"`
			Verifier  string `json:"verifier"`
		} `json:"signatures"`
	} `json:"spec"`
}

type hashed struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"value"`
}

// second is an entry of a log of the second version: of the kind dsse with the payload's hash, or of the kind hashedrekord
// with that of what was signed.
type second struct {
	API  string `json:"apiVersion"`
	Kind string `json:"kind"`
	Spec struct {
		DSSE *struct {
			Payload digested `json:"payloadHash"`
			Signed  []signed `json:"signatures"`
		} `json:"dsseV002"`
		Hashed *struct {
			Data   digested `json:"data"`
			Signed signed   `json:"signature"`
		} `json:"hashedRekordV002"`
	} `json:"spec"`
}

type digested struct {
	Algorithm string `json:"algorithm"`
	Digest    string `json:"digest"`
}

type signed struct {
	Content  string `json:"content"`
	Verifier struct {
		Details string   `json:"keyDetails"`
		Cert    rawBytes `json:"x509Certificate"`
	} `json:"verifier"`
}

// logged verifies that a log of the root holds an entry of this signature, and returns when it was made: what the log says,
// and what stamps say.
func (v *Verifier) logged(s *Signed, stamps []time.Time) ([]time.Time, error) {
	e := &s.Entry
	raw, err1 := base64.StdEncoding.Strict().DecodeString(e.Body)
	id, err2 := base64.StdEncoding.Strict().DecodeString(e.Log.ID)
	if err1 != nil || err2 != nil || len(id) != 32 || e.Proof == nil {
		return nil, attest.Refuse(attest.Malformed, "bundle: the log entry or its proof")
	}
	log, ok := v.Root.logs[[32]byte(id)]
	if !ok {
		return nil, attest.Refuse(attest.Unproved, "bundle: of a log that the trusted root does not know")
	}
	var err error
	switch e.Kind.Kind + " " + e.Kind.Version {
	case "dsse 0.0.1":
		var when time.Time
		if when, err = s.promised(log, id, raw); err == nil {
			stamps = append(stamps, when)
		}
	case "dsse 0.0.2", "hashedrekord 0.0.2":
		err = s.stamped(raw, stamps)
	default:
		err = attest.Refuse(attest.Unsupported, "bundle: log entry of kind %q %q", action.Clip(e.Kind.Kind, 40), action.Clip(e.Kind.Version, 40))
	}
	if err != nil {
		return nil, err
	}
	for _, t := range stamps {
		if !within(t, log.start, log.end) {
			return nil, attest.Refuse(attest.Unproved, "bundle: of a log that the trusted root does not know at that time")
		}
	}
	return stamps, e.included(log, id, raw)
}

// promised verifies an entry of a log of the first version, with the log's promise, which says the time.
func (s *Signed) promised(log instance, id, raw []byte) (time.Time, error) {
	e := &s.Entry
	seconds, err1 := strconv.ParseInt(e.Time, 10, 62)
	index, err2 := strconv.ParseInt(e.Index, 10, 62)
	if err1 != nil || err2 != nil || e.Promise == nil {
		return time.Time{}, attest.Refuse(attest.Malformed, "bundle: the log entry or its promise")
	}
	if err := s.matches(raw); err != nil {
		return time.Time{}, err
	}
	promise, err := action.Canonical(map[string]any{"body": e.Body, "integratedTime": seconds, "logID": hex.EncodeToString(id), "logIndex": index})
	if err != nil {
		return time.Time{}, err
	}
	set, err := base64.StdEncoding.Strict().DecodeString(e.Promise.Signed)
	if err != nil || !signedBy(log.key, promise, set) {
		return time.Time{}, attest.Refuse(attest.Unproved, "bundle: the log did not promise the entry at this time")
	}
	return time.Unix(seconds, 0), nil
}

// matches holds an entry of the first version against the signature.
func (s *Signed) matches(raw []byte) error {
	var b body
	if err := action.Read(raw, &b, action.Limits{Bytes: maxBodyBytes}); err != nil {
		return attest.RefuseFor(err, attest.Malformed, "bundle: log entry")
	}
	sum := sha256.Sum256(s.Payload)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate})
	if b.API != "0.0.1" || b.Kind != "dsse" || b.Spec.Payload != (hashed{"sha256", hex.EncodeToString(sum[:])}) || len(b.Spec.Signed) != 1 ||
		b.Spec.Signed[0].Signature != base64.StdEncoding.EncodeToString(s.Signature) {
		return attest.Refuse(attest.Mismatch, "bundle: the log entry is of another signature")
	}
	if v, err := base64.StdEncoding.Strict().DecodeString(b.Spec.Signed[0].Verifier); err != nil || !bytes.Equal(v, cert) {
		return attest.Refuse(attest.Mismatch, "bundle: the log entry is of another certificate")
	}
	return nil
}

// stamped holds an entry of the second version against the signature: it has no time of its own, and no promise.
func (s *Signed) stamped(raw []byte, stamps []time.Time) error {
	e := &s.Entry
	if e.Promise != nil || e.Time != "" && e.Time != "0" || e.Index != e.Proof.Index {
		return attest.Refuse(attest.Malformed, "bundle: a log of the second version promises nothing, says no time, and knows one index")
	}
	if len(stamps) == 0 {
		return attest.Refuse(attest.Missing, "bundle: nobody vouches for the time: it carries no time stamp")
	}
	var b second
	if err := action.Read(raw, &b, action.Limits{Bytes: maxBodyBytes}); err != nil {
		return attest.RefuseFor(err, attest.Malformed, "bundle: log entry")
	}
	if b.API != "0.0.2" || b.Kind != e.Kind.Kind || (b.Spec.DSSE != nil) != (b.Kind == "dsse") || (b.Spec.Hashed != nil) != (b.Kind == "hashedrekord") {
		return attest.Refuse(attest.Malformed, "bundle: log entry")
	}
	of, about, one := s.Payload, digested{}, signed{}
	if d := b.Spec.DSSE; d != nil {
		if len(d.Signed) != 1 {
			return attest.Refuse(attest.Mismatch, "bundle: the log entry is of %d signatures", len(d.Signed))
		}
		about, one = d.Payload, d.Signed[0]
	} else {
		of, about, one = s.Message, b.Spec.Hashed.Data, b.Spec.Hashed.Signed
	}
	sum := sha256.Sum256(of)
	if about != (digested{"SHA2_256", base64.StdEncoding.EncodeToString(sum[:])}) || one.Content != base64.StdEncoding.EncodeToString(s.Signature) {
		return attest.Refuse(attest.Mismatch, "bundle: the log entry is of another signature")
	}
	if one.Verifier.Cert.Raw != base64.StdEncoding.EncodeToString(s.Certificate) || one.Verifier.Details != "PKIX_ECDSA_P256_SHA_256" {
		return attest.Refuse(attest.Mismatch, "bundle: the log entry is of another certificate")
	}
	return nil
}
