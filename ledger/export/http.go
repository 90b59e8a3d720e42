// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// maxAnswerBytes is how much of an answer is read.
const maxAnswerBytes = 64 << 10

// poster sends POST requests to one receiver.
type poster struct {
	url    string
	header http.Header
	client *http.Client
}

// newPoster follows no redirect: the token is for the configured receiver only. scheme is the word before
// the token.
func newPoster(c *Config, scheme string) (poster, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return poster{}, errors.New("the address is not an http or https URL without a password") // it may hold a secret
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && c.Token != "" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return poster{}, errors.New("a token goes over https only")
	}
	if strings.ContainsAny(c.Token, "\r\n\x00") {
		return poster{}, errors.New("the token is more than one line")
	}
	p := poster{url: c.URL, header: http.Header{"User-Agent": {"sallyport"}}}
	if c.Token != "" {
		p.header.Set("Authorization", scheme+" "+c.Token)
	}
	p.client = &http.Client{Timeout: c.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: trust(c, ""), ForceAttemptHTTP2: true, MaxIdleConns: 2}}
	return p, nil
}

// trust is the TLS of a receiver: its roots and our certificate, where they are configured.
func trust(c *Config, name string) *tls.Config {
	t := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Roots, ServerName: name}
	if c.Certificate != nil {
		t.Certificates = []tls.Certificate{*c.Certificate}
	}
	return t
}

// send returns the answer of a receiver that took the body (2xx). Errors quote neither address nor answer.
func (p *poster) send(ctx context.Context, to, kind string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("no request")
	}
	r.Header = p.header.Clone()
	r.Header.Set("Content-Type", kind)
	resp, err := p.client.Do(r)
	if err != nil {
		return nil, errors.New("no answer")
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	if err != nil {
		return nil, errors.New("the answer broke off")
	}
	return answer, nil
}

// webhook posts batches: CloudEvents as a JSON batch, lines as application/x-ndjson.
type webhook struct {
	post   poster
	events bool
}

// write returns once the receiver said that it has the batch.
func (h *webhook) write(ctx context.Context, _ uint64, records [][]byte) error {
	kind, body := "application/x-ndjson", append(bytes.Join(records, []byte{'\n'}), '\n')
	if h.events {
		kind = "application/cloudevents-batch+json"
		body = append(append([]byte{'['}, bytes.Join(records, []byte{','})...), ']')
	}
	_, err := h.post.send(ctx, h.post.url, kind, body)
	return err
}
