// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy"
	"github.com/sallyport/sallyport/policy/bundle"
)

func (a *app) policyExplainCommand() *cobra.Command {
	var dir string
	var trace bool
	cmd := &cobra.Command{
		Use: "explain [--policy DIR] [--trace] [FILE]", Short: "Say why a document is decided as it is", Args: cobra.MaximumNArgs(1),
		Long: `Decide a document agent.v1, as a record's input.before holds it or a part of one, from FILE or standard input,
under the bundle in DIR or the embedded baseline. It prints the verdict, every rule that fired and the facts
that are stated; all others are unknown. Of what is not allowed it prints facts that, if they were otherwise, would lead to a
better answer; each is needed, and the policy itself was asked. With --trace it
prints each rule that was tried and the expression at which it failed. The exit code is 0 whatever the verdict; "sallyport check" has it in its exit code.`,
		Example: "  sallyport policy explain --policy policies/mine recorded.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			in := a.in
			if len(args) == 1 && args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			data, err := io.ReadAll(io.LimitReader(in, action.DefaultBytes+1))
			if err != nil {
				return err
			}
			q, err := bundle.ReadPartial(data)
			if err != nil {
				return hinted{fmt.Errorf("policy explain: %w", err), `a document agent.v1 is wanted; for a call alone there is "sallyport check --explain"`}
			}
			if dir != "" {
				if dir, err = filepath.Abs(dir); err != nil {
					return err
				}
			}
			c, err := policy.Load(policy.Config{Dir: dir})
			if err != nil {
				return err
			}
			e, err := c.Explain(cmd.Context(), q)
			if err != nil {
				return err
			}
			remedy, err := c.Remedy(cmd.Context(), q)
			if err != nil {
				return err
			}
			out := struct {
				policy.Explanation
				Facts  []string      `json:"facts"`
				Remedy policy.Remedy `json:"remedy"`
				Trace  []string      `json:"trace,omitempty"`
			}{e, policy.Stated(q), remedy, nil}
			if trace {
				if out.Trace, err = c.Trace(cmd.Context(), q); err != nil {
					return err
				}
			}
			return a.print(out, func(w io.Writer) {
				fmt.Fprint(w, e.Text)
				for _, f := range out.Facts {
					fmt.Fprintf(w, "  fact       %s\n", f)
				}
				if len(remedy.Changes) > 0 {
					fmt.Fprintf(w, "  it would be %s with\n", remedy.Verdict)
				}
				for _, f := range remedy.Changes {
					fmt.Fprintf(w, "    %s = %s (not %s)\n", f.Fact, f.To, f.From)
				}
				for _, l := range out.Trace {
					fmt.Fprintf(w, "  %s\n", l)
				}
			})
		},
	}
	cmd.Flags().BoolVar(&trace, "trace", false, "print each rule that was tried, and where it failed")
	cmd.Flags().StringVar(&dir, "policy", "", "folder of the bundle (default: the embedded baseline)")
	return cmd
}
