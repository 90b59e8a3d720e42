// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

func TestProblemsAreAClosedList(t *testing.T) {
	seen := map[Code]bool{}
	for _, p := range Problems() {
		if seen[p.Code] || p.Status < 400 || p.Status > 599 || p.Title == "" || !strings.HasSuffix(p.Cause, ".") || !strings.HasSuffix(p.Remedy, ".") {
			t.Errorf("%+v", p)
		}
		seen[p.Code] = true
		if q := Refuse(p.Code, "x"); q.Code != p.Code || q.Detail != "x" {
			t.Errorf("%+v", q)
		}
	}
	Problems()[0].Title = "changed"
	if Problems()[0].Title == "changed" {
		t.Error("the registry can be changed from outside")
	}
	if p := Refuse("made-up", "detail"); p.Code != CodeInternal || p.Detail != "" {
		t.Errorf("%+v", p)
	}
}

func TestProblemsOnTheWire(t *testing.T) {
	for _, c := range []struct {
		name   string
		err    error
		status int
		retry  string
		body   string
	}{
		{"with a time", Refuse(CodeRate, "more than 5").After(1500 * time.Millisecond), 429, "2",
			`{"type":"urn:sallyport:problem:rate","title":"Too many requests","status":429,"detail":"more than 5","code":"rate","remedy":"Wait for the seconds in Retry-After."}`},
		{"wrapped", fmt.Errorf("door: %w", Refuse(CodeNotFound, "")), 404, "", ""},
		{"of strict reading", fmt.Errorf("x: %w", action.Check([]byte(`{"a":1,"A":2}`), action.Limits{})), 400, "", ""},
		{"two at once", fmt.Errorf("%w: %w", enforce.ErrUnrecorded, enforce.ErrNotFound), 404, "", ""},
		{"unrecorded", enforce.ErrUnrecorded, 503, "5", ""},
		{"nil", nil, 500, "", ""},
	} {
		w := httptest.NewRecorder()
		WriteProblem(w, c.err)
		if w.Code != c.status || w.Header().Get("Retry-After") != c.retry || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %v %s", c.name, w.Code, w.Header(), w.Body)
		}
		if c.body != "" && strings.TrimSpace(w.Body.String()) != c.body {
			t.Errorf("%s: %s", c.name, w.Body)
		}
	}
}

func TestDetailsAreShortAndReadable(t *testing.T) {
	p := Refuse(CodeMalformed, "%s", strings.Repeat("é", 1000))
	if len(p.Detail) > 512 || !utf8.ValidString(p.Detail) {
		t.Errorf("%d bytes", len(p.Detail))
	}
	w := httptest.NewRecorder()
	WriteProblem(w, Refuse(CodeMalformed, "bad \xff byte"))
	if w.Code != 400 || w.Body.Len() == 0 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
