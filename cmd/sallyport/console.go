// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
)

func (a *app) consoleCommand() *cobra.Command {
	var breakGlass bool
	var reason string
	var life time.Duration
	cmd := &cobra.Command{
		Use: "console", Short: "Where the console is, and a code to log in with", Args: cobra.NoArgs,
		Long: `Where the console is, and a code with which a browser logs in as you, once, within two minutes.
The kernel proves who you are: approvals in that browser count as an operator's.

Where people sign in through an identity provider, and an admin has done so, there are no codes any more,
but for when the provider cannot be had: with --break-glass the reason goes on record, an alert goes out,
and the login ends soon.`,
		Example: "  sallyport console\n  sallyport console --break-glass --reason \"the identity provider is down, ticket 4711\"",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !breakGlass && (reason != "" || cmd.Flags().Changed("for")) {
				return usage("--reason and --for go with --break-glass")
			}
			c, err := a.owner(cmd.Context(), true)
			if err != nil {
				return err
			}
			body := map[string]any{}
			if breakGlass {
				body = map[string]any{"break_glass": true, "reason": reason, "seconds": int64(life / time.Second)}
			}
			var code sallyport.ConsoleCode
			err = c.call(cmd.Context(), "POST", "/people/v1/local/console", body, &code)
			if err != nil && strings.Contains(err.Error(), sallyport.SignInInstead) {
				return hinted{err, "while the provider cannot be had: sallyport console --break-glass --reason TEXT"}
			}
			if err != nil {
				return err
			}
			return a.print(code, func(w io.Writer) {
				fmt.Fprintf(w, "console  %s\ncode     %s\n", code.URL, code.Code)
				fmt.Fprintf(a.err, "the code works once, until %s\n", time.UnixMilli(code.UntilMs).Format(time.TimeOnly))
				if breakGlass {
					fmt.Fprintf(a.err, "on record, and an alert: the login ends %s from now\n", life)
				}
			})
		},
	}
	cmd.Flags().BoolVar(&breakGlass, "break-glass", false, "log in without the identity provider, on record and for a short time")
	cmd.Flags().StringVar(&reason, "reason", "", "why; goes on record")
	cmd.Flags().DurationVar(&life, "for", 30*time.Minute, "how long the login lasts, up to 1h")
	return cmd
}
