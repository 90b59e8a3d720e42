// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// standIn plays the owner by a script: the answer to each path, and what was sent there.
type standIn struct {
	mu      sync.Mutex
	answers map[string]string // by the end of the path; a number alone is a status
	sent    map[string][]string
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	key := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	s.sent[key] = append(s.sent[key], string(b))
	if r.Header.Get("Authorization") != "Bearer secret" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	answer := s.answers[key]
	if answer == "fail" || answer == "" {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	var in map[string]jsontext.Value
	if err := json.Unmarshal(b, &in); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	answer = strings.Replace(answer, "ARGS", string(in["arguments"]), 1)
	answer = strings.Replace(answer, "RESULT", string(in["result"]), 1)
	_, _ = io.WriteString(w, answer)
}

func (s *standIn) said(key string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.sent[key]...)
}

// serve starts a server over a stand-in and returns a connection to it.
func serve(t *testing.T, answers map[string]string) (*grpc.ClientConn, *standIn) {
	t.Helper()
	s := &standIn{answers: answers, sent: map[string][]string{}}
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return connect(t, newOwner(web.URL, token)), s
}

func connect(t *testing.T, o *owner) *grpc.ClientConn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := newServer(o, "envoy", slog.New(slog.DiscardHandler))
	over := make(chan struct{})
	go func() { defer close(over); _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Stop(); <-over })
	c, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func check(method, host, path string) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Principal: "spiffe://acme/billing"},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{Method: method, Scheme: "https", Host: host, Path: path,
			Headers: map[string]string{"authorization": "Bearer user-secret", "x-a": "b"}, Body: "hello", Size: 5}},
	}}
}

func TestAuthzAnswersAsTheOwnerDecides(t *testing.T) {
	for name, c := range map[string]struct {
		request *authv3.CheckRequest
		answer  string
		status  typev3.StatusCode // 0: permitted
		body    string
	}{
		"a permit":                     {check("GET", "api.example", "/a?b=c"), `{"decision":true,"context":{"evaluation_id":"e"}}`, 0, ""},
		"a denial with a hint":         {check("GET", "api.example", "/a"), `{"decision":false,"context":{"reason_user":{"en":"Not this."}}}`, 403, `{"error":"not_permitted","hint":"Not this."}`},
		"a question":                   {check("GET", "api.example", "/a"), `{"decision":false,"context":{"access_request":{"id":"ap_1"}}}`, 403, `{"error":"approval_required","approval":"ap_1"}`},
		"no answer":                    {check("GET", "api.example", "/a"), "fail", 503, "unavailable"},
		"an answer that is no object":  {check("GET", "api.example", "/a"), `[true]`, 503, "unavailable"},
		"an answer that says nothing":  {check("GET", "api.example", "/a"), `{}`, 403, "not_permitted"},
		"an answer in other letters":   {check("GET", "api.example", "/a"), `{"Decision":true}`, 403, "not_permitted"},
		"an answer that says it twice": {check("GET", "api.example", "/a"), `{"decision":false,"decision":true}`, 503, "unavailable"},
		"a request without a host":     {check("GET", "", "/a"), `{"decision":true}`, 400, "malformed"},
		"a host that is more than one": {check("GET", "a.example/b@c", "/a"), `{"decision":true}`, 400, "malformed"},
		"an empty request":             {&authv3.CheckRequest{}, `{"decision":true}`, 400, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, s := serve(t, map[string]string{"evaluation": c.answer})
			got, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), c.request)
			if err != nil {
				t.Fatal(err)
			}
			denied := got.GetDeniedResponse()
			if c.status == 0 && (got.GetOkResponse() == nil || got.GetStatus().GetCode() != 0) || c.status != 0 && (denied.GetStatus().GetCode() != c.status || got.GetStatus().GetCode() == 0 || !strings.Contains(denied.GetBody(), c.body)) {
				t.Errorf("%v", got)
			}
			for _, sent := range s.said("evaluation") {
				if strings.Contains(sent, "user-secret") || !strings.Contains(sent, `"id":"spiffe://acme/billing"`) || !strings.Contains(sent, `"authorization":"present"`) || !strings.Contains(sent, `"text":"hello"`) {
					t.Errorf("asked: %s", sent)
				}
			}
		})
	}
}

// talk plays Envoy: it sends each message and returns the answer to the last.
func talk(t *testing.T, conn *grpc.ClientConn, messages ...*procv3.ProcessingRequest) (*procv3.ProcessingResponse, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stream, err := procv3.NewExternalProcessorClient(conn).Process(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var last *procv3.ProcessingResponse
	for _, m := range messages {
		if err := stream.Send(m); err != nil {
			return last, err
		}
		if last, err = stream.Recv(); err != nil {
			return nil, err
		}
		if last.GetImmediateResponse() != nil {
			break
		}
	}
	_ = stream.CloseSend()
	_, _ = stream.Recv() // its end: what had to be reported is
	return last, nil
}

func headers(end bool, pairs ...string) *procv3.HttpHeaders {
	h := &procv3.HttpHeaders{EndOfStream: end, Headers: &corev3.HeaderMap{}}
	for i := 0; i+1 < len(pairs); i += 2 {
		h.Headers.Headers = append(h.Headers.Headers, &corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])})
	}
	return h
}

var (
	modes = &procv3.ProtocolConfiguration{RequestBodyMode: filterv3.ProcessingMode_BUFFERED, ResponseBodyMode: filterv3.ProcessingMode_BUFFERED}
	get   = &procv3.ProcessingRequest{ProtocolConfig: modes, Request: &procv3.ProcessingRequest_RequestHeaders{
		RequestHeaders: headers(true, ":method", "GET", ":scheme", "http", ":authority", "api.example", ":path", "/a", "cookie", "user-secret")}}
	post = &procv3.ProcessingRequest{ProtocolConfig: modes, Request: &procv3.ProcessingRequest_RequestHeaders{
		RequestHeaders: headers(false, ":method", "POST", ":scheme", "http", ":authority", "api.example", ":path", "/a")}}
	blind = &procv3.ProcessingRequest{Request: post.Request}
	body  = &procv3.ProcessingRequest{Request: &procv3.ProcessingRequest_RequestBody{RequestBody: &procv3.HttpBody{Body: []byte("give"), EndOfStream: true}}}
	piece = &procv3.ProcessingRequest{Request: &procv3.ProcessingRequest_RequestBody{RequestBody: &procv3.HttpBody{Body: []byte("gi")}}}
	ok    = &procv3.ProcessingRequest{Request: &procv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: headers(false, ":status", "200", "content-type", "text/plain")}}
	taken = &procv3.ProcessingRequest{Request: &procv3.ProcessingRequest_ResponseBody{ResponseBody: &procv3.HttpBody{Body: []byte("the key"), EndOfStream: true}}}
)

const allowed = `{"id":"A1","decision":{"effect":"allow","hint":""},"arguments":ARGS}`

func TestProcPassesBothGates(t *testing.T) {
	release := `{"status":"released","decision":{"effect":"allow","hint":""},"result":RESULT}`
	for name, c := range map[string]struct {
		before, after string
		messages      []*procv3.ProcessingRequest
		status        int    // of an immediate response; 0: it passes, -1: the stream fails
		body          string // of the response, or of the immediate one
		reported      string // in the outcome; "" for none
	}{
		"a request that is allowed":            {allowed, release, []*procv3.ProcessingRequest{get, ok, taken}, 0, "", `"text":"the key"`},
		"a request with a body":                {allowed, release, []*procv3.ProcessingRequest{post, body, ok, taken}, 0, "", `"text":"the key"`},
		"a response that is redacted":          {allowed, `{"status":"released","decision":{"effect":"allow"},"result":{"status":"200","headers":{"content-type":"text/plain"},"text":"the ***"}}`, []*procv3.ProcessingRequest{get, ok, taken}, 0, "the ***", `"text":"the key"`},
		"a response with other header fields":  {allowed, `{"status":"released","decision":{"effect":"allow"},"result":{"status":"200","headers":{},"text":"the ***"}}`, []*procv3.ProcessingRequest{get, ok, taken}, 502, "withheld", `"text":"the key"`},
		"a response that is withheld":          {allowed, `{"status":"withheld","decision":{"effect":"deny","hint":"Executed; withheld."}}`, []*procv3.ProcessingRequest{get, ok, taken}, 502, "Executed; withheld.", `"text":"the key"`},
		"a response that cannot be recorded":   {allowed, "fail", []*procv3.ProcessingRequest{get, ok, taken}, 502, "withheld", `"text":"the key"`},
		"a denial":                             {`{"id":"A1","decision":{"effect":"deny","hint":"Not this."}}`, release, []*procv3.ProcessingRequest{get}, 403, "Not this.", ""},
		"a question":                           {`{"id":"A1","decision":{"effect":"ask","hint":"Ask."},"approval":{"id":"ap_1"}}`, release, []*procv3.ProcessingRequest{get}, 403, "ap_1", ""},
		"an effect that nobody knows":          {`{"id":"A1","decision":{"effect":"Allow"},"arguments":ARGS}`, release, []*procv3.ProcessingRequest{get}, 403, "not_permitted", ""},
		"no decision":                          {"fail", release, []*procv3.ProcessingRequest{get}, 503, "unavailable", ""},
		"arguments that were rewritten":        {`{"id":"A1","decision":{"effect":"allow"},"arguments":{"method":"GET"}}`, release, []*procv3.ProcessingRequest{get}, 403, "other contents", `"status":"failed"`},
		"a body that is not shown":             {allowed, release, []*procv3.ProcessingRequest{blind}, 0, "", `"status":"failed"`},
		"a body in pieces":                     {allowed, release, []*procv3.ProcessingRequest{post, piece}, -1, "", ""},
		"a body after the decision":            {allowed, release, []*procv3.ProcessingRequest{get, body}, -1, "", `"status":"failed"`},
		"a response without a request":         {allowed, release, []*procv3.ProcessingRequest{ok}, -1, "", ""},
		"a response before its request's body": {allowed, release, []*procv3.ProcessingRequest{post, ok}, -1, "", ""},
		"a request that is left":               {allowed, release, []*procv3.ProcessingRequest{get}, 0, "", `"status":"failed"`},
		"two responses":                        {allowed, release, []*procv3.ProcessingRequest{get, ok, taken, taken}, -1, "", `"text":"the key"`},
	} {
		t.Run(name, func(t *testing.T) {
			conn, s := serve(t, map[string]string{"actions": c.before, "outcome": c.after})
			got, err := talk(t, conn, c.messages...)
			switch now := got.GetImmediateResponse(); {
			case c.status == -1:
				if err == nil {
					t.Errorf("%v", got)
				}
			case err != nil:
				t.Fatal(err)
			case c.status != 0:
				if int(now.GetStatus().GetCode()) != c.status || !strings.Contains(string(now.GetBody()), c.body) {
					t.Errorf("%v", got)
				}
			case now != nil || string(got.GetResponseBody().GetResponse().GetBodyMutation().GetBody()) != c.body:
				t.Errorf("%v", got)
			}
			reported := strings.Join(s.said("outcome"), "\n")
			if c.reported == "" && reported != "" || !strings.Contains(reported, c.reported) || strings.Count(reported, "\n") > 1 {
				t.Errorf("reported: %s", reported)
			}
			for _, sent := range s.said("actions") {
				if strings.Contains(sent, "user-secret") {
					t.Errorf("asked: %s", sent)
				}
			}
		})
	}
}

func TestAddressNamesOneHost(t *testing.T) {
	for in, want := range map[[3]string]string{
		{"https", "a.example", "/p?q"}: "https://a.example/p?q", {"", "a:80", "*"}: "http://a:80*", {"http", "", "/"}: "", {"http", "a", ""}: "",
		{"http", "a@b", "/"}: "", {"http", "a/b", "/"}: "", {"http", "a", "b"}: "",
	} {
		if got, _ := address(in[0], in[1], in[2]); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestRunRefusesToListenOrTalkInTheOpen(t *testing.T) {
	for _, args := range [][]string{{}, {"--token-file", "x", "more"}, {"--token-file", "x", "--listen", "0.0.0.0:1"}, {"--token-file", "x", "--listen", "nowhere"},
		{"--token-file", "x", "--gateway", "http://10.0.0.1:7117"}, {"--token-file", "x", "--gateway", "ftp://127.0.0.1"}} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if err := run(ctx, args); err == nil || ctx.Err() != nil {
			t.Errorf("%q starts", args)
		}
		cancel()
	}
}
