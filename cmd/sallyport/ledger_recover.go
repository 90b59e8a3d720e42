// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/ledger"
)

func (a *app) backupCommand() *cobra.Command {
	return &cobra.Command{
		Use: "backup DIR", Short: "Copy the log and its keys while the owner is at work", Args: cobra.ExactArgs(1),
		Long: `Copy the log up to its newest checkpoint, with its keys, into an empty folder that verifies on its own.
The copy holds the signing key and the keys of payloads: keep it like them, and no longer than the limit
that erasure promises. The state of the other columns (store.db) is not in it.`,
		Example: "  sallyport ledger backup /backup/today\n  sallyport ledger verify --data /backup/today",
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := absolute(args[0])
			if err != nil {
				return err
			}
			c, err := a.owner(cmd.Context(), false)
			if err != nil {
				return err
			}
			var head ledger.Head
			if err := c.call(cmd.Context(), http.MethodPost, "/people/v1/local/ledger/backup", map[string]string{"dir": dir}, &head); err != nil {
				return err
			}
			return a.print(head, func(w io.Writer) {
				fmt.Fprintf(w, "%s: %d records, root %s; it holds the keys\n", dir, head.Size, head.Root)
			})
		},
	}
}

func (a *app) recoverCommand() *cobra.Command {
	var first, second string
	var known []string
	cmd := &cobra.Command{
		Use: "recover --operator NAME | --second NAME [--known FILE]...", Args: cobra.NoArgs,
		Short: "Go on, in a new epoch, with a log that was restored from an older copy; takes two people",
		Long: `Go on with a log that is behind its newest checkpoint, as a restored backup is. Two people, two calls: one
with --operator states what is lost and changes nothing; within a day another, with --second, opens a new
epoch under a new key. Its first record names the restored head, the newest head known and the lost range;
"ledger verify" reports the gap for ever. The names are what the callers say; where both run as one uid,
the record says so. Witnesses are told the new key (--log): to them the epoch is another log. Checkpoints that a witness or an auditor kept are given with --known.`,
		Example: `  sallyport ledger recover --operator alice
  sallyport ledger recover --second bob`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := a.load()
			if err != nil {
				return err
			}
			var notes [][]byte
			for _, f := range known {
				b, err := os.ReadFile(f)
				if err != nil {
					return err
				}
				notes = append(notes, b)
			}
			done, err := sallyport.RecoverLedger(cfg, first+second, notes...)
			if err != nil {
				return err
			}
			if second != "" && done.Second == "" {
				err = hinted{fmt.Errorf("nobody has asked for this yet; %q is on record as the first", second), `let somebody else run "sallyport ledger recover --second NAME"`}
			}
			if perr := a.print(done, func(w io.Writer) {
				fmt.Fprintf(w, "restored    %d records, root %s\nknown       %d records, root %s\nlost        entries %d to %d\n",
					done.Restored.Size, done.Restored.Root, done.Known.Size, done.Known.Root, done.Restored.Size, done.Known.Size-1)
				if done.Second == "" {
					fmt.Fprintf(w, "asked by    %s; somebody else agrees with \"sallyport ledger recover --second NAME\"\n", done.Operator)
					return
				}
				fmt.Fprintf(w, "opened      epoch %d by %s and %s, entry %d\norigin      %s\nkey         %s\n", done.Epoch, done.Operator, done.Second, done.Index, done.Origin, done.Vkey)
			}); perr != nil {
				return perr
			}
			return err
		},
	}
	cmd.Flags().StringVar(&first, "operator", "", "who asks")
	cmd.Flags().StringVar(&second, "second", "", "who agrees")
	cmd.Flags().StringArrayVar(&known, "known", nil, "a checkpoint of the lost end; may be repeated")
	cmd.MarkFlagsOneRequired("operator", "second")
	cmd.MarkFlagsMutuallyExclusive("operator", "second")
	return cmd
}
