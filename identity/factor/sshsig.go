// SPDX-License-Identifier: Apache-2.0

package factor

import (
	"bytes"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Namespace keeps SSH signatures for us apart from those for anything else.
const Namespace = "approval@sallyport.dev"

const (
	sshMagic = "SSHSIG"
	sshHash  = "sha512"
	pemType  = "SSH SIGNATURE"
)

// blob is an SSHSIG as PROTOCOL.sshsig of OpenSSH gives it, behind the magic.
type blob struct {
	Version   uint32
	PublicKey []byte
	Namespace string
	Reserved  string
	HashAlg   string
	Signature []byte
}

// signed is what is signed, behind the magic.
type signed struct {
	Namespace string
	Reserved  string
	HashAlg   string
	Hash      []byte
}

// sshAlgorithms are the kinds of SSH key that we take. Certificates, DSA and keys with short moduli are
// not among them; "sk" keys live in hardware.
var sshAlgorithms = map[string][]string{
	ssh.KeyAlgoED25519:    {ssh.KeyAlgoED25519},
	ssh.KeyAlgoSKED25519:  {ssh.KeyAlgoSKED25519},
	ssh.KeyAlgoECDSA256:   {ssh.KeyAlgoECDSA256},
	ssh.KeyAlgoECDSA384:   {ssh.KeyAlgoECDSA384},
	ssh.KeyAlgoECDSA521:   {ssh.KeyAlgoECDSA521},
	ssh.KeyAlgoSKECDSA256: {ssh.KeyAlgoSKECDSA256},
	ssh.KeyAlgoRSA:        {ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512},
}

// SSHKey reads one line of an authorized_keys file. Options before the key are refused, because we would
// not honour them; the comment is dropped.
func SSHKey(line string) (*Key, error) {
	if len(line) > MaxEvidenceBytes/2 {
		return nil, fmt.Errorf("factor: a key of %d bytes", len(line))
	}
	pub, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return nil, fmt.Errorf("factor: not a public SSH key: %w", err)
	}
	if len(options) > 0 || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("factor: options or a second key stand beside the public SSH key")
	}
	if err := usable(pub); err != nil {
		return nil, err
	}
	return &Key{Kind: SSH, Public: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub))), Origins: []string{}}, nil
}

func usable(pub ssh.PublicKey) error {
	if sshAlgorithms[pub.Type()] == nil {
		return fmt.Errorf("factor: SSH keys of type %q are not taken", pub.Type())
	}
	if pub.Type() == ssh.KeyAlgoRSA && len(pub.Marshal()) < 270 { // 2048 bits and their frame
		return errors.New("factor: RSA keys shorter than 2048 bits are not taken")
	}
	return nil
}

// SignSSH signs challenge with s, as "ssh-keygen -Y sign -n approval@sallyport.dev" does over its raw bytes.
func SignSSH(s ssh.Signer, challenge []byte) (Evidence, error) {
	data, err := toSign(challenge)
	if err != nil {
		return Evidence{}, err
	}
	var sig *ssh.Signature
	if a, ok := s.(ssh.AlgorithmSigner); ok && s.PublicKey().Type() == ssh.KeyAlgoRSA {
		sig, err = a.SignWithAlgorithm(rand.Reader, data, ssh.KeyAlgoRSASHA512)
	} else {
		sig, err = s.Sign(rand.Reader, data)
	}
	if err != nil {
		return Evidence{}, fmt.Errorf("factor: sign: %w", err)
	}
	b := ssh.Marshal(blob{Version: 1, PublicKey: s.PublicKey().Marshal(), Namespace: Namespace, HashAlg: sshHash, Signature: ssh.Marshal(sig)})
	armoured := pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: append([]byte(sshMagic), b...)})
	k := Key{Kind: SSH, Public: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey())))}
	return Evidence{Kind: SSH, Signer: k.ID(), Challenge: b64.EncodeToString(challenge), Signature: string(armoured)}, nil
}

func toSign(challenge []byte) ([]byte, error) {
	h := sha512.New()
	if _, err := h.Write(challenge); err != nil {
		return nil, err
	}
	return append([]byte(sshMagic), ssh.Marshal(signed{Namespace: Namespace, HashAlg: sshHash, Hash: h.Sum(nil)})...), nil
}

func verifySSH(k *Key, challenge []byte, armoured string) error {
	pub, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k.Public))
	if err != nil {
		return errors.New("the registered key cannot be read")
	}
	if err := usable(pub); err != nil {
		return err
	}
	raw, err := unarmour(armoured)
	if err != nil {
		return err
	}
	var b blob
	if !bytes.HasPrefix(raw, []byte(sshMagic)) || ssh.Unmarshal(raw[len(sshMagic):], &b) != nil {
		return errors.New("not an SSH signature")
	}
	switch {
	case b.Version != 1 || b.Reserved != "":
		return fmt.Errorf("version %d", b.Version)
	case b.Namespace != Namespace:
		return errors.New("it was signed for another purpose")
	case b.HashAlg != sshHash:
		return errors.New("the hash is not sha512")
	case !bytes.Equal(b.PublicKey, pub.Marshal()):
		return errors.New("another key signed")
	}
	var sig ssh.Signature
	if err := ssh.Unmarshal(b.Signature, &sig); err != nil {
		return errors.New("not an SSH signature")
	}
	ok := false
	for _, a := range sshAlgorithms[pub.Type()] {
		ok = ok || a == sig.Format
	}
	if !ok {
		return errors.New("a weak algorithm")
	}
	data, err := toSign(challenge)
	if err != nil {
		return err
	}
	return pub.Verify(data, &sig)
}

// unarmour reads one armoured signature and nothing beside it.
func unarmour(s string) ([]byte, error) {
	body, ok := strings.CutPrefix(strings.TrimSpace(s), "-----BEGIN "+pemType+"-----")
	body, ok2 := strings.CutSuffix(body, "-----END "+pemType+"-----")
	if !ok || !ok2 || len(s) > MaxEvidenceBytes {
		return nil, errors.New("not an armoured SSH signature")
	}
	return io.ReadAll(base64.NewDecoder(base64.StdEncoding.Strict(), strings.NewReader(body)))
}
