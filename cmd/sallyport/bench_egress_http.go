// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway/egress/egresstest"
	"github.com/sallyport/sallyport/identity"
)

// egressStage is an owner with its doors, and the world outside of it.
type egressStage struct {
	owner  *sallyport.Sallyport
	world  *egresstest.World
	tools_ *httptest.Server
	agents string // base of the agents' door
	proxy  string // host:port of the proxy
	stop   context.CancelFunc
	ended  chan error

	mu   sync.Mutex
	host http.Handler // answers for every host; guarded by mu
	mcp  []*mcpStandIn
}

func startEgressStage(ctx context.Context, dir string, folders []string, cases []egressCase) (*egressStage, error) {
	x := &egressStage{ended: make(chan error, 1)}
	var err error
	if x.world, err = egresstest.New(http.HandlerFunc(x.answer)); err != nil {
		return nil, err
	}
	x.tools_ = httptest.NewServer(http.HandlerFunc(x.serveTools))
	cfg := sallyport.DefaultConfig()
	cfg.Data = filepath.Join(dir, "data")
	cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Egress.Listen = "127.0.0.1:0", "none", "127.0.0.1:0"
	cfg.Ledger.SegmentBytes = 16 << 20
	if cfg.Policy.Dir, err = policyFolder(dir, folders); err != nil {
		return nil, errors.Join(err, x.close())
	}
	for i := range cases {
		x.mcp = append(x.mcp, nil)
		cfg.Gateway.Servers = append(cfg.Gateway.Servers, sallyport.MCPServer{Name: serverOf(i), URL: fmt.Sprintf("%s/%d", x.tools_.URL, i), Zone: "inside"})
	}
	if x.owner, err = sallyport.OpenIn(ctx, cfg, sallyport.World{Resolver: x.world, Dial: x.world.Dial, Roots: x.world.Roots}); err != nil {
		return nil, errors.Join(err, x.close())
	}
	l, err := x.owner.Listen()
	if err != nil {
		return nil, errors.Join(err, x.close())
	}
	x.agents, x.proxy = "http://"+l.Agents.Addr().String(), l.Egress.Addr().String()
	ctx, x.stop = context.WithCancel(ctx)
	go func() { x.ended <- x.owner.Serve(ctx, l) }()
	return x, nil
}

func (x *egressStage) close() error {
	var errs []error
	if x.stop != nil {
		x.stop()
		errs = append(errs, <-x.ended)
	}
	if x.owner != nil {
		errs = append(errs, x.owner.Close())
	}
	x.tools_.Close()
	x.world.Close()
	return errors.Join(errs...)
}

// answer serves every host of the world.
func (x *egressStage) answer(w http.ResponseWriter, r *http.Request) {
	x.mu.Lock()
	h := x.host
	x.mu.Unlock()
	h.ServeHTTP(w, r)
}

func (x *egressStage) hosts(h http.HandlerFunc) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.host = h
}

// agent makes the agent of a case, so that no case hears of another, and returns its token.
func (x *egressStage) agent(ctx context.Context, i int) (id, token string, err error) {
	id = fmt.Sprintf("case-%d", i)
	if _, err := x.owner.Tokens.CreateAgent(ctx, identity.AgentSpec{ID: id, By: "bench"}); err != nil {
		return "", "", err
	}
	token, _, err = x.owner.Tokens.Issue(ctx, identity.TokenSpec{Agent: id, User: "ann", Scopes: []action.Scope{action.ScopeAgent}, By: "bench"})
	return id, token, err
}

// client is the agent behind the proxy.
func (x *egressStage) client(ctx context.Context, i int) (*http.Client, *tls.Config, string, error) {
	id, token, err := x.agent(ctx, i)
	if err != nil {
		return nil, nil, "", err
	}
	pem, err := x.owner.Egress.CA("default", id)
	if err != nil {
		return nil, nil, "", err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	conf := &tls.Config{RootCAs: pool}
	return &http.Client{Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", User: url.UserPassword("agent", token), Host: x.proxy}),
			TLSClientConfig: conf, DisableCompression: true, ForceAttemptHTTP2: true}}, conf, token, nil
}

// exchange sends one request and says what stopped it, if anything did. said is what the host answers.
func (x *egressStage) exchange(ctx context.Context, c *http.Client, method, target, contentType, body string, fields map[string]string, said, saidAs string) (string, error) {
	x.hosts(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", saidAs)
		_, _ = io.WriteString(w, said)
	})
	r, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if err != nil {
		return "the client itself refuses the URL", nil
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for k, v := range fields {
		r.Header.Set(k, v)
	}
	res, err := c.Do(r)
	if err != nil {
		return "the proxy closed the connection", nil
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return "the response was cut", nil
	case res.Header.Get("Sallyport-Effect") != "":
		return res.Header.Get("Sallyport-Effect"), nil
	case string(got) != said && method != http.MethodHead:
		return "the response was changed", nil
	}
	return "", nil
}

// mediaType is what a server of such a body would say that it is.
func mediaType(body string) string {
	switch s := strings.TrimSpace(body); {
	case json.Valid([]byte(s)):
		return "application/json"
	case strings.HasPrefix(s, "<"):
		return "text/html; charset=utf-8"
	}
	return "text/plain; charset=utf-8"
}

// request plays a URL, header, body or response.
func (x *egressStage) request(ctx context.Context, i int, c *egressCase) (string, error) {
	client, _, _, err := x.client(ctx, i)
	if err != nil {
		return "", err
	}
	defer client.CloseIdleConnections()
	p, said, as := &c.Payload, `{"ok":true}`, "application/json"
	if p.Response != nil {
		if said, as = *p.Response, p.ResponseAs; as == "" {
			as = mediaType(said)
		}
	}
	method := p.Method
	if method == "" {
		method = http.MethodGet
	}
	return x.exchange(ctx, client, method, p.URL, p.ContentType, p.Body, p.Headers, said, as)
}

// The addresses of the other agents, which messages and cards of the A2A protocol do not name.
const (
	peerAgent = "https://agent.partner.example/a2a"
	peerCard  = "https://agent.partner.example/.well-known/agent-card.json"
)

// peer plays the messages to another agent, or the fetching of its card.
func (x *egressStage) peer(ctx context.Context, i int, c *egressCase) (string, error) {
	client, _, _, err := x.client(ctx, i)
	if err != nil {
		return "", err
	}
	defer client.CloseIdleConnections()
	if len(c.Payload.Card) > 0 {
		return x.exchange(ctx, client, http.MethodGet, peerCard, "", "", nil, string(c.Payload.Card), "application/json")
	}
	for _, m := range c.Payload.Messages {
		var parts struct {
			Method string          `json:"method"`
			Result json.RawMessage `json:"result"`
		}
		if err := json.Unmarshal(m, &parts); err != nil {
			return "", err
		}
		ask, answer := string(m), `{"jsonrpc":"2.0","id":1,"result":{"kind":"message","messageId":"1","role":"agent","parts":[]}}`
		if parts.Method == "" && len(parts.Result) > 0 { // what the other agent answers
			ask, answer = `{"jsonrpc":"2.0","id":1,"method":"message/send","params":{"message":{"messageId":"1","role":"user","parts":[]}}}`, string(m)
		}
		stopped, err := x.exchange(ctx, client, http.MethodPost, peerAgent, "application/json", ask, nil, answer, "application/json")
		if err != nil || stopped != "" {
			return stopped, err
		}
	}
	return "", nil
}

// socket plays frames of a WebSocket. Nothing stopped it if the host got every message as it was sent.
func (x *egressStage) socket(ctx context.Context, i int, c *egressCase) (string, error) {
	_, conf, token, err := x.client(ctx, i)
	if err != nil {
		return "", err
	}
	got := make(chan []byte, 1)
	x.hosts(func(w http.ResponseWriter, r *http.Request) { got <- acceptFrames(w, r) })
	u, err := url.Parse(c.Payload.URL)
	if err != nil {
		return "the client itself refuses the URL", nil
	}
	conn, err := dialSocket(ctx, x.proxy, token, u, conf)
	if err != nil {
		return err.Error(), nil
	}
	var want []byte
	for _, f := range c.Payload.Frames {
		fin := f.Fin == nil || *f.Fin
		_, _ = conn.Write(clientFrame(opcodeOf(f.Opcode), []byte(f.Payload), fin)) // a refusal shows in what arrives
		want = append(want, f.Payload...)
	}
	_, _ = conn.Write(clientFrame(8, []byte{1000 >> 8, 1000 & 0xff}, true))
	var arrived []byte
	select {
	case arrived = <-got:
	case <-time.After(20 * time.Second):
	}
	_ = conn.Close()
	if !bytes.Equal(arrived, want) {
		return "not every message arrived as it was sent", nil
	}
	return "", nil
}

func opcodeOf(name string) byte {
	switch strings.ToLower(name) {
	case "continuation":
		return 0
	case "binary":
		return 2
	case "ping":
		return 9
	case "pong":
		return 10
	}
	return 1
}

// dialSocket makes the handshake through the proxy.
func dialSocket(ctx context.Context, proxy, token string, u *url.URL, conf *tls.Config) (net.Conn, error) {
	port := u.Port()
	if port == "" {
		port = map[string]string{"ws": "80", "wss": "443"}[u.Scheme]
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", proxy)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	address := net.JoinHostPort(u.Hostname(), port)
	basic := base64.StdEncoding.EncodeToString([]byte("agent:" + token))
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Basic %s\r\n\r\n", address, address, basic)
	br := bufio.NewReader(conn)
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != http.StatusOK {
		return nil, errors.New("the proxy refused the tunnel")
	}
	if u.Scheme == "wss" {
		conf := conf.Clone()
		conf.ServerName, conf.NextProtos = u.Hostname(), []string{"http/1.1"}
		t := tls.Client(conn, conf)
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, errors.New("the proxy refused the handshake")
		}
		conn, br = t, bufio.NewReader(t)
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n",
		u.RequestURI(), u.Host, base64.StdEncoding.EncodeToString(make([]byte, 16)))
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		return nil, errors.New("the proxy closed the connection")
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("the handshake: %s", res.Header.Get("Sallyport-Effect"))
	}
	return conn, nil
}

func clientFrame(op byte, data []byte, fin bool) []byte {
	var key [4]byte
	_, _ = rand.Read(key[:])
	if fin {
		op |= 0x80
	}
	b := binary.BigEndian.AppendUint16([]byte{op, 0x80 | 126}, uint16(len(data)))
	if len(data) < 126 {
		b = []byte{op, 0x80 | byte(len(data))}
	}
	b = append(b, key[:]...)
	for i, c := range data {
		b = append(b, c^key[i&3])
	}
	return b
}

// acceptFrames is the host of a WebSocket: it returns the data of every message until the close.
func acceptFrames(w http.ResponseWriter, r *http.Request) (all []byte) {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil
	}
	defer conn.Close()
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
	for {
		var head [2]byte
		if _, err := io.ReadFull(rw, head[:]); err != nil || head[0]&0x0f == 8 {
			return all
		}
		n := int(head[1] & 0x7f)
		if n == 126 {
			var ext [2]byte
			if _, err := io.ReadFull(rw, ext[:]); err != nil {
				return all
			}
			n = int(binary.BigEndian.Uint16(ext[:]))
		}
		data := make([]byte, 4+n)
		if _, err := io.ReadFull(rw, data); err != nil {
			return all
		}
		for i, c := range data[4:] {
			all = append(all, c^data[i&3])
		}
	}
}
