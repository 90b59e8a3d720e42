// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/gateway/mcp"
	"github.com/sallyport/sallyport/internal/confine"
)

// mcpFlags are what the command line says of a server.
type mcpFlags struct {
	name    string
	env     []string
	url     string
	headers string
	wait    time.Duration

	measured agentFlags
}

func (a *app) mcpCommand() *cobra.Command {
	var f mcpFlags
	cmd := &cobra.Command{
		Use:   "mcp [--name NAME] [--wait TIME] [--env NAME[=VALUE]] -- COMMAND [ARGUMENT...]",
		Short: "Guard an MCP server for a stdio client",
		Long: `Guard an MCP server: put this command where the server's own command stood in the client's
configuration. Every call passes the gates of the owner, which is started if none runs. If the owner
is lost, nothing passes any more. The exit code is the server's own.

The server sees PATH, HOME, LANG and TMPDIR and what --env names, nothing else of the environment.

With --url the server is a remote one that speaks streamable HTTP; it counts as outside unless the
owner's configuration has its address in gateway.servers. What it wants to see in headers, a token above
all, stands in the file that --header-file names, "Name: value" on each line, readable for you alone. A
query in the address is not told to the owner.

A call that needs a person's approval is answered with a ticket at once, or after --wait.

Where attest.agents has reference values for the user's own agent, the server that is started is measured as by "attest
measure", and the client acts under the lease that this earns, as long as it holds (A2).`,
		Example: `  sallyport mcp -- npx -y @modelcontextprotocol/server-filesystem ~/project
  sallyport mcp --name github --env GITHUB_TOKEN -- github-mcp-server stdio
  sallyport mcp --name tracker --url https://mcp.example.com/mcp --header-file ~/.config/tracker.headers`,
		Args: func(_ *cobra.Command, args []string) error { return f.check(args) },
		RunE: func(cmd *cobra.Command, args []string) error { return a.mcp(cmd.Context(), &f, args) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.name, "name", "", "our name of the server (default: derived from the command or the host)")
	fs.StringArrayVar(&f.env, "env", nil, "variable of our environment that the server may see, or NAME=VALUE; may be repeated")
	fs.StringVar(&f.url, "url", "", "address of a remote server, in place of a command")
	fs.StringVar(&f.headers, "header-file", "", "file of headers for the remote server, such as its token")
	fs.DurationVar(&f.wait, "wait", 0, "how long a call waits for an approval before it is answered with a ticket, at most 10m")
	f.measured.parts(cmd)
	return cmd
}

func (f *mcpFlags) check(args []string) error {
	switch {
	case (f.url == "") == (len(args) == 0):
		return errors.New("either a command or --url is needed")
	case f.url == "" && f.headers != "":
		return errors.New("--header-file goes with --url")
	case f.url != "" && len(f.env) > 0:
		return errors.New("--env goes with a command")
	case f.wait < 0 || f.wait > mcp.MaxPatience:
		return fmt.Errorf("--wait %s is not between 0 and %s", f.wait, mcp.MaxPatience)
	}
	return nil
}

// hello says which server it is. Secrets are no part of it.
func (f *mcpFlags) hello(command []string) (mcp.Hello, error) {
	h := mcp.Hello{Version: mcp.HelloVersion, Name: f.name, Command: command, WaitMs: f.wait.Milliseconds()}
	var err error
	if f.url != "" {
		if h.URL, err = mcp.ToldURL(f.url); err != nil {
			return h, fmt.Errorf("mcp: --url: %w", err)
		}
	}
	if h.Dir, err = os.Getwd(); err != nil {
		return h, err
	}
	h.Parent, err = mcp.Started(mcp.ProcFS, os.Getppid())
	return h, err
}

// remote is the server of --url.
func (f *mcpFlags) remote() (*mcp.Remote, error) {
	r := &mcp.Remote{URL: f.url}
	if f.headers == "" {
		return r, nil
	}
	var err error
	if r.Header, err = mcp.ReadHeaders(f.headers); err != nil {
		return nil, err
	}
	if mcp.Exposed(f.url, r.Header) {
		return nil, errors.New("mcp: --url: the headers would go over the network in the clear; hint: use https")
	}
	return r, nil
}

// mcp runs between the client on standard input and output, a server, and the owner's gates.
func (a *app) mcp(ctx context.Context, f *mcpFlags, command []string) error {
	hello, err := f.hello(command)
	if err != nil {
		return err
	}
	r := &mcp.Relay{Hello: hello, ClientIn: a.in, ClientOut: a.out}
	var environ []string
	if f.url != "" {
		r.Remote, err = f.remote()
	} else {
		environ, err = mcp.Environ(f.env)
	}
	if err != nil {
		return err
	}
	inside := confine.Here()
	var c *client
	if !inside {
		if c, err = a.owner(ctx, true); err != nil {
			return err
		}
	}
	var credential http.Header
	if f.url == "" && !inside {
		f.measured.env = f.env
		at, stop, err := a.supervise(ctx, c, &f.measured, "", command)
		if err != nil {
			return fmt.Errorf("mcp: %w", err)
		}
		defer stop()
		if at != nil {
			if credential, err = at.Header(http.MethodPost, mcp.RelayPath); err != nil {
				return fmt.Errorf("mcp: %w", err)
			}
			environ = append(environ, quiet...)
		}
	}
	if r.Conn, err = relay(ctx, c, credential); err != nil {
		return fmt.Errorf("mcp: %w", err)
	}
	if r.Remote != nil {
		if err := r.Run(ctx); err != nil {
			return fmt.Errorf("mcp: %w", err)
		}
		return nil
	}
	child, err := mcp.Start(ctx, command, environ, hello.Dir, a.err)
	if err != nil {
		return errors.Join(&exitCode{127, fmt.Errorf("mcp: %w", err)}, r.Conn.Close())
	}
	r.ServerIn, r.ServerOut, r.Kill = child.In, child.Out, child.Kill
	err = r.Run(ctx)
	code := child.Wait(5 * time.Second)
	switch {
	case err != nil:
		return fmt.Errorf("mcp: %w", err)
	case code != 0:
		return &exitCode{code, nil}
	}
	return nil
}
