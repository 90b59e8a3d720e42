// SPDX-License-Identifier: Apache-2.0

package anchor

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// KindRekor is the kind of the entries of a Rekor log, version 2. Their data is the TransparencyLogEntry of
// Sigstore's protobuf-specs in JSON, as the log answered it.
const KindRekor = "rekor"

// The one type of entry that version 2 takes, and how our side signs: Ed25519 is refused for digests.
const (
	rekorType      = "hashedrekord"
	rekorVersion   = "0.0.2"
	rekorHash      = "SHA2_256"
	rekorKey       = "PKIX_ECDSA_P256_SHA_256"
	rekorPath      = "/api/v2/log/entries"
	rekorPatience  = 40 * time.Second // it answers once a checkpoint covers the entry: at least 20 s, its guide says
	maxRekorHashes = 63
)

// Rekor is a transparency log that runs Rekor, version 2. An entry needs a signature: it is made with a key of
// its own that is forgotten, since the log's own key has signed the checkpoint already.
type Rekor struct {
	URL    string
	Client *http.Client // nil means one with a timeout of 40 s
	Rand   io.Reader    // nil means crypto/rand.Reader
}

// rekorSignature and the types around it are the JSON forms of Rekor's messages.
type rekorSignature struct {
	Content  []byte `json:"content"`
	Verifier struct {
		PublicKey struct {
			RawBytes []byte `json:"rawBytes"`
		} `json:"publicKey"`
		KeyDetails string `json:"keyDetails"`
	} `json:"verifier"`
}

type rekorRequest struct {
	Request struct {
		Digest    []byte         `json:"digest"`
		Signature rekorSignature `json:"signature"`
	} `json:"hashedRekordRequestV002"`
}

type rekorEntry struct {
	LogIndex    string `json:"logIndex"`
	KindVersion struct {
		Kind    string `json:"kind"`
		Version string `json:"version"`
	} `json:"kindVersion"`
	InclusionProof struct {
		Hashes     [][]byte `json:"hashes"`
		Checkpoint struct {
			Envelope string `json:"envelope"`
		} `json:"checkpoint"`
	} `json:"inclusionProof"`
	CanonicalizedBody []byte `json:"canonicalizedBody"`
}

type rekorBody struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Spec       struct {
		Record struct {
			Data struct {
				Algorithm string `json:"algorithm"`
				Digest    []byte `json:"digest"`
			} `json:"data"`
			Signature rekorSignature `json:"signature"`
		} `json:"hashedRekordV002"`
	} `json:"spec"`
}

// Anchor puts the digest of the checkpoint into the log and returns the entry with its proof of inclusion. No
// time is in it: Rekor leaves that to time stamping authorities.
func (r Rekor) Anchor(ctx context.Context, checkpoint []byte) (Token, error) {
	body, err := r.request(checkpoint)
	if err != nil {
		return Token{}, fmt.Errorf("anchor: rekor: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(r.URL, "/")+rekorPath, bytes.NewReader(body))
	if err != nil {
		return Token{}, fmt.Errorf("anchor: rekor: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	client := r.Client
	if client == nil {
		client = &http.Client{Timeout: rekorPatience}
	}
	resp, err := client.Do(req)
	if err != nil {
		return Token{}, fmt.Errorf("anchor: rekor: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxTokenBytes+1))
	switch {
	case err != nil:
		return Token{}, fmt.Errorf("anchor: rekor: %w", err)
	case resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK:
		return Token{}, fmt.Errorf("anchor: rekor: status %d: %s", resp.StatusCode, clean(string(data[:min(len(data), 200)])))
	case len(data) > maxTokenBytes:
		return Token{}, fmt.Errorf("anchor: rekor: the answer has more than %d bytes", maxTokenBytes)
	}
	if _, err := verifyRekor(data, checkpoint, nil); err != nil {
		return Token{}, err
	}
	return Token{Kind: KindRekor, Data: data}, nil
}

func (r Rekor) request(checkpoint []byte) ([]byte, error) {
	random := r.Rand
	if random == nil {
		random = rand.Reader
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), random)
	if err != nil {
		return nil, err
	}
	var req rekorRequest
	digest := sha256.Sum256(checkpoint)
	req.Request.Digest = digest[:]
	s := &req.Request.Signature
	s.Verifier.KeyDetails = rekorKey
	if s.Content, err = ecdsa.SignASN1(random, key, digest[:]); err != nil {
		return nil, err
	}
	if s.Verifier.PublicKey.RawBytes, err = x509.MarshalPKIXPublicKey(&key.PublicKey); err != nil {
		return nil, err
	}
	return json.Marshal(req)
}

// ReadLogs reads the public keys of logs that a verifier trusts, one in the form of a note verifier on each line.
// Empty lines and those that begin with # are passed over.
func ReadLogs(text []byte) ([]note.Verifier, error) {
	var out []note.Verifier
	for i, line := range strings.Split(string(text), "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		v, err := note.NewVerifier(line)
		if err != nil {
			return nil, fmt.Errorf("anchor: logs: line %d: %w", i+1, err)
		}
		out = append(out, v)
	}
	return out, nil
}

// verifyRekor checks that the entry is of the checkpoint's digest and stands in the tree of the log's own
// checkpoint. With logs one of them must have signed that.
func verifyRekor(data, checkpoint []byte, logs []note.Verifier) (Checked, error) {
	var e rekorEntry
	if err := json.Unmarshal(data, &e); err != nil {
		return Checked{}, fmt.Errorf("anchor: rekor: the entry cannot be read: %w", err)
	}
	if e.KindVersion.Kind != rekorType || e.KindVersion.Version != rekorVersion {
		return Checked{}, fmt.Errorf("anchor: rekor: an entry of type %q %q", clean(e.KindVersion.Kind), clean(e.KindVersion.Version))
	}
	if err := verifyRekorBody(e.CanonicalizedBody, checkpoint); err != nil {
		return Checked{}, err
	}
	head, err := readRekorHead(e.InclusionProof.Checkpoint.Envelope, logs)
	if err != nil {
		return Checked{}, err
	}
	index, err := strconv.ParseInt(e.LogIndex, 10, 64)
	if err != nil || index < 0 || len(e.InclusionProof.Hashes) > maxRekorHashes {
		return Checked{}, errors.New("anchor: rekor: the proof is malformed")
	}
	var proof tlog.RecordProof
	for _, h := range e.InclusionProof.Hashes {
		if len(h) != tlog.HashSize {
			return Checked{}, errors.New("anchor: rekor: a line of the proof is no hash")
		}
		proof = append(proof, tlog.Hash(h))
	}
	if err := tlog.CheckRecord(proof, head.size, head.root, index, tlog.RecordHash(e.CanonicalizedBody)); err != nil {
		return Checked{}, fmt.Errorf("anchor: rekor: the entry does not stand in the log's tree: %w", err)
	}
	if len(logs) > 0 && !head.trusted {
		return Checked{}, fmt.Errorf("anchor: rekor: the tree of %s is signed by none of the given logs", clean(head.origin))
	}
	return Checked{Signer: fmt.Sprintf("entry %d of %s", index, clean(head.origin)), Trusted: head.trusted}, nil
}

func verifyRekorBody(body, checkpoint []byte) error {
	var b rekorBody
	if err := json.Unmarshal(body, &b); err != nil {
		return fmt.Errorf("anchor: rekor: the entry's body cannot be read: %w", err)
	}
	r, want := &b.Spec.Record, sha256.Sum256(checkpoint)
	switch {
	case b.Kind != rekorType || b.APIVersion != rekorVersion:
		return fmt.Errorf("anchor: rekor: a body of type %q %q", clean(b.Kind), clean(b.APIVersion))
	case r.Data.Algorithm != rekorHash || !bytes.Equal(r.Data.Digest, want[:]):
		return errors.New("anchor: rekor: the entry is about something else than the checkpoint")
	}
	key, err := x509.ParsePKIXPublicKey(r.Signature.Verifier.PublicKey.RawBytes)
	pub, ok := key.(*ecdsa.PublicKey)
	if err != nil || !ok || r.Signature.Verifier.KeyDetails != rekorKey || !ecdsa.VerifyASN1(pub, want[:], r.Signature.Content) {
		return errors.New("anchor: rekor: the entry's signature does not hold")
	}
	return nil
}

// rekorHead is a checkpoint of the log.
type rekorHead struct {
	origin  string
	size    int64
	root    tlog.Hash
	trusted bool // signed by a log that the verifier trusts
}

func readRekorHead(envelope string, logs []note.Verifier) (rekorHead, error) {
	opened, err := note.Open([]byte(envelope), note.VerifierList(logs...))
	var unverified *note.UnverifiedNoteError
	switch {
	case errors.As(err, &unverified):
		opened = unverified.Note
	case err != nil:
		return rekorHead{}, fmt.Errorf("anchor: rekor: the log's checkpoint: %w", err)
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 {
		return rekorHead{}, errors.New("anchor: rekor: the log's checkpoint is malformed")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	root, err2 := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || err2 != nil || size < 1 || len(root) != tlog.HashSize {
		return rekorHead{}, errors.New("anchor: rekor: the log's checkpoint is malformed")
	}
	h := rekorHead{origin: lines[0], size: size, root: tlog.Hash(root)}
	for _, s := range opened.Sigs {
		h.trusted = h.trusted || s.Name == h.origin // not a witness of it
	}
	return h, nil
}
