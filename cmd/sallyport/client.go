// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/gateway/hook/shim"
	"github.com/sallyport/sallyport/gateway/mcp"
)

// client talks to the owner of a data directory over its socket.
type client struct {
	data string
	http *http.Client
}

// errNoOwner means that nobody listens on the socket.
var errNoOwner = errors.New("no owner runs")

func absolute(path string) (string, error) {
	p, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("path %q: %w", path, err)
	}
	return p, nil
}

// owner returns a client of the running owner; with start it starts one if none runs.
func (a *app) owner(ctx context.Context, start bool) (*client, error) {
	cfg, _, err := a.load()
	if err != nil {
		return nil, err
	}
	c := newClient(cfg.Data)
	err = c.alive(ctx)
	if err == nil {
		return c, nil
	}
	if !start {
		return nil, hinted{fmt.Errorf("data directory %q: %w", cfg.Data, errNoOwner), `start one with "sallyport up"`}
	}
	return c, a.startOwner(ctx, c)
}

func newClient(data string) *client {
	c := &client{data: data}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
	}}
	return c
}

func (c *client) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", sallyport.SocketPath(c.data))
}

func (c *client) alive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the owner is not ready (status %d)", resp.StatusCode)
	}
	return nil
}

// ownerEnvironment is what an owner that we start may see of our environment. SALLYPORT_* stays behind:
// the policy is the owner's configuration, not that of whoever happens to start it.
var ownerEnvironment = []string{"HOME", "PATH", "USER", "LOGNAME", "LANG", "TMPDIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME"}

// startOwner starts an owner in the background and waits until it answers. Any number of callers may
// race: the lock on the data directory lets one of them win, and all of them find it.
func (a *app) startOwner(ctx context.Context, c *client) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	logPath := sallyport.LogPath(c.data)
	if err := os.MkdirAll(filepath.Dir(logPath), 0o700); err != nil {
		return err
	}
	_ = os.Chmod(c.data, 0o700)
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(exe, "up", "--background", "--data", c.data)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); slices.Contains(ownerEnvironment, name) {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the owner: %w", err)
	}
	go func() { _ = cmd.Wait() }()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := c.alive(ctx)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return hinted{fmt.Errorf("the owner did not start: %w", err), "see " + logPath}
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// problem is an RFC 9457 answer.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// call sends a request to the people's side of the socket and reads the answer into out, which may be
// nil. Unknown members of the answer are ignored: the API may grow.
func (c *client) call(ctx context.Context, method, path string, in, out any, header ...string) error {
	var body io.Reader
	switch raw, is := in.([]byte); {
	case is:
		body = bytes.NewReader(raw) // with a Content-Type in header
	case in != nil:
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("owner: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("owner: %w", err)
	}
	if resp.StatusCode >= 300 {
		var p problem
		if json.Unmarshal(b, &p) != nil || p.Title == "" {
			return fmt.Errorf("owner: status %d", resp.StatusCode)
		}
		return fmt.Errorf("%s: %s", p.Title, p.Detail)
	}
	if out == nil || len(b) == 0 {
		return nil
	}
	if raw, is := out.(*[]byte); is {
		*raw = b
		return nil
	}
	return json.Unmarshal(b, out)
}

// list reads all pages of a list of the people's API, at most most items (0 means all).
func list[T any](ctx context.Context, c *client, path string, query url.Values, most int) ([]T, error) {
	out := []T{}
	if query == nil {
		query = url.Values{}
	}
	query.Set("limit", "200")
	for {
		var page struct {
			Items []T    `json:"items"`
			Next  string `json:"next"`
		}
		if err := c.call(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		out = append(out, page.Items...)
		if page.Next == "" || len(page.Items) == 0 || most > 0 && len(out) >= most {
			break
		}
		query.Set("cursor", page.Next)
	}
	if most > 0 && len(out) > most {
		out = out[:most]
	}
	return out, nil
}

// relay opens a connection that carries raw messages to the owner's gate, under the credential of a header if there is
// one. Without c this is behind walls, and the supervisor carries them.
func relay(ctx context.Context, c *client, credential http.Header) (io.ReadWriteCloser, error) {
	var conn net.Conn
	var err error
	if c == nil {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "tcp", shim.Door)
	} else {
		conn, err = c.dial(ctx)
	}
	if err != nil {
		return nil, err
	}
	return mcp.DialRelay(conn, credential)
}
