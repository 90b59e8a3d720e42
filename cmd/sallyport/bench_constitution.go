// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/approval/judge/classify"
)

func (a *app) benchConstitutionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "constitution", Short: "What the classifier of each rule finds among cases it has not seen", Args: cobra.NoArgs,
		Long: `Train the classifier of each built-in rule on four fifths of its cases and try it on the last fifth, five times, and print
precision and recall. The cases are ours and in English, so that the figures say little about other texts.`,
		RunE: func(*cobra.Command, []string) error {
			sets, err := classify.Sets()
			if err != nil {
				return err
			}
			figures := classify.Measure(sets)
			return a.print(figures, func(w io.Writer) {
				for _, f := range figures {
					fmt.Fprintf(w, "%d  %s\n   %d cases break it, %d do not: precision %.2f, recall %.2f; where it is sure (0.8): %.2f, %.2f\n", f.ID, f.Rule, f.Bad, f.Good,
						f.Precision, f.Recall, f.Sure, f.SureFound)
				}
			})
		},
	}
}
