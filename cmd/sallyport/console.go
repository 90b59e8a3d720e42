// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
)

func (a *app) consoleCommand() *cobra.Command {
	return &cobra.Command{
		Use: "console", Short: "Where the console is, and a code to log in with", Args: cobra.NoArgs,
		Long: `Where the console is, and a code with which a browser logs in as you, once, within two minutes.
The kernel proves who you are: approvals in that browser count as an operator's.`,
		Example: "  sallyport console",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.owner(cmd.Context(), true)
			if err != nil {
				return err
			}
			var code sallyport.ConsoleCode
			if err := c.call(cmd.Context(), "POST", "/people/v1/local/console", struct{}{}, &code); err != nil {
				return err
			}
			return a.print(code, func(w io.Writer) {
				fmt.Fprintf(w, "console  %s\ncode     %s\n", code.URL, code.Code)
				fmt.Fprintf(a.err, "the code works once, until %s\n", time.UnixMilli(code.UntilMs).Format(time.TimeOnly))
			})
		},
	}
}
