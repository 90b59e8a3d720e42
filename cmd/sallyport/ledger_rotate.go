// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
)

func (a *app) rotateCommand() *cobra.Command {
	var first, second string
	cmd := &cobra.Command{
		Use: "rotate --operator NAME | --second NAME", Args: cobra.NoArgs,
		Short: "Give the log another signing key; takes two people",
		Long: `Give the log another signing key. Two people, two calls, with no owner at work in either: one with --operator asks
for it and changes nothing; within a day another, with --second, opens a new epoch under a new key. The old key signs
the record that names the new one and the head at which it takes over, and is then overwritten. "ledger verify" with
the old key or the new one follows the change, and calls a checkpoint of the old key beyond that head a fault.

Whoever keeps the key (auditors, witnesses, pages that pinned it, who follows the tiles) must be told the new one: to
witnesses the epoch is another log, and receivers of exports get all records once more, under the new name.`,
		Example: `  sallyport ledger rotate --operator alice
  sallyport ledger rotate --second bob`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := a.load()
			if err != nil {
				return err
			}
			done, err := sallyport.RotateLedger(cfg, first+second)
			if err != nil {
				return err
			}
			if second != "" && done.Second == "" {
				err = hinted{fmt.Errorf("nobody has asked for this yet; %q is on record as the first", second), `let somebody else run "sallyport ledger rotate --second NAME"`}
			}
			if perr := a.print(done, func(w io.Writer) {
				if done.Second == "" {
					fmt.Fprintf(w, "asked by    %s, at %d records; somebody else agrees with \"sallyport ledger rotate --second NAME\"\n", done.Operator, done.Restored.Size)
					return
				}
				fmt.Fprintf(w, "opened      epoch %d by %s and %s, entry %d\norigin      %s\nkey         %s\n", done.Epoch, done.Operator, done.Second, done.Index, done.Origin, done.Vkey)
			}); perr != nil {
				return perr
			}
			return err
		},
	}
	cmd.Flags().StringVar(&first, "operator", "", "who asks for it")
	cmd.Flags().StringVar(&second, "second", "", "who agrees, somebody else")
	cmd.MarkFlagsOneRequired("operator", "second")
	cmd.MarkFlagsMutuallyExclusive("operator", "second")
	return cmd
}

func (a *app) rewrapCommand() *cobra.Command {
	var operator string
	cmd := &cobra.Command{
		Use: "rewrap --operator NAME", Args: cobra.NoArgs,
		Short: "Wrap the keys of sealed contents anew, under another tenant key",
		Long: `Make a new tenant key, wrap it by what ledger.tenant_key says, and wrap every key of sealed contents under it. To go from
one place to another, say from a file to a TPM, put the old setting under ledger.tenant_key_before for this one call. With
no owner at work; it is recorded first. If it is interrupted, no owner starts until the same call has finished it.

Contents are not sealed anew: a copy of the data directory from before still opens with the old tenant key. Destroy
what wrapped it once you are done.`,
		Example: `  sallyport ledger rewrap --operator alice`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := a.load()
			if err != nil {
				return err
			}
			n, err := sallyport.RewrapLedger(cfg, operator)
			if err != nil {
				return err
			}
			return a.print(map[string]int{"keys": n}, func(w io.Writer) {
				fmt.Fprintf(w, "%d keys are wrapped anew by %s\n", n, cfg.Ledger.TenantKey.Kind)
			})
		},
	}
	cmd.Flags().StringVar(&operator, "operator", "", "who does it, for the record")
	_ = cmd.MarkFlagRequired("operator") // errs only if there is no such flag
	return cmd
}
