// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/policy"
)

func (a *app) wrongCommand() *cobra.Command {
	var reason, expect, to string
	cmd := &cobra.Command{
		Use: "wrong RECORD --reason TEXT", Short: "Call a denial, an ask, a finding or an alert wrong", Args: cobra.ExactArgs(1),
		Long: `Put on record that a decision or an alert was wrong, and why. RECORD is its number in the log. It changes no decision; it is
counted against the rule, stands in the list of reviews, and makes a case of what would have been right. With --to the
case is added to the bundle in DIR, as "policy case add" does. Without RECORD's own input no case is made. An alert that
is called wrong falls silent for a week.`,
		Example: "  sallyport wrong 42 --reason \"the address is our own\"\n  sallyport wrong 42 --reason \"a test host\" --expect ask --to policies/mine",
		RunE: func(cmd *cobra.Command, args []string) error {
			if v := action.Verdict(expect); !slices.Contains([]action.Verdict{action.Allow, action.Ask, action.Deny}, v) {
				return &exitCode{exitUsage, fmt.Errorf("--expect %q is not one of allow, ask, deny", expect)}
			}
			if to != "" { // it is too late for that once the word is on record
				if _, err := policy.Load(policy.Config{Dir: to}); err != nil {
					return err
				}
			}
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			var got admin.Called
			if err := c.call(cmd.Context(), http.MethodPost, "/people/v1/ledger/"+url.PathEscape(args[0])+"/wrong", map[string]string{"reason": reason, "expect": expect}, &got); err != nil {
				return err
			}
			if to != "" && got.Case != "" {
				if err := appendCase(to, got.Case); err != nil {
					return err
				}
			}
			return a.print(got, func(w io.Writer) {
				fmt.Fprintf(w, "record %d is called wrong: counted for %s\n%s", got.Record, strings.Join(got.Rules, ", "), got.Case)
				if got.Case != "" && to == "" {
					fmt.Fprintf(w, "%s sallyport wrong says what would be right; sallyport policy case add %d --expect %s --to DIR makes it a case\n", a.colour(w, dim, "hint:"), got.Record, expect)
				}
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, in a sentence")
	cmd.Flags().StringVar(&expect, "expect", "allow", "what would have been right: allow, ask or deny")
	cmd.Flags().StringVar(&to, "to", "", "folder of a bundle to add the case to")
	_ = cmd.MarkFlagRequired("reason")
	return cmd
}

func (a *app) policyRulesCommand() *cobra.Command {
	var since string
	cmd := &cobra.Command{
		Use: "rules", Short: "How often each rule decided against an agent, and was called wrong", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, from, err := a.ownerSince(cmd.Context(), since)
			if err != nil {
				return err
			}
			var page struct {
				Items []admin.RuleAccuracy `json:"items"`
			}
			if err := c.call(cmd.Context(), http.MethodGet, fmt.Sprintf("/people/v1/rules?since=%d", from), nil, &page); err != nil {
				return err
			}
			items := page.Items
			return a.print(items, func(w io.Writer) {
				for _, r := range items {
					fmt.Fprintf(w, "%-40s denied %6d  asked %6d  alerts %6d  wrong %4d (%.1f %%)\n", r.Rule, r.Denied, r.Asked, r.Alerts, r.Wrong, float64(r.WrongMilli)/10)
				}
				if len(items) == 0 {
					fmt.Fprintln(w, "no rule has decided against anybody")
				}
			})
		},
	}
	cmd.Flags().StringVar(&since, "since", "30d", `how far back, such as "12h" or "30d"`)
	return cmd
}
