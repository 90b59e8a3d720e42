// SPDX-License-Identifier: Apache-2.0

package main

import (
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/policy/lsp"
)

func (a *app) policyLSPCommand() *cobra.Command {
	return &cobra.Command{
		Use: "lsp", Short: "Serve an editor: findings, facts and their words while a policy is written", Args: cobra.NoArgs,
		Long: `Speak the Language Server Protocol over standard input and output, for editors. What "policy lint" finds in the
bundle of an open document stands beside its line; names of facts are completed after a dot, their words within quotes,
and a fact under the pointer is explained. It reads the bundle's folder and nothing else, and needs no owner.`,
		Example: `  vim.lsp.start({name = "sallyport", cmd = {"sallyport", "policy", "lsp"}})   in Neovim, for rego and cedar`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			version := ""
			if info, ok := debug.ReadBuildInfo(); ok {
				version = info.Main.Version
			}
			ended := make(chan error, 1)
			go func() { ended <- lsp.Serve(cmd.Context(), lsp.Config{Version: version}, a.in, a.out) }()
			select {
			case err := <-ended:
				return err
			case <-cmd.Context().Done():
				return nil // standard input cannot be given up while it is read; the process ends with it
			}
		},
	}
}
