// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/policies"
	"github.com/sallyport/sallyport/policy"
)

func (a *app) policySuggestCommand() *cobra.Command {
	var since, out, base, tenant string
	cmd := &cobra.Command{
		Use: "suggest AGENT [--out DIR] [--since 30d]", Short: "Write rules that hold an agent to what it was seen to do", Args: cobra.ExactArgs(1),
		Long: `Write rules that hold an agent to what it was let do: its tools and effects, and of their arguments the folders, hosts,
recipients, tables, commands and highest amounts. The rules permit nothing; beside a bundle they ask about everything else
that the agent does. What they let by beyond the record is printed. Where things leave or are lost (send, spend, destroy,
admin) nothing is generalised. With --out a bundle is written: that of --base with the rules and a case of each use in it,
and its cases are run. Without, the rules are printed. Opening the recorded inputs is recorded as an access.`,
		Example: "  sallyport policy suggest billing-bot --since 30d --out policies/billing",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, from, err := a.ownerSince(cmd.Context(), since)
			if err != nil {
				return err
			}
			var s sallyport.PolicySuggestion
			body := map[string]any{"agent": args[0], "tenant": tenant, "since_ms": from}
			if err := c.call(cmd.Context(), http.MethodPost, "/people/v1/local/policy/suggest", body, &s); err != nil {
				return err
			}
			if s.Actions == 0 {
				return hinted{fmt.Errorf("nothing that %q was let do is on record", args[0]), "sallyport agents list"}
			}
			if out != "" {
				if err := writeSuggestion(out, base, &s); err != nil {
					return err
				}
			}
			if err := a.print(s, func(w io.Writer) { a.suggestionText(w, &s, out) }); err != nil || out == "" {
				return err
			}
			r, err := policy.TestDir(cmd.Context(), out)
			if err != nil {
				return err
			}
			if !r.Passed() {
				return &exitCode{exitError, fmt.Errorf("%d cases of %s do not pass: the base is not the bundle in force", len(r.Failures), out)}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&since, "since", "", `how far back, such as "12h" or "30d" (default: all)`)
	cmd.Flags().StringVar(&out, "out", "", "folder of the new bundle, which must not exist yet")
	cmd.Flags().StringVar(&base, "base", "baseline", `folder of the bundle to put the rules beside, or "baseline"`)
	cmd.Flags().StringVar(&tenant, "tenant", "", `whose agent (default: "default")`)
	return cmd
}

func (a *app) suggestionText(w io.Writer, s *sallyport.PolicySuggestion, out string) {
	if out == "" {
		fmt.Fprint(w, s.Rules)
	}
	for _, t := range s.Admits {
		fmt.Fprintf(w, "%s %s\n", a.colour(w, yellow, "admits"), t)
	}
	for _, t := range s.Omitted {
		fmt.Fprintf(w, "left out: %s\n", t)
	}
	fmt.Fprintf(w, "%d recorded actions, %d cases\n", s.Actions, len(s.Cases))
	if out != "" {
		fmt.Fprintf(w, "written to %s\nhint: sallyport policy diff baseline %s\n", out, out)
	}
	unread(w, s.Unread)
}

// writeSuggestion copies the base to dir and puts the rules and cases beside it.
func writeSuggestion(dir, base string, s *sallyport.PolicySuggestion) error {
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return hinted{fmt.Errorf("%q is there already", dir), "name a folder that does not exist yet"}
	}
	source := os.DirFS(base)
	if base == "baseline" {
		var err error
		if source, err = policies.Pack(base); err != nil {
			return err
		}
	}
	if err := os.CopyFS(dir, source); err != nil {
		return err
	}
	cases := fmt.Sprintf("# What %s was seen to do. Written by \"sallyport policy suggest\".\ncases:\n%s", strings.ToValidUTF8(s.Pack, ""), strings.Join(s.Cases, ""))
	for name, text := range map[string]string{path.Join(s.Pack, "seen.rego"): s.Rules, path.Join("tests", s.Pack+".yaml"): cases} {
		at := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
