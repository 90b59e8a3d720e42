// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// lineClient is an MCP client that does as little as possible per call, so that what is measured is what
// stands between it and the server.
type lineClient struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	n   int
}

type rpcReply struct {
	ID     jsontext.Value `json:"id"`
	Error  jsontext.Value `json:"error"`
	Result struct {
		IsError bool           `json:"isError"`
		Content jsontext.Value `json:"content"`
	} `json:"result"`
}

// startClient starts command and shakes hands with the server behind it.
func startClient(ctx context.Context, stderr io.Writer, command ...string) (*lineClient, error) {
	c := &lineClient{cmd: exec.CommandContext(ctx, command[0], command[1:]...)}
	c.cmd.Stderr = stderr
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReaderSize(out, 64<<10)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	_, err = c.request("initialize", `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}`)
	if err == nil {
		_, err = io.WriteString(c.in, `{"jsonrpc":"2.0","method":"notifications/initialized"}`+"\n")
	}
	if err == nil {
		_, err = c.request("tools/list", `{}`)
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// request sends one request and waits for its answer; notifications in between are dropped.
func (c *lineClient) request(method, params string) (rpcReply, error) {
	c.n++
	if _, err := fmt.Fprintf(c.in, `{"jsonrpc":"2.0","id":%d,"method":"%s","params":%s}`+"\n", c.n, method, params); err != nil {
		return rpcReply{}, fmt.Errorf("%s: %w", method, err)
	}
	id := fmt.Appendf(nil, "%d", c.n)
	for {
		line, err := c.out.ReadBytes('\n')
		if err != nil {
			return rpcReply{}, fmt.Errorf("%s: %w", method, err)
		}
		var r rpcReply
		if err := json.Unmarshal(line, &r); err != nil {
			return r, fmt.Errorf("%s: %w", method, err)
		}
		if bytes.Equal(r.ID, id) {
			if r.Error != nil {
				return r, fmt.Errorf("%s: %s", method, r.Error)
			}
			return r, nil
		}
	}
}

// call makes one tool call that must succeed and returns how long it took.
func (c *lineClient) call(params string) (time.Duration, error) {
	from := time.Now()
	r, err := c.request("tools/call", params)
	took := time.Since(from)
	if err == nil && r.Result.IsError {
		err = fmt.Errorf("tools/call: the call was stopped: %s", r.Result.Content)
	}
	return took, err
}

// close lets the server end. Its exit code says nothing about the calls that were answered.
func (c *lineClient) close() error {
	err := c.in.Close()
	_ = c.cmd.Wait()
	return err
}

// spread are quantiles in microseconds.
type spread struct {
	P50 int64 `json:"p50"`
	P95 int64 `json:"p95"`
	P99 int64 `json:"p99"`
}

func spreadOf(d []time.Duration) spread {
	if len(d) == 0 {
		return spread{}
	}
	d = slices.Clone(d)
	slices.Sort(d)
	at := func(percent int) int64 { return d[min(len(d)*percent/100, len(d)-1)].Microseconds() }
	return spread{at(50), at(95), at(99)}
}

func (s spread) minus(t spread) spread { return spread{s.P50 - t.P50, s.P95 - t.P95, s.P99 - t.P99} }
