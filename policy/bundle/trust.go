// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/internal/strictyaml"
)

// The roles of signers.
const (
	Author   = "author"
	Approver = "approver"
)

// TrustFile is a trust in a bundle. It says whose signatures the next bundle needs, never the one that it
// stands in: what is signed cannot lower what it was measured by.
const TrustFile = "trust.yaml"

// The floors that an absent or zero setting of a trust stands for.
const (
	DefaultCoverage = 100
	DefaultReplay   = 10_000
	MaxReplay       = 50_000
)

// What a trust asks of a bundle about its owner's settings.
const (
	SettingsRequired = "required"
	SettingsAny      = "any"
)

// Trust says whose signatures a bundle needs, and what its tests must show.
type Trust struct {
	Version   int     `yaml:"version"` // 1
	Bundle    string  `yaml:"bundle"`  // name of the one bundle that it is for
	Authors   Signers `yaml:"authors"`
	Approvers Signers `yaml:"approvers"`
	Coverage  int     `yaml:"coverage"` // per cent of the rules that must fire in a case; 0 means DefaultCoverage
	Replay    int     `yaml:"replay"`   // recorded decisions, the latest, to decide again before activation; 0 means DefaultReplay

	// Settings says whether each bundle must name the settings of its owner, which makes all of them a matter of those
	// who sign: SettingsRequired, which "" means too, or SettingsAny, which leaves it to the bundle.
	Settings string `yaml:"settings"`

	keys map[string]trusted // by key id
}

// Signers are the keys of one role, of which Need must have signed.
type Signers struct {
	Need int      `yaml:"need"` // at least 1, at most the number of keys
	Keys []string `yaml:"keys"` // "ed25519:" and the base64 of 32 bytes
}

type trusted struct {
	role string
	key  ed25519.PublicKey
}

const keyPrefix = "ed25519:"

// FormatKey returns a public key as it stands in a trust file.
func FormatKey(key ed25519.PublicKey) string {
	return keyPrefix + base64.StdEncoding.EncodeToString(key)
}

// ReadTrust reads and checks a trust file. No key may stand in it twice, not even under two roles.
func ReadTrust(file string, data []byte) (*Trust, error) {
	t := &Trust{keys: map[string]trusted{}}
	if err := strictyaml.Decode(file, data, t); err != nil {
		return nil, err
	}
	switch {
	case t.Version != 1:
		return nil, fmt.Errorf("%s: version %d is not 1", file, t.Version)
	case !word(t.Bundle):
		return nil, fmt.Errorf("%s: bundle %q: the name of a bundle is wanted", file, action.Clip(t.Bundle, 64))
	}
	if t.Settings == "" {
		t.Settings = SettingsRequired
	}
	if t.Settings != SettingsRequired && t.Settings != SettingsAny {
		return nil, fmt.Errorf("%s: settings %q is neither %q nor %q", file, action.Clip(t.Settings, 32), SettingsRequired, SettingsAny)
	}
	if t.Coverage == 0 {
		t.Coverage = DefaultCoverage
	}
	if t.Replay == 0 {
		t.Replay = DefaultReplay
	}
	if t.Coverage < 1 || t.Coverage > 100 || t.Replay < 1 || t.Replay > MaxReplay {
		return nil, fmt.Errorf("%s: coverage %d is not from 1 to 100, or replay %d not from 1 to %d", file, t.Coverage, t.Replay, MaxReplay)
	}
	for role, s := range map[string]*Signers{Author: &t.Authors, Approver: &t.Approvers} {
		if s.Need < 1 || s.Need > len(s.Keys) {
			return nil, fmt.Errorf("%s: %ss: need %d is not between 1 and the %d keys", file, role, s.Need, len(s.Keys))
		}
		for _, text := range s.Keys {
			raw, prefixed := strings.CutPrefix(text, keyPrefix)
			key, err := base64.StdEncoding.Strict().DecodeString(raw)
			if err != nil || !prefixed || len(key) != ed25519.PublicKeySize {
				return nil, fmt.Errorf("%s: %ss: key %q is not %q and the base64 of 32 bytes", file, role, action.Clip(text, 80), keyPrefix)
			}
			id := KeyID(key)
			if _, twice := t.keys[id]; twice {
				return nil, fmt.Errorf("%s: key %q stands twice", file, text)
			}
			t.keys[id] = trusted{role, key}
		}
	}
	return t, nil
}

// Signer is a key that signed.
type Signer struct {
	KeyID string `json:"keyid"`
	Role  string `json:"role"`
}

// ErrTooFew is wrapped, with ErrUntrusted, if nothing is wrong with a bundle but the number of its signatures.
var ErrTooFew = errors.New("too few signatures")

// Verify reports whether signed, the content of SignedFile, states exactly want, holds at now, and is
// signed by enough distinct keys of each role, and returns the trusted ones. Signatures of keys that are not
// in the trust do not count; a false, nameless or repeated one refuses the whole. Every error wraps
// ErrUntrusted; with ErrTooFew the signers are still returned.
func (t *Trust) Verify(signed []byte, want Statement, now time.Time) ([]Signer, error) {
	if signed == nil {
		return nil, fmt.Errorf("%w: no %s", ErrUntrusted, SignedFile)
	}
	e, err := ReadEnvelope(signed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	signers, strangers, err := t.signatures(&e)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	if err := e.Matches(want); err != nil {
		return nil, err
	}
	ms := now.UnixMilli()
	switch {
	case want.Name != t.Bundle:
		return nil, fmt.Errorf("%w: its name is %q, and the trust is for %q", ErrUntrusted, want.Name, t.Bundle)
	case want.Expires == 0:
		return nil, fmt.Errorf("%w: it has no end (expires in %s)", ErrUntrusted, ManifestFile)
	case ms >= want.Expires:
		return nil, fmt.Errorf("%w: it expired at %s", ErrUntrusted, time.UnixMilli(want.Expires).UTC().Format(time.RFC3339))
	case ms < want.NotBefore:
		return nil, fmt.Errorf("%w: it does not hold before %s", ErrUntrusted, time.UnixMilli(want.NotBefore).UTC().Format(time.RFC3339))
	}
	count := map[string]int{}
	for _, s := range signers {
		count[s.Role]++
	}
	if count[Author] < t.Authors.Need || count[Approver] < t.Approvers.Need {
		return signers, fmt.Errorf("%w: %w: it has %d of %d authors' and %d of %d approvers', and %d by keys that are not trusted", ErrUntrusted,
			ErrTooFew, count[Author], t.Authors.Need, count[Approver], t.Approvers.Need, strangers)
	}
	return signers, nil
}

// signatures returns the trusted keys that signed, and the number of others.
func (t *Trust) signatures(e *Envelope) (signers []Signer, strangers int, err error) {
	payload, err := e.payload()
	if err != nil {
		return nil, 0, err
	}
	message, seen := PAE(e.PayloadType, payload), map[string]bool{}
	for i, s := range e.Signatures {
		id := action.Clip(s.KeyID, 80)
		switch {
		case s.KeyID == "":
			return nil, 0, fmt.Errorf("signature %d has no key id", i+1)
		case seen[s.KeyID]:
			return nil, 0, fmt.Errorf("key %q has signed twice", id)
		}
		seen[s.KeyID] = true
		k, ok := t.keys[s.KeyID]
		if !ok {
			strangers++
			continue
		}
		sig, err := base64.StdEncoding.Strict().DecodeString(s.Sig)
		if err != nil || !ed25519.Verify(k.key, message, sig) {
			return nil, 0, fmt.Errorf("the signature of key %q is false", id)
		}
		if s.Role != k.role {
			return nil, 0, fmt.Errorf("key %q signed as %q, and is trusted as %s", id, action.Clip(s.Role, 32), k.role)
		}
		signers = append(signers, Signer{KeyID: s.KeyID, Role: k.role})
	}
	return signers, strangers, nil
}

// VerifyReport returns the payload of a signed report and the trusted keys that signed it, of which there must be one.
// Every error wraps ErrUntrusted.
func (t *Trust) VerifyReport(data []byte) ([]byte, []Signer, error) {
	e, err := ReadEnvelope(data)
	if err == nil && e.PayloadType != DiffPayloadType {
		err = fmt.Errorf("payload type %q is not %q", action.Clip(e.PayloadType, 64), DiffPayloadType)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	signers, strangers, err := t.signatures(&e)
	if err == nil && len(signers) == 0 {
		err = fmt.Errorf("%w: no trusted key signed it, and %d others did", ErrTooFew, strangers)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	payload, err := e.payload()
	return payload, signers, err
}
