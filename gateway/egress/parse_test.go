// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

func TestHeadIsReadInOneWayOnly(t *testing.T) {
	for _, c := range []struct{ name, head, code string }{
		{"a request to a proxy", "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n", ""},
		{"the default port in one place", "GET http://a.example:80/ HTTP/1.1\r\nHost: a.example\r\n", ""},
		{"a tunnel", "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n", ""},
		{"the old version without a host", "GET http://a.example/ HTTP/1.0\r\n", ""},
		{"an address of version 6", "GET http://[::1]:80/ HTTP/1.1\r\nHost: [::1]\r\n", ""},
		{"another port", "GET http://a.example:81/ HTTP/1.1\r\nHost: a.example\r\n", "host_mismatch"},
		{"a tunnel to another host", "CONNECT a.example:443 HTTP/1.1\r\nHost: b.example:443\r\n", "host_mismatch"},
		{"a user in the authority", "GET http://a.example@b.example/ HTTP/1.1\r\nHost: a.example\r\n", "host_mismatch"},
		{"a fragment", "GET http://a.example/#x HTTP/1.1\r\nHost: a.example\r\n", "request_line"},
		{"two spaces", "GET  http://a.example/ HTTP/1.1\r\nHost: a.example\r\n", "request_line"},
		{"another version", "GET http://a.example/ HTTP/2.0\r\nHost: a.example\r\n", "version"},
		{"a length with a sign", "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: +4\r\n", "content_length"},
		{"chunks in the old version", "POST http://a.example/ HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n", "transfer_encoding"},
		{"an expectation of something else", "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nExpect: x\r\n", "expect"},
		{"two credentials", "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nAuthorization: a\r\nauthorization: b\r\n", "duplicate_authorization"},
		{"a carriage return in a field", "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nX: a\rb\r\n", "field_value"},
		{"a name that is none", "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nX Y: 1\r\n", "field"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			var bad headError
			if err := checkHead([]byte(c.head)); errors.As(err, &bad) {
				got = string(bad)
			}
			if got != c.code {
				t.Errorf("%q, want %q", got, c.code)
			}
		})
	}
}

// FuzzHead: whatever passes is read by the library as one request to the host that was checked.
func FuzzHead(f *testing.F) {
	f.Add("GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n")
	f.Add("POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc")
	f.Add("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		br := bufio.NewReaderSize(strings.NewReader(s), headBytes)
		if peekHead(br) != nil {
			return
		}
		head, _, _ := strings.Cut(s, "\r\n\r\n")
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if len(r.TransferEncoding) > 0 && strings.Contains(strings.ToLower(head), "\r\ncontent-length:") {
			t.Errorf("two framings passed: %q", head)
		}
		if strings.Count(strings.ToLower(head), "\r\nhost:") > 1 {
			t.Errorf("two hosts passed: %q", head)
		}
	})
}

func TestPathsThatServersReadInTwoWaysAreRefused(t *testing.T) {
	for path, ok := range map[string]bool{"/": true, "/a/b": true, "/a%2Fb": true, "/a..b/...": true, "/a/./b": false, "/a/../b": false, "/a/%2e%2E/b": false,
		"/a/%252e%252e/b": false, "/a%2f..%2fb": false, "/a\\b": false, "/a%5c..": false, "/a/..;x/b": false} {
		if err := checkPath(path); (err == nil) != ok {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// FuzzFrames: no panic, nothing larger than the bound, and what is framed is read back.
func FuzzFrames(f *testing.F) {
	key := [4]byte{1, 2, 3, 4}
	f.Add(appendFrame(nil, opText, []byte("hello"), &key))
	f.Add(append(appendFrame(nil, opPing, nil, &key), appendFrame(nil, opBinary, bytes.Repeat([]byte("x"), 70000), &key)...))
	f.Add([]byte{0x01, 0x80, 1, 2, 3, 4, 0x80, 0x80, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &messages{r: bufio.NewReader(bytes.NewReader(b)), masked: true, max: 1 << 17}
		for {
			got, err := m.next()
			if err != nil {
				return
			}
			if len(got.data) > m.max {
				t.Fatalf("%d bytes in one message", len(got.data))
			}
			again := &messages{r: bufio.NewReader(bytes.NewReader(appendFrame(nil, got.op, got.data, nil))), max: 1 << 17}
			if back, err := again.next(); err != nil || back.op != got.op || !bytes.Equal(back.data, got.data) {
				t.Fatalf("%v %v", back, err)
			}
		}
	})
}

// FuzzBody: the facts of any body are one value that our strict reader takes.
func FuzzBody(f *testing.F) {
	f.Add("application/json", "", []byte(`{"a":1,"A":2}`))
	f.Add("application/x-www-form-urlencoded", "", []byte("a=1&A=2&b=%zz"))
	f.Add("multipart/form-data; boundary=B", "", []byte("x--B\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\nv\r\n--B--\r\ny"))
	f.Add("text/plain", "gzip", []byte("\x1f\x8b"))
	f.Add("text/plain", "zstd", []byte("\x28\xb5\x2f\xfd\x04\x00\x19\x00\x00abc"))
	f.Add("text/plain", "br, gzip", []byte("\x0b\x01\x80abc\x03"))
	f.Fuzz(func(t *testing.T, typ, enc string, data []byte) {
		c := &call{to: target{scheme: "https", host: "a.example", port: "443"}, method: "POST", path: "/", query: typ,
			facts: readBody(http.Header{"Content-Type": {typ}, "Content-Encoding": {enc}}, data, 1<<20)}
		if err := action.Check(c.arguments(), action.Limits{Bytes: 16 << 20}); err != nil {
			t.Fatalf("%v: %s", err, c.arguments())
		}
	})
}

func TestBodyIsPutTogetherFromItsFacts(t *testing.T) {
	for _, c := range []struct{ name, typ, body, facts, want string }{
		{"JSON", "application/json", `{"a":"x"}`, `{"a":"y"}`, `{"a":"y"}`},
		{"text", "text/plain", "x", `"y"`, "y"},
		{"a form", "application/x-www-form-urlencoded", "a=x&b=1", `{"a":"y","b":"1"}`, "a=y&b=1"},
		{"unchanged parts", "multipart/form-data; boundary=B", "--B\r\nContent-Disposition: form-data; name=f\r\n\r\nv\r\n--B--", "", "--B\r\nContent-Disposition: form-data; name=f\r\n\r\nv\r\n--B--"},
		{"changed parts", "multipart/form-data; boundary=B", "--B\r\nContent-Disposition: form-data; name=f\r\n\r\nv\r\n--B--", `{"parts":[]}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := readBody(http.Header{"Content-Type": {c.typ}}, []byte(c.body), 1<<20)
			facts := jsontext.Value(c.facts)
			if c.facts == "" {
				facts = b.value
			}
			got, err := b.rewritten(facts, []byte(c.body))
			if string(got) != c.want || (err != nil) != (c.want == "") {
				t.Errorf("%q %v", got, err)
			}
		})
	}
}

func TestServerNameIsOnlyLookedAt(t *testing.T) {
	r, w := io.Pipe()
	w.Close()
	if _, err := peekServerName(bufio.NewReader(r)); err == nil {
		t.Error("a name was found in nothing")
	}
}
