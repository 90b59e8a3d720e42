// SPDX-License-Identifier: Apache-2.0

package factor

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
)

// Assertion is what navigator.credentials.get gives as JSON. Members that we do not need are read and
// dropped.
type Assertion struct {
	ID         string         `json:"id"`
	RawID      string         `json:"rawId"`
	Type       string         `json:"type"`
	Attachment jsontext.Value `json:"authenticatorAttachment"`
	Extensions jsontext.Value `json:"clientExtensionResults"`
	Response   struct {
		ClientData string         `json:"clientDataJSON"`
		AuthData   string         `json:"authenticatorData"`
		Signature  string         `json:"signature"`
		UserHandle jsontext.Value `json:"userHandle"`
	} `json:"response"`
}

// Creation is what navigator.credentials.create gives as JSON.
type Creation struct {
	ID         string         `json:"id"`
	RawID      string         `json:"rawId"`
	Type       string         `json:"type"`
	Attachment jsontext.Value `json:"authenticatorAttachment"`
	Extensions jsontext.Value `json:"clientExtensionResults"`
	Response   struct {
		ClientData string         `json:"clientDataJSON"`
		Object     string         `json:"attestationObject"`
		AuthData   jsontext.Value `json:"authenticatorData"`
		Transports jsontext.Value `json:"transports"`
		PublicKey  jsontext.Value `json:"publicKey"`
		Algorithm  jsontext.Value `json:"publicKeyAlgorithm"`
	} `json:"response"`
}

// Algorithms are the COSE algorithms that we take, preferred first: ES256, EdDSA, RS256.
var Algorithms = []int{int(webauthncose.AlgES256), int(webauthncose.AlgEdDSA), int(webauthncose.AlgRS256)}

// Evidence turns an assertion by the key that it names into evidence for challenge.
func (a *Assertion) Evidence(k *Key, challenge []byte) (Evidence, error) {
	if a.Type != "public-key" || a.ID != k.Credential {
		return Evidence{}, fmt.Errorf("%w: the assertion is of another passkey", ErrForged)
	}
	return Evidence{Kind: Passkey, Signer: k.ID(), Challenge: b64.EncodeToString(challenge),
		ClientData: a.Response.ClientData, AuthData: a.Response.AuthData, Signature: a.Response.Signature}, nil
}

func verifyAssertion(k *Key, e *Evidence) (uint32, error) {
	var raw protocol.CredentialAssertionResponse
	raw.ID, raw.Type = k.Credential, string(protocol.PublicKeyCredentialType)
	public, err := b64.DecodeString(k.Public)
	for _, f := range []struct {
		to   *protocol.URLEncodedBase64
		text string
	}{{&raw.RawID, k.Credential}, {&raw.AssertionResponse.ClientDataJSON, e.ClientData},
		{&raw.AssertionResponse.AuthenticatorData, e.AuthData}, {&raw.AssertionResponse.Signature, e.Signature}} {
		b, derr := b64.DecodeString(f.text)
		err = errors.Join(err, derr)
		*f.to = b
	}
	if err != nil {
		return 0, err
	}
	p, err := raw.Parse()
	if err != nil {
		return 0, clean(err)
	}
	if len(k.Origins) == 0 || k.RPID == "" {
		return 0, errors.New("the key is registered for no origin")
	}
	err = p.Verify(e.Challenge, k.RPID, "", k.Origins, nil, nil, protocol.TopOriginExplicitVerificationMode, false, true, true,
		public, protocol.SignaturePolicy{})
	if err != nil {
		return 0, clean(err)
	}
	return p.Response.AuthenticatorData.Counter, nil
}

// Register verifies what an authenticator made for challenge and returns its public key. Attestation is
// not asked for: which make an authenticator is of is not judged.
func (c *Creation) Register(challenge []byte, rpID string, origins []string) (*Key, error) {
	var raw protocol.CredentialCreationResponse
	raw.ID, raw.Type = c.ID, c.Type
	var err error
	for _, f := range []struct {
		to   *protocol.URLEncodedBase64
		text string
	}{{&raw.RawID, c.RawID}, {&raw.AttestationResponse.ClientDataJSON, c.Response.ClientData},
		{&raw.AttestationResponse.AttestationObject, c.Response.Object}} {
		b, derr := b64.DecodeString(f.text)
		err = errors.Join(err, derr)
		*f.to = b
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForged, err)
	}
	p, err := raw.Parse()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForged, clean(err))
	}
	var params []protocol.CredentialParameter
	for _, a := range Algorithms {
		params = append(params, protocol.CredentialParameter{Type: protocol.PublicKeyCredentialType,
			Algorithm: webauthncose.COSEAlgorithmIdentifier(a)})
	}
	_, err = p.Verify(b64.EncodeToString(challenge), rpID, origins, nil, nil, protocol.TopOriginExplicitVerificationMode, false, true, true,
		nil, params, protocol.AttestationPolicy{}, protocol.SignaturePolicy{})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForged, clean(err))
	}
	public := p.Response.AttestationObject.AuthData.AttData.CredentialPublicKey
	if len(public) == 0 || len(public) > MaxEvidenceBytes/2 || len(c.ID) > 1024 {
		return nil, fmt.Errorf("%w: a key of %d bytes", ErrForged, len(public))
	}
	return &Key{Kind: Passkey, Public: b64.EncodeToString(public), Credential: c.ID, RPID: rpID, Origins: origins}, nil
}

// clean keeps what the library says about a failure to its own words: no bytes of the peer.
func clean(err error) error {
	var p *protocol.Error
	if errors.As(err, &p) {
		return errors.New(p.Details)
	}
	return errors.New("malformed")
}
