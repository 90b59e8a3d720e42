// SPDX-License-Identifier: Apache-2.0

package anchor

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // the older form of the certificate's digest; the signature does not rest on it
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"time"
)

// KindRFC3161 is the kind of the tokens of a time stamping authority. Their data is the whole
// TimeStampResp, so that "openssl ts -verify -in TOKEN -data CHECKPOINT -CAfile ROOTS" accepts it.
const KindRFC3161 = "rfc3161"

const maxTokenBytes = 256 << 10

var errUnknown = errors.New("anchor: unknown kind of token")

// RFC3161 is a time stamping authority.
type RFC3161 struct {
	URL    string
	Client *http.Client // nil means one with a timeout of 30 s
	Rand   io.Reader    // nil means crypto/rand.Reader
}

var (
	oidSHA256     = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA384     = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidSHA512     = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidTSTInfo    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	oidType       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidDigest     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidCert       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 12}
	oidCertV2     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}
	oidRSA        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
)

type imprint struct {
	Algorithm pkix.AlgorithmIdentifier
	Hash      []byte
}

type request struct {
	Version int
	Imprint imprint
	Nonce   *big.Int
	CertReq bool
}

type response struct {
	Status struct {
		Status int
		Text   []asn1.RawValue `asn1:"optional"`
		Fail   asn1.BitString  `asn1:"optional"`
	}
	Token contentInfo `asn1:"optional"`
}

type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"explicit,tag:0"`
}

type signedData struct {
	Version int
	Digests asn1.RawValue
	Content struct {
		Type asn1.ObjectIdentifier
		Data []byte `asn1:"explicit,tag:0"`
	}
	Certs   asn1.RawValue `asn1:"optional,tag:0"`
	CRLs    asn1.RawValue `asn1:"optional,tag:1"`
	Signers []signerInfo  `asn1:"set"`
}

type signerInfo struct {
	Version int
	ID      struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	Digest    pkix.AlgorithmIdentifier
	Signed    asn1.RawValue `asn1:"optional,tag:0"`
	Algorithm pkix.AlgorithmIdentifier
	Signature []byte
	Unsigned  asn1.RawValue `asn1:"optional,tag:1"`
}

type attribute struct {
	Type   asn1.ObjectIdentifier
	Values asn1.RawValue `asn1:"set"`
}

type tstInfo struct {
	Version int
	Policy  asn1.ObjectIdentifier
	Imprint imprint
	Serial  *big.Int
	Time    time.Time     `asn1:"generalized"`
	Acc     accuracy      `asn1:"optional"`
	Order   bool          `asn1:"optional"`
	Nonce   *big.Int      `asn1:"optional"`
	TSA     asn1.RawValue `asn1:"optional,tag:0"`
	Ext     asn1.RawValue `asn1:"optional,tag:1"`
}

type accuracy struct {
	Seconds int `asn1:"optional"`
	Millis  int `asn1:"optional,tag:0"`
	Micros  int `asn1:"optional,tag:1"`
}

// Anchor has the SHA-256 of the checkpoint stamped.
func (a RFC3161) Anchor(ctx context.Context, checkpoint []byte) (Token, error) {
	random, client := a.Rand, a.Client
	if random == nil {
		random = rand.Reader
	}
	if client == nil {
		client = &http.Client{Timeout: 30 * time.Second}
	}
	var fresh [12]byte
	if _, err := io.ReadFull(random, fresh[:]); err != nil {
		return Token{}, fmt.Errorf("anchor: %w", err)
	}
	sum := sha256.Sum256(checkpoint)
	req := request{Version: 1, Imprint: imprint{pkix.AlgorithmIdentifier{Algorithm: oidSHA256, Parameters: asn1.NullRawValue}, sum[:]},
		Nonce: new(big.Int).SetBytes(fresh[:]), CertReq: true}
	der, err := asn1.Marshal(req)
	if err != nil {
		return Token{}, fmt.Errorf("anchor: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.URL, bytes.NewReader(der))
	if err != nil {
		return Token{}, fmt.Errorf("anchor: %w", err)
	}
	r.Header.Set("Content-Type", "application/timestamp-query")
	resp, err := client.Do(r)
	if err != nil {
		return Token{}, fmt.Errorf("anchor: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxTokenBytes+1))
	if err != nil || resp.StatusCode != http.StatusOK || len(data) > maxTokenBytes {
		return Token{}, fmt.Errorf("anchor: authority answers status %d, %d bytes: %w", resp.StatusCode, len(data), err)
	}
	c, err := verifyResponse(data, checkpoint, req.Nonce, nil)
	return Token{KindRFC3161, data, c.Time}, err
}

// verifyResponse checks a TimeStampResp. A nil nonce accepts any.
func verifyResponse(der, checkpoint []byte, nonce *big.Int, roots *x509.CertPool) (Checked, error) {
	var c Checked
	var resp response
	if len(der) > maxTokenBytes {
		return c, errors.New("anchor: the token is too large")
	}
	if rest, err := asn1.Unmarshal(der, &resp); err != nil || len(rest) > 0 {
		return c, errors.New("anchor: not a time stamp response")
	}
	if resp.Status.Status > 1 || !resp.Token.Type.Equal(oidSignedData) {
		return c, fmt.Errorf("anchor: the authority granted no token (status %d)", resp.Status.Status)
	}
	var sd signedData
	if rest, err := asn1.Unmarshal(resp.Token.Content.Bytes, &sd); err != nil || len(rest) > 0 || len(sd.Signers) != 1 || !sd.Content.Type.Equal(oidTSTInfo) {
		return c, errors.New("anchor: the token is no signed time stamp of one signer")
	}
	var info tstInfo
	if rest, err := asn1.Unmarshal(sd.Content.Data, &info); err != nil || len(rest) > 0 {
		return c, errors.New("anchor: the token holds no time")
	}
	sum := sha256.Sum256(checkpoint)
	if !info.Imprint.Algorithm.Algorithm.Equal(oidSHA256) || !bytes.Equal(info.Imprint.Hash, sum[:]) {
		return c, errors.New("anchor: the token is about something else")
	}
	if nonce != nil && (info.Nonce == nil || info.Nonce.Cmp(nonce) != 0) {
		return c, errors.New("anchor: the token answers another question")
	}
	cert, others, err := signerOf(&sd)
	if err != nil {
		return c, err
	}
	if err := checkSignature(&sd, cert); err != nil {
		return c, err
	}
	c.Time, c.Signer = info.Time.UTC(), cert.Subject.String()
	if roots == nil {
		return c, nil
	}
	_, err = cert.Verify(x509.VerifyOptions{Roots: roots, Intermediates: others, CurrentTime: info.Time,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}})
	if err != nil {
		return c, fmt.Errorf("anchor: certificate of the authority: %w", err)
	}
	c.Trusted = true
	return c, nil
}

// signerOf finds the signer's certificate among those in the token.
func signerOf(sd *signedData) (*x509.Certificate, *x509.CertPool, error) {
	certs, err := x509.ParseCertificates(sd.Certs.Bytes)
	if err != nil {
		return nil, nil, errors.New("anchor: the token's certificates cannot be read")
	}
	others := x509.NewCertPool()
	var found *x509.Certificate
	for _, cert := range certs {
		others.AddCert(cert)
		if bytes.Equal(cert.RawIssuer, sd.Signers[0].ID.Issuer.FullBytes) && cert.SerialNumber.Cmp(sd.Signers[0].ID.Serial) == 0 {
			found = cert
		}
	}
	if found == nil {
		return nil, nil, errors.New("anchor: the token lacks its signer's certificate")
	}
	return found, others, nil
}

// checkSignature checks the signed attributes, which bind content and certificate, and their signature.
func checkSignature(sd *signedData, cert *x509.Certificate) error {
	s := &sd.Signers[0]
	hash, ok := hashOf(s.Digest.Algorithm)
	if !ok || len(s.Signed.FullBytes) == 0 {
		return errors.New("anchor: the token's digest is unknown or its attributes are missing")
	}
	set := append([]byte{asn1.TagSet | 0x20}, s.Signed.FullBytes[1:]...) // signed as a SET, sent under a tag
	var attrs []attribute
	if rest, err := asn1.UnmarshalWithParams(set, &attrs, "set"); err != nil || len(rest) > 0 {
		return errors.New("anchor: the token's attributes cannot be read")
	}
	var content, typed, bound bool
	for _, a := range attrs {
		switch {
		case a.Type.Equal(oidDigest):
			var got []byte
			_, err := asn1.Unmarshal(a.Values.Bytes, &got)
			h := hash.New()
			h.Write(sd.Content.Data)
			content = err == nil && bytes.Equal(got, h.Sum(nil))
		case a.Type.Equal(oidType):
			var got asn1.ObjectIdentifier
			_, err := asn1.Unmarshal(a.Values.Bytes, &got)
			typed = err == nil && got.Equal(oidTSTInfo)
		case a.Type.Equal(oidCertV2):
			d256, d384, d512 := sha256.Sum256(cert.Raw), sha512.Sum384(cert.Raw), sha512.Sum512(cert.Raw)
			bound = bound || bytes.Contains(a.Values.Bytes, d256[:]) || bytes.Contains(a.Values.Bytes, d384[:]) || bytes.Contains(a.Values.Bytes, d512[:])
		case a.Type.Equal(oidCert):
			d := sha1.Sum(cert.Raw) //nolint:gosec // see the import
			bound = bound || bytes.Contains(a.Values.Bytes, d[:])
		}
	}
	if !content || !typed || !bound {
		return errors.New("anchor: the token's attributes do not bind its content and certificate")
	}
	alg, ok := algorithmOf(cert, hash, s.Algorithm.Algorithm)
	if !ok {
		return fmt.Errorf("anchor: signature algorithm %v is not supported", s.Algorithm.Algorithm)
	}
	if err := cert.CheckSignature(alg, set, s.Signature); err != nil {
		return fmt.Errorf("anchor: signature: %w", err)
	}
	return nil
}

func hashOf(oid asn1.ObjectIdentifier) (crypto.Hash, bool) {
	switch {
	case oid.Equal(oidSHA256):
		return crypto.SHA256, true
	case oid.Equal(oidSHA384):
		return crypto.SHA384, true
	case oid.Equal(oidSHA512):
		return crypto.SHA512, true
	}
	return 0, false
}

// algorithmOf names the signature by the certificate's key and the digest. RSA is PKCS #1 v1.5.
func algorithmOf(cert *x509.Certificate, hash crypto.Hash, oid asn1.ObjectIdentifier) (x509.SignatureAlgorithm, bool) {
	rsa := map[crypto.Hash]x509.SignatureAlgorithm{crypto.SHA256: x509.SHA256WithRSA, crypto.SHA384: x509.SHA384WithRSA, crypto.SHA512: x509.SHA512WithRSA}
	ecdsa := map[crypto.Hash]x509.SignatureAlgorithm{crypto.SHA256: x509.ECDSAWithSHA256, crypto.SHA384: x509.ECDSAWithSHA384, crypto.SHA512: x509.ECDSAWithSHA512}
	switch cert.PublicKeyAlgorithm {
	case x509.RSA:
		pkcs1 := oid.Equal(oidRSA) || len(oid) == 7 && oid[:6].Equal(oidRSA[:6]) && oid[6] >= 11 && oid[6] <= 13
		return rsa[hash], pkcs1
	case x509.ECDSA:
		return ecdsa[hash], true
	}
	return 0, false
}
