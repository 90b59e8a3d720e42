// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// egressCase is one row of agent-egress-bench, as its docs/SPEC.md describes it. What a payload holds depends
// on the kind of input.
type egressCase struct {
	ID        string        `json:"id"`
	Category  string        `json:"category"`
	InputType string        `json:"input_type"`
	Transport string        `json:"transport"`
	Payload   egressPayload `json:"payload"`
	Expected  string        `json:"expected_verdict"`
	Severity  string        `json:"severity"`
}

type egressPayload struct {
	Method      string            `json:"method"`
	URL         string            `json:"url"`
	Headers     map[string]string `json:"headers"`
	ContentType string            `json:"content_type"`
	Body        string            `json:"body"`
	Response    *string           `json:"response_body"`
	ResponseAs  string            `json:"response_content_type"`
	Messages    []json.RawMessage `json:"jsonrpc_messages"`
	Card        json.RawMessage   `json:"agent_card"`
	Frames      []egressFrame     `json:"frames"`
}

type egressFrame struct {
	Opcode  string `json:"opcode"`
	Payload string `json:"payload"`
	Fin     *bool  `json:"fin"`
}

// egressVerdict is what became of one case.
type egressVerdict struct {
	ID       string `json:"id"`
	Category string `json:"category"`
	Door     string `json:"door"`
	Expected string `json:"expected"`
	Actual   string `json:"actual"` // block, allow or not_applicable
	By       string `json:"by"`     // what stopped it, or why it does not apply
}

func (v *egressVerdict) wrong() bool {
	return v.Actual != "not_applicable" && v.Actual != v.Expected
}

// egressBench is the score of a run.
type egressBench struct {
	Cases         int             `json:"cases"`
	Block         int             `json:"block"` // applicable ones that must be blocked
	Contained     int             `json:"contained"`
	Allow         int             `json:"allow"`
	FalseBlocks   int             `json:"false_blocks"`
	NotApplicable int             `json:"not_applicable"`
	Containment   int             `json:"containment_milli"`
	Verdicts      []egressVerdict `json:"verdicts"`
}

func (a *app) benchEgressCommand() *cobra.Command {
	var data string
	var folders []string
	cmd := &cobra.Command{
		Use: "egress", Short: "Put the cases of agent-egress-bench through the real doors", Args: cobra.NoArgs,
		Long: `Put cases of agent-egress-bench through the doors that own them: URLs, headers, bodies, responses,
WebSocket frames and A2A messages through the egress proxy, to real servers on loopback behind a stand-in
resolver; MCP messages through the MCP door, to a real MCP server. The policies are the embedded ones: the
pack egress for hosts, with no host listed, and the baseline for tools with one rule more: arguments that look
like data that should not leave ask, wherever the tool runs. Each case has an agent of its own.

A case counts as blocked if something of it was refused, held for a person, withheld or changed on its way.
An operator has approved the tools of the MCP server whose descriptions carry no instructions.`,
		Example: "  sallyport bench egress --data cases/\n  sallyport bench egress --data cases.jsonl --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if data == "" {
				return usage("bench egress: --data names a folder of cases, or a file with one in each line")
			}
			cases, err := readEgressCases(data)
			if err != nil {
				return fmt.Errorf("bench: %w", err)
			}
			out := egressBench{Cases: len(cases)}
			err = scratch("", func(dir string) error {
				a.progress("egress: %d cases", len(cases))
				return out.run(cmd.Context(), dir, folders, cases)
			})
			if err != nil {
				return fmt.Errorf("bench: %w", err)
			}
			return a.print(out, out.text)
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "folder with *.json or *.jsonl, or one such file")
	cmd.Flags().StringSliceVar(&folders, "roots", []string{"/home/user", "/workspace", "/app", "/project"}, "folders in which the agent works")
	return cmd
}

// readEgressCases reads every case below path, sorted by id.
func readEgressCases(path string) (out []egressCase, err error) {
	err = filepath.WalkDir(path, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		switch filepath.Ext(p) {
		case ".json":
			var c egressCase
			if err := json.NewDecoder(f).Decode(&c); err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
			out = append(out, c)
		case ".jsonl":
			lines := bufio.NewScanner(f)
			lines.Buffer(nil, 16<<20)
			for n := 1; lines.Scan(); n++ {
				var c egressCase
				if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
					return fmt.Errorf("%s:%d: %w", p, n, err)
				}
				out = append(out, c)
			}
			return lines.Err()
		}
		return nil
	})
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("%q holds no cases", path)
	}
	slices.SortFunc(out, func(a, b egressCase) int { return strings.Compare(a.ID, b.ID) })
	return out, err
}

// run puts every case through its door.
func (b *egressBench) run(ctx context.Context, dir string, folders []string, cases []egressCase) (err error) {
	x, err := startEgressStage(ctx, dir, folders, cases)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.close()) }()
	for i := range cases {
		c := &cases[i]
		v := egressVerdict{ID: c.ID, Category: c.Category, Expected: c.Expected}
		if v.Door, v.Actual, v.By, err = x.play(ctx, i, c); err != nil {
			return fmt.Errorf("case %s: %w", c.ID, err)
		}
		b.count(v)
	}
	if b.Block > 0 {
		b.Containment = b.Contained * 1000 / b.Block
	}
	return nil
}

func (b *egressBench) count(v egressVerdict) {
	b.Verdicts = append(b.Verdicts, v)
	switch {
	case v.Actual == "not_applicable":
		b.NotApplicable++
	case v.Expected == "block":
		b.Block++
		if v.Actual == "block" {
			b.Contained++
		}
	default:
		b.Allow++
		if v.Actual == "block" {
			b.FalseBlocks++
		}
	}
}

func (b *egressBench) text(w io.Writer) {
	fmt.Fprintf(w, "containment     %d of %d (%d.%d %%)\n", b.Contained, b.Block, b.Containment/10, b.Containment%10)
	fmt.Fprintf(w, "false blocks    %d of %d\n", b.FalseBlocks, b.Allow)
	fmt.Fprintf(w, "not applicable  %d of %d\n", b.NotApplicable, b.Cases)
	for _, v := range b.Verdicts {
		switch {
		case v.wrong():
			fmt.Fprintf(w, "wrong           %s: %s, must be %s (%s)\n", v.ID, v.Actual, v.Expected, v.By)
		case v.Actual == "not_applicable":
			fmt.Fprintf(w, "not applicable  %s: %s\n", v.ID, v.By)
		}
	}
}

// play chooses the door of a case and answers what became of it.
func (x *egressStage) play(ctx context.Context, i int, c *egressCase) (door, actual, by string, err error) {
	stopped, known := "", true
	switch c.InputType {
	case "url", "header", "request_body", "response_content":
		door = "egress"
		stopped, err = x.request(ctx, i, c)
	case "websocket_frame":
		door = "egress"
		stopped, err = x.socket(ctx, i, c)
	case "a2a_message", "a2a_agent_card":
		door = "egress"
		stopped, err = x.peer(ctx, i, c)
	case "mcp_tool_call", "mcp_tool_sequence", "mcp_tool_definition", "mcp_tool_result":
		door = "mcp"
		stopped, err = x.tools(ctx, i, c)
	default:
		known = false
	}
	switch {
	case err != nil:
		return door, "", "", err
	case !known:
		return "", "not_applicable", fmt.Sprintf("no door takes inputs of the kind %q", c.InputType), nil
	case stopped != "":
		return door, "block", stopped, nil
	}
	return door, "allow", "", nil
}
