// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/ledger"
)

func (a *app) repairCommand() *cobra.Command {
	var from, operator string
	cmd := &cobra.Command{
		Use: "repair --from DIR --operator NAME", Args: cobra.NoArgs,
		Short: "Mend damaged or missing segments of the log from a backup or a replica",
		Long: `Mend segments that are damaged or gone with those of DIR, a backup or another copy of the data directory. What the copy does
not know stays as it is. The copy is not trusted: what is taken must continue the log's own tree, sealed parts included,
and end in its newest checkpoint. Damaged segments are kept beside, as NAME.damaged. The log records who did it. With no
owner at work. If the end of the log is lost everywhere, "ledger recover" goes on from there. Tiles and index need no
copy: "ledger rebuild" makes them anew.`,
		Example: `  sallyport ledger repair --from /backup/today --operator alice`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := a.load()
			if err != nil {
				return err
			}
			if from, err = absolute(from); err != nil {
				return err
			}
			done, err := sallyport.RepairLedger(cfg, filepath.Join(from, "wal"), operator)
			if errors.Is(err, ledger.ErrBehind) {
				err = hinted{err, `the end is lost: "sallyport ledger recover" goes on without it`}
			}
			if err != nil {
				return err
			}
			return a.print(done, func(w io.Writer) {
				if len(done.Segments) == 0 {
					fmt.Fprintln(w, "nothing is damaged")
					return
				}
				for _, n := range done.Segments {
					fmt.Fprintf(w, "mended      segment %d\n", n)
				}
				fmt.Fprintf(w, "recorded    entry %d\n", done.Record.Index)
			})
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the copy: a folder that holds wal")
	cmd.Flags().StringVar(&operator, "operator", "", "who does it, for the record")
	cmd.MarkFlagsRequiredTogether("from", "operator")
	_ = cmd.MarkFlagRequired("from") // errs only if there is no such flag
	return cmd
}
