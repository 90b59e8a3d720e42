// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/gateway/hook"
	"github.com/sallyport/sallyport/gateway/hook/shim"
	"github.com/sallyport/sallyport/internal/confine"
)

func hostNames() string {
	var names []string
	for _, h := range hook.Hosts {
		names = append(names, string(h))
	}
	return strings.Join(names, ", ")
}

func (a *app) hookCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "hook NAME",
		Short: "Answer one hook event of a coding agent",
		Long: `Answer one hook event of a coding agent: its JSON is read from standard input, and the answer is
written in the host's own dialect. NAME is ` + hostNames() + `.
The owner is started if none runs. Every failure blocks: exit code 2, or the host's own form.

Hosts start it; "sallyport hooks install NAME" tells them to.`,
		Example: `  sallyport hook claude-code < event.json`,
		Args:    cobra.ArbitraryArgs, // a wrong call must block, too
		RunE: func(cmd *cobra.Command, args []string) error {
			if code := a.hook(cmd.Context(), args); code != exitOK {
				return &exitCode{code, nil}
			}
			return nil
		},
	}
}

func (a *app) hook(ctx context.Context, args []string) int {
	if len(args) != 1 || !hook.Host(args[0]).Known() {
		fmt.Fprintf(a.err, "sallyport: hook takes one of %s\n", hostNames())
		return exitUsage // which blocks
	}
	s := &shim.Shim{Host: hook.Host(args[0]), In: a.in, Out: a.out, Err: a.err}
	if confine.Here() {
		s.Inside = func() bool { return true }
		return s.Run(ctx)
	}
	cfg, _, err := a.load()
	if err != nil {
		fmt.Fprintln(a.err, hook.Blocked(s.Host, err.Error()))
		return exitUsage
	}
	s.Data = cfg.Data
	s.Start = func(ctx context.Context) error { return a.startOwner(ctx, newClient(cfg.Data)) }
	return s.Run(ctx)
}
