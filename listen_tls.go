// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/sallyport/sallyport/gateway"
)

// ListenConfig says how the addresses for agents and people, and that of the egress proxy, are protected.
type ListenConfig struct {
	TLS   ListenTLS `yaml:"tls"`
	Plain bool      `yaml:"plain" doc:"addresses beyond loopback may speak plain HTTP: a proxy in front of them takes TLS off; tokens cross the network behind it in the clear"`
}

// ListenTLS is the certificate of the listeners. Files that are replaced are taken up by the next connection.
type ListenTLS struct {
	Cert      string `yaml:"cert" doc:"file with our certificate chain; the addresses for agents and people then speak TLS 1.3 only, and the egress proxy TLS to all but loopback"`
	Key       string `yaml:"key" doc:"file with its key"`
	ClientCRL string `yaml:"client_crl" doc:"file of lists of certificates that these authorities have withdrawn (CRL, in PEM); each authority then needs one in date; looked at anew every 30s"`
	ClientCA  string `yaml:"client_ca" doc:"file with authorities of agents' certificates; one names its agent by a URI of federation.spiffe.agents"`
}

// errPlainBeyond is a listener whose tokens everybody on the way could read.
var errPlainBeyond = errors.New("speaks plain HTTP beyond loopback")

func (c *Config) checkListen() error {
	t := &c.Listen.TLS
	if (t.Cert == "") != (t.Key == "") {
		return errors.New("config: listen.tls: cert and key go together")
	}
	if t.ClientCA != "" && !c.speaksTLS() {
		return errors.New("config: listen.tls.client_ca: without TLS nobody shows a certificate")
	}
	if c.speaksTLS() || c.Listen.Plain {
		return nil
	}
	for _, l := range [][2]string{{"gateway.listen", c.Gateway.Listen}, {"admin.listen", c.Admin.Listen}, {"egress.listen", c.Egress.Listen}} {
		if l[1] != "" && l[1] != "none" && !loopbackAddress(l[1]) {
			return fmt.Errorf("config: %s: %q %w; hint: set listen.tls.cert and listen.tls.key, or listen.plain where a proxy takes TLS off", l[0], l[1], errPlainBeyond)
		}
	}
	return nil
}

// speaksTLS reports whether the listeners have a certificate of their own.
func (c *Config) speaksTLS() bool { return c.Listen.TLS.Cert != "" || c.Federation.SPIFFE.Socket != "" }

// Scheme is what URLs of the addresses for agents and people begin with.
func (c *Config) Scheme() string {
	if c.speaksTLS() {
		return "https"
	}
	return "http"
}

// loopbackAddress reports whether only this machine reaches an address. A name other than localhost may be anything.
func loopbackAddress(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// listenTLS is what the listeners show; nil without a certificate. Only agents are asked for certificates of
// theirs: a browser would ask its user for one.
func (s *Sallyport) listenTLS(clients bool) (*tls.Config, error) {
	if !s.Config.speaksTLS() {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"},
		// A resumed session would bring the client's certificate of long ago.
		SessionTicketsDisabled: true}
	if t := s.Config.Listen.TLS; t.Cert != "" {
		pair := &gateway.KeyPair{Cert: t.Cert, Key: t.Key, Failed: func(err error) { s.alarm("listen.certificate", err.Error()) }}
		if _, err := pair.Certificate(); err != nil {
			return nil, fmt.Errorf("listen: tls: %w", err)
		}
		c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.Certificate() }
	} else {
		c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificates.source.Certificate() }
	}
	if clients {
		// The handshake proves that the peer holds the key of what it shows. What that is worth is seen with each request.
		c.ClientAuth = tls.RequestClientCert
	}
	return c, nil
}

// protect puts TLS on a listener for HTTP.
func (s *Sallyport) protect(l net.Listener, clients bool) (net.Listener, error) {
	c, err := s.listenTLS(clients)
	if err != nil || c == nil || l == nil {
		return l, err
	}
	c.NextProtos = []string{"h2", "http/1.1"}
	return tls.NewListener(l, c), nil
}

// protectEgress puts TLS on the listener of the egress proxy. Programs of this machine may still speak plain to it:
// few know how to speak TLS to a proxy.
func (s *Sallyport) protectEgress(l net.Listener) (net.Listener, error) {
	c, err := s.listenTLS(true)
	if err != nil || c == nil || l == nil {
		return l, err
	}
	return &gateway.EitherListener{Listener: l, Config: c, Plain: func(peer net.Addr) bool {
		return s.Config.Listen.Plain || loopback(peer.String())
	}}, nil
}

// shownCertificate is the certificate that a client has shown and proved to hold, and that is in its time; nil without one.
func shownCertificate(t *tls.ConnectionState, now time.Time) *x509.Certificate {
	if t == nil || !t.HandshakeComplete || len(t.PeerCertificates) == 0 {
		return nil
	}
	if c := t.PeerCertificates[0]; !now.Before(c.NotBefore) && now.Before(c.NotAfter) {
		return c
	}
	return nil
}
