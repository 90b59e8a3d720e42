// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/policy"
)

// waivedFor is how long what migrate found may stand before lint reports it again.
const waivedFor = 90 * 24 * time.Hour

func (a *app) policyMigrateCommand() *cobra.Command {
	var out string
	var cfg policy.MigrateConfig
	cmd := &cobra.Command{
		Use: "migrate DIR --out DIR --owner WHO", Short: "Make a bundle of policies that were written for OPA", Args: cobra.ExactArgs(1),
		Long: `Make a bundle of the Rego files and data.json or data.yaml files in DIR, which run unchanged under the profile opa. Rego of
before OPA 1.0 gets the import and the newer form where OPA's compiler makes the same rules of it, else all of it stays as it is.
What is left to a person is printed with file and line: built-ins that are withheld, and places where the policy fails open, for
which waivers of 90 days are written. Then say in the manifest (opa.inputs) what the policy is told of each tool.
Exit code 1 if something is withheld, so that the bundle does not load yet.`,
		Example: "  sallyport policy migrate ./opa-policies --entrypoint http/authz/allow --owner platform --out policies/authz",
		RunE: func(cmd *cobra.Command, args []string) error {
			if cfg.Entrypoint == "" && cfg.Refusals == "" {
				return &exitCode{exitUsage, errors.New("--entrypoint or --refusals must name what decides")}
			}
			if _, err := os.Lstat(out); !errors.Is(err, fs.ErrNotExist) {
				return hinted{fmt.Errorf("%q is there already", out), "name a folder that does not exist yet"}
			}
			cfg.Name, cfg.Until = packName(filepath.Base(out)), time.Now().Add(waivedFor).UTC().Truncate(24*time.Hour)
			m, err := policy.Migrate(os.DirFS(args[0]), cfg)
			if err != nil {
				return err
			}
			for name, text := range m.Files {
				at := filepath.Join(out, filepath.FromSlash(name))
				if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
					return err
				}
				if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
					return err
				}
			}
			err = a.print(m, func(w io.Writer) {
				for _, f := range m.Notes {
					fmt.Fprintf(w, "%s %s:%d: %s\n", a.colour(w, yellow, f.Lint), f.File, f.Line, f.Text)
				}
				fmt.Fprintf(w, "%d files written to %s\nhint: write cases, then sallyport policy test %s\n", len(m.Files), out, out)
			})
			if err == nil && !m.Ready() {
				return &exitCode{exitError, errors.New("the policies need built-ins that are withheld")}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&cfg.Entrypoint, "entrypoint", "", `what permits if it is true, such as "http/authz/allow"`)
	cmd.Flags().StringVar(&cfg.Refusals, "refusals", "", "the set, list or object that permits if it is empty")
	cmd.Flags().StringVar(&cfg.Owner, "owner", "", "who answers for the bundle")
	cmd.Flags().StringVar(&out, "out", "", "folder of the new bundle, which must not exist yet")
	_, _ = cmd.MarkFlagRequired("owner"), cmd.MarkFlagRequired("out") // they err only for a flag that is not there
	return cmd
}
