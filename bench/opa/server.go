// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	oparuntime "github.com/open-policy-agent/opa/v1/runtime"
)

// serveCommand makes this program OPA's server: "opa serve FILE". It prints its address.
const serveCommand = "serve"

func serve(ctx context.Context, file string, out io.Writer) error {
	params := oparuntime.NewParams()
	params.Addrs, params.Paths, params.Output = &[]string{"127.0.0.1:0"}, []string{file}, io.Discard
	params.Logging = oparuntime.LoggingConfig{Level: "error"}
	rt, err := oparuntime.NewRuntime(ctx, params)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- rt.Serve(ctx) }()
	for {
		if addrs := rt.Addrs(); len(addrs) > 0 {
			fmt.Fprintln(out, addrs[0])
			return <-done
		}
		select {
		case err := <-done:
			return errors.Join(errors.New("the server ended"), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// process is such a server.
type process struct {
	cmd *exec.Cmd
	dir string
	url string
}

func start(ctx context.Context, source string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{}
	if p.dir, err = os.MkdirTemp("", "opa-"); err != nil {
		return nil, err
	}
	file := filepath.Join(p.dir, "bench.rego")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		return nil, errors.Join(err, os.RemoveAll(p.dir))
	}
	p.cmd = exec.CommandContext(ctx, self, serveCommand, file)
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(p.dir))
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the server says no address: %w", err), p.close())
	}
	p.url = "http://" + strings.TrimSpace(addr)
	return p, nil
}

// spent is the server's processor time by Linux's /proc.
func (p *process) spent() time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	// Behind the name, which stands in parentheses, user and system time are the fields 11 and 12.
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * time.Second / 100 // USER_HZ, 100 on every platform of Go's
}

func (p *process) close() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	return errors.Join(err, os.RemoveAll(p.dir))
}
