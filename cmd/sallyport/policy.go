// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policies"
	"github.com/sallyport/sallyport/policy"
)

func (a *app) policyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "policy", Short: "Policy bundles"}
	cmd.AddCommand(a.policyTestCommand(), a.policyShowCommand(), a.policyLintCommand(), a.policyExplainCommand(), a.policyNewCommand(),
		a.policyDiffCommand(), a.policyCoverageCommand(), a.policyCaseCommand(), a.policySuggestCommand(), a.policyMigrateCommand(), a.policyLSPCommand(),
		a.policyRulesCommand(), a.policyProposeCommand())
	cmd.AddCommand(a.policyKeyCommand(), a.policyBuildCommand(), a.policySignCommand(), a.policyVerifyCommand(),
		a.policyActivateCommand(), a.policyRollbackCommand(), a.policyArchiveCommand(), a.policyListCommand(), a.policyDecideCommand())
	return cmd
}

func (a *app) policyTestCommand() *cobra.Command {
	var again bool
	var known knownTools
	cmd := &cobra.Command{
		Use: "test DIR [--watch] [--tools FILE]...", Short: "Run a bundle's cases", Args: cobra.ExactArgs(1),
		Long: `Run the cases of the bundle in DIR and say which failed, and which rules no case fires. Rego's own tests, rules whose
names begin with test_ in files that end in _test.rego, run beside them. With --watch they run again
whenever a file of the bundle changes, until it is interrupted. ` + toolsHelp + `.`,
		Example: "  sallyport policy test policies/baseline\n  sallyport policy test --watch mine",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !again {
				return a.policyTest(cmd.Context(), args[0], &known)
			}
			return watch(cmd.Context(), args[0], watchEvery, func() error {
				if err := a.policyTest(cmd.Context(), args[0], &known); err != nil && cmd.Context().Err() == nil {
					a.complain(err)
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&again, "watch", false, "run again whenever a file changes")
	known.flags(cmd)
	return cmd
}

func (a *app) policyTest(ctx context.Context, dir string, known *knownTools) error {
	cfg, err := a.authored(ctx, dir, known)
	if err != nil {
		return err
	}
	rep, err := policy.TestWith(ctx, cfg)
	if err != nil {
		return err
	}
	err = a.print(rep, func(w io.Writer) {
		for _, f := range rep.Failures {
			fmt.Fprintf(w, "%s %s:%d: %s: want %s, got %s\n%s\n", a.colour(w, red, "FAIL"), f.File, f.Line, f.Case, f.Want, f.Got, f.Text)
		}
		for _, r := range rep.Uncovered {
			fmt.Fprintf(w, "%s rule %s fires in no case\n", a.colour(w, yellow, "uncovered"), r)
		}
		own := ""
		if rep.RegoTests > 0 {
			own = fmt.Sprintf(", %d of Rego's own tests", rep.RegoTests)
		}
		fmt.Fprintf(w, "%s %s: %d cases (%d allow, %d do not)%s, %d failed\n", rep.Bundle.Name, rep.Bundle.Digest, rep.Cases,
			rep.Allowing, rep.Refusing, own, len(rep.Failures))
	})
	if err == nil && !rep.Passed() {
		return &exitCode{exitError, errors.New("the bundle's cases do not pass")}
	}
	return err
}

func (a *app) policyShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show [DIR]", Short: "Name, digest and rules of a bundle", Args: cobra.MaximumNArgs(1),
		Long: "Name, digest and rules of the bundle in DIR, or of the embedded baseline.",
		RunE: func(_ *cobra.Command, args []string) error {
			cfg := policy.Config{}
			if len(args) == 1 {
				cfg.Dir = args[0]
			}
			c, err := policy.Load(cfg)
			if err != nil {
				return err
			}
			b := struct {
				action.Bundle
				Rules []string `json:"rules"`
			}{c.Bundle(), c.Rules()}
			return a.print(b, func(w io.Writer) {
				fmt.Fprintf(w, "%s %s, sequence %d\n", b.Name, b.Digest, b.Sequence)
				for _, r := range b.Rules {
					fmt.Fprintf(w, "  %s\n", r)
				}
			})
		},
	}
}

func (a *app) checkCommand() *cobra.Command {
	var dir string
	var explain bool
	cmd := &cobra.Command{
		Use: "check [--policy DIR] [--explain]", Short: "Decide one call from standard input; needs no owner", Args: cobra.NoArgs,
		Long: `Decide one call, given as JSON on standard input: {"tool":{"server","name"}, "arguments":{...},
"facts":{...}}. Facts is a partial input document agent.v1; what it does not state is found out where that
is possible, else unknown. Exit code 0 for allow, 3 for ask, 4 for deny.`,
		Example: `  echo '{"tool":{"server":"shell","name":"run"},"arguments":{"command":"rm -rf /"}}' | sallyport check --explain`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := io.ReadAll(io.LimitReader(a.in, action.DefaultBytes+1))
			if err != nil {
				return err
			}
			from, err := bundleNamed(dir)
			if err != nil {
				return err
			}
			c, err := sallyport.Check(cmd.Context(), in, from)
			if err != nil {
				if _, broken := policy.Load(from); broken != nil {
					return hinted{fmt.Errorf("check: %w", broken), "sallyport policy lint " + from.Dir}
				}
				return hinted{fmt.Errorf("check: %w", err), `the input is {"tool":{"server":"...","name":"..."},"arguments":{...}}`}
			}
			d := &c.Explanation.Decision
			err = a.print(c, func(w io.Writer) {
				if explain {
					fmt.Fprintln(w, c.Explanation.Text)
					return
				}
				fmt.Fprintln(w, d.Verdict)
			})
			switch {
			case err != nil || d.Verdict == action.Allow:
				return err
			case d.Verdict == action.Ask:
				return &exitCode{exitAsk, nil}
			}
			return &exitCode{exitDeny, nil}
		},
	}
	cmd.Flags().StringVar(&dir, "policy", "", "folder of the bundle, or the name of an embedded one (default: baseline)")
	cmd.Flags().BoolVar(&explain, "explain", false, "say which rules decided on which facts")
	return cmd
}

// bundleNamed is the bundle in a folder or, where there is no such folder, the embedded one of that name.
func bundleNamed(name string) (policy.Config, error) {
	if name == "" {
		return policy.Config{}, nil
	}
	dir, err := filepath.Abs(name)
	if err != nil {
		return policy.Config{}, err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if embedded := policies.Names(); slices.Contains(embedded, name) {
			return policy.Config{Pack: name}, nil
		}
		return policy.Config{}, hinted{fmt.Errorf("policy: %q is no folder, and no embedded policy is called so", name),
			"the embedded ones are " + strings.Join(policies.Names(), ", ")}
	}
	return policy.Config{Dir: dir}, nil
}
