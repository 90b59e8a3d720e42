// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/detect"
)

// detectBench is what detect.Bench measured, with the machine.
type detectBench struct {
	Machine machine `json:"machine"`
	detect.BenchResult
}

func (a *app) benchDetectCommand() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use: "detect", Short: "What the detector finds, misses and costs on recorded sets", Args: cobra.NoArgs,
		Long: `Scan the sets under a folder and count. A set is known by the name of its file, each also with .gz:

  prompts.jsonl    {set, text, label}              prompts; label 1 is an attack
  contents.jsonl   {text, injected}                recorded tool outputs
  secrets.jsonl    {rule, text, label}             label 1 holds a secret of the kind "rule"
  pii.jsonl        {text, spans: [{type}]}         sentences with personal data
  cases.jsonl      {kind, description}             tools: attack_tool or normal_tool
  cases.jsonl      {category, payload, expected_verdict}   messages: block or allow

For each source of prompts and outputs there are two rows: the shipped model, and one trained without that
source. Only the second says what to expect of a source that nobody has seen, unless the shipped model was
not trained on the folder either. The keys of the JSON output are stable; docs/detection.md explains them.`,
		Example: "  sallyport bench detect --data ./data\n  sallyport bench detect --data ./data --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if data == "" {
				return usage("bench detect: --data is required")
			}
			res, err := detect.Bench(cmd.Context(), detect.BenchOptions{Data: data, Progress: func(s string) { a.progress("detect: %s", s) }})
			if errors.Is(err, detect.ErrNoData) {
				return usage("bench %v", err)
			}
			if err != nil {
				return err
			}
			out := detectBench{thisMachine(), res}
			return a.print(out, out.text)
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "folder with sets; its subfolders are looked through too")
	return cmd
}

// pct writes a rate with its counts.
func pct(r detect.Rate) string {
	if r.Of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %% (%d/%d)", 100*r.Share, r.N, r.Of)
}

// between writes a rate with its counts and its 95 % interval.
func between(r detect.Rate) string {
	if r.Of == 0 {
		return "-"
	}
	return fmt.Sprintf("%s [%.0f, %.0f]", pct(r), 100*r.CI95[0], 100*r.CI95[1])
}

func (b *detectBench) text(w io.Writer) {
	fmt.Fprintf(w, "%s\n", b.Machine)
	if len(b.Sources) > 0 {
		fmt.Fprintf(w, "\n%-26s %20s %20s %20s   %s\n", "source (shipped model)", "recall at 1 % FPR", "recall", "false alarms", "left out: recall at 1 % FPR, recall, false alarms")
		for _, name := range slices.Sorted(maps.Keys(b.Sources)) {
			s := b.Sources[name]
			fmt.Fprintf(w, "%-26s %20s %20s %20s   %s, %s, %s\n", name, pct(s.RecallAt1), pct(s.Recall), pct(s.FalseAlarms), between(s.LeftOutAt1), pct(s.LeftOut), pct(s.LeftOutAlarms))
		}
	}
	if b.NotInject != nil {
		fmt.Fprintf(w, "\nNotInject right      %s; left out %s\n", pct(*b.NotInject), pct(*b.NotInjectLeftOut))
	}
	if len(b.Layers) > 0 {
		fmt.Fprintf(w, "\n%-18s %-8s %20s %20s %20s %10s\n", "layer", "", "recall at 1 % FPR", "recall", "false alarms", "µs/KiB")
		for _, l := range b.Layers {
			fmt.Fprintf(w, "%-18s %-8s %20s %20s %20s %10.1f\n", l.Layer, l.With, pct(l.RecallAt1), pct(l.Recall), pct(l.FalseAlarms), l.UsPerKiB)
		}
	}
	kinds := func(title string, k *detect.KindsBench) {
		if k == nil {
			return
		}
		fmt.Fprintf(w, "\n%-20s recall %s, precision %s, alarms on clean texts %s\n", title, pct(k.Recall), pct(k.Precision), pct(k.HardAlarms))
		for _, name := range slices.Sorted(maps.Keys(k.Kinds)) {
			if v := k.Kinds[name]; v.Recall.Share < 0.995 || v.Precision.Share < 0.995 {
				fmt.Fprintf(w, "  %-40s recall %-22s precision %s\n", name, pct(v.Recall), pct(v.Precision))
			}
		}
	}
	kinds("secrets", b.Secrets)
	kinds("of unknown kinds", b.SecretsUnknown)
	kinds("personal data", b.PII)
	if c := b.Clean; c != nil {
		fmt.Fprintf(w, "\nclean outputs        %d: secrets %s = %.1f in 1,000; leaks %s; instructions %s; attacked outputs found %s\n", c.Outputs, pct(c.Secrets), c.SecretsPer1000,
			pct(c.Leaks), pct(c.Injection), pct(c.Attacked))
	}
	if t := b.Tools; t != nil {
		fmt.Fprintf(w, "tool descriptions    attack tools found %s, normal tools alarmed %s\n", pct(t.Attack), pct(t.Normal))
	}
	if e := b.Egress; e != nil {
		fmt.Fprintf(w, "egress               cases to block with a finding %s, cases to allow with one %s\n", pct(e.Blocked), pct(e.Allowed))
	}
	fmt.Fprintf(w, "cost                 p50 %.1f, p99 %.1f µs/KiB over %d texts, %.0f KiB\n", b.Cost.P50, b.Cost.P99, b.Cost.Texts, b.Cost.KiB)
}
