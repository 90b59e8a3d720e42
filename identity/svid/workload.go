// SPDX-License-Identifier: Apache-2.0

package svid

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Workload keeps what a SPIFFE workload API says: our own certificate, and the roots of its trust domain and of
// those that are federated with it. It speaks the one call that this takes over the HTTP/2 of the standard library.
//
// Whoever serves the socket is trusted with who agents are; its folder must not be writable by anybody else. While
// it is down the last roots hold and our certificate runs out; where it says that we are nobody, both are dropped.
type Workload struct {
	Socket string // path of a unix socket; required
	Now    func() time.Time

	mu    sync.Mutex // guards below
	own   *tls.Certificate
	roots map[string]*x509.CertPool // by trust domain
	times uint64                    // how often they have changed
}

// The bounds of the API.
const (
	maxFrame = 4 << 20
	retry    = time.Second // between attempts; doubled up to maxRetry
	maxRetry = 30 * time.Second
	// quietFor is how long a connection may be silent before it is asked whether it lives.
	quietFor = 30 * time.Second
)

// errNobody means that the API knows no identity of ours.
var errNobody = errors.New("svid: workload API: it knows us by no name")

// Certificate returns our own certificate, with its key.
func (w *Workload) Certificate() (*tls.Certificate, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.own == nil {
		return nil, errNobody
	}
	return w.own, nil
}

// Roots returns the roots of the trust domain that a leaf claims to be of; nil if nobody vouches for it.
func (w *Workload) Roots(leaf *x509.Certificate) *x509.CertPool {
	id, err := Name(leaf)
	if err != nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.roots[id.Domain]
}

// Changes counts what the API has said so far: what was judged by earlier roots has to be judged again.
func (w *Workload) Changes() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.times
}

// Run follows the API until ctx ends. What goes wrong is told and tried again.
func (w *Workload) Run(ctx context.Context, tell func(error)) error {
	wait := retry
	for {
		began := w.now()
		err := w.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errNobody) {
			w.mu.Lock()
			w.own, w.roots = nil, nil
			w.times++
			w.mu.Unlock()
		}
		if w.now().Sub(began) > maxRetry {
			wait = retry
		}
		tell(err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, maxRetry)
	}
}

func (w *Workload) now() time.Time {
	if w.Now == nil {
		return time.Now()
	}
	return w.Now()
}

// follow makes the call and takes in what it answers, until it ends.
func (w *Workload) follow(ctx context.Context) error {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	t := &http.Transport{Protocols: &p, HTTP2: &http.HTTP2Config{SendPingTimeout: quietFor, PingTimeout: quietFor}, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", w.Socket)
		}}
	defer t.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/SpiffeWorkloadAPI/FetchX509SVID", bytes.NewReader(make([]byte, 5)))
	if err != nil {
		return err
	}
	// The security header is asked for by the standard: a page in a browser cannot send it.
	r.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "Workload.spiffe.io": {"true"}}
	resp, err := t.RoundTrip(r)
	if err != nil {
		return fmt.Errorf("svid: workload API: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("svid: workload API: status %d", resp.StatusCode)
	}
	for {
		frame, err := readFrame(resp.Body)
		if errors.Is(err, io.EOF) {
			return ended(resp)
		}
		if err != nil {
			return fmt.Errorf("svid: workload API: %w", err)
		}
		own, roots, err := readResponse(frame)
		if err != nil {
			return err
		}
		w.mu.Lock()
		w.own, w.roots = own, roots
		w.times++
		w.mu.Unlock()
	}
}

// ended says why the API has ended the call.
func ended(resp *http.Response) error {
	code := resp.Trailer.Get("Grpc-Status")
	if code == "" {
		code = resp.Header.Get("Grpc-Status")
	}
	if code == "7" { // PERMISSION_DENIED
		return errNobody
	}
	return fmt.Errorf("svid: workload API: it ended the call with status %q", code)
}

// readFrame reads one message of gRPC.
func readFrame(r io.Reader) ([]byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if head[0] != 0 || n > maxFrame {
		return nil, fmt.Errorf("a frame of kind %d and %d bytes", head[0], n)
	}
	frame := make([]byte, n)
	if _, err := io.ReadFull(r, frame); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	return frame, nil
}

// readResponse reads a X509SVIDResponse (SPIFFE_Workload_API, section 5.2.1). The first of our certificates is the
// default one.
func readResponse(b []byte) (*tls.Certificate, map[string]*x509.CertPool, error) {
	var own *tls.Certificate
	roots := map[string]*x509.CertPool{}
	err := fields(b, func(n protowire.Number, v []byte) error {
		switch n {
		case 1:
			id, c, bundle, err := readSVID(v)
			if err != nil {
				return err
			}
			if own == nil {
				own = c
			}
			if roots[id.Domain] == nil {
				roots[id.Domain] = bundle
			}
		case 3:
			var name string
			var der []byte
			if err := fields(v, func(n protowire.Number, v []byte) error {
				switch n {
				case 1:
					name = string(v)
				case 2:
					der = v
				}
				return nil
			}); err != nil {
				return err
			}
			id, err := ParseID(name)
			if err != nil || id.Path != "" {
				return fmt.Errorf("%w: %q is no trust domain", ErrID, name)
			}
			if roots[id.Domain] == nil {
				if roots[id.Domain], err = readPool(der); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err == nil && own == nil {
		err = errNobody
	}
	return own, roots, err
}

func readSVID(b []byte) (id ID, own *tls.Certificate, roots *x509.CertPool, err error) {
	var name string
	var chain, key, bundle []byte
	if err := fields(b, func(n protowire.Number, v []byte) error {
		switch n {
		case 1:
			name = string(v)
		case 2:
			chain = v
		case 3:
			key = v
		case 4:
			bundle = v
		}
		return nil
	}); err != nil {
		return id, nil, nil, err
	}
	certs, err := x509.ParseCertificates(chain)
	if err != nil || len(certs) == 0 || len(certs) > maxChain {
		return id, nil, nil, fmt.Errorf("%w: the chain cannot be read", ErrCertificate)
	}
	if id, err = Name(certs[0]); err != nil || id.String() != name {
		return id, nil, nil, fmt.Errorf("%w: it names somebody else", ErrCertificate)
	}
	private, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return id, nil, nil, fmt.Errorf("%w: the key cannot be read", ErrCertificate)
	}
	signer, ok := private.(crypto.Signer)
	public, comparable := certs[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !comparable || !public.Equal(signer.Public()) {
		return id, nil, nil, fmt.Errorf("%w: the key is of another", ErrCertificate)
	}
	own = &tls.Certificate{Leaf: certs[0], PrivateKey: signer}
	for _, c := range certs {
		own.Certificate = append(own.Certificate, c.Raw)
	}
	roots, err = readPool(bundle)
	return id, own, roots, err
}

func readPool(der []byte) (*x509.CertPool, error) {
	certs, err := x509.ParseCertificates(der)
	if err != nil || len(certs) == 0 {
		return nil, fmt.Errorf("%w: roots cannot be read", ErrCertificate)
	}
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	return pool, nil
}

// fields calls fn with each field of a message that has a length.
func fields(b []byte, fn func(n protowire.Number, v []byte) error) error {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return fmt.Errorf("svid: workload API: %w", protowire.ParseError(size))
		}
		b = b[size:]
		if kind != protowire.BytesType {
			if size = protowire.ConsumeFieldValue(n, kind, b); size < 0 {
				return fmt.Errorf("svid: workload API: %w", protowire.ParseError(size))
			}
			b = b[size:]
			continue
		}
		v, size := protowire.ConsumeBytes(b)
		if size < 0 {
			return fmt.Errorf("svid: workload API: %w", protowire.ParseError(size))
		}
		b = b[size:]
		if err := fn(n, v); err != nil {
			return err
		}
	}
	return nil
}
