// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
)

// proxyBench is what `bench proxy` measured: one request after the other on kept connections, the paths in
// turn.
type proxyBench struct {
	Machine machine    `json:"machine"`
	Calls   int        `json:"calls"` // of each method on each path
	Rows    []proxyRow `json:"rows"`

	Interception []interceptionRow `json:"interception"`
}

type interceptionRow struct {
	Method string `json:"method"`
	Added  spread `json:"added_us"` // what the way with TLS adds beyond what the one without does
}

type proxyRow struct {
	Path   string `json:"path"`
	Method string `json:"method"`
	Us     spread `json:"us"`
	Added  spread `json:"added_us"` // over the plain proxy's row of the same kind
}

func (a *app) benchProxyCommand() *cobra.Command {
	var calls int
	cmd := &cobra.Command{
		Use: "proxy", Short: "What a request costs through the egress proxy, over a plain one", Args: cobra.NoArgs,
		Long: `Make the same requests on four paths, in turn, in one run, on kept connections to one server on loopback:
through a plain forward proxy that judges and records nothing, over HTTP and through a tunnel for TLS; and
through the egress proxy, over HTTP and with TLS intercepted. Intent and outcome of each request are durable
before it is sent and before its answer is released. What interception costs is what the way with TLS adds beyond the way
without.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if calls < 1 {
				return usage("bench proxy: calls is at least 1")
			}
			out := proxyBench{Machine: thisMachine(), Calls: calls}
			err := scratch("", func(dir string) error {
				a.progress("proxy: %d requests of each kind on four paths", calls)
				return out.measure(cmd.Context(), dir, calls)
			})
			if err != nil {
				return fmt.Errorf("bench: %w", err)
			}
			return a.print(out, out.text)
		},
	}
	cmd.Flags().IntVar(&calls, "calls", 1000, "requests of each method on each path")
	return cmd
}

// plainProxy forwards and tunnels, and does nothing else.
type plainProxy struct {
	transport *http.Transport
	dial      func(ctx context.Context, port string) (net.Conn, error)
}

func (p *plainProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		out := r.Clone(r.Context())
		out.RequestURI = ""
		res, err := p.transport.RoundTrip(out)
		if err != nil {
			http.Error(w, "upstream", http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
		return
	}
	up, err := p.dial(r.Context(), "443")
	if err != nil {
		http.Error(w, "upstream", http.StatusBadGateway)
		return
	}
	defer up.Close()
	down, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer down.Close()
	_, _ = io.WriteString(down, "HTTP/1.1 200 OK\r\n\r\n")
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(up, rw); _ = up.Close() })
	_, _ = io.Copy(down, up)
	_ = down.Close()
	wg.Wait()
}

const benchHost = "bench.example.org"

func (b *proxyBench) measure(ctx context.Context, dir string, calls int) (err error) {
	x, err := startEgressStage(ctx, dir, nil, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.close()) }()
	x.hosts(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, latencyText)
	})
	dial := func(ctx context.Context, port string) (net.Conn, error) {
		return x.world.DialPort(ctx, port)
	}
	pt := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, "80") }}
	plain := httptest.NewServer(&plainProxy{transport: pt, dial: dial})
	defer plain.Close()
	defer pt.CloseIdleConnections()
	ours, _, _, err := x.client(ctx, 0)
	if err != nil {
		return err
	}
	to, err := url.Parse(plain.URL)
	if err != nil {
		return err
	}
	theirs := plainClient(to, x.world.Roots)
	paths := []struct {
		name   string
		client *http.Client
		url    string
	}{{"plain, HTTP", theirs, "http://" + benchHost + "/a"}, {"egress, HTTP", ours, "http://" + benchHost + "/a"},
		{"plain, TLS tunnel", theirs, "https://" + benchHost + "/a"}, {"egress, TLS intercepted", ours, "https://" + benchHost + "/a"}}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		took := make([][]time.Duration, len(paths))
		for n := range calls + 50 {
			for i := range paths {
				at := (i + n) % len(paths)
				d, err := oneRequest(ctx, paths[at].client, method, paths[at].url)
				if err != nil {
					return fmt.Errorf("%s: %w", paths[at].name, err)
				}
				if n >= 50 {
					took[at] = append(took[at], d)
				}
			}
		}
		for i, p := range paths {
			b.Rows = append(b.Rows, proxyRow{Path: p.name, Method: method, Us: spreadOf(took[i]), Added: spreadOf(took[i]).minus(spreadOf(took[i&^1]))})
		}
		last := b.Rows[len(b.Rows)-len(paths):]
		b.Interception = append(b.Interception, interceptionRow{Method: method, Added: last[3].Added.minus(last[1].Added)})
	}
	return nil
}

func plainClient(proxy *url.URL, roots *x509.CertPool) *http.Client {
	return &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, DisableCompression: true}}
}

func oneRequest(ctx context.Context, c *http.Client, method, target string) (time.Duration, error) {
	body := ""
	if method == http.MethodPost {
		body = latencyText
	}
	r, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	if body != "" {
		r.Header.Set("Content-Type", "text/plain")
	}
	start := time.Now()
	res, err := c.Do(r)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode != http.StatusOK || len(got) != len(latencyText)) {
		err = fmt.Errorf("%d %s", res.StatusCode, res.Header.Get("Sallyport-Effect"))
	}
	return time.Since(start), err
}

func (b *proxyBench) text(w io.Writer) {
	fmt.Fprintf(w, "%s\n\n%-26s %-6s %8s %8s %8s %12s\n", b.Machine, fmt.Sprintf("%d requests", b.Calls), "", "p50 µs", "p95 µs", "p99 µs", "added p50 µs")
	for _, r := range b.Rows {
		fmt.Fprintf(w, "%-26s %-6s %8d %8d %8d %12d\n", r.Path, r.Method, r.Us.P50, r.Us.P95, r.Us.P99, r.Added.P50)
	}
	for _, r := range b.Interception {
		fmt.Fprintf(w, "%-26s %-6s %8s %8s %8s %12d\n", "of it interception", r.Method, "", "", "", r.Added.P50)
	}
}
