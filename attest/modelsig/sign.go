// SPDX-License-Identifier: Apache-2.0

package modelsig

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zeebo/blake3"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

// Measured is what the files of a model hash to.
type Measured struct {
	Name  string // of the folder or file
	Root  string // hex: the digest that a signature's subject has
	Files []File
	Bytes int64
	// Sealed says that fs-verity of the kernel has every file under the digest of what was read: nothing else can be read
	// from these files any more.
	Sealed bool

	c Config
}

// File is one file of a model; a model that is a file has one of the name ".".
type File struct {
	Name   string
	Digest string // hex, by the hash that was asked for

	path   string
	sealed bool
	parts  [][32]byte // BLAKE3 of each sampleBytes, to sample later
}

// Measure hashes a model's files, in parallel, as Verify does: of c the keys do not count. The
// root is that of a signature by files, in the order of the Python library.
func Measure(ctx context.Context, c Config) (*Measured, error) {
	if c.Path == "" {
		return nil, errors.New("modelsig: a path is required")
	}
	v := &Verifier{c}
	if v.c.kernel == nil {
		v.c.kernel = kernelVerity
	}
	if h := v.hash(); h != "sha256" && h != "blake3" {
		return nil, fmt.Errorf("modelsig: hash %q is neither sha256 nor blake3", h)
	}
	t, err := v.walk(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer t.close()
	m := &Measured{Name: filepath.Base(c.Path), Bytes: t.bytes, Sealed: true, c: c}
	for name := range t.files {
		m.Files = append(m.Files, File{Name: name})
	}
	if len(m.Files) == 0 {
		return nil, attest.Refuse(attest.Missing, "model: %q holds no files", c.Path)
	}
	// As paths are ordered part by part: "a/b" before "a-b".
	slices.SortFunc(m.Files, func(a, b File) int { return slices.Compare(strings.Split(a.Name, "/"), strings.Split(b.Name, "/")) })
	if err := v.digest(ctx, t, m.Files); err != nil {
		return nil, err
	}
	root := sha256.New()
	for i := range m.Files {
		d, err := hex.DecodeString(m.Files[i].Digest)
		if err != nil {
			return nil, err
		}
		root.Write(d)
		m.Sealed = m.Sealed && m.Files[i].sealed
		m.Files[i].path = m.Files[i].Name
		if t.single != "" {
			m.Files[i].Name = "."
		}
	}
	m.Root = hex.EncodeToString(root.Sum(nil))
	return m, nil
}

// digest fills in the digests of files.
func (v *Verifier) digest(ctx context.Context, t *tree, files []File) error {
	order := make([]*File, len(files))
	for i := range files {
		order[i] = &files[i]
	}
	slices.SortFunc(order, func(a, b *File) int { // large ones first
		return int(min(max(t.files[b.Name].Size()-t.files[a.Name].Size(), -1), 1))
	})
	return spread(ctx, v, t.bytes, order, func(ctx context.Context, f *File, buf []byte, count func(int)) error {
		return v.sum(ctx, t, f, buf, count)
	})
}

// sum reads a file once: for its digest, for parts to sample later and, where the kernel seals it, for that digest.
func (v *Verifier) sum(ctx context.Context, t *tree, f *File, buf []byte, count func(int)) error {
	file, err := t.root.Open(filepath.FromSlash(f.Name))
	if err != nil {
		return attest.RefuseFor(err, attest.Missing, "model: %q", f.Name)
	}
	defer func() { _ = file.Close() }() // opened to read
	h := hashes[v.hash()]()
	var tree *verityTree
	if _, err := v.c.kernel(file.Fd()); err == nil {
		tree = &verityTree{}
	}
	part, in := blake3.New(), 0
	for ctx.Err() == nil {
		n, err := io.ReadFull(file, buf)
		h.Write(buf[:n])
		part.Write(buf[:n])
		if tree != nil {
			tree.Write(buf[:n])
		}
		count(n)
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if in += n; in >= sampleBytes || end && in > 0 {
			f.parts = append(f.parts, [32]byte(part.Sum(nil)))
			part.Reset()
			in = 0
		}
		if end {
			f.Digest = hex.EncodeToString(h.Sum(nil))
			f.sealed = tree != nil && sealed(v.c.kernel, file.Fd(), tree)
			return nil
		}
		if err != nil {
			return attest.RefuseFor(err, attest.Missing, "model: %q", f.Name)
		}
	}
	return ctx.Err()
}

type signedSubject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

type signedResource struct {
	Name      string `json:"name"`
	Algorithm string `json:"algorithm"`
	Digest    string `json:"digest"`
}

// Sign measures a model and signs the result with a key on P-256, P-384 or P-521. The bundle is of version
// 1.1, by files, and tools that know OpenSSF Model Signing verify it.
func Sign(ctx context.Context, c Config, key *ecdsa.PrivateKey) ([]byte, *Measured, error) {
	m, err := Measure(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	var resources []signedResource
	for _, f := range m.Files {
		resources = append(resources, signedResource{f.Name, (&Verifier{c}).hash(), f.Digest})
	}
	skipped := slices.Clone(ignored)
	skipped = append(skipped, (&Verifier{c}).signature())
	payload, err := action.Canonical(map[string]any{"_type": statementType, "predicateType": predicateType,
		"subject": []signedSubject{{m.Name, map[string]string{"sha256": m.Root}}},
		"predicate": map[string]any{"resources": resources,
			"serialization": map[string]any{"method": "files", "hash_type": (&Verifier{c}).hash(), "allow_symlinks": false, "ignore_paths": skipped}}})
	if err != nil {
		return nil, nil, err
	}
	hash, ok := map[int]crypto.Hash{256: crypto.SHA256, 384: crypto.SHA384, 521: crypto.SHA512}[key.Curve.Params().BitSize]
	if !ok {
		return nil, nil, errors.New("modelsig: the key's curve is none of P-256, P-384, P-521")
	}
	h := hash.New()
	h.Write(pae(payload))
	sig, err := key.Sign(rand.Reader, h.Sum(nil), hash)
	if err != nil {
		return nil, nil, err
	}
	text, err := keyPEM(&key.PublicKey)
	if err != nil {
		return nil, nil, err
	}
	hint := sha256.Sum256(text)
	out, err := action.Canonical(map[string]any{"mediaType": bundleType,
		"verificationMaterial": map[string]any{"publicKey": map[string]string{"hint": hex.EncodeToString(hint[:])}, "tlogEntries": []string{}},
		"dsseEnvelope": map[string]any{"payload": base64.StdEncoding.EncodeToString(payload), "payloadType": payloadType,
			"signatures": []map[string]string{{"sig": base64.StdEncoding.EncodeToString(sig), "keyid": ""}}}})
	return out, m, err
}
