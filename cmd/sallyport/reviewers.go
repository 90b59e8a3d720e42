// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/approval"
)

func (a *app) reviewersCommand() *cobra.Command {
	var since string
	cmd := &cobra.Command{
		Use: "reviewers", Short: "How people answer: think time, share of approvals, tests caught", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, from, err := a.ownerSince(cmd.Context(), since)
			if err != nil {
				return err
			}
			var page struct {
				Items []admin.Reviewer `json:"items"`
			}
			if err := c.call(cmd.Context(), http.MethodGet, fmt.Sprintf("/people/v1/reviewers?since=%d", from), nil, &page); err != nil {
				return err
			}
			return a.print(page.Items, func(w io.Writer) {
				for _, r := range page.Items {
					fmt.Fprintf(w, "%-24s %5d answers, %5.1f %% approved, thinks %s (median of %d, %d within 2 s), caught %d of %d tests\n", r.Person, r.Answers,
						float64(r.ApproveMilli)/10, time.Duration(r.ThinkMs)*time.Millisecond, r.Timed, r.Quick, r.Caught, r.Seeded)
				}
				if len(page.Items) == 0 {
					fmt.Fprintln(w, "nobody has answered anything")
				}
			})
		},
	}
	cmd.Flags().StringVar(&since, "since", "30d", `how far back, such as "12h" or "30d"`)
	return cmd
}

func (a *app) seedCommand() *cobra.Command {
	var tool, arguments, agent, user, facts string
	cmd := &cobra.Command{
		Use: "seed --tool SERVER/NAME --arguments JSON --agent NAME", Short: "Show reviewers a request that nobody made, as a test", Args: cobra.NoArgs,
		Long: `Put a made-up request into the inbox. It should be denied. Nothing is behind it: an approval of it grants nothing. How it was
answered is recorded and stands in "sallyport approvals reviewers". The policy in force must ask about it. It needs the
scope admin; who seeds a request cannot answer it.`,
		Example: `  sallyport approvals seed --tool mail/send --agent clerk --user ann --arguments '{"to":"eve@evil.example","text":"all customers"}'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			server, name := action.SplitToolKey(tool)
			stated := jsontext.Value("{}")
			if facts != "" {
				b, err := os.ReadFile(facts)
				if err != nil {
					return err
				}
				stated = b
			} else {
				b, err := action.Canonical(map[string]any{"subject": map[string]any{"id": agent, "user": map[string]any{"id": user}},
					"context": map[string]any{"session": map[string]any{"id": strings.ToUpper(fmt.Sprintf("%026x", time.Now().UnixNano()))}}})
				if err != nil {
					return err
				}
				stated = b
			}
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			var v approval.View
			body := map[string]any{"server": server, "tool": name, "arguments": jsontext.Value(arguments), "facts": stated}
			if err := c.call(cmd.Context(), http.MethodPost, "/people/v1/seeds", body, &v); err != nil {
				return err
			}
			return a.print(v, func(w io.Writer) { fmt.Fprintf(w, "%s waits: %s\n", v.ID, v.Title) })
		},
	}
	cmd.Flags().StringVar(&tool, "tool", "", "tool that it seems to call, as SERVER/NAME")
	cmd.Flags().StringVar(&arguments, "arguments", "{}", "arguments, as JSON")
	cmd.Flags().StringVar(&agent, "agent", "", "agent that seems to ask")
	cmd.Flags().StringVar(&user, "user", "", "user for whom it seems to ask")
	cmd.Flags().StringVar(&facts, "facts", "", "file with further facts, as for the playground; in place of --agent and --user")
	_ = cmd.MarkFlagRequired("tool")
	return cmd
}
