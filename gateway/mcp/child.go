// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// baseEnv is what a server process gets of our environment. Everything else, tokens above all, it gets
// only where the user lists it.
var baseEnv = []string{"PATH", "HOME", "LANG", "TMPDIR"}

// Environ returns the environment of a server process: the base names, and what list names, each entry
// either NAME (taken from ours) or NAME=value. An entry without a name is an error.
func Environ(list []string) ([]string, error) {
	var out []string
	for _, name := range baseEnv {
		if v, ok := os.LookupEnv(name); ok {
			out = append(out, name+"="+v)
		}
	}
	for _, e := range list {
		name, _, given := strings.Cut(e, "=")
		if name == "" {
			return nil, fmt.Errorf("mcp: environment %q: no name", e)
		}
		if !given {
			v, ok := os.LookupEnv(name)
			if !ok {
				continue
			}
			e = name + "=" + v
		}
		out = append(out, e)
	}
	return out, nil
}

// Child is a server process.
type Child struct {
	In  io.WriteCloser
	Out io.ReadCloser

	cmd *exec.Cmd
}

// Start starts a server process with exactly env as its environment, in a process group of its own where the
// system has such: a launcher that is killed must not leave its server behind. Its stderr goes to stderr,
// which is the client's own log. When ctx ends the group is killed.
func Start(ctx context.Context, command, env []string, dir string, stderr io.Writer) (*Child, error) {
	if len(command) == 0 {
		return nil, errors.New("mcp: no command for the server")
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env, cmd.Dir, cmd.Stderr = env, dir, stderr
	if cmd.Env == nil {
		cmd.Env = []string{} // nil would mean our own
	}
	cmd.WaitDelay = 2 * time.Second
	grouped(cmd)
	cmd.Cancel = func() error { return killGroup(cmd.Process) }
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("mcp: server: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("mcp: server: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("mcp: server %q: %w", command[0], err)
	}
	return &Child{In: in, Out: out, cmd: cmd}, nil
}

// Kill kills the process and all of its group. Wait has still to be called, and not to have returned.
func (c *Child) Kill() { _ = killGroup(c.cmd.Process) }

// Wait waits for the end of the process, for at most grace after its input was closed, then kills its group.
// It returns its exit code; a process ended by a signal has 128 and the signal's number.
func (c *Child) Wait(grace time.Duration) int {
	_ = c.In.Close()
	t := time.AfterFunc(grace, c.Kill)
	defer t.Stop()
	err := c.cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		if n := signal(exit.ProcessState); n > 0 {
			return 128 + n
		}
		return exit.ExitCode()
	}
	return 1
}

// Roots returns the folders that a server's own arguments name, with links resolved, and those arguments as
// they stand in command: absolute paths, or paths relative to dir that begin with a dot, of directories that
// exist, alone or after the "=" of an option. They bound what the session's user meant the server to work
// on. The root of the file system is never one.
func Roots(command []string, dir string) (folders, args []string) {
	for i, a := range command {
		p := a
		if _, v, ok := strings.Cut(a, "="); ok && strings.HasPrefix(a, "-") {
			p = v
		}
		if strings.HasPrefix(p, ".") && filepath.IsAbs(dir) {
			p = filepath.Join(dir, p)
		}
		if i == 0 || !filepath.IsAbs(p) {
			continue
		}
		p, err := filepath.EvalSymlinks(p)
		if err != nil || p == string(filepath.Separator) {
			continue
		}
		if st, err := os.Stat(p); err != nil || !st.IsDir() {
			continue
		}
		if args = append(args, a); !slices.Contains(folders, p) {
			folders = append(folders, p)
		}
	}
	return folders, args
}
