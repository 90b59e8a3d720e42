// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"
)

func (a *app) forgetCommand() *cobra.Command {
	var agent, user string
	cmd := &cobra.Command{
		Use: "forget --agent A", Short: "Forget the destinations that people agreed to", Args: cobra.NoArgs,
		Long: `Where a person agrees to a destination it is known for 30 days: to the same agent and user, for the same
argument of the same definition of a tool, for data no more secret and for no more money. The embedded policy
then does not ask again about messages, as long as the session has read no strangers' text. This forgets all
of an agent's, or those for one user, and asks again.`,
		Example: "  sallyport approvals forget --agent mailer\n  sallyport approvals forget --agent mailer --user ann",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if agent == "" {
				return usage("approvals forget: --agent is required")
			}
			body := map[string]string{"agent": agent}
			if cmd.Flags().Changed("user") {
				body["user"] = user
			}
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			var out struct {
				Forgotten int `json:"forgotten"`
			}
			if err := c.call(cmd.Context(), http.MethodPost, "/people/v1/known/forget", body, &out); err != nil {
				return err
			}
			return a.print(out, func(w io.Writer) { fmt.Fprintf(w, "%s: forgotten for %d users\n", agent, out.Forgotten) })
		},
	}
	cmd.Flags().StringVar(&agent, "agent", "", "whose destinations")
	cmd.Flags().StringVar(&user, "user", "", "for this user alone; \"\" is none (default: for everyone)")
	return cmd
}

func (a *app) canaryCommand() *cobra.Command {
	return &cobra.Command{
		Use: "canary NAME", Short: "Print the canary of a name", Args: cobra.ExactArgs(1),
		Long: `Print 32 hexadecimal digits that are worth nothing and stand nowhere else. Plant them where nobody should
look: as a key in a file, as a customer who does not exist. Wherever they turn up in arguments or results of
an agent, in clear or encoded, the call is denied or the result withheld, and the record says so. The same
name gives the same canary.`,
		Example: "  sallyport detect canary backup-key",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			var out struct {
				Name   string `json:"name"`
				Canary string `json:"canary"`
			}
			if err := c.call(cmd.Context(), http.MethodPost, "/people/v1/canaries", map[string]string{"name": args[0]}, &out); err != nil {
				return err
			}
			return a.print(out, func(w io.Writer) { fmt.Fprintln(w, out.Canary) })
		},
	}
}
