// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
)

// List is a published list of signatures: who signs it vouches for each of them, and whoever subscribes to it
// names his key.
type List struct {
	Name       string
	Sequence   int64     // grows with every list of that name
	Expires    time.Time // after it nothing of the list counts
	Signatures []Signature
	KeyID      string // of the key that signed it; set by ReadList
}

// ErrList is returned for a list that is malformed, signed by nobody who is trusted, or expired.
var ErrList = errors.New("detect: not a list of signatures that is trusted")

// The bounds of a list: 4,096 signatures of 32 hashes stay well below it.
const (
	MaxListBytes = 4 << 20
	listType     = "application/vnd.sallyport.attacks.v1+json"
	keyPrefix    = "ed25519:"
)

// NamesList reports whether a list may be called name: lower case, digits and dashes, at most 40.
func NamesList(name string) bool { return listName.MatchString(name) }

var listName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)

type storedList struct {
	Name       string            `json:"name"`
	Sequence   int64             `json:"sequence"`
	Expires    int64             `json:"expires_ms"`
	Signatures []storedSignature `json:"signatures"`
}

// envelope is DSSE's (secure-systems-lab/dsse, v1).
type envelope struct {
	PayloadType string           `json:"payloadType"`
	Payload     string           `json:"payload"`
	Signatures  []envelopeSigner `json:"signatures"`
}

type envelopeSigner struct {
	KeyID string `json:"keyid"`
	Sig   string `json:"sig"`
}

// KeyOf reads a public key as trust files have it: "ed25519:" and the base64 of 32 bytes.
func KeyOf(text string) (ed25519.PublicKey, error) {
	raw, ok := strings.CutPrefix(text, keyPrefix)
	key, err := base64.StdEncoding.Strict().DecodeString(raw)
	if err != nil || !ok || len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("detect: key %q is not %q and the base64 of 32 bytes", action.Clip(text, 80), keyPrefix)
	}
	return key, nil
}

func keyID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func preAuth(payload []byte) []byte {
	return append([]byte("DSSEv1 "+strconv.Itoa(len(listType))+" "+listType+" "+strconv.Itoa(len(payload))+" "), payload...)
}

// Publish signs l with key: a DSSE envelope whose payload is {name, sequence, expires_ms, signatures}.
func Publish(l List, key ed25519.PrivateKey) ([]byte, error) {
	if !NamesList(l.Name) || l.Sequence < 1 || l.Expires.IsZero() {
		return nil, fmt.Errorf("%w: name %q (lower case, digits, dashes), sequence %d (from 1) and expiry %s are wanted", ErrList, action.Clip(l.Name, 40), l.Sequence, l.Expires)
	}
	if _, err := newSignatures(l.Signatures); err != nil {
		return nil, err
	}
	payload, err := action.Canonical(storedList{l.Name, l.Sequence, l.Expires.UnixMilli(), stored(l.Signatures)})
	if err != nil {
		return nil, err
	}
	sig := ed25519.Sign(key, preAuth(payload))
	return action.Canonical(envelope{listType, base64.StdEncoding.EncodeToString(payload),
		[]envelopeSigner{{keyID(key.Public().(ed25519.PublicKey)), base64.StdEncoding.EncodeToString(sig)}}})
}

// ReadList reads a published list strictly. It is taken only if one of keys signed it and it has not expired at
// now; no signature in it counts longer than the list.
func ReadList(data []byte, keys []ed25519.PublicKey, now time.Time) (List, error) {
	var e envelope
	if len(data) > MaxListBytes {
		return List{}, fmt.Errorf("%w: more than %d bytes", ErrList, MaxListBytes)
	}
	if err := action.Read(data, &e, action.Limits{}); err != nil {
		return List{}, fmt.Errorf("%w: %w", ErrList, err)
	}
	payload, err := base64.StdEncoding.Strict().DecodeString(e.Payload)
	if err != nil || e.PayloadType != listType || len(e.Signatures) > 16 {
		return List{}, fmt.Errorf("%w: payload type %q, or a payload that is no base64, or more than 16 signers", ErrList, action.Clip(e.PayloadType, 64))
	}
	signer := ""
	for _, s := range e.Signatures {
		sig, err := base64.StdEncoding.Strict().DecodeString(s.Sig)
		for _, k := range keys {
			if err == nil && s.KeyID == keyID(k) && ed25519.Verify(k, preAuth(payload), sig) {
				signer = s.KeyID
			}
		}
	}
	if signer == "" {
		return List{}, fmt.Errorf("%w: signed by nobody of the %d keys", ErrList, len(keys))
	}
	var in storedList
	if err := action.Read(payload, &in, action.Limits{}); err != nil {
		return List{}, fmt.Errorf("%w: %w", ErrList, err)
	}
	l := List{Name: in.Name, Sequence: in.Sequence, Expires: time.UnixMilli(in.Expires), KeyID: signer}
	if !NamesList(l.Name) || l.Sequence < 1 {
		return List{}, fmt.Errorf("%w: name %q, sequence %d", ErrList, action.Clip(l.Name, 40), l.Sequence)
	}
	if !l.Expires.After(now) {
		return List{}, fmt.Errorf("%w: %q expired at %s", ErrList, l.Name, l.Expires.UTC().Format(time.RFC3339))
	}
	if l.Signatures, err = unstored(in.Signatures); err != nil {
		return List{}, err
	}
	for i := range l.Signatures {
		if s := &l.Signatures[i]; s.Expires.After(l.Expires) {
			s.Expires = l.Expires
		}
	}
	return l, nil
}

// SetSignatures puts list in the place of the signatures that count, at most 4,096. It is safe while scans run; a
// list that is refused changes nothing.
func (d *Detector) SetSignatures(list []Signature) error {
	signed, err := newSignatures(list)
	if err != nil {
		return err
	}
	if len(list) == 0 || d.deaf {
		signed = nil
	}
	d.signed.Store(signed)
	return nil
}
