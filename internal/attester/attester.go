// SPDX-License-Identifier: Apache-2.0

// Package attester is the agent's side of attestation: it measures, gets a lease from an owner, keeps it, and
// proves possession of its key on every request.
//
// The session key is made anew for each Attester and never leaves the process.
package attester

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/tpm"
	"github.com/sallyport/sallyport/identity/jose"
)

// Config makes an Attester.
type Config struct {
	// URL is where requests go: the owner's address for agents, or "http://localhost/agents" with a Transport over
	// its socket. Required.
	URL string
	// Named is the URL as the owner sees it, which proofs name; "" means URL.
	Named     string
	Transport http.RoundTripper // nil means one without a proxy
	TLS       *tls.Config       // for an address of https; nil means the system's roots
	Token     string            // the agent's own credential; "" leaves it to the connection
	// Certificate is shown on each connection. Its key, of P-256, is the session key then, and the handshake is the
	// proof that claims need. nil makes a new key.
	Certificate *tls.Certificate

	Kind       string       // "software", "supervisor" or "tpm"
	Chip       *tpm.Chip    // for "tpm"
	Log        *Log         // of what was measured; required
	Signature  []byte       // bundle of the model's signature; may be nil
	Provenance []byte       // bundle of SLSA provenance of the program; may be nil
	Refresh    func() error // called before each renewal, to measure again; nil: nothing changes

	Now func() time.Time // nil means time.Now
}

// Attester holds one lease. Its methods are safe for concurrent use.
type Attester struct {
	c   Config
	key *ecdsa.PrivateKey

	renew sync.Mutex // one renewal at a time
	mu    sync.Mutex // guards below
	lease Lease
}

// Lease is what the owner granted.
type Lease struct {
	ID        string   `json:"id"`
	Agent     string   `json:"agent"`
	Kind      string   `json:"kind"`
	Assurance int      `json:"assurance"`
	Model     int      `json:"model"`
	Status    string   `json:"status"`
	Why       []string `json:"why"`
	RenewedMs int64    `json:"renewed_ms"`
	EndsMs    int64    `json:"ends_ms"`
	Token     string   `json:"token"`
	SVID      string   `json:"svid"`
	Bundle    string   `json:"bundle"`
}

// Challenge is what evidence must answer.
type Challenge struct {
	ID        string    `json:"id"`
	Nonce     tpm.Bytes `json:"nonce"`
	Head      string    `json:"head"`
	Kinds     []string  `json:"kinds"` // of evidence that the agent's reference values accept; none without any
	Registers []int     `json:"registers"`
	Binding   string    `json:"binding"`
}

// ErrRefused means that the owner gives no lease for this evidence. Its text says why.
var ErrRefused = errors.New("the evidence was refused")

// errNoRoute means that the owner has no such door: it attests nobody.
var errNoRoute = errors.New("the owner has no such door")

// New returns an Attester with a fresh session key. It asks for nothing yet.
func New(c Config) (*Attester, error) {
	if c.URL == "" || c.Log == nil || (c.Kind == "tpm") != (c.Chip != nil) {
		return nil, errors.New("attester: config: an address, a log and, for evidence of a TPM, a chip are required")
	}
	if c.Named == "" {
		c.Named = c.URL
	}
	var k *ecdsa.PrivateKey
	if c.Certificate != nil {
		var ok bool
		if k, ok = c.Certificate.PrivateKey.(*ecdsa.PrivateKey); !ok || k.Curve != elliptic.P256() {
			return nil, errors.New("attester: config: the certificate's key is not of P-256")
		}
		if c.TLS == nil {
			c.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
		}
		c.TLS = c.TLS.Clone()
		c.TLS.Certificates = []tls.Certificate{*c.Certificate}
	}
	if c.Transport == nil {
		c.Transport = &http.Transport{Proxy: nil, TLSClientConfig: c.TLS}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if k == nil {
		var err error
		if k, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
	}
	return &Attester{c: c, key: k}, nil
}

// Lease returns the lease as it was last granted; the zero Lease before.
func (a *Attester) Lease() Lease {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lease
}

// Prove makes the DPoP header of one request.
func (a *Attester) Prove(method, url, token, nonce string) (string, error) {
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return "", err
	}
	claims := map[string]any{"jti": jose.Encode(id), "htm": method, "htu": url, "iat": a.c.Now().Unix()}
	if token != "" {
		sum := sha256.Sum256([]byte(token))
		claims["ath"] = jose.Encode(sum[:])
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	return jose.Signer{Key: a.key}.Sign("dpop+jwt", claims, true)
}

// Thumbprint names the session key.
func (a *Attester) Thumbprint() (string, error) {
	k, err := jose.KeyOf(a.key.Public())
	if err != nil {
		return "", err
	}
	return k.Thumbprint()
}

// Renew gets a lease, or renews the one that is held; a new one where the owner knows nothing of that. After ErrRefused the
// lease is gone, and the next call asks for a new one.
func (a *Attester) Renew(ctx context.Context) (Lease, error) {
	a.renew.Lock()
	defer a.renew.Unlock()
	if a.c.Refresh != nil {
		if err := a.c.Refresh(); err != nil {
			return Lease{}, err
		}
	}
	held := a.Lease()
	if a.c.Now().UnixMilli() >= held.EndsMs {
		held = Lease{}
	}
	l, err := a.claim(ctx, held.ID)
	if held.ID != "" && errors.Is(err, errNoRoute) { // it was ended, or the owner has restarted
		l, err = a.claim(ctx, "")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		if errors.Is(err, ErrRefused) {
			a.lease = Lease{Token: a.lease.Token} // it still tells the owner who asks, so that his answer says why
		}
		return Lease{}, err
	}
	a.lease = l
	return l, nil
}

// Certificate returns the certificate that came with the lease, with the session key, for connections that prove
// their holder by TLS.
func (a *Attester) Certificate() (tls.Certificate, error) {
	block, _ := pem.Decode([]byte(a.Lease().SVID))
	if block == nil {
		return tls.Certificate{}, errors.New("the lease came with no certificate: the owner has no trust domain for this agent")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	return tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: a.key, Leaf: leaf}, err
}

// channel is a transport for the steps of one claim, and what names the TLS connection that they go over; nil where
// there is none. Evidence that is bound to a connection serves on no other.
func (a *Attester) channel(ctx context.Context) (rt http.RoundTripper, exporter []byte, done func(), err error) {
	u, err := url.Parse(a.c.URL)
	if err != nil || u.Scheme != "https" {
		return a.c.Transport, nil, func() {}, err
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), "443")
	}
	c, err := (&tls.Dialer{Config: a.c.TLS}).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("owner: %w", err)
	}
	state := c.(*tls.Conn).ConnectionState()
	if exporter, err = attest.Exporter(&state); err != nil {
		return nil, nil, nil, errors.Join(err, c.Close())
	}
	var taken atomic.Bool
	t := &http.Transport{Proxy: nil, DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
		if taken.Swap(true) {
			return nil, errors.New("the connection that the evidence is bound to was closed")
		}
		return c, nil
	}}
	return t, exporter, func() { t.CloseIdleConnections(); _ = c.Close() }, nil
}

func (a *Attester) claim(ctx context.Context, held string) (Lease, error) {
	over, exporter, done, err := a.channel(ctx)
	if err != nil {
		return Lease{}, err
	}
	defer done()
	var ch Challenge
	if err := a.call(ctx, over, http.MethodPost, "/v1/attest/challenges", "", struct{}{}, &ch); err != nil {
		return Lease{}, err
	}
	if ch.Binding != "" && ch.Binding != attest.ExporterBinding {
		return Lease{}, fmt.Errorf("owner: evidence cannot be bound to %q", ch.Binding)
	}
	key, err := a.Thumbprint()
	if err != nil {
		return Lease{}, err
	}
	log := a.c.Log.Events()
	bind, err := attest.Bind(ch.Nonce, key, exporter, log, ch.Head)
	if err != nil {
		return Lease{}, err
	}
	evidence := []byte{}
	if a.c.Chip != nil {
		q, err := a.c.Chip.Quote(bind, log, ch.Registers)
		if err != nil {
			return Lease{}, err
		}
		if evidence, err = action.Canonical(q); err != nil {
			return Lease{}, err
		}
	}
	const path = "/v1/attest/leases"
	proof := ""
	if a.c.Certificate == nil {
		if proof, err = a.Prove(http.MethodPost, a.c.Named+path, "", jose.Encode(ch.Nonce)); err != nil {
			return Lease{}, err
		}
	}
	var l Lease
	err = a.call(ctx, over, http.MethodPost, path, proof, map[string]any{"challenge": ch.ID, "lease": held, "kind": a.c.Kind,
		"evidence": tpm.Bytes(evidence), "log": log, "model_signature": tpm.Bytes(a.c.Signature),
		"provenance": tpm.Bytes(a.c.Provenance)}, &l)
	return l, err
}

// Call sends a request with the agent's own credential and reads the answer.
func (a *Attester) Call(ctx context.Context, method, path, proof string, in, out any) error {
	return a.call(ctx, a.c.Transport, method, path, proof, in, out)
}

func (a *Attester) call(ctx context.Context, over http.RoundTripper, method, path, proof string, in, out any) error {
	body, err := action.Canonical(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, a.c.URL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if a.c.Token != "" {
		r.Header.Set("Authorization", "Bearer "+a.c.Token)
	}
	if proof != "" {
		r.Header.Set("DPoP", proof)
	}
	resp, err := over.RoundTrip(r)
	if err != nil {
		return fmt.Errorf("owner: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("owner: %w", err)
	}
	if resp.StatusCode >= 300 {
		var p struct {
			Title  string `json:"title"`
			Detail string `json:"detail"`
		}
		_ = json.Unmarshal(answer, &p) // without its words the status has to do
		err := fmt.Errorf("owner: status %d: %s: %s", resp.StatusCode, p.Title, p.Detail)
		if resp.StatusCode == http.StatusNotFound {
			err = fmt.Errorf("%w: %w", errNoRoute, err)
		}
		if strings.Contains(p.Detail, "the evidence was refused") {
			return fmt.Errorf("%w: %s", ErrRefused, strings.TrimPrefix(p.Detail, "lease: the evidence was refused: "))
		}
		return err
	}
	return json.Unmarshal(answer, out)
}

// Accepted returns the kinds of evidence that the owner accepts from this agent; none where it needs no lease, or has no
// reference values and gets none.
func (a *Attester) Accepted(ctx context.Context) ([]string, error) {
	var ch Challenge
	err := a.Call(ctx, http.MethodPost, "/v1/attest/challenges", "", struct{}{}, &ch)
	if errors.Is(err, errNoRoute) {
		return nil, nil // what is asked of it afterwards is decided there all the same
	}
	return ch.Kinds, err
}

// Header returns the credentials of one request under the lease: its token, and a proof for this request alone. The
// path is that of the URL.
func (a *Attester) Header(method, path string) (http.Header, error) {
	l := a.Lease()
	if base, ok := strings.CutPrefix(a.c.URL, "http://localhost"); ok {
		path = strings.TrimPrefix(path, base)
	}
	proof, err := a.Prove(method, a.c.Named+path, l.Token, "")
	if err != nil {
		return nil, err
	}
	return http.Header{"Authorization": {"DPoP " + l.Token}, "Dpop": {proof}}, nil
}

// RoundTrip sends a request under the lease, with a proof of its own. Whatever credential it carried is dropped.
func (a *Attester) RoundTrip(r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	for _, h := range []string{"Authorization", "X-Api-Key", "Cookie", "Dpop"} {
		out.Header.Del(h)
	}
	h, err := a.Header(r.Method, out.URL.EscapedPath())
	if err != nil {
		return nil, err
	}
	maps.Copy(out.Header, h)
	return a.c.Transport.RoundTrip(out)
}

// Derived returns the password of the lease for protocols that carry no proof of possession: the egress proxy and
// databases. It dies with the lease.
func (a *Attester) Derived(ctx context.Context) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.c.URL+"/v1/attest/credentials", strings.NewReader("{}"))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := a.RoundTrip(r)
	if err != nil {
		return "", fmt.Errorf("owner: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil || resp.StatusCode != http.StatusOK {
		return "", errors.Join(fmt.Errorf("owner: status %d for a derived credential", resp.StatusCode), err)
	}
	var out struct {
		Credential string `json:"credential"`
	}
	return out.Credential, json.Unmarshal(answer, &out)
}

// pause is how long to wait after a renewal: half of what the lease lasts, so that one failure loses nothing.
func (l Lease) pause() time.Duration {
	half := time.Duration(l.EndsMs-l.RenewedMs) * time.Millisecond / 2
	return min(max(half, time.Second), time.Minute)
}

// Keep renews the lease until ctx ends, at half of its life. What goes wrong is told and tried again.
func (a *Attester) Keep(ctx context.Context, tell func(error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(a.Lease().pause()):
		}
		if _, err := a.Renew(ctx); err != nil && ctx.Err() == nil {
			tell(err)
		}
	}
}

// Enroll enrols the chip's key with the owner, once. It returns the names of the attestation key and of the
// chip's endorsement key.
func (a *Attester) Enroll(ctx context.Context) (key, chip string, err error) {
	ek, ak, _, err := a.c.Chip.Keys()
	if err != nil {
		return "", "", err
	}
	var ch struct {
		ID         string    `json:"id"`
		Credential tpm.Bytes `json:"credential"`
		Secret     tpm.Bytes `json:"secret"`
		EK         string    `json:"ek"`
	}
	if err := a.Call(ctx, http.MethodPost, "/v1/attest/keys", "", map[string]tpm.Bytes{"ek_public": ek, "ak_public": ak}, &ch); err != nil {
		return "", "", err
	}
	answer, err := a.c.Chip.Activate(ch.Credential, ch.Secret)
	if err != nil {
		return "", "", err
	}
	var k struct {
		Key string `json:"ak_name"`
		EK  string `json:"ek"`
	}
	err = a.Call(ctx, http.MethodPost, "/v1/attest/keys/"+ch.ID, "", map[string]tpm.Bytes{"answer": answer}, &k)
	return k.Key, k.EK, err
}

// Secret returns a random word, for a door that only its own child may use.
func Secret() (string, error) {
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return "", err
	}
	return hex.EncodeToString(b), nil
}
