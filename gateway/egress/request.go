// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// target is where a request goes: one host in one spelling.
type target struct {
	scheme string // http, https, ws, wss
	host   string // canonical name or address
	port   string
}

var defaultPort = map[string]string{"http": "80", "https": "443", "ws": "80", "wss": "443"}

// authority is host, or host:port where the port is not the scheme's own.
func (t target) authority() string {
	h := t.host
	if strings.Contains(h, ":") {
		h = "[" + h + "]"
	}
	if t.port != defaultPort[t.scheme] {
		h += ":" + t.port
	}
	return h
}

// address is host:port.
func (t target) address() string {
	if strings.Contains(t.host, ":") {
		return "[" + t.host + "]:" + t.port
	}
	return t.host + ":" + t.port
}

// hop are fields between two neighbours; none passes.
var hop = []string{"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Expect", "Http2-Settings", "Alt-Used"}

// stripHop removes them, and those that Connection names.
func stripHop(h http.Header) {
	for _, v := range h["Connection"] {
		for _, name := range strings.Split(v, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range hop {
		h.Del(name)
	}
}

// credentialFields are header fields whose whole purpose is to prove who is asking.
var credentialFields = []string{"Authorization", "Cookie", "X-Api-Key", "Api-Key", "Apikey", "X-Auth-Token", "X-Access-Token", "X-Goog-Api-Key",
	"Private-Token", "Job-Token", "X-Amz-Security-Token", "X-Vault-Token", "X-Csrf-Token", "X-Functions-Key", "Ocp-Apim-Subscription-Key",
	"X-Github-Token", "X-Gitlab-Token", "X-Shopify-Access-Token", "X-Figma-Token", "Circle-Token", "X-Auth-Key", "X-Session-Token"}

// credentialKeys are names of query parameters for the same, those of signed URLs included, in lower case.
var credentialKeys = map[string]bool{"api_key": true, "apikey": true, "api-key": true, "access_token": true, "auth_token": true, "auth": true,
	"token": true, "id_token": true, "refresh_token": true, "client_secret": true, "secret": true, "password": true, "passwd": true, "sig": true,
	"signature": true, "x-amz-signature": true, "x-amz-credential": true, "x-amz-security-token": true, "x-goog-signature": true,
	"x-goog-credential": true, "awsaccesskeyid": true, "googleaccessid": true, "sv": true, "session_token": true, "private_token": true, "jwt": true}

// supplied lists the credentials that a request carries, as "header:authorization" or "query:sig".
func supplied(r *http.Request) (out []string) {
	for _, name := range credentialFields {
		if _, ok := r.Header[name]; ok {
			out = append(out, "header:"+strings.ToLower(name))
		}
	}
	for _, pair := range strings.Split(r.URL.RawQuery, "&") {
		if name, ok := credentialKey(pair); ok {
			out = append(out, "query:"+name)
		}
	}
	if r.URL.User != nil {
		out = append(out, "user_info")
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func credentialKey(pair string) (string, bool) {
	name, _, _ := strings.Cut(pair, "=")
	name, err := url.QueryUnescape(name)
	low := strings.ToLower(name)
	return low, err == nil && credentialKeys[low]
}

// strip takes them out.
func strip(r *http.Request) {
	for _, name := range credentialFields {
		r.Header.Del(name)
	}
	r.URL.User = nil
	var kept []string
	for _, pair := range strings.Split(r.URL.RawQuery, "&") {
		if _, ok := credentialKey(pair); !ok {
			kept = append(kept, pair)
		}
	}
	r.URL.RawQuery = strings.Join(kept, "&")
}

// call is one request as it is judged and sent.
type call struct {
	to       target
	method   string
	path     string // escaped
	query    string // raw
	header   http.Header
	body     []byte
	facts    body
	carried  []string // credentials that the agent supplied and that are still in it
	stripped []string
	upload   *upload // in place of body, where that is large
}

// arguments are the facts of c as the document that is judged and recorded. None of its members is the
// agent's to name: what it sends stands below "query", "headers" and "body".
func (c *call) arguments() []byte {
	var o object
	o.open()
	o.str("method", c.method)
	o.str("url", c.to.scheme+"://"+c.to.authority()+c.path)
	if c.query != "" {
		if f, ok := fields(c.query); ok {
			o.raw("query", f)
		} else {
			o.str("query", c.query)
		}
	}
	o.raw("headers", headers(c.header))
	if c.facts.form != formNone {
		o.raw("body", c.facts.value)
	}
	o.raw("opaque", boolean(c.facts.opaque))
	o.credentials(c.carried, c.stripped)
	return o.close()
}

// credentials states whether the agent supplied any that are still there, and which.
func (o *object) credentials(carried, stripped []string) {
	word := "none"
	if len(carried) > 0 {
		word = "supplied"
	}
	o.str("credential", word)
	o.name("carried")
	o.list(carried)
	o.name("stripped")
	o.list(stripped)
}

func boolean(b bool) []byte {
	if b {
		return []byte("true")
	}
	return []byte("false")
}

// headers are the fields by their lower-case names.
func headers(h http.Header) []byte {
	names := make([]string, 0, len(h))
	for n := range h {
		names = append(names, n)
	}
	slices.Sort(names)
	var o object
	o.open()
	for _, n := range names {
		o.strs(strings.ToLower(n), h[n])
	}
	return o.close()
}

// errRewrite means that what a rewriting obligation left cannot be sent: it is not sent then.
var errRewrite = errors.New("egress: the rewritten request cannot be put together")

// judged is what may have been rewritten.
type judged struct {
	Status  jsontext.Value            `json:"status"`
	URL     string                    `json:"url"`
	Query   jsontext.Value            `json:"query"`
	Headers map[string]jsontext.Value `json:"headers"`
	Body    jsontext.Value            `json:"body"`
}

func readJudged(doc []byte, j *judged) error {
	if err := json.Unmarshal(doc, j); err != nil {
		return errRewrite
	}
	return nil
}

// rewritten takes over what args say in the place of what the agent sent.
func (c *call) rewritten(args []byte) error {
	var j judged
	if err := readJudged(args, &j); err != nil {
		return err
	}
	u, err := url.Parse(j.URL)
	if err != nil || u.Scheme != c.to.scheme || u.Host != c.to.authority() {
		return errRewrite
	}
	c.path = u.EscapedPath()
	if c.query, err = encodeFields(j.Query); err != nil {
		return err
	}
	if c.header, err = headersOf(j.Headers); err != nil {
		return err
	}
	c.body, err = c.facts.rewritten(j.Body, c.body)
	return err
}

// rewritten returns the bytes of a body whose facts became v.
func (b *body) rewritten(v jsontext.Value, was []byte) ([]byte, error) {
	switch {
	case len(v) == 0, b.form == formNone:
		return nil, nil
	case same(v, b.value):
		return was, nil
	case b.form == formJSON:
		return v, nil
	case b.form == formText:
		var s string
		if json.Unmarshal(v, &s) != nil {
			return nil, errRewrite
		}
		return []byte(s), nil
	case b.form == formFields:
		s, err := encodeFields(v)
		return []byte(s), err
	}
	return nil, errRewrite
}

func same(a, b jsontext.Value) bool {
	x, y := bytes.Clone(a), bytes.Clone(b)
	return (*jsontext.Value)(&x).Canonicalize() == nil && (*jsontext.Value)(&y).Canonicalize() == nil && bytes.Equal(x, y)
}

func encodeFields(v jsontext.Value) (string, error) {
	switch v.Kind() {
	case '{':
	case '"':
		var s string
		if json.Unmarshal(v, &s) != nil || strings.ContainsFunc(s, control) {
			return "", errRewrite
		}
		return s, nil
	default:
		return "", nil
	}
	var m map[string]jsontext.Value
	if json.Unmarshal(v, &m) != nil {
		return "", errRewrite
	}
	out := url.Values{}
	for name, value := range m {
		list, err := stringsOf(value)
		if err != nil {
			return "", err
		}
		out[name] = list
	}
	return out.Encode(), nil
}

func headersOf(m map[string]jsontext.Value) (http.Header, error) {
	h := http.Header{}
	for name, value := range m {
		list, err := stringsOf(value)
		if err != nil {
			return nil, err
		}
		for _, v := range list {
			if strings.ContainsFunc(v, func(r rune) bool { return control(r) && r != '\t' }) {
				return nil, errRewrite
			}
			h.Add(name, v)
		}
	}
	return h, nil
}

func stringsOf(v jsontext.Value) ([]string, error) {
	if v.Kind() == '[' {
		var list []string
		if json.Unmarshal(v, &list) != nil {
			return nil, errRewrite
		}
		return list, nil
	}
	var s string
	if json.Unmarshal(v, &s) != nil {
		return nil, errRewrite
	}
	return []string{s}, nil
}

// outgoing is the request that is sent upstream. Its body cannot be read twice, so that nothing repeats it.
func (c *call) outgoing(r *http.Request) *http.Request {
	u := &url.URL{Scheme: c.to.scheme, Host: c.to.address(), Opaque: "", RawQuery: c.query}
	if p, err := url.PathUnescape(c.path); err == nil {
		u.Path, u.RawPath = p, c.path
	} else {
		u.Opaque = c.path
	}
	out := &http.Request{Method: c.method, URL: u, Host: c.to.authority(), Header: c.header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	if out.Header.Get("User-Agent") == "" {
		out.Header["User-Agent"] = []string{""} // none was sent; the library would name itself
	}
	if len(c.body) > 0 {
		out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(c.body)), int64(len(c.body))
	}
	return out.WithContext(r.Context())
}

// newCall reads what a request says. The body was read as a whole.
func newCall(r *http.Request, to target, data []byte, room int) (*call, error) {
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	if err := checkPath(path); err != nil {
		return nil, err
	}
	if len(r.URL.RawQuery) > 0 && !utf8.ValidString(r.URL.RawQuery) {
		return nil, headError("query")
	}
	for _, values := range r.Header {
		for _, v := range values {
			if !utf8.ValidString(v) {
				return nil, headError("field_value")
			}
		}
	}
	c := &call{to: to, method: r.Method, path: path, query: r.URL.RawQuery, header: r.Header.Clone(), body: data}
	stripHop(c.header)
	c.header.Del("Host")
	c.header.Del("Content-Length")
	c.header.Del("Accept-Encoding") // the answer has to be read here
	c.facts = readBody(r.Header, data, room)
	return c, nil
}
