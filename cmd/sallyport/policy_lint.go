// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"path"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/policy"
)

func (a *app) policyLintCommand() *cobra.Command {
	var sarif, strict bool
	var parent string
	var known knownTools
	cmd := &cobra.Command{
		Use: "lint DIR", Short: "Find rules of a bundle that do not do what they seem to", Args: cobra.ExactArgs(1),
		Long: `Find rules of the bundle in DIR that do not do what they seem to, and say how much of its Rego is compiled.
Exit code 1 if anything is found that is not only advice. A finding is waived by a comment right above the
rule in which it stands, "# lint: NAME: why", or by an entry of the manifest's list waivers, with an owner and an
end. What fails open (may-not-fire, cross-type, default-allow) and is not waived refuses the bundle when it is loaded. ` + toolsHelp + `.`,
		Example: "  sallyport policy lint policies/baseline\n  sallyport policy lint --sarif policies/baseline > lint.sarif",
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.authored(cmd.Context(), args[0], &known)
			if err != nil {
				return err
			}
			rep, err := policy.LintWith(cmd.Context(), cfg, parent)
			if err != nil && (len(rep.Findings) == 0 || !sarif && !a.json) {
				return err // which says more than the findings that machines get of it
			}
			if sarif {
				data, err := rep.SARIF()
				if err != nil {
					return err
				}
				if _, err := a.out.Write(append(data, '\n')); err != nil {
					return err
				}
			} else if err := a.print(rep, func(w io.Writer) { a.lintText(w, args[0], &rep) }); err != nil {
				return err
			}
			if err != nil {
				return err
			}
			if n := rep.Errors(); n > 0 {
				return &exitCode{exitError, fmt.Errorf("%d findings are more than advice", n)}
			}
			if n := len(rep.Findings) - waived(&rep); strict && n > 0 {
				return &exitCode{exitError, fmt.Errorf("%d findings", n)}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&sarif, "sarif", false, "write SARIF 2.1.0")
	cmd.Flags().BoolVar(&strict, "strict", false, "exit code 1 for advice, too")
	cmd.Flags().StringVar(&parent, "parent", "", "folder of an older bundle: also find what it denied and this one lets pass")
	known.flags(cmd)
	return cmd
}

func waived(r *policy.LintReport) int {
	n := 0
	for _, f := range r.Findings {
		if f.Waived != "" {
			n++
		}
	}
	return n
}

func (a *app) lintText(w io.Writer, dir string, r *policy.LintReport) {
	for _, f := range r.Findings {
		level, shade := "advice", yellow
		switch {
		case f.Waived != "":
			continue
		case f.Error:
			level, shade = "error", red
		}
		rule := f.Rule
		if rule != "" {
			rule += ": "
		}
		fmt.Fprintf(w, "%s %s:%d: %s: %s%s\n", a.colour(w, shade, level), path.Join(dir, f.File), f.Line, f.Lint, rule, f.Text)
		if f.Safe != "" {
			fmt.Fprintf(w, "      safe form: %s\n", f.Safe)
		}
	}
	fmt.Fprintf(w, "%s: %d findings (%d more than advice), %d waived", r.Bundle, len(r.Findings)-waived(r), r.Errors(), waived(r))
	if c := r.Coverage; c.Total > 0 {
		fmt.Fprintf(w, "; %d of %d Rego rules compiled, agreed with OPA on %d documents", c.Fast, c.Total, c.Proved)
	}
	fmt.Fprintln(w)
}
