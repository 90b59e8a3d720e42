// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/approval"
)

func (a *app) approvalsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "approvals", Short: "See and answer what waits for a person", Aliases: []string{"approval"}}
	var all bool
	list := &cobra.Command{
		Use: "list", Short: "What waits, oldest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			query := url.Values{}
			if !all {
				query.Set("state", "pending")
			}
			views, err := list[approval.View](cmd.Context(), c, "/people/v1/approvals", query, 0)
			if err != nil {
				return err
			}
			return a.print(views, func(w io.Writer) { a.approvals(w, views) })
		},
	}
	list.Flags().BoolVar(&all, "all", false, "answered and expired ones too")
	show := &cobra.Command{
		Use: "show ID", Short: "Exactly what would run, and why it is asked", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			var v approval.View
			if err := c.call(cmd.Context(), http.MethodGet, "/people/v1/approvals/"+url.PathEscape(args[0]), nil, &v); err != nil {
				return err
			}
			return a.print(v, func(w io.Writer) { a.approval(w, &v) })
		},
	}
	cmd.AddCommand(list, show, a.reviewersCommand(), a.seedCommand(), a.answerCommand("approve", "Let exactly this call run, once"), a.answerCommand("deny", "Refuse it; the comment goes to the agent"),
		a.answerCommand("revoke", "Take an unused grant back"), a.forgetCommand())
	return cmd
}

func (a *app) answerCommand(verb, short string) *cobra.Command {
	var comment, sign string
	var one bool
	cmd := &cobra.Command{
		Use: verb + " ID", Short: short, Args: cobra.ExactArgs(1),
		Example: "  sallyport approvals show ID      look first\n  sallyport approvals " + verb + " ID",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			path := "/people/v1/approvals/" + url.PathEscape(args[0])
			var v approval.View
			if err := c.call(cmd.Context(), http.MethodGet, path, nil, &v); err != nil {
				return err
			}
			body := map[string]any{"comment": comment}
			if verb != "revoke" && !one {
				body["among"] = v.Equal
			}
			if sign != "" {
				_, raw, err := c.challenge(cmd.Context(), path+"/challenge", map[string]any{"verb": verb, "comment": comment, "among": body["among"]})
				if err != nil {
					return err
				}
				if body["ssh"], err = signWith(sign, raw); err != nil {
					return err
				}
			}
			equal, _ := body["among"].([]string)
			if err := c.call(cmd.Context(), http.MethodPost, path+"/"+verb, body, &v, "If-Match", strconv.Quote(strconv.FormatUint(v.Revision, 10))); err != nil {
				return err
			}
			return a.print(v, func(w io.Writer) {
				fmt.Fprintf(w, "%s %s: %s\n", v.ID, v.State, v.Title)
				if n := len(equal); n > 0 {
					fmt.Fprintf(w, "  and %d equal requests with it\n", n)
				}
				if v.State == approval.Pending && v.Reason != "" {
					fmt.Fprintf(w, "  %s\n", v.Reason)
				}
			})
		},
	}
	cmd.Flags().StringVar(&comment, "comment", "", "why")
	if verb != "revoke" {
		cmd.Flags().BoolVar(&one, "one", false, "answer this request only, not the equal ones that wait with it")
	}
	cmd.Flags().StringVar(&sign, "sign", "", "sign the answer with this SSH key of yours; see \"sallyport keys\"")
	return cmd
}

func (a *app) approvals(w io.Writer, views []approval.View) {
	if len(views) == 0 {
		fmt.Fprintln(w, "nothing waits")
		return
	}
	for _, v := range views {
		left := ""
		if v.State == approval.Pending {
			left = "  " + a.colour(w, dim, "expires in "+time.Until(time.UnixMilli(v.ExpiresMs)).Round(time.Second).String())
		}
		more := ""
		if n := len(v.Equal); n > 0 {
			more = fmt.Sprintf(" (%d times)", n+1)
		}
		fmt.Fprintf(w, "%s  %-8s  %s%s%s\n", v.ID, v.State, v.Title, more, left)
	}
}

func (a *app) approval(w io.Writer, v *approval.View) {
	fmt.Fprintf(w, "%s\n  id       %s (%s)\n  session  %s\n  expires  %s\n", a.colour(w, bold, v.Title), v.ID, v.State, v.Session,
		time.UnixMilli(v.ExpiresMs).Format(time.RFC3339))
	if v.Reason != "" {
		fmt.Fprintf(w, "  state    %s\n", v.Reason)
	}
	if n := len(v.Equal); n > 0 {
		fmt.Fprintf(w, "  waits    %d times: equal requests, which one answer covers\n", n+1)
	}
	if s := v.Shown; s != nil {
		for _, warn := range s.Warnings {
			fmt.Fprintf(w, "  %s  %s\n", a.colour(w, yellow, "warning"), warn)
		}
		for _, r := range s.Rules {
			fmt.Fprintf(w, "  asks     %s: %s\n", r.ID, r.Reason)
		}
		for _, f := range append(s.Facts, s.Risk...) {
			fmt.Fprintf(w, "  %-8s %s %s\n", f.Kind, f.Value, a.colour(w, dim, f.Note))
		}
		what := "arguments"
		if s.Phase == "after" {
			what = "result"
		}
		fmt.Fprintf(w, "%s, %d bytes:\n  %s\n", what, s.Bytes, strings.Join(s.Arguments, "\n  "))
	}
	for _, g := range v.Answers {
		fmt.Fprintf(w, "answered by %s through %s\n", g.Approver, g.Channel)
	}
	if v.State == approval.Pending {
		fmt.Fprintf(w, "%s sallyport approvals approve %s\n", a.colour(w, dim, "hint:"), v.ID)
	}
}
