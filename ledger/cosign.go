// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// A cosignature is C2SP tlog-cosignature with Ed25519: type 0x04, eight bytes of time in seconds, then
// the signature over "cosignature/v1\ntime N\n" and the checkpoint's text. Its vkey has the form of a
// signed note's with 0x04 before the key.
const (
	algCosignature   = 4
	cosignatureBytes = 8 + ed25519.SignatureSize
)

// Cosigner signs checkpoints as a witness.
type Cosigner struct {
	name string
	hash uint32
	key  ed25519.PrivateKey
}

// NewCosigner makes a witness key from random, under a name that holds no space and no plus sign.
func NewCosigner(random io.Reader, name string) (*Cosigner, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return nil, fmt.Errorf("ledger: witness key: %w", err)
	}
	return ReadCosigner(name, seed)
}

// ReadCosigner is the witness key with a seed of 32 bytes.
func ReadCosigner(name string, seed []byte) (*Cosigner, error) {
	if name == "" || len(name) > maxOriginBytes || !identifier(name) || strings.Contains(name, "+") || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("ledger: witness key: name %q or seed is malformed", clip(name))
	}
	c := &Cosigner{name: name, key: ed25519.NewKeyFromSeed(seed)}
	c.hash = vkeyHash(name, c.public())
	return c, nil
}

func (c *Cosigner) public() []byte {
	return append([]byte{algCosignature}, c.key.Public().(ed25519.PublicKey)...)
}

// Seed returns the secret half.
func (c *Cosigner) Seed() []byte { return c.key.Seed() }

// Vkey returns the public key.
func (c *Cosigner) Vkey() string {
	return fmt.Sprintf("%s+%08x+%s", c.name, c.hash, base64.StdEncoding.EncodeToString(c.public()))
}

// Cosign returns the signature line, with its line break, over a checkpoint's note at a time.
func (c *Cosigner) Cosign(signed []byte, at time.Time) (string, error) {
	text, _, ok := strings.Cut(string(signed), "\n\n")
	if !ok || at.Unix() <= 0 {
		return "", errors.New("ledger: cosign: no checkpoint, or no time")
	}
	out := binary.BigEndian.AppendUint32(nil, c.hash)
	out = binary.BigEndian.AppendUint64(out, uint64(at.Unix()))
	out = append(out, ed25519.Sign(c.key, cosignedText(uint64(at.Unix()), text+"\n"))...)
	return "— " + c.name + " " + base64.StdEncoding.EncodeToString(out) + "\n", nil
}

func cosignedText(unix uint64, text string) []byte {
	return []byte("cosignature/v1\ntime " + strconv.FormatUint(unix, 10) + "\n" + text)
}

// vkeyHash is the key hash of signed notes.
func vkeyHash(name string, key []byte) uint32 {
	sum := sha256.Sum256(append([]byte(name+"\n"), key...))
	return binary.BigEndian.Uint32(sum[:])
}

// cosignVerifier is a note.Verifier of cosignatures.
type cosignVerifier struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

// ReadWitnessKey parses a witness's vkey.
func ReadWitnessKey(vkey string) (note.Verifier, error) { return readWitnessKey(vkey) }

func readWitnessKey(vkey string) (*cosignVerifier, error) {
	bad := fmt.Errorf("ledger: %q is not the public key of a witness", clip(vkey))
	parts := strings.SplitN(strings.TrimSpace(vkey), "+", 3)
	if len(parts) != 3 || !identifier(parts[0]) || parts[0] == "" {
		return nil, bad
	}
	hash, err := strconv.ParseUint(parts[1], 16, 32)
	key, err2 := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || err2 != nil || len(parts[1]) != 8 || len(key) != 1+ed25519.PublicKeySize || key[0] != algCosignature ||
		uint32(hash) != vkeyHash(parts[0], key) {
		return nil, bad
	}
	return &cosignVerifier{name: parts[0], hash: uint32(hash), key: key[1:]}, nil
}

func (v *cosignVerifier) Name() string    { return v.name }
func (v *cosignVerifier) KeyHash() uint32 { return v.hash }
func (v *cosignVerifier) Verify(text, sig []byte) bool {
	return len(sig) == cosignatureBytes &&
		ed25519.Verify(v.key, cosignedText(binary.BigEndian.Uint64(sig), string(text)), sig[8:])
}

// Cosignature is a witness's word that it saw a checkpoint, and none that contradicts it, by a time.
type Cosignature struct {
	Witness string `json:"witness"`
	TimeMs  int64  `json:"time_ms"`
	line    string
}

// Cosignatures returns those signatures of a checkpoint that one of the witnesses made, one of each at
// most. It does not check the log's own signature.
func Cosignatures(signed []byte, witnesses []note.Verifier) []Cosignature {
	if len(witnesses) == 0 {
		return nil
	}
	opened, err := note.Open(signed, witnessList(witnesses))
	if err != nil {
		return nil
	}
	var out []Cosignature
	for _, s := range opened.Sigs {
		b, err := base64.StdEncoding.DecodeString(s.Base64)
		if err != nil || len(b) != 4+cosignatureBytes || slices.ContainsFunc(out, func(c Cosignature) bool { return c.Witness == s.Name }) {
			continue
		}
		out = append(out, Cosignature{s.Name, int64(binary.BigEndian.Uint64(b[4:])) * 1000, "— " + s.Name + " " + s.Base64 + "\n"})
	}
	return out
}

// witnessList is note.VerifierList for keys of which several may have been given twice.
func witnessList(witnesses []note.Verifier) note.Verifiers {
	var list []note.Verifier
	for _, w := range witnesses {
		if !slices.ContainsFunc(list, func(o note.Verifier) bool { return o.Name() == w.Name() && o.KeyHash() == w.KeyHash() }) {
			list = append(list, w)
		}
	}
	return note.VerifierList(list...)
}
