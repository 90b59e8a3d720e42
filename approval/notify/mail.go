// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/outbox"
)

// MailConfig says how mail leaves.
type MailConfig struct {
	Server   string         // host:port of a server that speaks STARTTLS
	From     string         // address
	To       []string       // addresses; each gets a message of his own, whose link says who used it
	User     string         // "" logs in nowhere
	Password string         // of User
	Roots    *x509.CertPool // nil means the system's
	Hello    string         // our name in EHLO; "" means localhost
}

func (m *MailConfig) check() error {
	if _, _, err := net.SplitHostPort(m.Server); err != nil {
		return fmt.Errorf("%q is no host:port of a mail server", m.Server)
	}
	if len(m.To) == 0 || len(m.To) > 20 {
		return errors.New("mail goes to 1 to 20 addresses")
	}
	for _, a := range append([]string{m.From}, m.To...) {
		if p, err := mail.ParseAddress(a); err != nil || p.Address != a || strings.ContainsAny(a, "\r\n<>") {
			return fmt.Errorf("%q is no bare mail address", a)
		}
	}
	return nil
}

// mailed are those who have the message that is being sent, so that an attempt that failed half way repeats nothing.
type mailed struct {
	mu sync.Mutex // guards below
	id string
	to map[string]bool
}

func (m *mailed) has(id, to string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.id == id && m.to[to]
}

func (m *mailed) got(id, to string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.id != id {
		m.id, m.to = id, map[string]bool{}
	}
	m.to[to] = true
}

// mail sends a notice to everybody who does not have it yet. An address that the server refuses holds up nobody else.
func (c *Channel) mail(ctx context.Context, n *Notice) error {
	m := &c.cfg.Mail
	host, _, err := net.SplitHostPort(m.Server)
	if err != nil {
		return outbox.ErrRefused
	}
	ctx, cancel := context.WithTimeout(ctx, 3*c.cfg.Timeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", m.Server)
	if err != nil {
		return errors.New("no answer from the mail server")
	}
	defer func() { _ = conn.Close() }()
	if until, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(until)
	}
	s, err := smtp.NewClient(conn, host)
	if err != nil {
		return said(err)
	}
	if err := s.Hello(cmp.Or(m.Hello, "localhost")); err != nil {
		return said(err)
	}
	if ok, _ := s.Extension("STARTTLS"); !ok {
		return errors.New("the mail server does not offer STARTTLS")
	}
	if err := s.StartTLS(&tls.Config{ServerName: host, RootCAs: m.Roots, MinVersion: tls.VersionTLS12}); err != nil {
		return errors.New("no TLS with the mail server")
	}
	if m.User != "" {
		if err := s.Auth(smtp.PlainAuth("", m.User, m.Password, host)); err != nil {
			return errors.New("the mail server does not let us in")
		}
	}
	var failed error
	for _, to := range m.To {
		if c.mailed.has(n.ID, to) {
			continue
		}
		if err := c.deliver(s, n, to); err != nil {
			failed = err
			if s.Reset() != nil {
				return err
			}
			continue
		}
		c.mailed.got(n.ID, to)
	}
	_ = s.Quit()
	return failed
}

func (c *Channel) deliver(s *smtp.Client, n *Notice, to string) error {
	if err := s.Mail(c.cfg.Mail.From); err != nil {
		return said(err)
	}
	if err := s.Rcpt(to); err != nil {
		return said(err)
	}
	w, err := s.Data()
	if err != nil {
		return said(err)
	}
	if _, err := w.Write(c.message(n, to)); err != nil {
		return said(err)
	}
	if err := w.Close(); err != nil {
		return said(err)
	}
	return nil
}

// said tells a refusal for good from everything else.
func said(err error) error {
	var p *textproto.Error
	if errors.As(err, &p) {
		if p.Code >= 500 && p.Code < 600 {
			return fmt.Errorf("the mail server says %d: %w", p.Code, outbox.ErrRefused)
		}
		return fmt.Errorf("the mail server says %d", p.Code)
	}
	return errors.New("the mail server broke off")
}

// message is one mail: plain text in base64, so that no line of it can become a header or end the message. Repeats have
// the same Message-ID.
func (c *Channel) message(n *Notice, to string) []byte {
	sum := sha256.Sum256([]byte(n.ID + "\x00" + to))
	_, domain, _ := strings.Cut(c.cfg.Mail.From, "@")
	var b bytes.Buffer
	for _, h := range [][2]string{{"From", c.cfg.Mail.From}, {"To", to}, {"Subject", mime.QEncoding.Encode("utf-8", "Sallyport: "+n.Title)},
		{"Date", c.cfg.Now().UTC().Format(time.RFC1123Z)}, {"Message-ID", "<" + hex.EncodeToString(sum[:16]) + "@" + domain + ">"},
		{"MIME-Version", "1.0"}, {"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "base64"}, {"Auto-Submitted", "auto-generated"}} {
		b.WriteString(h[0] + ": " + h[1] + "\r\n")
	}
	b.WriteString("\r\n")
	lines := n.lines()
	if n.Look != "" {
		lines = append(lines, "", "Look at it and approve or deny:", n.Look, "", "Deny without logging in (asks once more):", c.link(n.ID, to))
	}
	text := base64.StdEncoding.EncodeToString([]byte(strings.Join(lines, "\r\n") + "\r\n"))
	for len(text) > 76 {
		b.WriteString(text[:76] + "\r\n")
		text = text[76:]
	}
	b.WriteString(text + "\r\n")
	return b.Bytes()
}
