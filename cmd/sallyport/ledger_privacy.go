// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/ledger"
)

func (a *app) showCommand() *cobra.Command {
	var part, purpose string
	cmd := &cobra.Command{
		Use: "show INDEX [--part P] [--purpose TEXT]", Args: cobra.ExactArgs(1),
		Short: "A record, or with --part one of its sealed parts; opening one is itself recorded",
		Example: `  sallyport ledger show 42
  sallyport ledger show 42 --part arguments --purpose "complaint 17"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			path := "/people/v1/local/ledger/entries/" + url.PathEscape(args[0])
			if part == "" {
				var e sallyport.LedgerEntry
				if err := c.call(cmd.Context(), http.MethodGet, path, nil, &e); err != nil {
					return err
				}
				return a.print(e, func(w io.Writer) { fmt.Fprintf(w, "%s\nparts: %s\n", e.Leaf, strings.Join(e.Parts, " ")) })
			}
			var d sallyport.Disclosure
			if err := c.call(cmd.Context(), http.MethodPost, path+"/disclose", map[string]string{"part": part, "purpose": purpose}, &d); err != nil {
				return err
			}
			return a.print(d, func(w io.Writer) { fmt.Fprintf(w, "%s\n", d.Data) })
		},
	}
	cmd.Flags().StringVar(&part, "part", "", "the sealed part to open")
	cmd.Flags().StringVar(&purpose, "purpose", "", "why; it is recorded")
	return cmd
}

func (a *app) eraseCommand() *cobra.Command {
	var subject string
	cmd := &cobra.Command{
		Use: "erase --subject ID", Args: cobra.NoArgs,
		Short: "Destroy the keys of everything recorded of a subject, for ever",
		Long: `Destroy the keys with which the payloads of a subject are sealed: of a user, or of an agent that acts
for nobody. It is recorded and cannot be undone. Every proof still verifies; leaves keep the pseudonym.
What a backup still holds of the keys is not reached: delete it, or restore it only to erase again.`,
		Example: "  sallyport ledger erase --subject eve@example.org",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			var done ledger.Erased
			if err := c.call(cmd.Context(), http.MethodPost, "/people/v1/local/ledger/erase", map[string]string{"subject": subject}, &done); err != nil {
				return err
			}
			return a.print(done, func(w io.Writer) {
				fmt.Fprintf(w, "erased: %d keys of %s, recorded as entry %d\n", len(done.Keys), done.Subject, done.Records[0].Index)
			})
		},
	}
	cmd.Flags().StringVar(&subject, "subject", "", "whose data: the id of a user, or of an agent that acts for nobody")
	_ = cmd.MarkFlagRequired("subject") // it errs only for a flag that is not there
	return cmd
}
