// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/flow"
)

// maxOutput bounds the result that is looked at.
const maxOutput = 1 << 20

// outputField is what one field of results is proposed to vouch for.
type outputField struct {
	Pointer string     `json:"pointer"`
	Class   flow.Class `json:"class"`
}

func (a *app) toolsOutputCommand() *cobra.Command {
	return &cobra.Command{
		Use: "output SERVER/TOOL", Short: "Propose what the fields of a tool's results may vouch for", Args: cobra.ExactArgs(1),
		Long: `Read a result of a tool from standard input and print what its fields would be taken for, as lines for
flow.outputs in the configuration. It is a guess by names and shapes: look at each field before you put it
there. own_record and party vouch for what stands in them, label and counterparty only where the user named
the record or the person, free_text for nothing. Text written for people stays free text, whatever you say.`,
		Example: "  sallyport tools output crm/list_customers < result.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			server, tool, ok := strings.Cut(args[0], "/")
			if !ok || server == "" || tool == "" {
				return usage("tools output: %q is not SERVER/TOOL", args[0])
			}
			b, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxOutput+1))
			if err != nil {
				return err
			}
			if len(b) > maxOutput {
				return usage("tools output: the result is longer than 1 MiB")
			}
			of, err := flow.Classify(b)
			if err != nil {
				return hinted{err, "give it a result as the tool returned it: JSON, YAML, a table, comma-separated values or XML"}
			}
			fields := []outputField{}
			for _, pointer := range slices.Sorted(maps.Keys(of)) {
				fields = append(fields, outputField{pointer, of[pointer]})
			}
			return a.print(map[string]any{"server": server, "tool": tool, "fields": fields}, func(w io.Writer) {
				fmt.Fprintf(w, "flow:\n  outputs:\n    - server: %q\n      tool: %q\n      fields:\n", server, tool)
				for _, f := range fields {
					fmt.Fprintf(w, "        - {pointer: %q, class: %s}\n", f.Pointer, f.Class)
				}
			})
		},
	}
}
