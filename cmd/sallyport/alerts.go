// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/index"
	"github.com/sallyport/sallyport/monitor"
)

func (a *app) alertsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "alerts", Short: "What was found odd", Aliases: []string{"alert"}}
	list := &cobra.Command{
		Use: "list", Short: "Alerts, the latest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(a, cmd, "/people/v1/alerts", 200, func(w io.Writer, s index.Step) {
				what := s.Reason
				if what == "" {
					what = strings.Join(s.Codes, ", ")
				}
				fmt.Fprintf(w, "%6d  %s  %s\n", s.Index, time.UnixMilli(s.TimeMs).Format(time.DateTime), what)
			})
		},
	}
	one := &cobra.Command{
		Use: "show INDEX", Short: "One alert: what is unusual, and what is usual", Args: cobra.ExactArgs(1),
		Example: "  sallyport alerts list\n  sallyport alerts show 4711",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			var got shownAlert
			if err := c.call(cmd.Context(), http.MethodGet, "/people/v1/alerts/"+url.PathEscape(args[0]), nil, &got); err != nil {
				return err
			}
			return a.print(got, func(w io.Writer) { a.alert(w, &got) })
		},
	}
	cmd.AddCommand(list, one, a.acknowledgeCommand())
	return cmd
}

type shownAlert struct {
	Index uint64        `json:"index"`
	Alert monitor.Alert `json:"alert"`
}

func (a *app) acknowledgeCommand() *cobra.Command {
	var wrong string
	cmd := &cobra.Command{
		Use: "acknowledge INDEX", Short: "Put on record that you have seen it", Aliases: []string{"ack"}, Args: cobra.ExactArgs(1),
		Long: `Put on record that you have seen an alert. With --wrong, alerts of the same agent and kind are not
told for seven days; the facts that policy decides on stay as they are.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			var got struct {
				Status string `json:"status"`
			}
			body := map[string]any{"wrong": wrong != "", "reason": wrong}
			if err := c.call(cmd.Context(), http.MethodPost, "/people/v1/alerts/"+url.PathEscape(args[0])+"/acknowledge", body, &got); err != nil {
				return err
			}
			return a.print(got, func(w io.Writer) { fmt.Fprintf(w, "alert %s: %s\n", args[0], got.Status) })
		},
	}
	cmd.Flags().StringVar(&wrong, "wrong", "", "the alert was wrong, and why")
	return cmd
}

func (a *app) alert(w io.Writer, s *shownAlert) {
	al := &s.Alert
	fmt.Fprintf(w, "%s\n", a.colour(w, bold, al.Summary))
	for _, f := range [][2]string{
		{"record", fmt.Sprint(s.Index)}, {"time", time.UnixMilli(al.TimeMs).Format(time.RFC3339)}, {"kind", strings.Join(al.Alerts, ", ")},
		{"agent", al.Agent}, {"user", al.User}, {"tool", action.ToolKey(al.Server, al.Tool)}, {"effect", string(al.Effect)},
		{"session", al.Session}, {"action", al.Action}, {"risk", fmt.Sprintf("%d of 1000; %.1f %% of its actions were as unusual", al.Risk, float64(al.P)/10)},
	} {
		if f[1] != "" && f[1] != "/" {
			fmt.Fprintf(w, "  %-8s %s\n", f[0], f[1])
		}
	}
	if al.Count > 1 {
		fmt.Fprintf(w, "  %-8s %d\n", "count", al.Count)
	}
	for _, r := range al.Reasons {
		fmt.Fprintf(w, "  - %s\n", r)
	}
	fmt.Fprintf(w, "%s sallyport alerts acknowledge %d\n", a.colour(w, dim, "hint:"), s.Index)
}
