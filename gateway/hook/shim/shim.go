// SPDX-License-Identifier: Apache-2.0

// Package shim is the process that a host runs as its hook: it carries one event to the owner and the
// owner's answer back.
//
// # Failure model
//
// Every error, panic, timeout and unreadable input ends in the host's block form. Exit code 2 is that
// form for every host; a result that is already there is replaced in the host's dialect. Nothing in the
// environment can make an answer more permissive.
package shim

import (
	"bufio"
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
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway/hook"
)

// DefaultTimeout is how long a hook takes at most; it is shorter than what an installed hook may take,
// because most hosts let the call run when their own limit is reached.
const DefaultTimeout = 25 * time.Second

// The exit codes of hooks.
const (
	exitAnswered = 0
	exitBlocked  = 2
)

// DrillVariable makes a hook behave as if the owner were gone and could not be started. It can only block.
const DrillVariable = "SALLYPORT_HOOK_DRILL"

// Door is where programs behind walls find the doors of the owner, which their supervisor serves.
const Door = "127.0.0.1:7117"

// Shim is one run of a hook.
type Shim struct {
	Host    hook.Host
	Data    string                          // the owner's data directory
	Socket  string                          // "" means run/sallyport.sock below Data
	Inside  func() bool                     // whether this process is confined, so that the owner is at Door; nil: never
	Start   func(ctx context.Context) error // starts an owner and waits for it; nil: never
	Timeout time.Duration                   // 0 means DefaultTimeout
	Getenv  func(string) string             // nil means os.Getenv

	In       io.Reader
	Out, Err io.Writer
}

// Run carries the event on In and returns the exit code. It returns in time also where reading or writing
// never ends, and leaves those goroutines to the end of the process.
func (s *Shim) Run(ctx context.Context) (code int) {
	ctx, cancel := context.WithTimeout(ctx, or(s.Timeout, DefaultTimeout))
	defer cancel()
	done := make(chan result, 1)
	var in readAhead
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- result{err: fmt.Errorf("a fault in the hook: %v", p)}
			}
		}()
		out, err := s.carry(ctx, &in)
		done <- result{out, err}
	}()
	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
		r.err = errors.New("it took too long")
	}
	if r.err != nil {
		return s.block(in.body(), r.err)
	}
	if _, err := s.Out.Write(append(r.out, '\n')); err != nil {
		return exitBlocked
	}
	return exitAnswered
}

type result struct {
	out []byte
	err error
}

// carry returns the owner's answer.
func (s *Shim) carry(ctx context.Context, in *readAhead) ([]byte, error) {
	if !s.Host.Known() {
		return nil, fmt.Errorf("%q is not a host", s.Host)
	}
	body, err := io.ReadAll(io.LimitReader(s.In, hook.MaxBytes+1))
	if err != nil {
		return nil, errors.New("the event cannot be read")
	}
	if len(body) > hook.MaxBytes {
		return nil, fmt.Errorf("the event holds more than %d bytes", hook.MaxBytes)
	}
	in.set(body)
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if t, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(t)
	}
	return s.ask(conn, body)
}

func (s *Shim) getenv(name string) string {
	if s.Getenv != nil {
		return s.Getenv(name)
	}
	return os.Getenv(name)
}

func (s *Shim) dial(ctx context.Context) (net.Conn, error) {
	if s.getenv(DrillVariable) != "" {
		return nil, errors.New("this is a drill without an owner")
	}
	var d net.Dialer
	if s.Inside != nil && s.Inside() {
		conn, err := d.DialContext(ctx, "tcp", Door)
		if err != nil {
			return nil, errors.New("the supervisor of this confined program does not answer")
		}
		return conn, nil
	}
	socket := s.Socket
	if socket == "" {
		socket = filepath.Join(s.Data, "run", "sallyport.sock")
	}
	conn, err := d.DialContext(ctx, "unix", socket)
	if err == nil {
		return conn, nil
	}
	if s.Start == nil {
		return nil, errors.New("no owner runs")
	}
	if err := s.Start(ctx); err != nil {
		return nil, fmt.Errorf("the owner cannot be started: %w", err)
	}
	if conn, err = d.DialContext(ctx, "unix", socket); err != nil {
		return nil, errors.New("the owner cannot be reached")
	}
	return conn, nil
}

// projectVariables tell the project's folder: hosts set them for their hooks, and the agent cannot.
var projectVariables = map[hook.Host]string{hook.ClaudeCode: "CLAUDE_PROJECT_DIR", hook.Gemini: "GEMINI_PROJECT_DIR"}

func (s *Shim) ask(conn net.Conn, body []byte) ([]byte, error) {
	prefix := "/agents"
	if _, tcp := conn.(*net.TCPConn); tcp {
		prefix = ""
	}
	req, err := http.NewRequest(http.MethodPost, "http://localhost"+prefix+hook.Path(s.Host), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if v := projectVariables[s.Host]; v != "" {
		if dir := s.getenv(v); dir != "" {
			req.Header.Set(hook.ProjectHeader, hook.Escape(filepath.Clean(dir)))
		}
	}
	// The owner may answer before it has read everything: a write that fails then is no error of its own.
	werr := req.Write(conn)
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return nil, errors.New("the owner does not answer")
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 2*hook.MaxBytes))
	switch {
	case err != nil:
		return nil, errors.New("the owner's answer breaks off")
	case resp.StatusCode != http.StatusOK:
		return nil, refusal(resp.Status, answer)
	case werr != nil:
		return nil, errors.New("the owner did not take the whole event")
	}
	answer = bytes.TrimSpace(answer)
	if action.Check(answer, action.Limits{Bytes: 2 * hook.MaxBytes, Depth: 80}) != nil || answer[0] != '{' {
		return nil, errors.New("the owner's answer cannot be read")
	}
	return answer, nil
}

// refusal turns an RFC 9457 answer into an error.
func refusal(status string, body []byte) error {
	var p struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
	}
	if json.Unmarshal(body, &p) != nil || p.Title == "" {
		return fmt.Errorf("the owner answers %s", status)
	}
	return errors.New(strings.TrimSuffix(strings.ToLower(p.Title[:1])+p.Title[1:]+": "+p.Detail, ": "))
}

// block answers a failure. Only events that were read and can stop nothing, or whose result can still be
// replaced, are answered in JSON.
func (s *Shim) block(body []byte, err error) int {
	message := hook.Blocked(s.Host, err.Error())
	fmt.Fprintln(s.Err, message)
	if !s.Host.Known() || body == nil {
		return exitBlocked
	}
	ev, rerr := hook.Read(s.Host, body)
	if rerr != nil || ev.Kind.Gates() || ev.Kind == hook.KindPost && !ev.Replaces() {
		return exitBlocked
	}
	if _, err := s.Out.Write(append(ev.Block(message), '\n')); err != nil {
		return exitBlocked
	}
	return exitAnswered
}

func or(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}
