// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/identity"
)

// browser logs in with a token and returns the two halves.
func (b *bench) browser(as string) (cookie, key string) {
	b.t.Helper()
	code, answer, res := b.call(as, "POST", "/v1/login", `{}`, "Origin", b.URL)
	var m me
	if err := json.Unmarshal([]byte(answer), &m); code != 200 || err != nil || len(res.Cookies()) != 1 {
		b.t.Fatal(code, answer, err)
	}
	return res.Cookies()[0].Value, m.Key
}

func TestLoginNeedsBothHalves(t *testing.T) {
	b := start(t)
	cookie, key := b.browser("viewer")
	other, otherKey := b.browser("admin")
	for _, c := range []struct {
		name   string
		status int
		header []string
	}{
		{"both halves", 200, []string{"Cookie", CookieName + "=" + cookie, KeyHeader, key}},
		{"the cookie that a browser sends to every port", 401, []string{"Cookie", CookieName + "=" + cookie}},
		{"the key alone", 401, []string{KeyHeader, key}},
		{"the halves of two logins", 401, []string{"Cookie", CookieName + "=" + cookie, KeyHeader, otherKey}},
		{"the other way round", 401, []string{"Cookie", CookieName + "=" + other, KeyHeader, key}},
		{"a second cookie of the name", 401, []string{"Cookie", CookieName + "=" + cookie + "; " + CookieName + "=x", KeyHeader, key}},
		{"an empty key", 401, []string{"Cookie", CookieName + "=" + cookie, KeyHeader, ""}},
		{"another page's request", 403, []string{"Cookie", CookieName + "=" + cookie, KeyHeader, key, "Origin", "https://evil.example"}},
		{"another site's request without an origin", 403, []string{"Cookie", CookieName + "=" + cookie, KeyHeader, key, "Sec-Fetch-Site", "cross-site"}},
		{"another port's request", 403, []string{"Cookie", CookieName + "=" + cookie, KeyHeader, key, "Sec-Fetch-Site", "same-site"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if code, answer, _ := b.call("", "GET", "/v1/sessions", "", c.header...); code != c.status {
				t.Error(code, answer)
			}
		})
	}
}

func TestLoginHoldsNoLongerThanItsToken(t *testing.T) {
	for _, c := range []struct {
		name string
		then func(b *bench, id, cookie, key string)
	}{
		{"the token is withdrawn", func(b *bench, id, _, _ string) { b.want(200, "admin", "DELETE", "/v1/tokens/"+id, "") }},
		{"nobody used it", func(b *bench, _, _, _ string) { b.later.Store(int64(61 * time.Minute)) }},
		{"a long day", func(b *bench, _, cookie, key string) {
			for h := range 14 {
				b.later.Store(int64(time.Duration(h) * 59 * time.Minute))
				b.call("", "GET", "/v1/me", "", "Cookie", CookieName+"="+cookie, KeyHeader, key)
			}
		}},
		{"a logout", func(b *bench, _, cookie, key string) {
			if code, answer, _ := b.call("", "POST", "/v1/logout", `{}`, "Cookie", CookieName+"="+cookie, KeyHeader, key); code != 200 {
				b.t.Fatal(code, answer)
			}
		}},
		{"nine further logins", func(b *bench, _, _, _ string) {
			for range 9 {
				b.later.Add(1)
				b.browser("fresh")
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t)
			secret, tok, err := b.ids.Issue(t.Context(), identity.TokenSpec{Name: "fresh", Scopes: peopleScopes})
			if err != nil {
				t.Fatal(err)
			}
			b.secret["fresh"] = secret
			cookie, key := b.browser("fresh")
			halves := []string{"Cookie", CookieName + "=" + cookie, KeyHeader, key}
			if code, answer, _ := b.call("", "GET", "/v1/me", "", halves...); code != 200 {
				t.Fatal(code, answer)
			}
			c.then(b, tok.ID, cookie, key)
			if code, answer, _ := b.call("", "GET", "/v1/me", "", halves...); code != 401 {
				t.Error(code, answer)
			}
		})
	}
}

func TestLoginGivesNoMoreThanItsToken(t *testing.T) {
	b := start(t)
	id := b.ask("a", 1)
	cookie, key := b.browser("viewer")
	halves := []string{"Cookie", CookieName + "=" + cookie, KeyHeader, key}
	for _, c := range []struct {
		name, method, target, body string
		status                     int
	}{
		{"a viewer sees", "GET", "/v1/approvals/" + id, "", 200},
		{"a viewer approves nothing", "POST", "/v1/approvals/" + id + "/approve", `{}`, 403},
		{"a viewer stops nothing", "POST", "/v1/kill", `{"scope":"all"}`, 403},
		{"a login makes no other login", "POST", "/v1/login", `{}`, 409},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, answer, _ := b.call("", c.method, c.target, c.body, append(halves, "If-Match", `"1"`)...)
			if code != c.status {
				t.Error(code, answer)
			}
		})
	}
	if _, answer, _ := b.call("", "GET", "/v1/me", "", halves...); !strings.Contains(answer, `"scopes":["viewer"]`) || !strings.Contains(answer, `"key":""`) {
		t.Error(answer)
	}
}

func TestLoginsAreBounded(t *testing.T) {
	s, err := NewSessions(SessionsConfig{Live: func(*gateway.Caller) bool { return true }, MaxOpen: 2})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []error{nil, nil, errLogins} {
		if _, err := s.Start(&gateway.Caller{Name: strings.Repeat("x", i+1)}); err != want {
			t.Errorf("login %d: %v", i, err)
		}
	}
}

func TestCookieIsOutOfReach(t *testing.T) {
	b := start(t)
	_, _, res := b.call("viewer", "POST", "/v1/login", `{}`)
	k := res.Cookies()[0]
	if !k.HttpOnly || k.SameSite != http.SameSiteStrictMode || k.Path != "/" || k.Domain != "" || k.MaxAge != 0 {
		t.Errorf("%+v", k)
	}
}

func TestConsoleIsServedStrictly(t *testing.T) {
	b := start(t)
	res, err := b.Client().Get(b.URL + "/console/")
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || res.StatusCode != 200 || !strings.Contains(string(page), "<title>") {
		t.Fatal(res.StatusCode, err, string(page))
	}
	for k, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
		"X-Frame-Options": "DENY", "Cross-Origin-Opener-Policy": "same-origin", "Cache-Control": "no-cache",
	} {
		if got := res.Header.Get(k); got != want {
			t.Errorf("%s: %q", k, got)
		}
	}
	csp := res.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'", "trusted-types 'none'", "base-uri 'none'", "form-action 'none'"} {
		if !strings.Contains(csp, want) {
			t.Errorf("%q lacks %q", csp, want)
		}
	}
	if strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") {
		t.Errorf("%q", csp)
	}
	for target, status := range map[string]int{"/console": 200, "/console/none.js": 401, "/console/../v1/me": 401, "/console/assets/": 401, "/console/..%2f..%2fadmin.go": 401} {
		res, err := b.Client().Get(b.URL + target)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != status {
			t.Errorf("%s: %d", target, res.StatusCode)
		}
	}
	if code, _, _ := b.call("", "POST", "/console/", "{}"); code != 401 {
		t.Error(code)
	}
}

func TestCodeLogsInOnceAsAnOperator(t *testing.T) {
	b := start(t, func(c *Config) { c.Actor = nil })
	op := &gateway.Caller{Name: "olga", Peer: &gateway.Peer{UID: 1000}}
	op.Subject.Tenant, op.Subject.Scopes = "default", peopleScopes
	op.Subject.Channel.Credential, op.Subject.Channel.CredID, op.Subject.Channel.UID = action.CredentialPeer, "uid:1000", 1000
	fresh := func() string {
		code, _, err := b.cfg.Sessions.Code(op, "")
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	login := func(code string) (int, string, *http.Response) {
		b.secret["code"] = code
		return b.call("code", "POST", "/v1/login", `{}`)
	}
	code := fresh()
	b.secret["code"] = code
	if status, answer, _ := b.call("code", "GET", "/v1/me", ""); status != 401 {
		t.Error("a code is a credential of its own:", status, answer)
	}
	status, answer, res := login(code)
	if status != 200 || !strings.Contains(answer, `"rank":"operator"`) || !strings.Contains(answer, `"name":"olga"`) {
		t.Fatal(status, answer)
	}
	var m me
	if err := json.Unmarshal([]byte(answer), &m); err != nil {
		t.Fatal(err)
	}
	if status, answer, _ = b.call("", "GET", "/v1/me", "", "Cookie", CookieName+"="+res.Cookies()[0].Value, KeyHeader, m.Key); !strings.Contains(answer, `"rank":"operator"`) {
		t.Error(status, answer)
	}
	if status, answer, _ := login(code); status != 401 {
		t.Error("a second time:", status, answer)
	}
	late := fresh()
	b.later.Store(int64(codeFor))
	if status, answer, _ := login(late); status != 401 {
		t.Error("too late:", status, answer)
	}
	if status, answer, _ := login(fresh() + "x"); status != 401 {
		t.Error("another code:", status, answer)
	}
	for range maxCodes {
		if _, _, err := b.cfg.Sessions.Code(op, ""); err != nil {
			if err != errLogins {
				t.Error(err)
			}
			return
		}
	}
	t.Error("codes are not bounded")
}

func TestConsoleIsPackedForThoseWhoTakeIt(t *testing.T) {
	b := start(t)
	get := func(accept string) (*http.Response, []byte) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.URL+"/console/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", accept)
		res, err := b.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res, body
	}
	plain, want := get("identity")
	for _, accept := range []string{"gzip", "deflate, gzip, br", "br,gzip"} {
		res, body := get(accept)
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			t.Fatalf("%q: %v", accept, err)
		}
		got, err := io.ReadAll(z)
		if err != nil || !bytes.Equal(got, want) || res.Header.Get("Content-Encoding") != "gzip" || res.Header.Get("ETag") == plain.Header.Get("ETag") ||
			res.Header.Get("Vary") != "Accept-Encoding" || res.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("%q: %v, %v", accept, err, res.Header)
		}
	}
	for _, accept := range []string{"br", "gzip;q=0", "xgzip"} {
		if res, body := get(accept); res.Header.Get("Content-Encoding") != "" || !bytes.Equal(body, want) {
			t.Errorf("%q: %v", accept, res.Header)
		}
	}
}
