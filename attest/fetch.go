// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/sallyport/sallyport/action"
)

// FetchTimeout bounds one request for collateral, its answer included.
const FetchTimeout = 30 * time.Second

// FetchTransport is the transport of requests for collateral: no answer's header is larger than 64 KiB.
func FetchTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxResponseHeaderBytes, t.ResponseHeaderTimeout = 64<<10, FetchTimeout
	return t
}

// Fetch gets what somebody publishes: at most limit bytes, from the address that was named and no other. What comes is
// believed only for its signatures. A nil transport means FetchTransport.
func Fetch(ctx context.Context, t http.RoundTripper, address string, limit int64) ([]byte, http.Header, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, nil, fmt.Errorf("collateral: %q is no https address", action.Clip(address, 200))
	}
	if t == nil {
		t = FetchTransport()
	}
	ctx, cancel := context.WithTimeout(ctx, FetchTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, nil, err
	}
	resp, err := t.RoundTrip(r) // follows no redirection
	if err != nil {
		return nil, nil, fmt.Errorf("collateral: %s: %w", u.Redacted(), err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end or given up
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("collateral: %s: status %d", u.Redacted(), resp.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, nil, fmt.Errorf("collateral: %s: %w", u.Redacted(), err)
	}
	if int64(len(b)) > limit {
		return nil, nil, fmt.Errorf("collateral: %s: more than %d bytes", u.Redacted(), limit)
	}
	return b, resp.Header, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
