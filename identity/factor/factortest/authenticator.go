// SPDX-License-Identifier: Apache-2.0

// Package factortest holds an authenticator in software, with a browser around it, for tests: it makes and
// uses passkeys as a security key does.
package factortest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/identity/factor"
)

var b64 = base64.RawURLEncoding

// Authenticator holds one passkey. Its fields may be changed between uses.
type Authenticator struct {
	RPID       string
	Origin     string // of the page in its browser
	ID         []byte // of the credential
	Counter    uint32 // of the last signature; it goes up by one with each
	Unverified bool   // the person was not verified
	Absent     bool   // nor present
	key        *ecdsa.PrivateKey
}

// New returns an authenticator with a new key.
func New(rpID, origin string) *Authenticator {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id)
	return &Authenticator{RPID: rpID, Origin: origin, ID: id, key: k}
}

// Create is navigator.credentials.create.
func (a *Authenticator) Create(challenge []byte) factor.Creation {
	var c factor.Creation
	c.ID, c.RawID, c.Type = b64.EncodeToString(a.ID), b64.EncodeToString(a.ID), "public-key"
	pub, err := a.key.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	cose := append([]byte{0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20}, pub[1:33]...)
	cose = append(append(cose, 0x22, 0x58, 0x20), pub[33:]...)
	data := a.data(0x40)
	data = append(data, make([]byte, 16)...) // AAGUID
	data = binary.BigEndian.AppendUint16(data, uint16(len(a.ID)))
	data = append(append(data, a.ID...), cose...)
	object := append([]byte{0xa3}, text("fmt")...)
	object = append(append(object, text("none")...), text("attStmt")...)
	object = append(append(object, 0xa0), text("authData")...)
	object = append(object, 0x59)
	object = binary.BigEndian.AppendUint16(object, uint16(len(data)))
	c.Response.Object = b64.EncodeToString(append(object, data...))
	c.Response.ClientData = b64.EncodeToString(a.client("webauthn.create", challenge))
	return c
}

// Get is navigator.credentials.get.
func (a *Authenticator) Get(challenge []byte) factor.Assertion {
	a.Counter++
	var s factor.Assertion
	s.ID, s.RawID, s.Type = b64.EncodeToString(a.ID), b64.EncodeToString(a.ID), "public-key"
	client, data := a.client("webauthn.get", challenge), a.data(0)
	sum := sha256.Sum256(client)
	whole := sha256.Sum256(append(append([]byte(nil), data...), sum[:]...))
	sig, err := ecdsa.SignASN1(rand.Reader, a.key, whole[:])
	if err != nil {
		panic(err)
	}
	s.Response.ClientData, s.Response.AuthData, s.Response.Signature = b64.EncodeToString(client), b64.EncodeToString(data), b64.EncodeToString(sig)
	return s
}

func (a *Authenticator) client(kind string, challenge []byte) []byte {
	b, err := json.Marshal(map[string]any{"type": kind, "challenge": b64.EncodeToString(challenge), "origin": a.Origin, "crossOrigin": false})
	if err != nil {
		panic(err)
	}
	return b
}

func (a *Authenticator) data(flags byte) []byte {
	if !a.Absent {
		flags |= 0x01
	}
	if !a.Unverified {
		flags |= 0x04
	}
	rp := sha256.Sum256([]byte(a.RPID))
	return binary.BigEndian.AppendUint32(append(rp[:], flags), a.Counter)
}

func text(s string) []byte { return append([]byte{0x60 | byte(len(s))}, s...) }
