// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"io"
	"math/big"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/approval"
)

// mailServer is a small SMTP server: EHLO, STARTTLS, AUTH PLAIN, MAIL, RCPT, DATA, RSET, QUIT.
type mailServer struct {
	l     net.Listener
	roots *x509.CertPool
	tls   *tls.Config
	plain bool              // does not offer STARTTLS
	says  map[string]string // answer to a RCPT of an address, once

	mu   sync.Mutex // guards below
	got  []string   // "to: message"
	auth []string
}

func serveMail(t *testing.T, plain bool) *mailServer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &mailServer{l: l, roots: x509.NewCertPool(), plain: plain, says: map[string]string{},
		tls: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}}
	s.roots.AddCert(cert)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { s.session(c) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return s
}

func (s *mailServer) session(c net.Conn) {
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(c)
	say := func(line string) { _, _ = io.WriteString(c, line+"\r\n") }
	say("220 mail.test")
	secure, to := false, ""
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			say("250-mail.test")
			if !s.plain && !secure {
				say("250-STARTTLS")
			}
			say("250 AUTH PLAIN")
		case "STARTTLS":
			say("220 go on")
			t := tls.Server(c, s.tls)
			if t.Handshake() != nil {
				return
			}
			c, r, secure = t, bufio.NewReader(t), true
		case "AUTH":
			_, given, _ := strings.Cut(rest, " ")
			b, _ := base64.StdEncoding.DecodeString(given)
			s.mu.Lock()
			s.auth = append(s.auth, string(b))
			s.mu.Unlock()
			say("235 ok")
		case "RCPT":
			to = strings.Trim(strings.TrimPrefix(rest, "TO:"), "<>")
			s.mu.Lock()
			answer := s.says[to]
			delete(s.says, to)
			s.mu.Unlock()
			if answer == "" {
				answer = "250 ok"
			}
			say(answer)
		case "DATA":
			say("354 go on")
			var b strings.Builder
			for {
				l, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if l == ".\r\n" {
					break
				}
				b.WriteString(l)
			}
			s.mu.Lock()
			if secure {
				s.got = append(s.got, to+": "+b.String())
			}
			s.mu.Unlock()
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

func TestMailGoesToEachOverTLSOnce(t *testing.T) {
	s := serveMail(t, false)
	s.says["bob@example.com"] = "451 try again"
	ch := open(t, Config{Name: "post", Kind: Mail, Origin: "https://sally.example", Mail: MailConfig{Server: s.l.Addr().String(), From: "sallyport@example.com",
		To: []string{"ann@example.com", "bob@example.com"}, User: "sally", Password: "pw", Roots: s.roots}}, map[string]approval.View{"ask1": hostile()}, "ask1")
	if err := ch.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.got) != 2 || !strings.HasPrefix(s.got[0], "ann@") || !strings.HasPrefix(s.got[1], "bob@") {
		t.Fatalf("%d mails: %q", len(s.got), s.got)
	}
	if s.auth[0] != "\x00sally\x00pw" {
		t.Errorf("login %q", s.auth[0])
	}
	for i, to := range []string{"ann@example.com", "bob@example.com"} {
		_, text, _ := strings.Cut(s.got[i], ": ")
		m, err := mail.ReadMessage(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if m.Header.Get("To") != to || m.Header.Get("Bcc") != "" || m.Header.Get("Subject") != "Sallyport: crm/delete: destroys something" {
			t.Errorf("headers %v", m.Header)
		}
		b, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, m.Body))
		if err != nil || strings.Contains(string(b), "hunter2") {
			t.Fatalf("%v: %s", err, b)
		}
		_, link, _ := strings.Cut(string(b), "#/refuse/")
		if id, who, err := ch.Redeem(strings.TrimSpace(link)); err != nil || id != "ask1" || who != to {
			t.Errorf("the link of %s names %q %q: %v", to, id, who, err)
		}
	}
}

func TestMailNeverLeavesInTheClear(t *testing.T) {
	for name, c := range map[string]struct{ plain, trusted bool }{"a server without STARTTLS": {true, true}, "a server that nobody vouches for": {false, false}} {
		s := serveMail(t, c.plain)
		roots := x509.NewCertPool()
		if c.trusted {
			roots = s.roots
		}
		ch := open(t, Config{Name: "post", Kind: Mail, Mail: MailConfig{Server: s.l.Addr().String(), From: "a@example.com", To: []string{"b@example.com"},
			User: "u", Password: "pw", Roots: roots}}, nil)
		n := Notice{ID: "x", Title: "t"}
		if err := ch.mail(t.Context(), &n); err == nil || len(s.got) != 0 || len(s.auth) != 0 {
			t.Errorf("%s: %v, %d mails, %d logins", name, err, len(s.got), len(s.auth))
		}
	}
}

func TestMailAddressesAreBare(t *testing.T) {
	for _, bad := range []string{"", "ann", "Ann <ann@example.com>", "ann@example.com\r\nBcc: eve@evil.example", "<ann@example.com>"} {
		m := MailConfig{Server: "mail.example:587", From: "a@example.com", To: []string{bad}}
		if m.check() == nil {
			t.Errorf("%q will do", bad)
		}
	}
}
