// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
)

// tunnel opens a CONNECT by hand.
func (x *proxied) tunnel(address, token string) (net.Conn, *http.Response, error) {
	c, err := net.Dial("tcp", x.addr)
	if err != nil {
		return nil, nil, err
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Bearer %s\r\n\r\n", address, address, token)
	res, err := http.ReadResponse(bufio.NewReaderSize(c, 16), nil)
	return c, res, err
}

func TestEgressHoldsHostsTogether(t *testing.T) {
	x := openProxied(t, func(c *sallyport.Config) {
		c.Egress.Hosts = []sallyport.EgressHost{{Name: "pinned.example.org", Pinned: true}}
	})
	pem, _ := x.Egress.CA("default", "fetcher")
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	t.Run("a server name that is not the tunnel's", func(t *testing.T) {
		c, _, err := x.tunnel("a.example.org:443", x.token)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := tls.Client(c, &tls.Config{RootCAs: pool, ServerName: "b.example.org"}).Handshake(); err == nil {
			t.Error("the handshake went through")
		}
	})
	t.Run("a Host that is not the tunnel's", func(t *testing.T) {
		c, _, err := x.tunnel("a.example.org:443", x.token)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s := tls.Client(c, &tls.Config{RootCAs: pool, ServerName: "a.example.org"})
		fmt.Fprint(s, "GET / HTTP/1.1\r\nHost: b.example.org\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(s), nil)
		if err != nil || res.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("%v %v", res, err)
		}
	})
	t.Run("an authority of HTTP/2 that is not the tunnel's", func(t *testing.T) {
		r, _ := http.NewRequest("GET", "https://a.example.org/", nil)
		r.Host = "b.example.org"
		res, err := x.client(true).Do(r)
		if err != nil || res.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("%v %v", res, err)
		}
	})
	t.Run("a pinned host passes unread, under its own certificate", func(t *testing.T) {
		c, _, err := x.tunnel("pinned.example.org:443", x.token)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s := tls.Client(c, &tls.Config{RootCAs: x.world.Roots, ServerName: "pinned.example.org"})
		fmt.Fprint(s, "GET / HTTP/1.1\r\nHost: pinned.example.org\r\nConnection: close\r\n\r\n")
		if b, err := io.ReadAll(s); !strings.Contains(string(b), "hello from pinned") {
			t.Errorf("%q %v", b, err)
		}
	})
	t.Run("a pinned host under another name", func(t *testing.T) {
		n := len(x.world.Dialed())
		c, _, err := x.tunnel("pinned.example.org:443", x.token)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: "other.example.org"}).Handshake(); err == nil || len(x.world.Dialed()) != n {
			t.Error("the handshake went through")
		}
	})
	t.Run("no protocol at all", func(t *testing.T) {
		c, _, err := x.tunnel("a.example.org:443", x.token)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "SSH-2.0-x\r\n")
		if b, _ := io.ReadAll(c); len(b) > 0 {
			t.Errorf("answered %q", b)
		}
	})
	t.Run("no token, a wrong one, and one without the scope", func(t *testing.T) {
		for _, token := range []string{"", "sp_wrong", x.issue("other", action.ScopeViewer)} {
			c, res, err := x.tunnel("a.example.org:443", token)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			if res.StatusCode != 407 && res.StatusCode != 403 {
				t.Errorf("%d", res.StatusCode)
			}
		}
	})
	codes := strings.Join(x.codes(action.KindDecision), " ")
	for _, want := range []string{"malformed.egress_sni", "malformed.egress_host_mismatch", "malformed.egress_protocol", "malformed.egress_unauthenticated", "malformed.egress_scope"} {
		if !strings.Contains(codes, want) {
			t.Errorf("%s is not on record: %s", want, codes)
		}
	}
}

func TestEgressWebSocketMessagesPassTheGates(t *testing.T) {
	x := openProxied(t, nil)
	heard := make(chan string, 16)
	echo := websocket.Server{Handler: func(c *websocket.Conn) {
		for {
			var s string
			if websocket.Message.Receive(c, &s) != nil {
				heard <- "end"
				return
			}
			heard <- s
			if websocket.Message.Send(c, strings.TrimPrefix(s, "say ")) != nil {
				return
			}
		}
	}}
	x.seen.answers(echo.ServeHTTP)
	dial := func(t *testing.T) *websocket.Conn {
		pem, _ := x.Egress.CA("default", "fetcher")
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		c, _, err := x.tunnel("ws.example.org:443", x.token)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := websocket.NewConfig("wss://ws.example.org/chat", "https://ws.example.org")
		if err != nil {
			t.Fatal(err)
		}
		ws, err := websocket.NewClient(cfg, tls.Client(c, &tls.Config{RootCAs: pool, ServerName: "ws.example.org"}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ws.Close() })
		return ws
	}
	t.Run("plain messages both ways", func(t *testing.T) {
		ws := dial(t)
		for _, s := range []string{"hello", `{"type":"note","text":"zwölf"}`, strings.Repeat("12.5;13.25;ok\n", 6000)} {
			if err := websocket.Message.Send(ws, s); err != nil {
				t.Fatal(err)
			}
			var got string
			if err := websocket.Message.Receive(ws, &got); err != nil || got != s || <-heard != s {
				t.Fatalf("%.40q %v", got, err)
			}
		}
		ws.Close()
		<-heard
	})
	for _, c := range []struct {
		name  string
		sends []string
	}{
		{"a token in one message", []string{"x " + aToken}},
		{"a token in two messages", []string{"x " + aToken[:18], aToken[18:] + " y"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ws := dial(t)
			for _, s := range c.sends {
				_ = websocket.Message.Send(ws, s)
			}
			var got string
			for websocket.Message.Receive(ws, &got) == nil {
			}
			all := ""
			for s := range heard {
				if s == "end" {
					break
				}
				all += s
			}
			if strings.Contains(all, aToken) || strings.Contains(strings.ReplaceAll(all, " y", ""), aToken) {
				t.Errorf("the host heard %q", all)
			}
		})
	}
	if n := len(x.codes(action.KindIntent)); n < 6 {
		t.Errorf("%d intents are on record", n)
	}
}

func TestEgressRefusesWhatTwoReadersFrameInTwoWays(t *testing.T) {
	x := openProxied(t, nil)
	proof := "Proxy-Authorization: Bearer " + x.token + "\r\n"
	for name, raw := range map[string]string{
		"two lengths":                     "POST http://a.example.org/ HTTP/1.1\r\nHost: a.example.org\r\n" + proof + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
		"a length and chunks":             "POST http://a.example.org/ HTTP/1.1\r\nHost: a.example.org\r\n" + proof + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"a transfer coding of two":        "POST http://a.example.org/ HTTP/1.1\r\nHost: a.example.org\r\n" + proof + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"space before the colon":          "GET http://a.example.org/ HTTP/1.1\r\nHost : a.example.org\r\n" + proof + "\r\n",
		"two hosts":                       "GET http://a.example.org/ HTTP/1.1\r\nHost: a.example.org\r\nHost: b.example.org\r\n" + proof + "\r\n",
		"a host that is not the target's": "GET http://a.example.org/ HTTP/1.1\r\nHost: b.example.org\r\n" + proof + "\r\n",
		"a folded field":                  "GET http://a.example.org/ HTTP/1.1\r\nHost: a.example.org\r\nX-A: 1\r\n 2\r\n" + proof + "\r\n",
		"bare line feeds":                 "GET http://a.example.org/ HTTP/1.1\nHost: a.example.org\n" + strings.ReplaceAll(proof, "\r", "") + "\n",
		"trailers":                        "POST http://a.example.org/ HTTP/1.1\r\nHost: a.example.org\r\n" + proof + "Trailer: X-A\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-A: 1\r\n\r\n",
		"no absolute form":                "GET / HTTP/1.1\r\nHost: a.example.org\r\n" + proof + "\r\n",
		"no host":                         "GET http://a.example.org/ HTTP/1.1\r\n" + proof + "\r\n",
		"another protocol":                "GET ftp://a.example.org/ HTTP/1.1\r\nHost: a.example.org\r\n" + proof + "\r\n",
		"a null in a field":               "GET http://a.example.org/ HTTP/1.1\r\nHost: a.example.org\r\nX-A: a\x00b\r\n" + proof + "\r\n",
		"a head without end":              "GET http://a.example.org/ HTTP/1.1\r\nHost: a.example.org\r\nX-A: " + strings.Repeat("a", 70<<10),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", x.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			go func() {
				_, _ = io.WriteString(c, raw+"GET http://smuggled.example.org/ HTTP/1.1\r\nHost: smuggled.example.org\r\n"+proof+"\r\n")
			}()
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				if !errors.Is(err, io.ErrUnexpectedEOF) && !strings.Contains(err.Error(), "reset") {
					t.Fatal(err)
				}
				return // closed without an answer
			}
			if res.StatusCode < 400 || res.Header.Get("Sallyport-Effect") == "" {
				t.Errorf("%d", res.StatusCode)
			}
		})
	}
	if got := x.seen.all(); slices.ContainsFunc(got, func(s string) bool { return !strings.Contains(s, "smuggled") }) || len(got) > 2 {
		t.Errorf("hosts were asked: %q", got)
	}
}
