// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gateway/hook"
)

const (
	pre  = `{"session_id":"s","hook_event_name":"PreToolUse","tool_name":"Bash","tool_input":{"command":"ls"},"tool_use_id":"1"}`
	post = `{"session_id":"s","hook_event_name":"PostToolUse","tool_name":"Bash","tool_input":{"command":"ls"},"tool_use_id":"1","tool_response":{"stdout":"secret things","code":7}}`
	stop = `{"session_id":"s","hook_event_name":"Stop"}`
)

// owner answers on a socket of its own.
func owner(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sp") // short, because the kernel bounds a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: answer}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return path
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// endless is an input that never ends and never stops.
type endless struct{ stop chan struct{} }

func (e endless) Read([]byte) (int, error) { <-e.stop; return 0, io.EOF }

// panics is an input that takes the reader down.
type panics struct{}

func (panics) Read([]byte) (int, error) { panic("taken down") }

func TestEveryFailureBlocks(t *testing.T) {
	never := make(chan struct{})
	defer close(never)
	good := owner(t, says(200, "{}"))
	for name, c := range map[string]struct {
		shim Shim
		in   io.Reader
		says string
	}{
		"no owner, and none may be started":     {Shim{Socket: "/nonexistent/s"}, strings.NewReader(pre), "no owner runs"},
		"no owner, and it cannot be started":    {Shim{Socket: "/nonexistent/s", Start: func(context.Context) error { return errors.New("no room") }}, strings.NewReader(pre), "cannot be started: no room"},
		"started, and still not there":          {Shim{Socket: "/nonexistent/s", Start: func(context.Context) error { return nil }}, strings.NewReader(pre), "cannot be reached"},
		"a drill":                               {Shim{Socket: good, Getenv: func(string) string { return "1" }}, strings.NewReader(pre), "drill"},
		"a refusal":                             {Shim{Socket: owner(t, says(403, `{"title":"Denied","detail":"because"}`))}, strings.NewReader(pre), "denied: because"},
		"a refusal without words":               {Shim{Socket: owner(t, says(500, ``))}, strings.NewReader(pre), "500"},
		"an answer that is no JSON":             {Shim{Socket: owner(t, says(200, `ok`))}, strings.NewReader(pre), "cannot be read"},
		"an answer that is a list":              {Shim{Socket: owner(t, says(200, `[]`))}, strings.NewReader(pre), "cannot be read"},
		"an empty answer":                       {Shim{Socket: owner(t, says(200, ``))}, strings.NewReader(pre), "cannot be read"},
		"an answer with a name twice":           {Shim{Socket: owner(t, says(200, `{"a":1,"a":2}`))}, strings.NewReader(pre), "cannot be read"},
		"an owner that hangs up":                {Shim{Socket: owner(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })}, strings.NewReader(pre), "does not answer"},
		"an owner that never answers":           {Shim{Socket: owner(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), Timeout: 50 * time.Millisecond}, strings.NewReader(pre), ""},
		"an input that never ends":              {Shim{Socket: good, Timeout: 50 * time.Millisecond}, endless{never}, "too long"},
		"an input that is too large":            {Shim{Socket: good}, bytes.NewReader(make([]byte, hook.MaxBytes+1)), "more than"},
		"an input that breaks":                  {Shim{Socket: good}, io.MultiReader(strings.NewReader(pre), broken{}), "cannot be read"},
		"a panic":                               {Shim{Socket: good}, panics{}, "taken down"},
		"a start that panics":                   {Shim{Socket: "/nonexistent/s", Start: func(context.Context) error { panic("gone") }}, strings.NewReader(pre), "gone"},
		"nothing on the input, refused":         {Shim{Socket: owner(t, says(400, ``))}, strings.NewReader(""), "400"},
		"an owner that answers without reading": {Shim{Socket: owner(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(413) })}, strings.NewReader(pre + strings.Repeat(" ", 1<<20)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			s := c.shim
			s.Host, s.In, s.Out, s.Err = hook.ClaudeCode, c.in, &out, &errs
			if s.Getenv == nil {
				s.Getenv = func(string) string { return "" }
			}
			if code := s.Run(t.Context()); code != 2 || out.Len() != 0 {
				t.Errorf("exit code %d, answer %q", code, out.String())
			}
			for _, want := range []string{c.says, "sallyport doctor", "sallyport hooks uninstall claude-code"} {
				if !strings.Contains(errs.String(), want) {
					t.Errorf("message %q lacks %q", errs.String(), want)
				}
			}
		})
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("broken") }

func TestAFailureAfterTheCallReplacesTheResult(t *testing.T) {
	for _, h := range []hook.Host{hook.ClaudeCode, hook.Codex} {
		var out, errs bytes.Buffer
		s := Shim{Host: h, Socket: "/nonexistent/s", In: strings.NewReader(post), Out: &out, Err: &errs}
		if code := s.Run(t.Context()); code != 0 || strings.Contains(out.String(), "secret") || !strings.Contains(out.String(), `"decision":"block"`) {
			t.Errorf("%s: exit code %d, answer %s", h, code, out.String())
		}
	}
}

// A host that is told to block a Stop would keep its agent running for ever.
func TestAFailureWhereNothingCanBeBlockedLetsTheHostGoOn(t *testing.T) {
	var out, errs bytes.Buffer
	s := Shim{Host: hook.ClaudeCode, Socket: "/nonexistent/s", In: strings.NewReader(stop), Out: &out, Err: &errs}
	if code := s.Run(t.Context()); code != 0 || !strings.Contains(out.String(), "systemMessage") || strings.Contains(out.String(), "decision") {
		t.Errorf("exit code %d, answer %s", code, out.String())
	}
}

func TestAnswersAreCarriedAsTheyAre(t *testing.T) {
	var path, media, project, body string
	socket := owner(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		path, media, project, body = r.URL.Path, r.Header.Get("Content-Type"), r.Header.Get(hook.ProjectHeader), string(b)
		fmt.Fprint(w, `{"decision":"deny","reason":"ünd"}`)
	})
	var out bytes.Buffer
	s := Shim{Host: hook.Gemini, Socket: socket, In: strings.NewReader(pre), Out: &out, Err: io.Discard, Getenv: func(name string) string {
		return map[string]string{"GEMINI_PROJECT_DIR": "/w/my app\n", "CLAUDE_PROJECT_DIR": "/elsewhere"}[name]
	}}
	if code := s.Run(t.Context()); code != 0 || out.String() != "{\"decision\":\"deny\",\"reason\":\"ünd\"}\n" {
		t.Errorf("exit code %d, answer %s", code, out.String())
	}
	if path != "/agents/v1/hooks/gemini" || media != "application/json" || project != "%2Fw%2Fmy%20app%0A" || body != pre {
		t.Errorf("%q %q %q %q", path, media, project, body)
	}
	out.Reset()
	s.Host, s.In = "netscape", strings.NewReader(pre)
	if code := s.Run(t.Context()); code != 2 || out.Len() != 0 {
		t.Errorf("an unknown host: exit code %d, answer %s", code, out.String())
	}
}

func TestStartOwnerGivesUp(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	data := filepath.Join(t.TempDir(), "data")
	if err := StartOwner(ctx, "/nonexistent/program", data); err == nil || !strings.Contains(err.Error(), "cannot be run") {
		t.Errorf("a program that is not there: %v", err)
	}
	if err := StartOwner(ctx, "/bin/true", data); err == nil || !strings.Contains(err.Error(), "owner.log") {
		t.Errorf("a program that does nothing: %v", err)
	}
	if info, err := os.Stat(data); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the data directory: %v, %v", info, err)
	}
}
