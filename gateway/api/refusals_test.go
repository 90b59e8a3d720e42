// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
)

func TestMalformedBodiesAreRefusedAndRecorded(t *testing.T) {
	ok := act("c", "read", `{"a":1}`)
	for _, c := range []struct {
		name, body string
		status     int
	}{
		{"truncated", ok[:len(ok)-3], 400},
		{"empty", " ", 400},
		{"two values", ok + ok, 400},
		{"a byte order mark", "\ufeff" + ok, 400},
		{"duplicate names", strings.Replace(ok, `"call_id":"c"`, `"call_id":"c","call_id":"d"`, 1), 400},
		{"names that differ in case", strings.Replace(ok, `"call_id":"c"`, `"call_id":"c","CALL_ID":"d"`, 1), 400},
		{"one name in another case", strings.Replace(ok, `"call_id"`, `"Call_ID"`, 1), 400},
		{"duplicate names in the arguments", act("c", "read", `{"path":"/a","path":"/b"}`), 400},
		{"names in the arguments that differ in case", act("c", "read", `{"path":"/a","Path":"/b"}`), 400},
		{"names that differ by an escape", act("c", "read", `{"path":"/a","p\u0061th":"/b"}`), 400},
		{"nesting of 10,000", act("c", "read", `{"a":`+strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000)+`}`), 400},
		{"nesting of 10,000 without an end", act("c", "read", `{"a":`+strings.Repeat(`{"a":`, 10_000)), 400},
		{"bad UTF-8", act("c", "read", `{"a":"`+"\xff"+`"}`), 400},
		{"overlong UTF-8", act("c", "read", `{"a":"`+"\xc0\xaf"+`"}`), 400},
		{"a lone surrogate", act("c", "read", `{"a":"\ud800"}`), 400},
		{"an integer beyond 2^53", act("c", "read", `{"amount":9007199254740993}`), 400},
		{"a number beyond a double", act("c", "read", `{"amount":1e999}`), 400},
		{"a number of a million digits", act("c", "read", `{"amount":1`+strings.Repeat("0", 1_000_000)+`}`), 400},
		{"not a number", act("c", "read", `{"amount":NaN}`), 400},
		{"an unknown member", strings.Replace(ok, `{`, `{"effect":"read",`, 1), 400},
		{"an unknown member of the tool", strings.Replace(ok, `"server"`, `"effect":"read","server"`, 1), 400},
		{"an array", `[` + ok + `]`, 400},
		{"null", `null`, 400},
		{"a string", `"x"`, 400},
		{"a number as call id", strings.Replace(ok, `"c"`, `1`, 1), 400},
		{"null as call id", strings.Replace(ok, `"c"`, `null`, 1), 400},
		{"a tool as text", strings.Replace(ok, `{"server":"fs","name":"read"}`, `"fs/read"`, 1), 400},
		{"arguments as text", act("c", "read", `"{\"a\":1}"`), 400},
		{"null arguments", act("c", "read", `null`), 400},
		{"no arguments", `{"call_id":"c","tool":{"server":"fs","name":"read"}}`, 400},
		{"no call id", act("", "read", `{}`), 400},
		{"no tool", `{"call_id":"c","arguments":{}}`, 400},
		{"a tool without a name", act("c", "", `{}`), 400},
		{"a server with a slash", strings.Replace(ok, `"fs"`, `"fs/read"`, 1), 400},
		{"a control character in a name", strings.Replace(ok, `"read"`, `"read\u001b[2J"`, 1), 400},
		{"a right-to-left override in a name", strings.Replace(ok, `"read"`, `"re\u202ead"`, 1), 400},
		{"a call id of 257 bytes", act(strings.Repeat("x", 257), "read", `{}`), 400},
		{"a session that cannot be one", strings.Replace(ok, `{`, `{"session":"../x",`, 1), 404},
		{"a session that nobody minted", strings.Replace(ok, `{`, `{"session":"S1",`, 1), 404},
		{"reasoning beyond 1 MiB", strings.Replace(ok, `{`, `{"reasoning":"`+strings.Repeat("x", 1<<20+1)+`",`, 1), 413},
		{"20 MB", act("c", "read", `{"a":"`+strings.Repeat("x", 20<<20)+`"}`), 413},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t, nil)
			code, body, res := b.call(t, "agent", "POST", "/v1/actions", c.body)
			if code != c.status || res.Header.Get("Content-Type") != "application/problem+json" {
				t.Fatal(code, body)
			}
			if len(b.path.actions) != 0 {
				t.Error("something was decided")
			}
			if want := c.status != 404; (b.records() != "") != want {
				t.Errorf("records %q", b.records())
			}
			if len(body) > 1024 {
				t.Errorf("the answer echoes %d bytes", len(body))
			}
		})
	}
}

func TestBodyWithoutLengthIsBoundedToo(t *testing.T) {
	b := start(t, nil)
	body := io.MultiReader(strings.NewReader(`{"call_id":"`), io.LimitReader(endless('x'), 20<<20))
	req, _ := http.NewRequest("POST", b.URL+"/v1/actions", body)
	req.ContentLength = -1
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer agent")
	if code, got, _ := b.do(t, req); code != 413 {
		t.Fatal(code, got)
	}
}

type endless byte

func (e endless) Read(p []byte) (int, error) {
	copy(p, bytes.Repeat([]byte{byte(e)}, len(p)))
	return len(p), nil
}

func TestGetTakesNoBody(t *testing.T) {
	b := start(t, nil)
	if code, body, _ := b.call(t, "agent", "GET", "/v1/actions/A1", `{}`); code != 400 {
		t.Error(code, body)
	}
}

func TestHeadersAreRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*http.Request)
		status int
		code   gateway.Code
	}{
		{"no content type", func(r *http.Request) { r.Header.Del("Content-Type") }, 415, gateway.CodeMediaType},
		{"a form", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 415, gateway.CodeMediaType},
		{"two content types", func(r *http.Request) { r.Header.Add("Content-Type", "application/json") }, 415, gateway.CodeMediaType},
		{"another charset", func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=utf-7") }, 415, gateway.CodeMediaType},
		{"a compressed body", func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, 415, gateway.CodeMediaType},
		{"a foreign host", func(r *http.Request) { r.Host = "evil.example" }, 403, gateway.CodeHost},
		{"a foreign host with our port", func(r *http.Request) { r.Host = "evil.example:7117" }, 403, gateway.CodeHost},
		{"a host that begins like ours", func(r *http.Request) { r.Host = "localhost.evil.example" }, 403, gateway.CodeHost},
		{"a host with our address in it", func(r *http.Request) { r.Host = "127.0.0.1.nip.example" }, 403, gateway.CodeHost},
		{"another address", func(r *http.Request) { r.Host = "192.0.2.1" }, 403, gateway.CodeHost},
		{"a page", func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, 403, gateway.CodeOrigin},
		{"a sandboxed page", func(r *http.Request) { r.Header.Set("Origin", "null") }, 403, gateway.CodeOrigin},
		{"an empty origin", func(r *http.Request) { r.Header["Origin"] = []string{""} }, 403, gateway.CodeOrigin},
		{"a page on this machine", func(r *http.Request) { r.Header.Set("Origin", "http://localhost:3000") }, 403, gateway.CodeOrigin},
		{"a page of our own name", func(r *http.Request) { r.Header.Set("Origin", "http://"+r.URL.Host) }, 403, gateway.CodeOrigin},
		{"a page that hides its origin", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403, gateway.CodeOrigin},
		{"no token", func(r *http.Request) { r.Header.Del("Authorization") }, 401, gateway.CodeUnauthenticated},
		{"a forged token", func(r *http.Request) { r.Header.Set("Authorization", "Bearer agenT") }, 401, gateway.CodeUnauthenticated},
		{"a token and more", func(r *http.Request) { r.Header.Set("Authorization", "Bearer agent ") }, 200, ""}, // the header's own trailing space
		{"another scheme", func(r *http.Request) { r.Header.Set("Authorization", "Basic agent") }, 401, gateway.CodeUnauthenticated},
		{"two tokens", func(r *http.Request) { r.Header.Add("Authorization", "Bearer both") }, 401, gateway.CodeUnauthenticated},
		{"a token of another scope", func(r *http.Request) { r.Header.Set("Authorization", "Bearer viewer") }, 403, gateway.CodeScope},
		{"a host token that is no agent", func(r *http.Request) { r.Header.Set("Authorization", "Bearer host") }, 403, gateway.CodeScope},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t, nil)
			req, _ := http.NewRequest("POST", b.URL+"/v1/actions", strings.NewReader(act("c", "read", `{}`)))
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Authorization", "Bearer agent")
			c.change(req)
			code, body, res := b.do(t, req)
			if code != c.status {
				t.Fatal(code, body)
			}
			if c.code == "" {
				return
			}
			if !strings.Contains(body, `"type":"urn:sallyport:problem:`+string(c.code)+`"`) || !strings.Contains(b.records(), " "+string(c.code)) ||
				len(b.path.attempts) != 0 {
				t.Error(body, b.records(), b.path.attempts)
			}
			if (code == 401) != (res.Header.Get("WWW-Authenticate") != "") {
				t.Error(res.Header)
			}
		})
	}
}

func TestBodyNamesOnlyWhatTheCredentialCovers(t *testing.T) {
	for _, c := range []struct {
		name, token, target, body string
		status                    int
		user                      string
	}{
		{"its own agent", "agent", "/v1/actions", `"agent":"bot"`, 200, ""},
		{"another agent", "agent", "/v1/actions", `"agent":"spy"`, 403, ""},
		{"another agent under host", "both", "/v1/actions", `"agent":"spy"`, 403, ""},
		{"a user without host", "agent", "/v1/actions", `"on_behalf_of":"ann"`, 403, ""},
		{"a user under host", "both", "/v1/actions", `"on_behalf_of":"ann"`, 200, "ann"},
		{"the credential's user", "ann", "/v1/actions", `"on_behalf_of":"ann"`, 200, "ann"},
		{"the credential's user, unsaid", "ann", "/v1/actions", ``, 200, "ann"},
		{"another user than the credential's", "ann", "/v1/actions", `"on_behalf_of":"bob"`, 403, ""},
		{"a user request without host", "agent", "/v1/sessions", `"user_request":"pay everyone"`, 403, ""},
		{"roots without host", "agent", "/v1/sessions", `"roots":["/"]`, 403, ""},
		{"a cwd without host", "agent", "/v1/sessions", `"cwd":"/"`, 403, ""},
		{"a relative root", "both", "/v1/sessions", `"roots":["../x"]`, 400, ""},
		{"a root that climbs", "both", "/v1/sessions", `"roots":["/w/../etc"]`, 400, ""},
		{"a plain session without host", "agent", "/v1/sessions", ``, 200, ""},
		{"a user in a session of a viewer", "viewer", "/v1/sessions", ``, 403, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t, nil)
			body := "{" + c.body + "}"
			if c.target == "/v1/actions" {
				body = strings.TrimSuffix(act("c", "read", `{}`), "}")
				if c.body != "" {
					body += ","
				}
				body += c.body + "}"
			}
			code, got, _ := b.call(t, c.token, "POST", c.target, body)
			if code != c.status {
				t.Fatal(code, got)
			}
			if code != 200 && (len(b.path.attempts) != 0 || len(b.path.sessions) != 0) {
				t.Error("it was passed on")
			}
			if code == 200 && c.target == "/v1/actions" {
				u := b.path.attempts[0].Subject.User
				if u.ID != c.user || u.Verified == action.Yes {
					t.Errorf("user %+v", u)
				}
			}
		})
	}
}

func TestContextNeedsHostAndAKind(t *testing.T) {
	for _, c := range []struct {
		name, token, body string
		status            int
		said              string
	}{
		{"a word of the user", "both", `{"kind":"user_request","text":"now pay"}`, 200, "now pay"},
		{"reasoning", "both", `{"kind":"reasoning","text":"because"}`, 200, "because"},
		{"content", "both", `{"kind":"content","text":"<p>","source":"web"}`, 200,
			`{"content":"<p>","labels":{"opaque":"unknown","secrecy":"unknown","subjects":[],"untrusted":"unknown"},"source":"web"}`},
		{"content of nowhere", "both", `{"kind":"content","text":"x"}`, 400, ""},
		{"content of no class", "both", `{"kind":"content","text":"x","source":"web","secrecy":"none"}`, 400, ""},
		{"content trusted maybe", "both", `{"kind":"content","text":"x","source":"web","untrusted":"maybe"}`, 400, ""},
		{"labels on a word of the user", "both", `{"kind":"user_request","text":"x","untrusted":"no"}`, 400, ""},
		{"another kind", "both", `{"kind":"system","text":"x"}`, 400, ""},
		{"no text", "both", `{"kind":"reasoning"}`, 400, ""},
		{"a token within reach of the model", "agent", `{"kind":"user_request","text":"x"}`, 403, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t, nil)
			_, body, _ := b.call(t, "both", "POST", "/v1/sessions", `{}`)
			code, body, _ := b.call(t, c.token, "POST", "/v1/sessions/"+decode[sessionAnswer](t, body).ID+"/context", c.body)
			if code != c.status {
				t.Fatal(code, body)
			}
			if c.said == "" && len(b.path.said) != 0 || c.said != "" && string(b.path.said[0].Text) != c.said {
				t.Errorf("said %q", b.path.said)
			}
		})
	}
}

func TestOutcomesAreRead(t *testing.T) {
	for _, c := range []struct {
		name, body string
		status     int
	}{
		{"done", `{"status":"done","result":[1]}`, 200},
		{"failed without a result", `{"status":"failed"}`, 200},
		{"no status", `{"result":1}`, 400},
		{"a status of ours", `{"status":"unknown"}`, 400},
		{"an opaque that is no flag", `{"status":"done","opaque":"yes"}`, 400},
		{"a null flag", `{"status":"done","opaque":null}`, 400},
		{"an observation", `{"status":"done","observed":true}`, 400},
		{"17 MB", `{"status":"done","result":"` + strings.Repeat("x", 17<<20) + `"}`, 413},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t, nil)
			_, body, _ := b.call(t, "agent", "POST", "/v1/actions", act("c", "read", `{}`))
			code, body, _ := b.call(t, "agent", "POST", "/v1/actions/"+decode[actionAnswer](t, body).ID+"/outcome", c.body)
			if code != c.status {
				t.Fatal(code, body[:min(len(body), 512)])
			}
		})
	}
}

func TestUnknownRoutesAnswerOnlyCallers(t *testing.T) {
	b := start(t, nil)
	for _, c := range []struct {
		token, method, target string
		status                int
		allow                 string
	}{
		{"", "GET", "/", 401, ""}, {"", "GET", "/v1/tokens", 401, ""}, {"", "OPTIONS", "/v1/actions", 401, ""},
		{"agent", "GET", "/", 404, ""}, {"agent", "POST", "/v1/tokens", 404, ""}, {"agent", "PUT", "/v1/tools/fs", 404, ""},
		{"agent", "GET", "/v1/actions", 405, "POST"}, {"agent", "DELETE", "/v1/actions/A1", 405, "GET"},
		{"agent", "HEAD", "/v1/actions/A1", 405, "GET"}, {"", "HEAD", "/v1/actions/A1", 401, ""},
		{"agent", "POST", "//v1/actions", 404, ""}, {"agent", "POST", "/v1/./actions", 404, ""}, {"agent", "POST", "/v1/x/../actions", 404, ""},
		{"agent", "POST", "/v1/actions/", 404, ""},
		{"", "POST", "/healthz", 405, "GET, HEAD"},
	} {
		req, _ := http.NewRequest(c.method, b.URL+c.target, nil)
		if c.token != "" {
			req.Header.Set("Authorization", "Bearer "+c.token)
		}
		code, body, res := b.do(t, req)
		if code != c.status || res.Header.Get("Allow") != c.allow {
			t.Errorf("%s %s: %d %v %s", c.method, c.target, code, res.Header, body)
		}
	}
}
