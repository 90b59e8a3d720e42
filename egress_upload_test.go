// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway/egress"
)

// lines are n bytes of plain words.
func lines(n int) string {
	return strings.Repeat("The quick brown fox jumps over the lazy dog, again and again.\n", n/62+1)[:n]
}

func zipped(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// intents counts what passed the first gate.
func (x *proxied) intents() int { return len(x.codes(action.KindIntent)) }

// TestEgressJudgesUploadsWindowByWindow sends bodies that are too large to be judged in one piece.
func TestEgressJudgesUploadsWindowByWindow(t *testing.T) {
	x := openLimited(t, egress.Limits{BodyBytes: 128 << 10, WindowBytes: 32 << 10, UploadBytes: 512 << 10}, func(c *sallyport.Config) {
		c.Egress.Hosts = []sallyport.EgressHost{{Name: "live.example.org", StreamUploads: true}}
	})
	const size, account = 4<<15 + 1<<14, "GB82WEST12345698765432"
	const border = 2<<15 - len(account)/2 // neither half is one
	split := lines(border-1) + " " + account + " " + lines(size-border-len(account)-1)
	for _, c := range []struct {
		name, host string
		h2         bool
		body       string
		fields     []string
		effect     string
		windows    int // that passed; at least, where the upload is cut
		arrives    string
	}{
		{"plain words", "www.example.org", true, lines(size), nil, "", 5, lines(size)},
		{"plain words that are streamed", "live.example.org", false, lines(size), nil, "", 5, lines(size)},
		{"a token at the end", "www.example.org", false, lines(size) + aToken, nil, "deny", 4, ""},
		{"an account across a border", "www.example.org", false, split, nil, "ask", 2, ""},
		{"an account across a border that is streamed", "live.example.org", true, split, nil, "ask", 2, ""},
		{"a token that is packed", "www.example.org", false, zipped(t, noise(size*2)+aToken), []string{"Content-Encoding", "gzip"}, "deny", 1, ""},
		{"more than is kept", "www.example.org", false, lines(512<<10 + 1), nil, "too_large", -1, ""},
		{"more than is kept that is streamed", "live.example.org", true, lines(640 << 10), nil, "", 20, lines(640 << 10)},
		{"bytes that nobody can read", "www.example.org", false, strings.Repeat("\x00\xfe\xff\x01", size/4), nil, "ask", 0, ""},
	} {
		x.as(c.name)
		asked, before := len(x.seen.all()), x.intents()
		status, body, res := send(x, c.h2, "https://"+c.host+"/up", c.body, c.fields...)
		switch {
		case res == nil && (c.host != "live.example.org" || c.effect == ""): // else cut while it was sent, and with it the connection
			t.Fatalf("%s: no answer", c.name)
		case res != nil && res.Header.Get("Sallyport-Effect") != c.effect:
			t.Fatalf("%s: %d %s: effect %q, want %q", c.name, status, body, res.Header.Get("Sallyport-Effect"), c.effect)
		}
		if n := x.intents() - before - 1; n < c.windows || c.effect == "" && n != c.windows {
			t.Errorf("%s: %d windows passed, want %d", c.name, n, c.windows)
		}
		x.seen.mu.Lock()
		reached, last := len(x.seen.asked) > asked, ""
		if reached {
			last = x.seen.bodies[len(x.seen.bodies)-1]
		}
		x.seen.mu.Unlock()
		if c.host == "www.example.org" && reached != (c.effect == "") || c.effect == "" && last != c.arrives || len(last) > border+len(account) && c.effect != "" {
			t.Errorf("%s: the host was reached: %v, with %d bytes", c.name, reached, len(last))
		}
	}
}

// noise are n bytes of words that do not pack well.
func noise(n int) string {
	var b strings.Builder
	for i := uint64(1); b.Len() < n; i++ {
		x := i * 0x9e3779b97f4a7c15
		for range 8 {
			b.WriteByte(byte('a' + x%26))
			x /= 26
		}
		b.WriteByte(' ')
	}
	return b.String()[:n]
}

// send posts a body whose length is not said before. Without an answer the response is nil.
func send(x *proxied, h2 bool, target, body string, fields ...string) (int, string, *http.Response) {
	x.t.Helper()
	r, err := http.NewRequest(http.MethodPost, target, io.MultiReader(strings.NewReader(body)))
	if err != nil {
		x.t.Fatal(err)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	res, err := x.client(h2).Do(r)
	if err != nil {
		return 0, "", nil
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, "", nil
	}
	return res.StatusCode, string(b), res
}
