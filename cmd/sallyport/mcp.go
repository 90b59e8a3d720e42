// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/gateway/mcp"
)

func (a *app) mcpCommand() *cobra.Command {
	var name string
	var env []string
	cmd := &cobra.Command{
		Use:   "mcp [--name NAME] [--env NAME[=VALUE]] -- COMMAND [ARGUMENT...]",
		Short: "Guard a stdio MCP server",
		Long: `Guard a stdio MCP server: put this command where the server's own command stood in the
client's configuration. Every call passes the gates of the owner, which is started if none runs.
If the owner is lost, nothing passes any more. The exit code is the server's own.

The server sees PATH, HOME, LANG and TMPDIR and what --env names, nothing else of the environment.`,
		Example: `  sallyport mcp -- npx -y @modelcontextprotocol/server-filesystem ~/project
  sallyport mcp --name github --env GITHUB_TOKEN -- github-mcp-server stdio`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.mcp(cmd.Context(), name, env, args) },
	}
	cmd.Flags().StringVar(&name, "name", "", "our name of the server (default: derived from the command)")
	cmd.Flags().StringArrayVar(&env, "env", nil, "variable of our environment that the server may see, or NAME=VALUE; may be repeated")
	return cmd
}

// mcp runs a server process between the client on standard input and output and the owner's gates.
func (a *app) mcp(ctx context.Context, name string, env, command []string) error {
	c, err := a.owner(ctx, true)
	if err != nil {
		return err
	}
	conn, err := c.relay(ctx)
	if err != nil {
		return fmt.Errorf("mcp: %w", err)
	}
	environ, err := mcp.Environ(env)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	dir, err := os.Getwd()
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	parent, err := mcp.Started(mcp.ProcFS, os.Getppid())
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	child, err := mcp.Start(ctx, command, environ, dir, a.err)
	if err != nil {
		return errors.Join(&exitCode{127, fmt.Errorf("mcp: %w", err)}, conn.Close())
	}
	r := &mcp.Relay{Conn: conn, Hello: mcp.Hello{Version: mcp.HelloVersion, Name: name, Command: command, Dir: dir, Parent: parent},
		ClientIn: a.in, ClientOut: a.out, ServerIn: child.In, ServerOut: child.Out}
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
