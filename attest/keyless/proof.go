// SPDX-License-Identifier: Apache-2.0

package keyless

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sallyport/sallyport/attest"
)

// included verifies the proof of inclusion (RFC 6962) under a checkpoint that the log signed.
func (e *Entry) included(log instance, id, raw []byte) error {
	p := e.Proof
	index, err1 := strconv.ParseUint(p.Index, 10, 62)
	size, err2 := strconv.ParseUint(p.Size, 10, 62)
	root, err3 := base64.StdEncoding.Strict().DecodeString(p.Root)
	if err1 != nil || err2 != nil || err3 != nil || len(root) != 32 || index >= size {
		return attest.Refuse(attest.Malformed, "bundle: proof of inclusion")
	}
	inner := bits.Len64(index ^ (size - 1)) // below where the paths to the entry and to the last one part
	if len(p.Hashes) > inner+bits.OnesCount64(index>>inner) {
		return attest.Refuse(attest.Malformed, "bundle: proof of inclusion")
	}
	var proof tlog.RecordProof
	for _, text := range p.Hashes {
		h, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil || len(h) != tlog.HashSize {
			return attest.Refuse(attest.Malformed, "bundle: proof of inclusion")
		}
		proof = append(proof, tlog.Hash(h))
	}
	if tlog.CheckRecord(proof, int64(size), tlog.Hash(root), int64(index), tlog.RecordHash(raw)) != nil {
		return attest.Refuse(attest.Unproved, "bundle: the log does not prove that it holds the entry")
	}
	return checkpoint(p.Checkpoint.Envelope, log, id, size, root)
}

// checkpoint verifies a signed note of a log over a tree.
func checkpoint(note string, log instance, id []byte, size uint64, root []byte) error {
	text, signatures, ok := strings.Cut(note, "\n\n")
	lines := strings.Split(text, "\n")
	if !ok || len(note) > 16<<10 || len(lines) < 3 || lines[1] != strconv.FormatUint(size, 10) || lines[2] != base64.StdEncoding.EncodeToString(root) {
		return attest.Refuse(attest.Mismatch, "bundle: the checkpoint is of another tree")
	}
	if log.origin != "" && lines[0] != log.origin {
		return attest.Refuse(attest.Mismatch, "bundle: the checkpoint is of another log")
	}
	for _, line := range strings.Split(strings.TrimSuffix(signatures, "\n"), "\n") {
		words := strings.Split(line, " ")
		if len(words) != 3 || words[0] != "—" {
			return attest.Refuse(attest.Malformed, "bundle: checkpoint")
		}
		sig, err := base64.StdEncoding.Strict().DecodeString(words[2])
		if err == nil && len(sig) > 4 && bytes.Equal(sig[:4], id[:4]) && (log.origin == "" || words[1] == log.origin) && signedBy(log.key, []byte(text+"\n"), sig[4:]) {
			return nil
		}
	}
	return attest.Refuse(attest.Unproved, "bundle: the checkpoint is not signed by the log")
}

var extSCT = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}

// vouched verifies that a log of certificates of the root promised to hold the certificate (RFC 6962, 3.3).
func (v *Verifier) vouched(leaf, issuer *x509.Certificate, when time.Time) error {
	i := slices.IndexFunc(leaf.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(extSCT) })
	if i < 0 {
		return attest.Refuse(attest.Missing, "bundle: no log of certificates vouches for the certificate")
	}
	var octets []byte
	if rest, err := asn1.Unmarshal(leaf.Extensions[i].Value, &octets); err != nil || len(rest) > 0 {
		return attest.Refuse(attest.Malformed, "bundle: the certificate's time stamps")
	}
	before, err := precertificate(leaf.RawTBSCertificate)
	if err != nil {
		return err
	}
	list := cryptobyte.String(octets)
	var entries cryptobyte.String
	if !list.ReadUint16LengthPrefixed(&entries) || !list.Empty() {
		return attest.Refuse(attest.Malformed, "bundle: the certificate's time stamps")
	}
	for !entries.Empty() {
		var one cryptobyte.String
		if !entries.ReadUint16LengthPrefixed(&one) {
			return attest.Refuse(attest.Malformed, "bundle: the certificate's time stamps")
		}
		if v.stamped(one, before, issuer, when) {
			return nil
		}
	}
	return attest.Refuse(attest.Unproved, "bundle: no known log of certificates vouches for the certificate")
}

// stamped verifies one signed time stamp of a certificate.
func (v *Verifier) stamped(s cryptobyte.String, before []byte, issuer *x509.Certificate, when time.Time) bool {
	var version uint8
	var id []byte
	var ms uint64
	var extensions, sig cryptobyte.String
	var algorithm uint16
	if !s.ReadUint8(&version) || version != 0 || !s.ReadBytes(&id, 32) || !s.ReadUint64(&ms) || !s.ReadUint16LengthPrefixed(&extensions) ||
		!s.ReadUint16(&algorithm) || algorithm != 0x0403 || !s.ReadUint16LengthPrefixed(&sig) || !s.Empty() {
		return false
	}
	log, ok := v.Root.certificates[[32]byte(id)]
	at := time.UnixMilli(int64(ms))
	if !ok || ms > 1<<50 || !within(at, log.start, log.end) || at.After(when.Add(time.Hour)) {
		return false
	}
	parent := sha256.Sum256(issuer.RawSubjectPublicKeyInfo)
	msg := binary.BigEndian.AppendUint64([]byte{0, 0}, ms)
	msg = append(append(msg, 0, 1), parent[:]...)
	msg = append(msg, byte(len(before)>>16), byte(len(before)>>8), byte(len(before)))
	msg = append(msg, before...)
	msg = append(binary.BigEndian.AppendUint16(msg, uint16(len(extensions))), extensions...)
	return signedBy(log.key, msg, sig)
}

// precertificate is what a log of certificates saw: the certificate's content without its time stamps.
func precertificate(tbs []byte) ([]byte, error) {
	bad := attest.Refuse(attest.Malformed, "bundle: certificate")
	in := cryptobyte.String(tbs)
	var inner cryptobyte.String
	if !in.ReadASN1(&inner, cbasn1.SEQUENCE) || !in.Empty() {
		return nil, bad
	}
	var out cryptobyte.Builder
	out.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for !inner.Empty() {
			var part cryptobyte.String
			var tag cbasn1.Tag
			if !inner.ReadAnyASN1Element(&part, &tag) {
				b.SetError(bad)
				return
			}
			if tag != cbasn1.Tag(3).Constructed().ContextSpecific() {
				b.AddBytes(part)
				continue
			}
			var wrapped, list cryptobyte.String
			if !part.ReadASN1(&wrapped, tag) || !wrapped.ReadASN1(&list, cbasn1.SEQUENCE) || !wrapped.Empty() {
				b.SetError(bad)
				return
			}
			b.AddASN1(tag, func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { others(b, list, bad) })
			})
		}
	})
	der, err := out.Bytes()
	if err != nil {
		return nil, bad
	}
	return der, nil
}

// others copies every extension but the time stamps.
func others(b *cryptobyte.Builder, list cryptobyte.String, bad error) {
	for !list.Empty() {
		var one, inside cryptobyte.String
		var id asn1.ObjectIdentifier
		if !list.ReadASN1Element(&one, cbasn1.SEQUENCE) {
			b.SetError(bad)
			return
		}
		look := one
		if !look.ReadASN1(&inside, cbasn1.SEQUENCE) || !inside.ReadASN1ObjectIdentifier(&id) {
			b.SetError(bad)
			return
		}
		if !id.Equal(extSCT) {
			b.AddBytes(one)
		}
	}
}
