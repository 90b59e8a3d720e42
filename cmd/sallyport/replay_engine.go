// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/index"
	"github.com/sallyport/sallyport/policy"
)

// maxDecideLine bounds a line of `policy decide`, in and out.
const maxDecideLine = 48 << 20

// decided is a line that `policy decide` writes.
type decided struct {
	Decision action.Decision `json:"decision"`
	Error    string          `json:"error"`
}

func (a *app) policyDecideCommand() *cobra.Command {
	return &cobra.Command{
		Use: "decide DIR", Short: "Answer queries from standard input with a bundle", Args: cobra.ExactArgs(1),
		Long: `Read canonical queries from standard input, one a line, and write a line for each: {"decision": ..., "error": ...}. The
bundle in DIR decides. Nothing is executed, asked or recorded. "sallyport replay --engine" runs it in an archived release.`,
		Example: "  sallyport policy decide policies/mine < queries.jsonl",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := policy.Load(policy.Config{Dir: args[0]})
			if err != nil {
				return err
			}
			return decideLines(cmd.Context(), c, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

func decideLines(ctx context.Context, c *policy.Compiled, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64<<10), maxDecideLine)
	for n := 1; lines.Scan(); n++ {
		var d decided
		q, err := action.ReadQuery(lines.Bytes())
		if err == nil {
			d.Decision, err = c.Redecide(ctx, q)
		}
		if err != nil {
			d.Error = err.Error()
		}
		b, err := json.Marshal(d)
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if _, err := out.Write(append(b, '\n')); err != nil {
			return err
		}
	}
	return lines.Err()
}

// replayBy decides a session again by another program, each decision under the bundle that its record names.
func replayBy(ctx context.Context, c *client, engine, session string, ans *sallyport.ReplayAnswer) (err error) {
	if engine, err = filepath.Abs(engine); err != nil {
		return err
	}
	inputs, err := replayInputs(ctx, c, session)
	if err != nil {
		return err
	}
	groups := map[string][]int{}
	for i := range inputs {
		if len(inputs[i].Query) > 0 {
			digest := inputs[i].Recorded.Bundle.Digest
			groups[digest] = append(groups[digest], i)
		}
	}
	for digest, group := range groups {
		if err := decideGroup(ctx, c, engine, digest, inputs, group); err != nil {
			return fmt.Errorf("%s: %w", engine, err)
		}
	}
	ans.Session = session
	for i := range inputs {
		ans.Steps = append(ans.Steps, inputs[i].Step)
	}
	ans.Counts = index.Count(ans.Steps)
	return nil
}

func replayInputs(ctx context.Context, c *client, session string) ([]sallyport.ReplayInput, error) {
	body, err := c.stream(ctx, http.MethodPost, "/people/v1/local/replay/"+url.PathEscape(session)+"/inputs", nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 64<<10), maxDecideLine)
	var out []sallyport.ReplayInput
	for lines.Scan() {
		var in sallyport.ReplayInput
		if err := json.Unmarshal(lines.Bytes(), &in); err != nil {
			return nil, err
		}
		out = append(out, in)
	}
	return out, lines.Err()
}

// decideGroup has the engine decide the inputs of one bundle, which is written for it to a folder of its own.
func decideGroup(ctx context.Context, c *client, engine, digest string, inputs []sallyport.ReplayInput, group []int) (err error) {
	b, err := fetchBundle(ctx, c, digest)
	if err != nil {
		return fmt.Errorf("bundle %s: %w", digest, err)
	}
	dir, err := os.MkdirTemp("", "sallyport-replay-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	folder := filepath.Join(dir, "bundle")
	if err := b.Write(folder); err != nil {
		return err
	}
	var in, out, told bytes.Buffer
	for _, i := range group {
		in.Write(inputs[i].Query)
		in.WriteByte('\n')
	}
	cmd := exec.CommandContext(ctx, engine, "policy", "decide", folder)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, &told
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("policy decide: %w: %s", err, action.Clip(told.String(), 1000))
	}
	lines := bufio.NewScanner(&out)
	lines.Buffer(make([]byte, 0, 64<<10), maxDecideLine)
	for _, i := range group {
		if !lines.Scan() {
			return errors.Join(errors.New("it answered fewer queries than it was asked"), lines.Err())
		}
		var d decided
		if err := json.Unmarshal(lines.Bytes(), &d); err != nil {
			return fmt.Errorf("its answer: %w", err)
		}
		step := &inputs[i].Step
		step.Replay = &index.Replayed{Recorded: inputs[i].Recorded, Again: d.Decision}
		if d.Error != "" {
			step.Replay.Answer, step.Replay.Problem = index.NoEngine, action.Clip(d.Error, 500)
			continue
		}
		enforce.Compare(step.Verdict, step.Replay)
	}
	return nil
}
