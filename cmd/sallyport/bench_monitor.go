// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/monitorbench"
	"github.com/sallyport/sallyport/internal/replaybench"
)

func (a *app) benchMonitorCommand() *cobra.Command {
	var dir, tenant string
	cmd := &cobra.Command{
		Use: "monitor --data DIR", Short: "How well the monitor tells attacked runs from honest ones", Args: cobra.NoArgs,
		Long: `Judge recorded runs by profiles that were trained on the honest runs of other tasks. Positives are runs
in which an attack succeeded with at least one call, negatives are honest runs that solved their task. A
run counts as the highest risk that it reaches. Detectors take no part. AUC is the chance that an attacked run scores
above an honest one; a share is the AUC that is missing without that signal. With few honest runs, 1 %
false alarms means none. "Unweighted" is what is left if every signal counts the same, so that no weight was chosen.`,
		Example: "  sallyport bench monitor --data recordings\n  sallyport bench monitor --data recordings --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := replaybench.Load(dir, tenant)
			if err != nil {
				return err
			}
			r, err := monitorbench.Measure(cmd.Context(), d, func(suite string) { a.progress("monitor: %s", suite) })
			if err != nil {
				return err
			}
			return a.print(r, func(w io.Writer) { monitorText(w, r) })
		},
	}
	cmd.Flags().StringVar(&dir, "data", "", "folder of recordings, as for bench replay")
	cmd.Flags().StringVar(&tenant, "tenant", "", "file with the tenant's records in place of the folder's environments")
	_ = cmd.MarkFlagRequired("data")
	return cmd
}

func monitorText(w io.Writer, r *monitorbench.Result) {
	row := func(name string, f monitorbench.Figures) {
		fmt.Fprintf(w, "%-14s %8d %7d %7.3f %8.3f %8.3f\n", name, f.Attacks, f.Honest, f.AUC, f.TPR1, f.TPR5)
	}
	fmt.Fprintf(w, "%-14s %8s %7s %7s %8s %8s\n", "suite", "attacks", "honest", "AUC", "TPR@1%", "TPR@5%")
	for _, s := range slices.Sorted(maps.Keys(r.Suites)) {
		row(s, r.Suites[s])
	}
	row("overall", r.Overall)
	row("unweighted", r.Unweighted)
	fmt.Fprintf(w, "\n%-14s %9s %7s\n", "signal", "AUC alone", "share")
	for _, s := range r.Signals {
		fmt.Fprintf(w, "%-14s %9.3f %7.3f\n", s.Name, s.Alone, s.Share)
	}
	fmt.Fprintf(w, "\nin %.0f %% of the attacked runs the action that adds most risk is one of the attack\n", 100*r.Worst)
	for _, n := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
}
