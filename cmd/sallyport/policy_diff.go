// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/index"
)

func (a *app) policyDiffCommand() *cobra.Command {
	var since, enforce string
	var report diffReport
	cmd := &cobra.Command{
		Use: "diff OLD NEW [--since 30d]", Short: "Decide recorded actions under two bundles and compare",
		Args: func(cmd *cobra.Command, args []string) error {
			if enforce != "" || report.verify != "" {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.ExactArgs(2)(cmd, args)
		},
		Long: `Decide recorded actions again under two bundles and print what is answered otherwise, by tool and rule. OLD
and NEW are folders, or "baseline" for the embedded one ("./baseline" is a folder). It needs the owner, which opens
the recorded inputs, which is recorded as an access, and shows nothing of them. Nothing is executed or asked. What went
through the proxy or to databases is decided by doors/egress and doors/databases of each, or by what decides there without.

With --enforce AGENT and no bundles it prints what was let by only because the agent is observed (the manifest's list
observe): what enforcing it would have asked about or stopped.

With --report FILE --key KEY the answer is also written as a report that KEY signs (DSSE and Ed25519, a key of "policy
key"), for whoever has to approve the change. "policy diff --verify FILE --trust TRUST" checks that a key which TRUST
names has signed it, and prints it; it needs no owner.

Exit code 0 if all answers are the same, 1 if one differs or could not be given, 5 if a report is not trusted.`,
		Example: "  sallyport policy diff baseline ./policies/strict --since 30d\n  sallyport policy diff --verify change.json --trust trust.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			if report.verify != "" {
				d, err := report.read()
				if err != nil {
					return err
				}
				return a.policyDiffAnswer(d)
			}
			from, err := sinceMs(since, time.Now())
			if err != nil {
				return err
			}
			body, path := map[string]any{"since_ms": from}, "/people/v1/local/policy/diff"
			if enforce != "" {
				body["agent"], path = enforce, "/people/v1/local/policy/observed"
			}
			for i, dir := range args {
				name := []string{"old", "new"}[i]
				if dir != "baseline" {
					if dir, err = absolute(dir); err != nil {
						return err
					}
				}
				body[name] = dir
			}
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			var d sallyport.PolicyDiff
			if err := c.call(cmd.Context(), http.MethodPost, path, body, &d); err != nil {
				return err
			}
			if err := report.write(&d, time.Now()); err != nil {
				return err
			}
			return a.policyDiffAnswer(&d)
		},
	}
	report.flags(cmd)
	cmd.Flags().StringVar(&since, "since", "", `how far back, such as "12h" or "30d" (default: all)`)
	cmd.Flags().StringVar(&enforce, "enforce", "", "an observed agent: what enforcing it would have stopped")
	return cmd
}

func (a *app) policyDiffAnswer(d *sallyport.PolicyDiff) error {
	if err := a.print(d, func(w io.Writer) { a.policyDiffText(w, d) }); err != nil {
		return err
	}
	if !d.Same() {
		return &exitCode{exitError, fmt.Errorf("%d of %d recorded decisions differ, %d could not be taken", d.Changed, d.Decisions+d.Failed, d.Failed)}
	}
	return nil
}

func (a *app) policyDiffText(w io.Writer, d *sallyport.PolicyDiff) {
	for _, g := range d.Groups {
		fmt.Fprintf(w, "%6d  %s  %s/%s  %s gate %s  (record %d)\n", g.N, a.colour(w, yellow, g.From+" -> "+g.To), g.Server, g.Tool, g.Rules, g.Phase, g.Example)
	}
	if d.Omitted > 0 {
		fmt.Fprintf(w, "and %d more groups\n", d.Omitted)
	}
	if d.Ungrouped > 0 {
		fmt.Fprintf(w, "and %d more, in groups that were too many to count\n", d.Ungrouped)
	}
	fmt.Fprintf(w, "%s %s -> %s %s: %d decisions, %d differ, %d failed\n", d.Old.Name, d.Old.Digest, d.New.Name, d.New.Digest, d.Decisions, d.Changed, d.Failed)
	if d.Elsewhere > 0 {
		fmt.Fprintf(w, "  left out: %d of doors that are not configured\n", d.Elsewhere)
	}
	unread(w, d.Unread)
}

func unread(w io.Writer, n map[index.Answer]int) {
	for _, k := range []index.Answer{index.Erased, index.NoEngine, index.Unrecorded} {
		if n[k] > 0 {
			fmt.Fprintf(w, "  left out: %d %s\n", n[k], k)
		}
	}
}

func (a *app) policyCoverageCommand() *cobra.Command {
	var since string
	cmd := &cobra.Command{
		Use: "coverage [--since 30d]", Short: "How many recorded actions a rule decided, and which none did", Args: cobra.NoArgs,
		Long: `Count by what recorded actions were decided at the first gate: by a rule, by none (which denies), or by the
kernel or an approver; and group those that no rule decided by tool and argument names, with a rule for each to begin with. It needs the owner, which
opens the recorded inputs, which is recorded as an access; of arguments it shows only the names.`,
		Example: "  sallyport policy coverage --since 30d",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, from, err := a.ownerSince(cmd.Context(), since)
			if err != nil {
				return err
			}
			var v sallyport.PolicyCoverage
			if err := c.call(cmd.Context(), http.MethodPost, "/people/v1/local/policy/coverage", map[string]any{"since_ms": from}, &v); err != nil {
				return err
			}
			return a.print(v, func(w io.Writer) { coverageText(w, &v) })
		},
	}
	cmd.Flags().StringVar(&since, "since", "", `how far back, such as "12h" or "30d" (default: all)`)
	return cmd
}

func coverageText(w io.Writer, v *sallyport.PolicyCoverage) {
	var sum sallyport.EffectCoverage
	line := func(name string, e *sallyport.EffectCoverage) {
		n := e.Rule + e.Default + e.Kernel
		fmt.Fprintf(w, "%-10s %6d decisions  rule %5.1f%%  no rule %5.1f%%  kernel %5.1f%%\n", name, n, percent(e.Rule, n), percent(e.Default, n), percent(e.Kernel, n))
	}
	for i := range v.Effects {
		e := &v.Effects[i]
		line(string(e.Effect), e)
		sum.Rule, sum.Default, sum.Kernel = sum.Rule+e.Rule, sum.Default+e.Default, sum.Kernel+e.Kernel
	}
	line("all", &sum)
	for _, c := range v.Clusters {
		fmt.Fprintf(w, "%6d  no rule for %s/%s (%s) with {%s}  (record %d)\n", c.N, c.Server, c.Tool, c.Effect, c.Arguments, c.Example)
	}
	if len(v.Clusters) > 0 {
		fmt.Fprintf(w, "\nA rule for each, to begin with:\n")
	}
	for _, c := range v.Clusters {
		fmt.Fprintf(w, "\n%s", c.Proposal)
	}
	if v.Omitted > 0 {
		fmt.Fprintf(w, "and %d more groups\n", v.Omitted)
	}
	unread(w, v.Unread)
}

func percent(n, of int) float64 {
	if of == 0 {
		return 0
	}
	return 100 * float64(n) / float64(of)
}

// ownerSince reaches the owner, with the time that a flag --since names.
func (a *app) ownerSince(ctx context.Context, since string) (c *client, from int64, err error) {
	if from, err = sinceMs(since, time.Now()); err != nil {
		return nil, 0, err
	}
	c, err = a.owner(ctx, false)
	return c, from, err
}

// sinceMs reads how long ago something was, such as "90m" or "30d", as milliseconds of the clock; nothing
// means always.
func sinceMs(text string, now time.Time) (int64, error) {
	if text == "" {
		return 0, nil
	}
	number, unit := text, time.Duration(1)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		number, unit = days+"h", 24
	}
	d, err := time.ParseDuration(number)
	if err != nil || d <= 0 || d > 100*365*24*time.Hour/unit {
		return 0, &exitCode{exitUsage, hinted{fmt.Errorf("since: %q is no length of time", text), "--since 12h, or --since 30d"}}
	}
	return max(now.Add(-d*unit).UnixMilli(), 0), nil
}
